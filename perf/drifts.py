"""How soon are known drifts found, and how often is one found where there is none?

    .venv/bin/python perf/drifts.py --json drifts.json

Streams of River's generators change in the middle: the concept at once or little by little, the labels,
the name of a feature; one does not change. A backtest predicts each transaction with a Gaussian naive Bayes,
learns at its label, which comes up to `--delay` transactions later, and has a monitor with every detector on
the error. River's own detectors are fed the same errors, as the evaluations have them. Of `--seeds` streams each:

- `found`: in how many the change was found, and how late: the median of the evaluations of
  transactions after the change that this took, and of the transactions that had come since;
- `false`: how many alarms there were before the change.

A bare detector's alarm is a detection; those within `quiet` values of one are taken for the same, as the
monitor does. The monitor tells of rises only. `ok`: it told of nothing but what the bare detector detected.
"""

import argparse
import random
import statistics
import sys
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import Struct
from rich.console import Console
from rich.table import Table
from river.datasets import synth

from events.messages import Alert
from jobs.backtest import flow
from jobs.config import read_config
from operators import drifts
from operators.plain import Record
from perf.report import environment, write_json

DETECTORS: Final = (*drifts.BINARY, *drifts.NUMERIC)
QUIET: Final = 200
_FIRST_TS: Final = 1_700_000_000_000
_STEP_MS: Final = 1000
_FOLDER: Final = Path("/nowhere")  # no path of the configuration is used

Example = tuple[dict[str, Any], bool]
Stream = Callable[[int, int], Iterator[Example]]


class Row(Struct):
    """What was found in all streams of a kind; delays are medians, None where nothing was found.

    Attributes
    ----------
    found : int
        In how many of `streams` streams.
    evaluations, transactions : float or None
        Since the change, until it was found.
    false : int
        Alarms before the change.
    """

    stream: str
    detector: str
    system: str
    streams: int
    found: int
    evaluations: float | None
    transactions: float | None
    false: int
    ok: bool


# Streams


def _abrupt(make: Callable[[int, int], Any], before: int, after: int) -> Stream:
    def stream(seed: int, count: int) -> Iterator[Example]:
        half = count // 2
        yield from islice(make(before, seed), half)
        yield from islice(make(after, seed + 1000), count - half)

    return stream


def _gradual(seed: int, count: int) -> Iterator[Example]:
    half, width = count // 2, count // 6
    mixed = synth.ConceptDriftStream(
        _sea(0, seed), _sea(3, seed + 1000), position=half, width=width, seed=seed
    )
    return islice(iter(mixed), count)


