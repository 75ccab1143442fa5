"""How long until a job predicts again after its task manager was killed?

    .venv/bin/python perf/recovery.py --json recovery.json

A standalone cluster of one task manager runs ARF (10 trees) on the Phishing stream. Once the model has
learned enough to be some 11 MB as a pickle, the task manager is killed by SIGKILL and started again at
once, as whatever supervises it would; so the start of a JVM is in what is measured. The job has work
waiting all the time. Times are of the job's own record: `predicted_at` of its predictions, and the
times that Flink's job manager notes.

`detect` is from the signal until the job manager notes the failure; `delay` until it runs the job
again, which is Flink's restart delay: 1 s, and longer when failures follow one another; `restore` from
there to the first prediction: the new process, Python, the snapshot read, the entries since learned
again. `beyond_delay` is all but the delay.
"""

import argparse
import pickle
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from rich.console import Console

from jobs.cluster import Cluster
from jobs.config import load_config
from jobs.rest import Rest
from jobs.submitting import submit
from jobs.toml_text import dump_toml
from jobs.waiting import wait_until
from perf.flink import read_predictions
from perf.report import Row, conclude, environment
from perf.workloads import MODELS, SPECS, WORKLOADS, write_events

MODEL = "ARF"
_SYSTEM = "riverrun job"
# Transactions between one kill and the next.
_APART = 5_000
_PATIENCE_S = 300.0


class Kill(NamedTuple):
    """When things happened, in ms since the epoch."""

    killed: float
    seen: float
    running: float
    predicted: float


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--json", type=Path, help="write the rows there")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="riverrun-perf-") as name:
        kills = _measure(Path(name), options.kills, options.seed)
    rows = list(_rows(kills, _pickled_mb(_APART, options.seed)))
    return conclude(Console(), rows, environment(seed=options.seed), options.json)


def _rows(kills: list[Kill], model_mb: float) -> Iterator[Row]:
    parts = {
        "detect": [kill.seen - kill.killed for kill in kills],
        "delay": [kill.running - kill.seen for kill in kills],
        "restore": [kill.predicted - kill.running for kill in kills],
        "total": [kill.predicted - kill.killed for kill in kills],
        "beyond_delay": [kill.predicted - kill.killed - kill.running + kill.seen for kill in kills],
    }
    for part, times in parts.items():
        ok = all(took >= 0 for took in times)
        for number, took in enumerate(times, 1):
            yield Row(f"recovery/kill {number}", _SYSTEM, part, took / 1000, "s", None, None, ok)
        yield Row("recovery/median", _SYSTEM, part, median(times) / 1000, "s", None, None, ok)
    yield Row("recovery/median", _SYSTEM, "model_size", model_mb, "MB", None, None, True)


def _measure(folder: Path, kills: int, seed: int) -> list[Kill]:
    count = (kills + 3) * _APART
    write_events(folder / "events.jsonl", WORKLOADS["phishing"](count, seed), seed)
    path = folder / "job.toml"
    path.write_text(dump_toml(_document(folder)))
    predictions = folder / "predictions"
    measured = []
    with Cluster.start(folder / "cluster", task_managers=1) as cluster:
        job_id = submit(load_config(path), path, cluster.rest)
        for number in range(kills):
            _wait_for(predictions, (number + 1) * _APART)
            restarts = cluster.rest.restarts(job_id)
            killed = time.time() * 1000
            cluster.kill_task_manager(1)
            cluster.start_task_manager(1)
            wait_until(
                partial(_is_restarted, cluster.rest, job_id, restarts),
                "a restart",
                timeout_s=_PATIENCE_S,
            )
            predicted = wait_until(
                partial(_first, predictions, killed), "a prediction", timeout_s=_PATIENCE_S
            )
            measured.append(Kill(killed, *_restarted(cluster.rest, job_id), predicted))
        cluster.rest.cancel(job_id)
    return measured


def _is_restarted(rest: Rest, job_id: str, before: int) -> bool:
    return rest.restarts(job_id) > before


def _restarted(rest: Rest, job_id: str) -> tuple[float, float]:
    """When the job was last found to have failed, and when it ran again."""
    times: dict[str, float] = rest.job(job_id)["timestamps"]
    return times["RESTARTING"], times["RUNNING"]


def _wait_for(folder: Path, count: int) -> None:
    wait_until(
        lambda: len(read_predictions(folder)) >= count,
        f"{count} predictions",
        timeout_s=_PATIENCE_S,
        every_s=0.5,
    )


def _first(folder: Path, since: float) -> float | None:
    """When the first of the predictions after `since` was made that are final."""
    times = (prediction.predicted_at for prediction in read_predictions(folder))
    return min((at for at in times if at > since), default=None)


def _document(folder: Path) -> dict[str, Any]:
    return {
        "job": {"name": "recovery", "checkpoint_dir": str(folder / "checkpoints")},
        "features": {"connector": "file", "path": str(folder / "events.jsonl")},
        "predictions": {
            "connector": "file",
            "path": str(folder / "predictions"),
            "roll_interval": "1s",
        },
        "models": [{"name": "model", "task": "classification", "spec": SPECS[MODEL]}],
    }


def _pickled_mb(count: int, seed: int) -> float:
    model = MODELS[MODEL]()
    for features, label in WORKLOADS["phishing"](count, seed):
        model.learn_one(features, label)
    return len(pickle.dumps(model)) / 1e6


if __name__ == "__main__":
    sys.exit(main())
