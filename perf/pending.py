"""What do millions of transactions cost that wait for their labels?

    .venv/bin/python perf/pending.py --json pending.json

A standalone cluster with one task manager of 2 GB takes features of `--count` transactions, keeps them
in RocksDB with what was predicted of them, and checkpoints each `--interval`. At each tenth of them it is noted
how large a checkpoint is, how long the newest one took, and how much memory the task manager has. Then
come the labels of every hundredth transaction, spread over all: each must find what it belongs to.

`memory` has the ratio to the memory at a fifth of the transactions, when all that warms up is warm: it is
flat if that stays near 1.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import psutil
from rich.console import Console

from jobs.cluster import Cluster
from jobs.config import load_config
from jobs.submitting import submit
from jobs.toml_text import dump_toml
from jobs.waiting import wait_until
from perf.report import Row, conclude, environment, told
from perf.workloads import SPECS

_SYSTEM = "riverrun job, RocksDB"
_STEPS = 10
_WARM_STEP = 2
_LABELLED_EACH = 100
_A_FILE = 200_000
_FIRST_TS = 1_700_000_000_000
_MEMORY = {"taskmanager.memory.process.size": "2g"}
_LONGEST_S = 3600.0


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=10_000_000, help="transactions")
    parser.add_argument("--interval", default="10s", help="between checkpoints")
    parser.add_argument("--json", type=Path, help="write the rows there")
    options = parser.parse_args(argv)
    console = Console()
    rows = []
    with tempfile.TemporaryDirectory(prefix="riverrun-perf-") as name:
        for row in _measure(Path(name), options.count, options.interval):
            rows.append(row)
            console.print(told(row), highlight=False)
    return conclude(console, rows, environment(count=options.count), options.json)


def _measure(folder: Path, count: int, interval: str) -> Iterator[Row]:
    events = folder / "events"
    events.mkdir()
    for first in range(0, count, _A_FILE):
        numbers = range(first, min(first + _A_FILE, count))
        _write(events / f"features-{first:012}.jsonl", map(_features, numbers))
    labels = range(0, count, _LABELLED_EACH)
    _write(events / "labels.jsonl", map(_label, labels))
    path = folder / "job.toml"
    path.write_text(dump_toml(_document(folder, interval)))
    with Cluster.start(folder / "cluster", task_managers=1, settings=_MEMORY) as cluster:
        job_id = submit(load_config(path), path, cluster.rest)
        [pid] = cluster.task_manager_pids.values()
        watch = _Watch(cluster, job_id, psutil.Process(pid))
        begun, warm_mb = time.monotonic(), None
        for step in range(1, _STEPS + 1):
            pending = count * step // _STEPS
            watch.until("LabelJoin", "pending_transactions", pending)
            memory_mb = watch.memory_mb()
            if step == _WARM_STEP:
                warm_mb = memory_mb
            size_mb, took_s = watch.checkpoint(since=time.time())
            case = f"pending/{pending}"
            ratio = None if warm_mb is None else memory_mb / warm_mb
            baseline = None if warm_mb is None else f"pending/{count * _WARM_STEP // _STEPS}"
            yield Row(case, _SYSTEM, "memory", memory_mb, "MB", ratio, baseline, True)
            yield Row(case, _SYSTEM, "checkpoint_size", size_mb, "MB", None, None, True)
            yield Row(case, _SYSTEM, "checkpoint_time", took_s, "s", None, None, True)
        rate = count / (time.monotonic() - begun)
        yield Row(case, _SYSTEM, "features_per_s", rate, "1/s", None, None, True)
        watch.until("OnlineModel", "examples", len(labels))
        found = watch.metric("OnlineModel", "evaluations")
        ok = found == len(labels)
        yield Row(case, _SYSTEM, "labels_that_found_theirs", found, "labels", None, None, ok)
        cluster.rest.cancel(job_id)
        cluster.rest.wait_for(job_id, {"CANCELED"})


class _Watch:
    """A job, as its metrics and checkpoints tell."""

    def __init__(self, cluster: Cluster, job_id: str, process: psutil.Process) -> None:
        self._rest = cluster.rest
        self._job_id = job_id
        self._process = process

    def metric(self, operator: str, name: str) -> float:
        return self._rest.metrics(self._job_id, {name}).get(operator, {}).get(name, 0.0)

    def until(self, operator: str, name: str, value: float) -> None:
        wait_until(
            lambda: self.metric(operator, name) >= value,
            f"{value:,.0f} {name}",
            timeout_s=_LONGEST_S,
            every_s=1.0,
        )

    def memory_mb(self) -> float:
        return self._process.memory_info().rss / 1e6

    def checkpoint(self, since: float) -> tuple[float, float]:
        """Size of all state in MB, and seconds, of the first one that begins from now on."""

        def complete() -> dict[str, Any] | None:
            latest: dict[str, Any] | None = self._rest.checkpoints(self._job_id)["latest"][
                "completed"
            ]
            begun = latest is not None and latest["trigger_timestamp"] >= since * 1000
            return latest if begun else None

        found = wait_until(complete, "a checkpoint", timeout_s=_LONGEST_S)
        return found["state_size"] / 1e6, found["end_to_end_duration"] / 1000


def _write(path: Path, events: Iterator[dict[str, Any]]) -> None:
    encode = msgspec.json.Encoder().encode
    with path.open("wb") as file:
        for event in events:
            file.write(encode(event) + b"\n")


def _features(number: int) -> dict[str, Any]:
    features = {"amount": number % 997 / 10, "hour": number % 24}
    return {"id": f"transaction-{number}", "features": features, "ts": _FIRST_TS + number}


def _label(number: int) -> dict[str, Any]:
    return {"id": f"transaction-{number}", "label": number % 3 == 0, "ts": _FIRST_TS + number}


def _document(folder: Path, interval: str) -> dict[str, Any]:
    def sink(output: str) -> dict[str, Any]:
        return {"connector": "file", "path": str(folder / output)}

    return {
        "job": {
            "name": "pending",
            "state_backend": "rocksdb",
            "checkpoint_dir": str(folder / "checkpoints"),
            "checkpoint_interval": interval,
        },
        # Watched, so that the input does not end: that would be the end of all that waits.
        "features": {"connector": "file", "path": str(folder / "events"), "watch": True},
        "predictions": sink("predictions"),
        "evaluations": sink("evaluations"),
        "models": [{"name": "model", "task": "classification", "spec": SPECS["LR"]}],
    }


if __name__ == "__main__":
    sys.exit(main())
