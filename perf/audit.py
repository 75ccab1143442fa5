"""How fast is an audit, compared with a bare River loop over the same file?

    .venv/bin/python perf/audit.py --json audit.json

A backtest writes predictions and learn log; then loop and audit take turns, each in a process of its
own. The loop parses, predicts and learns; the audit reads three files, checks every link of the chain
and every digest, predicts and learns, and compares, with a second process where there is a processor
for it. Both are timed from their first record to their last. A row is `ok` if the audit found every
prediction equal.
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

import msgspec
from msgspec import Struct
from rich.console import Console

from perf.bare import Measured
from perf.report import Row, conclude, environment, told
from perf.workloads import COUNTS, MODELS, SPECS, WORKLOADS, write_events

LOOP, AUDIT = "river loop", "riverrun audit"

_ROOT = Path(__file__).parent.parent


class Audited(Struct):
    """One audit: how long it took, and how many predictions it found equal."""

    wall_s: float
    equal: int
    sound: bool


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=list(WORKLOADS))
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument(
        "--events", type=int, help="transactions a run; default: by the model's speed"
    )
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the rows there")
    parser.add_argument("--once", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    options = _options(argv)
    if options.once is not None:
        sys.stdout.buffer.write(msgspec.json.encode(_audited(options.once)))
        return 0
    console = Console()
    rows: list[Row] = []
    for workload in options.workloads:
        for model in options.models:
            with tempfile.TemporaryDirectory(prefix="riverrun-perf-") as folder:
                for row in _case(Path(folder), workload, model, options):
                    rows.append(row)
                    console.print(told(row), highlight=False)
    described = environment(seed=options.seed, rounds=options.rounds)
    return conclude(console, rows, described, options.json)


def _case(folder: Path, workload: str, model: str, options: argparse.Namespace) -> Iterator[Row]:
    count = options.events or COUNTS[workload][model] // 2
    events = folder / "events.jsonl"
    write_events(events, WORKLOADS[workload](count, options.seed), options.seed)
    job = _backtested(folder, model)
    loops, audits = [], []
    ok = True
    for _ in range(options.rounds):
        bare = [sys.executable, "-m", "perf.bare", str(events), model, str(count), "1"]
        loop = msgspec.json.decode(_out(bare), type=Measured)
        own = [sys.executable, str(Path(__file__)), "--once", str(job)]
        audited = msgspec.json.decode(_out(own), type=Audited)
        ok = ok and audited.sound and audited.equal == count
        loops.append(loop.wall_s / count)
        audits.append(audited.wall_s / count)
    case = f"{workload}/{model}"
    ratio = median(loop / audited for loop, audited in zip(loops, audits, strict=True))
    yield Row(case, LOOP, "transactions_per_s", 1 / median(loops), "1/s", None, None, ok)
    yield Row(case, AUDIT, "transactions_per_s", 1 / median(audits), "1/s", ratio, LOOP, ok)


def _out(command: list[str]) -> bytes:
    environ = {**os.environ, "PYTHONPATH": str(_ROOT)}
    return subprocess.run(command, env=environ, stdout=subprocess.PIPE, check=True).stdout


def _backtested(folder: Path, model: str) -> Path:
    """The configuration of a job that has run over the events."""
    from jobs.backtest import backtest
    from jobs.config import load_config
    from jobs.toml_text import dump_toml

    outputs = {
        name: {"connector": "file", "path": f"out/{name}"} for name in ("predictions", "learn_log")
    }
    path = folder / "job.toml"
    path.write_text(
        dump_toml(
            {
                "job": {"name": "audited"},
                "features": {"connector": "file", "path": "events.jsonl"},
                **outputs,
                "models": [{"name": "model", "task": "classification", "spec": SPECS[model]}],
            }
        )
    )
    backtest(load_config(path))
    return path


def _audited(path: Path) -> Audited:
    from jobs.audit import Verdict, audit
    from jobs.config import load_config

    config = load_config(path)
    begun = time.perf_counter()
    found = audit(config)
    wall = time.perf_counter() - begun
    return Audited(wall, found.verdicts.get(Verdict.EQUAL, 0), found.sound)


if __name__ == "__main__":
    sys.exit(main())
