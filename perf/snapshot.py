"""How long does a large model hold the stream up when it is written as a whole?

    .venv/bin/python perf/snapshot.py --json snapshot.json

Two models in a task manager of their own cluster: a linear one whose features grow to 3.2 million names,
with the shape of the malicious-URL data (`perf.workloads.malicious_urls`; 60 new names a URL, so that it
does not take 2.4 million of them), and a random forest of 50 trees. Both are written after each tenth
of what they learn, so the last time at nearly their full size. `stall` is the longest time between one
prediction and the next, and so has all in it that may stop the stream: the snapshot, Flink's checkpoint,
garbage collection. Every prediction must be a plain loop's.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console

from jobs.cluster import Cluster
from jobs.config import load_config
from jobs.toml_text import dump_toml
from perf.bare import measure
from perf.flink import read_predictions, run_to_end
from perf.report import Row, conclude, environment, told
from perf.throughput import same
from perf.workloads import LARGE, Example, malicious_urls, phishing, write_events
from state.snapshots import pickle_model

_SYSTEM = "riverrun job"
_MEMORY = {"taskmanager.memory.process.size": "4g"}
# Until then a JVM that has just started is what holds the stream up.
_SKIPPED = 0.2


class Case(NamedTuple):
    """A large model and what it learns."""

    examples: Callable[[int, int], Iterator[Example]]
    transactions: int


def _many_names(count: int, seed: int) -> Iterator[Example]:
    return malicious_urls(count, seed, new_names=60)


CASES = {"linear": Case(_many_names, 54_000), "forest": Case(phishing, 6_000)}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--events", type=int, help="transactions of each; fewer make a small model")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--json", type=Path, help="write the rows there")
    options = parser.parse_args(argv)
    console = Console()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="riverrun-perf-") as name:
        folder = Path(name)
        with Cluster.start(folder / "cluster", task_managers=1, settings=_MEMORY) as cluster:
            for model in options.models:
                count = options.events or CASES[model].transactions
                for row in _measure(cluster, folder / model, model, count, options.seed):
                    rows.append(row)
                    console.print(told(row), highlight=False)
    return conclude(console, rows, environment(seed=options.seed), options.json)


def _measure(cluster: Cluster, folder: Path, model: str, count: int, seed: int) -> Iterator[Row]:
    folder.mkdir()
    events = folder / "events.jsonl"
    write_events(events, CASES[model].examples(count, seed), seed)
    path = folder / "job.toml"
    path.write_text(dump_toml(_document(folder, model, every=count // 10 - 1)))
    job_id = run_to_end(cluster, load_config(path), path)
    predictions = read_predictions(folder / "predictions")
    bare = LARGE[model].make()
    ok = same(predictions, measure(events, bare, count, int(count * _SKIPPED)))
    at = [prediction.predicted_at for prediction in predictions][int(count * _SKIPPED) :]
    history = cluster.rest.checkpoints(job_id)["history"]
    done = [each for each in history if each["status"] == "COMPLETED"]
    case = f"snapshot/{model}"
    for metric, value, unit in (
        ("model_size", len(pickle_model(bare)) / 1e6, "MB"),
        ("stall", max(after - before for before, after in pairwise(at)), "ms"),
        ("checkpoint_time", max(each["end_to_end_duration"] for each in done), "ms"),
        ("checkpoint_size", max(each["state_size"] for each in done) / 1e6, "MB"),
        ("transactions_per_s", len(at) / (at[-1] - at[0]) * 1000, "1/s"),
    ):
        yield Row(case, _SYSTEM, metric, value, unit, None, None, ok)


def _document(folder: Path, model: str, every: int) -> dict[str, Any]:
    return {
        "job": {"name": f"snapshot-{model}", "checkpoint_dir": str(folder / "checkpoints")},
        "features": {"connector": "file", "path": str(folder / "events.jsonl")},
        "predictions": {"connector": "file", "path": str(folder / "predictions")},
        "models": [
            {
                "name": "model",
                "task": "classification",
                "spec": LARGE[model].spec,
                "snapshot": {"every": every},
            }
        ],
    }


if __name__ == "__main__":
    sys.exit(main())
