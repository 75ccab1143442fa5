"""How much more do more task managers take, beside as many bare processes?

    .venv/bin/python perf/scaling.py --json scaling.json

Transactions of 64 lanes, each with a forest of its own (`perf.workloads`, ARF), lie in as many files as
there are workers. The job runs them by lane on 1, 2 and 4 task managers; beside it as many bare River
loops, each in a process of its own with its share of the lanes. Both are timed from the first fifth of
the transactions to the last. With more workers than cores neither gets faster: what counts is the ratio.
All must have predicted the same transactions; one worker alone, the same of each.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
from rich.console import Console

from jobs.cluster import Cluster
from jobs.config import load_config
from jobs.toml_text import dump_toml
from perf.bare import decode_event
from perf.flink import read_predictions, run_to_end
from perf.report import Row, conclude, environment, told
from perf.workloads import MODELS, SPECS, Example, phishing, write_events

_ROOT = Path(__file__).parent.parent
_LANES = 64
_MODEL = "ARF"
_SKIPPED = 0.2


class Share(msgspec.Struct):
    """What one bare process did: seconds since the epoch, and what it said by id."""

    begun: float
    ended: float
    counted: int
    said: dict[str, dict[str, float]]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--events", type=int, default=16_000, help="transactions a run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--json", type=Path, help="write the rows there")
    options = parser.parse_args(argv)
    console = Console()
    rows: list[Row] = []
    for workers in options.workers:
        with tempfile.TemporaryDirectory(prefix="riverrun-perf-") as name:
            for row in _case(Path(name), workers, options):
                rows.append(row)
                console.print(told(row), highlight=False)
    return conclude(
        console, rows, environment(seed=options.seed, rounds=options.rounds), options.json
    )


def _case(folder: Path, workers: int, options: argparse.Namespace) -> Iterator[Row]:
    files = folder / "events"
    files.mkdir()
    for worker in range(workers):
        share = _share(options.events, options.seed, worker, workers)
        write_events(files / f"{worker}.jsonl", share, options.seed, prefix=f"{worker}-")
    loops, jobs = [], []
    ok = True
    with Cluster.start(folder / "cluster", task_managers=workers) as cluster:
        # The first round warms the JVMs up.
        for number in range(options.rounds + 1):
            per_s, said = _bare(files, workers)
            job_per_s, job_said = _job(cluster, folder / f"run-{number}", files, workers)
            # The transactions of a lane come by several subtasks of the join, in no order.
            ok = ok and (job_said == said if workers == 1 else job_said.keys() == said.keys())
            if number > 0:
                loops.append(per_s)
                jobs.append(job_per_s)
    case = f"scaling/{workers}"
    ratio = median(job / loop for job, loop in zip(jobs, loops, strict=True))
    yield Row(case, "bare processes", "transactions_per_s", median(loops), "1/s", None, None, ok)
    yield Row(
        case,
        "task managers",
        "transactions_per_s",
        median(jobs),
        "1/s",
        ratio,
        "bare processes",
        ok,
    )


def _share(count: int, seed: int, worker: int, workers: int) -> Iterator[Example]:
    """The examples of this worker's lanes, each with its lane among the features."""
    for number, (features, label) in enumerate(phishing(count, seed)):
        lane = number % _LANES
        if lane % workers == worker:
            yield {"lane": lane, **features}, label


def _bare(files: Path, workers: int) -> tuple[float, dict[str, dict[str, float]]]:
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "perf.scaling", "--bare", str(files / f"{worker}.jsonl")],
            env={**os.environ, "PYTHONPATH": str(_ROOT)},
            stdout=subprocess.PIPE,
        )
        for worker in range(workers)
    ]
    shares = [msgspec.json.decode(process.communicate()[0], type=Share) for process in processes]
    seconds = max(share.ended for share in shares) - min(share.begun for share in shares)
    said = {id: answer for share in shares for id, answer in share.said.items()}
    return sum(share.counted for share in shares) / seconds, said


def run_share(path: Path) -> Share:
    """Predict and learn the transactions of a file, with a model for each lane."""
    models: dict[Any, Any] = {}
    features: dict[str, tuple[Any, dict[str, Any]]] = {}
    said: dict[str, dict[str, float]] = {}
    events = [decode_event(line) for line in path.read_bytes().splitlines()]
    transactions = sum(event.features is not None for event in events)
    skipped = int(transactions * _SKIPPED)
    begun = time.time()
    for event in events:
        if event.features is None:
            model, x = features.pop(event.id)
            model.learn_one(x, event.label)
            continue
        lane = event.features["lane"]
        if lane not in models:
            models[lane] = MODELS[_MODEL]()
        x = {name: value for name, value in event.features.items() if name != "lane"}
        answer = models[lane].predict_proba_one(x)
        said[event.id] = {str(label).lower(): p for label, p in answer.items()}
        features[event.id] = models[lane], x
        if len(said) == skipped:
            begun = time.time()
    return Share(begun, time.time(), transactions - skipped, said)


def _job(
    cluster: Cluster, folder: Path, files: Path, workers: int
) -> tuple[float, dict[str, dict[str, float]]]:
    folder.mkdir()
    path = folder / "job.toml"
    path.write_text(dump_toml(_document(folder, files, workers)))
    run_to_end(cluster, load_config(path), path)
    predictions = read_predictions(folder / "predictions")
    at = sorted(prediction.predicted_at for prediction in predictions)
    skipped = int(len(at) * _SKIPPED)
    per_s = (len(at) - skipped) / (at[-1] - at[skipped - 1]) * 1000
    return per_s, {each.id: each.probabilities or {} for each in predictions}


def _document(folder: Path, files: Path, workers: int) -> dict[str, Any]:
    spec = {"pipeline": [{"class": "river.compose.Discard", "args": ["lane"]}, SPECS[_MODEL]]}
    return {
        "job": {
            "name": folder.name,
            "parallelism": workers,
            "lane_by": "lane",
            "checkpoint_dir": str(folder / "checkpoints"),
        },
        "features": {"connector": "file", "path": str(files)},
        "predictions": {"connector": "file", "path": str(folder / "predictions")},
        "models": [{"name": "model", "task": "classification", "spec": spec}],
    }


if __name__ == "__main__":
    if sys.argv[1:2] == ["--bare"]:
        sys.stdout.buffer.write(msgspec.json.encode(run_share(Path(sys.argv[2]))))
    else:
        sys.exit(main())
