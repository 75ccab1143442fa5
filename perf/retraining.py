"""What do triggers gain? The error of what was answered, with them and without.

    .venv/bin/python perf/retraining.py --json retraining.json

The streams of perf/drifts.py, which change in the middle; labels come up to `--delay` transactions later.
A Gaussian naive Bayes, which forgets nothing, is champion. With rules, a drift of its error deploys a
fresh one that first learns the data since, and one that is better is promoted. The error is that of the
answers that were `serving`, in parts of the stream: before the change, in the first sixth after it, and
in the rest; medians over the streams.
"""

import argparse
import statistics
import sys
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct
from rich.console import Console
from rich.table import Table

from events.messages import ControlAck
from jobs.backtest import flow
from jobs.config import read_config
from operators.plain import Record
from perf.drifts import STREAMS, Stream, events
from perf.report import environment, write_json

_FOLDER: Final = Path("/nowhere")  # no path of the configuration is used
PARTS: Final = ("before", "just after", "later")


class Row(Struct):
    """Errors of one kind of stream, with rules or without, by part; medians.

    Attributes
    ----------
    deployed, promoted : int
        What the rules did, in all streams.
    """

    stream: str
    rules: bool
    streams: int
    before: float
    just_after: float
    later: float
    deployed: int
    promoted: int


class Run(Struct):
    """Errors by part, and accepted operations, of one stream."""

    errors: list[float]
    operations: list[str]


def _config(rules: bool) -> Any:
    document: dict[str, Any] = {
        "job": {"name": "retraining"},
        "features": {"connector": "file", "path": "events.jsonl"},
        "control": {"connector": "file", "path": "control", "watch": True},
        "predictions": {"connector": "file", "path": "predictions"},
        "control_acks": {"connector": "file", "path": "acks"},
        "metrics": {"connector": "file", "path": "metrics"},
        "models": [
            {
                "name": "m",
                "task": "classification",
                "spec": {"class": "river.naive_bayes.GaussianNB"},
            }
        ],
        "monitor": [{"name": "q", "drift": [{"on": "error", "detector": "ADWIN"}], "every": 100}],
    }
    if rules:
        document["trigger"] = [
            {"name": "retrain", "on": "drift", "do": "deploy", "cooldown": "10m"},
            {"name": "win", "on": "better", "do": "promote", "cooldown": "10m"},
        ]
    return read_config(document, _FOLDER)


class _Said(Struct):
    id: str
    serving: bool
    prediction: bool | None


def run(stream: Stream, seed: int, count: int, delay: int, rules: bool) -> Run:
    """A backtest of one stream."""
    said: dict[str, bool | None] = {}
    operations: list[str] = []

    def emit(output: str, text: str) -> None:
        if output == "predictions":
            row = msgspec.json.decode(text, type=_Said)
            if row.serving:
                said[row.id] = row.prediction
        elif output == "control_acks":
            ack = msgspec.json.decode(text, type=ControlAck)
            if ack.accepted:
                operations.append(ack.op)

    running = flow(_config(rules), emit)
    for number, raw, _ in events(stream, seed, count, delay):
        running.record(Record("features", "stream", f"stream:{number}", raw))
    running.end()
    wrong = [said[str(number)] != y for number, (_, y) in enumerate(stream(seed, count))]
    change, sixth = count // 2, count // 6
    parts = wrong[:change], wrong[change : change + sixth], wrong[change + sixth :]
    return Run([sum(part) / len(part) for part in parts], operations)


def row(name: str, rules: bool, runs: list[Run]) -> Row:
    """Of one kind of stream."""
    before, just_after, later = (
        statistics.median(each.errors[part] for each in runs) for part in range(len(PARTS))
    )
    operations = [operation for each in runs for operation in each.operations]
    return Row(
        name,
        rules,
        len(runs),
        before,
        just_after,
        later,
        operations.count("deploy"),
        operations.count("promote"),
    )


def table(rows: list[Row]) -> Table:
    """A line for each stream, without and with rules."""
    shown = Table("stream", "rules", *PARTS, "deployed", "promoted", box=None)
    for each in rows:
        errors = (each.before, each.just_after, each.later)
        done = (each.deployed, each.promoted)
        shown.add_row(
            each.stream,
            "yes" if each.rules else "no",
            *(f"{error:.3f}" for error in errors),
            *map(str, done),
        )
    return shown


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=9000, help="transactions of a stream")
    parser.add_argument("--delay", type=int, default=200, help="of a label, in transactions")
    parser.add_argument("--seeds", type=int, default=5, help="streams of a kind")
    parser.add_argument("--json", type=Path, help="write the rows there")
    options = parser.parse_args(argv)
    rows = [
        row(
            name,
            rules,
            [
                run(stream, seed, options.count, options.delay, rules)
                for seed in range(1, options.seeds + 1)
            ],
        )
        for name, stream in STREAMS.items()
        for rules in (False, True)
    ]
    Console(width=120).print(table(rows))
    if options.json is not None:
        described = environment(count=options.count, delay=options.delay, seeds=options.seeds)
        write_json(options.json, described, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