def _flipped(seed: int, count: int) -> Iterator[Example]:
    for number, (x, y) in enumerate(islice(_sea(0, seed), count)):
        yield x, y != (number >= count // 2)


def _renamed(seed: int, count: int) -> Iterator[Example]:
    """The feature that matters comes under another name."""
    for number, (x, y) in enumerate(islice(_sea(0, seed), count)):
        if number >= count // 2:
            x = {"other" if name == 0 else name: value for name, value in x.items()}
        yield x, y


def _sea(variant: int, seed: int) -> Any:
    return synth.SEA(variant=variant, seed=seed, noise=0.05)


def _sine(function: int, seed: int) -> Any:
    return synth.Sine(classification_function=function, seed=seed)


def _agrawal(function: int, seed: int) -> Any:
    return synth.Agrawal(classification_function=function, seed=seed)


STREAMS: Final[dict[str, Stream]] = {
    "SEA, no change": _abrupt(_sea, 0, 0),
    "SEA, abrupt": _abrupt(_sea, 0, 3),
    "Sine, abrupt": _abrupt(_sine, 0, 1),
    "Agrawal, abrupt": _abrupt(_agrawal, 0, 3),
    "SEA, gradual": _gradual,
    "SEA, flipped labels": _flipped,
    "SEA, renamed feature": _renamed,
}


# Runs


class Alarm(NamedTuple):
    """Which evaluation it was at, counted among all; how many transactions had come."""

    place: int
    transactions: int


class Run(NamedTuple):
    """What came of one stream.

    Attributes
    ----------
    errors : list of (int, float, int)
        Number of a transaction, error, transactions that had come; in order of evaluation.
    alarms : dict
        Detector -> what the monitor told.
    quality : list of (int, int)
        Transactions that had come when data quality was alarming, and 0.
    """

    errors: list[tuple[int, float, int]]
    alarms: dict[str, list[Alarm]]
    quality: list[Alarm]


def _config(detectors: tuple[str, ...]) -> Any:
    drift = [{"on": "error", "detector": name, "quiet": QUIET} for name in detectors]
    document = {
        "job": {"name": "drifts"},
        "features": {"connector": "file", "path": "events.jsonl"},
        "evaluations": {"connector": "file", "path": "evaluations"},
        "metrics": {"connector": "file", "path": "metrics"},
        "alerts": {"connector": "file", "path": "alerts"},
        "models": [
            {
                "name": "m",
                "task": "classification",
                "spec": {"class": "river.naive_bayes.GaussianNB"},
            }
        ],
        "monitor": [
            {"name": "q", "drift": drift, "data_quality": {"reference": 1000}, "every": 200}
        ],
    }
    return read_config(document, _FOLDER)


class _Evaluated(Struct):
    id: str
    prediction: bool | None
    label: bool


def run(stream: Stream, seed: int, count: int, delay: int) -> Run:
    """A backtest of one stream with a monitor."""
    found = Run([], {name: [] for name in DETECTORS}, [])
    came = 0

    def emit(output: str, text: str) -> None:
        if output == "evaluations":
            row = msgspec.json.decode(text, type=_Evaluated)
            if row.prediction is not None:
                error = float(row.prediction != row.label)
                found.errors.append((int(row.id), error, came))
        elif output == "alerts":
            alert = msgspec.json.decode(text, type=Alert)
            if alert.kind == "data_quality":
                found.quality.append(Alarm(0, came))
            elif alert.kind == "drift":
                # An evaluation is written before the monitor hears of it.
                alarm = Alarm(len(found.errors) - 1, came)
                found.alarms[str(alert.detector)].append(alarm)

    running = flow(_config(DETECTORS), emit)
    for number, raw, asks in events(stream, seed, count, delay):
        came = max(came, number + 1) if asks else came
        running.record(Record("features", "stream", f"stream:{number}", raw))
    return found


def events(stream: Stream, seed: int, count: int, delay: int) -> Iterator[tuple[int, bytes, bool]]:
    """Features of each transaction, and its label up to `delay` transactions later."""
    rng = random.Random(seed)
    timed: list[tuple[int, int, int, bytes]] = []
    for number, (x, y) in enumerate(stream(seed, count)):
        ts = _FIRST_TS + number * _STEP_MS
        due = ts + rng.randrange(1, delay * _STEP_MS)
        features = {str(name): _plain(value) for name, value in x.items()}
        asked = {"id": str(number), "features": features, "ts": ts}
        answered = {"id": str(number), "label": bool(y), "ts": due}
        timed.append((ts, 1, number, msgspec.json.encode(asked)))
        timed.append((due, 0, number, msgspec.json.encode(answered)))
    for _, asks, number, raw in sorted(timed, key=lambda event: event[:3]):
        yield number, raw, bool(asks)


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def bare(name: str, errors: list[tuple[int, float, int]]) -> list[Alarm]:
    """Where River's own detector says so."""
    # The seed, where it has one, that the monitor's has.
    place = DETECTORS.index(name)
    detector = drifts.detector(name, {}, f"m/champion/{place}")
    found = []
    for number, (_, error, came) in enumerate(errors):
        # It tells of falls: see docs/monitoring.md.
        detector.update(1 - error if name == "FHDDM" else error)
        if detector.drift_detected:
            found.append(Alarm(number, came))
    return found


def apart(alarms: list[Alarm]) -> list[Alarm]:
    """Without those within `QUIET` values of the one before."""
    found: list[Alarm] = []
    for alarm in alarms:
        if not found or alarm.place - found[-1].place >= QUIET:
            found.append(alarm)
    return found


# Rows


def rows_of(name: str, runs: list[Run], count: int) -> Iterator[Row]:
    """Of one kind of stream: a row for each detector, bare and in the monitor."""
    change = None if name.endswith("no change") else count // 2
    for detector in DETECTORS:
        detected = [bare(detector, each.errors) for each in runs]
        told = [each.alarms[detector] for each in runs]
        ok = all(
            {alarm.place for alarm in one} <= {alarm.place for alarm in other}
            for one, other in zip(told, detected, strict=True)
        )
        for system, alarms in (
            ("bare", [apart(each) for each in detected]),
            ("monitor", told),
        ):
            yield _row(name, detector, system, runs, alarms, change, ok)
    quality = [each.quality for each in runs]
    yield _row(name, "data quality", "monitor", runs, quality, change, True)


def _row(
    name: str,
    detector: str,
    system: str,
    runs: list[Run],
    alarms: list[list[Alarm]],
    change: int | None,
    ok: bool,
) -> Row:
    false, evaluations, transactions = 0, [], []
    for each, own in zip(runs, alarms, strict=True):
        begin = len(each.errors) if change is None else _first_after(each.errors, change)
        if detector == "data quality":
            after = [alarm for alarm in own if change is not None and alarm.transactions > change]
        else:
            after = [alarm for alarm in own if alarm.place >= begin]
        false += len(own) - len(after)
        if after and change is not None:
            first = after[0]
            if detector != "data quality":
                since = (number for number, *_ in each.errors[: first.place + 1])
                evaluations.append(sum(number >= change for number in since))
            transactions.append(first.transactions - change)
    return Row(
        name,
        detector,
        system,
        len(runs),
        len(transactions),
        statistics.median(evaluations) if evaluations else None,
        statistics.median(transactions) if transactions else None,
        false,
        ok,
    )


def _first_after(errors: list[tuple[int, float, int]], change: int) -> int:
    """The first evaluation of a transaction after the change."""
    return next(place for place, (number, *_) in enumerate(errors) if number >= change)


def table(rows: list[Row]) -> Table:
    """A line for each stream and detector, the bare one beside the monitor's."""
    shown = Table("stream", "detector", box=None)
    for system in ("bare", "monitor"):
        for title in ("found", "evaluations", "transactions", "false"):
            shown.add_column(f"{system}: {title}" if title == "found" else title, justify="right")
    shown.add_column("ok")
    by_line: dict[tuple[str, str], dict[str, Row]] = {}
    for row in rows:
        by_line.setdefault((row.stream, row.detector), {})[row.system] = row
    for (stream, detector), systems in by_line.items():
        cells: list[str] = []
        for system in ("bare", "monitor"):
            cells += _cells(systems.get(system))
        shown.add_row(stream, detector, *cells, "yes" if systems["monitor"].ok else "NO")
    return shown


def _cells(row: Row | None) -> list[str]:
    if row is None:
        return [""] * 4
    delays = [row.evaluations, row.transactions]
    return [
        f"{row.found} of {row.streams}",
        *("" if delay is None else f"{delay:,.0f}" for delay in delays),
        str(row.false),
    ]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=6000, help="transactions of a stream")
    parser.add_argument("--delay", type=int, default=400, help="of a label, in transactions")
    parser.add_argument("--seeds", type=int, default=10, help="streams of a kind")
    parser.add_argument("--json", type=Path, help="write the rows there")
    options = parser.parse_args(argv)
    console = Console(width=140)
    rows: list[Row] = []
    for name, stream in STREAMS.items():
        console.print(f"{name} ...", highlight=False)
        runs = [
            run(stream, seed, options.count, options.delay) for seed in range(1, options.seeds + 1)
        ]
        rows += rows_of(name, runs, options.count)
    console.print(table(rows))
    if options.json is not None:
        described = environment(count=options.count, delay=options.delay, seeds=options.seeds)
        write_json(options.json, described, rows)
    return 0 if all(row.ok for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
