"""`riverrun demo`: River's Phishing websites through the job, and through a plain loop of River.

Pages come ten minutes apart; whether one was phishing turns out five minutes to a week later.
"""

import json
import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct
from rich.console import Console
from river import datasets, linear_model, preprocessing

from connectors.files import read_parts
from jobs import chart, running
from jobs.config import load_config
from jobs.delayed_labels import (
    MINUTE_MS,
    Transaction,
    by_time,
    feature_events,
    label_events,
    random_delay,
    write_events,
)
from jobs.errors import Failure
from jobs.summary import Summary, newest_evaluations, print_summary, summarize

FOLDER = Path("riverrun-demo")
MARKER = ".riverrun-demo"
WINDOW = 100  # labelled pages that a point of the chart is the accuracy of

CONFIG = """\
[job]
name = "phishing"

[features] # and labels: one file holds both
connector = "file"
path = "input/events.jsonl"

[predictions]
connector = "file"
path = "out/predictions"

[evaluations]
connector = "file"
path = "out/evaluations"

[learn_log]
connector = "file"
path = "out/learn_log"

[dead_letters]
connector = "file"
path = "out/dead_letters"

[[models]]
name = "phishing"
task = "classification"

[models.spec]
pipeline = [
    { class = "river.preprocessing.StandardScaler" },
    { class = "river.linear_model.LogisticRegression" },
]
"""

Said = tuple[Any, dict[str, float] | None]


class Demo(Struct, frozen=True):
    """What the demo showed.

    Attributes
    ----------
    predictions : int
        Of plain River.
    different : int
        How many of them the job gave not, not once, or not as the same floats.
    seconds, seconds_in_all : float
        Between the first and the last prediction, and with the start and the end of Flink.
    accuracy : list of float
        Of the last `WINDOW` labelled pages, after each label.
    """

    folder: str
    events: int
    predictions: int
    different: int
    seconds: float
    seconds_in_all: float
    accuracy: list[float]
    summary: Summary


def demo(folder: Path = FOLDER, *, progress: running.Progress | None = None) -> Demo | None:
    """Make the input, run the job on it, run plain River on it, and compare.

    Parameters
    ----------
    folder : path
        For input, configuration and output; the output of an earlier demo there is deleted.
    progress : callable, optional
        Told how far the job is, see `jobs.running.run`.

    Returns
    -------
    Demo or None
        None if it was interrupted.

    Raises
    ------
    Failure
        The folder holds other things, or the job cannot run.
    """
    begun = time.monotonic()
    _clear(folder)
    pages = list(transactions())
    lines = folder / "input" / "events.jsonl"
    count = write_events(lines, by_time(label_events(pages), feature_events(pages)))
    path = folder / "job.toml"
    path.write_text(CONFIG)
    config = load_config(path)
    if not running.run(config, progress=progress):
        return None
    in_all = time.monotonic() - begun
    summary = summarize(config)
    expected = plain_river(lines)
    predictions = Path(summary.outputs["predictions"])
    return Demo(
        str(folder),
        count,
        len(expected),
        differences(predictions, expected),
        _seconds(predictions),
        in_all,
        list(_accuracy(Path(summary.outputs["evaluations"]))),
        summary,
    )


def transactions(seed: int = 7) -> Iterator[Transaction]:
    """The 1,250 pages in the order of the data set."""
    rng = random.Random(seed)
    for number, (features, phishing) in enumerate(datasets.Phishing()):
        ts = 1_704_067_200_000 + number * 10 * MINUTE_MS  # from 2024-01-01 on
        yield Transaction(f"page-{number:04}", ts, features, phishing, random_delay(rng))


def plain_river(events: Path) -> dict[str, Said]:
    """What River says by itself: predict where features come, learn where their label does.

    Returns
    -------
    dict
        Transaction id -> prediction and probabilities.
    """
    model = preprocessing.StandardScaler() | linear_model.LogisticRegression()
    asked: dict[str, dict[str, Any]] = {}
    said: dict[str, Said] = {}
    with events.open() as lines:
        for event in map(json.loads, lines):
            if "features" in event:
                x = asked[event["id"]] = event["features"]
                p = model.predict_proba_one(x)
                said[event["id"]] = model.predict_one(x), {"false": p[False], "true": p[True]}
            else:
                model.learn_one(asked.pop(event["id"]), event["label"])
    return said


class _Prediction(Struct):
    id: str
    prediction: Any
    probabilities: dict[str, float] | None
    predicted_at: int


def differences(folder: Path, expected: dict[str, Said]) -> int:
    """How many predictions are missing, there twice, or others than expected."""
    waiting = dict(expected)
    different = 0
    for said in _predictions(folder):
        different += waiting.pop(said.id, None) != (said.prediction, said.probabilities)
    return different + len(waiting)


def _predictions(folder: Path) -> Iterator[_Prediction]:
    return map(msgspec.json.Decoder(_Prediction).decode, read_parts(folder))


def _seconds(folder: Path) -> float:
    times = [said.predicted_at for said in _predictions(folder)]
    return (max(times) - min(times)) / 1000 if times else 0.0


def _accuracy(evaluations: Path) -> Iterator[float]:
    right: list[bool] = []
    for evaluation in newest_evaluations(evaluations):
        right.append(evaluation.prediction == evaluation.label)
        last = right[-WINDOW:]
        yield sum(last) / len(last)


def _clear(folder: Path) -> None:
    """Make the folder, or empty it if an earlier demo made it."""
    if folder.exists() and not folder.is_dir():
        raise Failure(f"{folder} is no folder: name another one")
    marker = folder / MARKER
    found = list(folder.iterdir()) if folder.is_dir() else []
    if found and not marker.is_file():
        raise Failure(f"{folder} holds files that are not a demo's: name another folder")
    for entry in found:
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry != marker:  # it stays to the end, so that a demo cut short is known as one
            entry.unlink()
    folder.mkdir(parents=True, exist_ok=True)
    marker.write_text("Made by riverrun demo, which deletes everything here when it runs again.\n")


# Printing


def print_demo(demo: Demo, console: Console) -> None:
    """Print the summary, a chart, the speed, and whether the job agrees with plain River."""
    console.print(
        "Web pages ten minutes apart; whether one was phishing turns out five minutes to a week later.\n"
    )
    print_summary(demo.summary, console)
    console.print()
    for line in _chart(demo.accuracy, console.encoding):
        console.print(line)
    console.print()
    rate = f" ({demo.events / demo.seconds:,.0f}/s)" if demo.seconds else ""
    console.print(
        f"{demo.events:,} events in {demo.seconds:.1f} s{rate}, "
        f"{demo.seconds_in_all:.1f} s with the start and the end of Flink"
    )
    if demo.different:
        console.print(
            f"{demo.different:,} of {demo.predictions:,} predictions differ from plain River's",
            style="bold red",
        )
    else:
        console.print(
            f"all {demo.predictions:,} predictions equal plain River's, float for float",
            style="bold green",
        )


def _chart(accuracy: list[float], encoding: str, width: int = 64, height: int = 5) -> list[str]:
    """Accuracy between a coin's and perfection, from the first label to the last."""
    places = [(column + 1) * len(accuracy) // width - 1 for column in range(width)]
    values = [accuracy[place] for place in places if place >= 0]
    levels = chart.BLOCKS if encoding.lower().startswith("utf") else chart.ASCII
    low, high = 0.5, 1.0
    lines = [f"accuracy over the last {WINDOW} labels"]
    for row, bar in enumerate(chart.bars(values, low, high, height, levels)):
        top = high - row * (high - low) / height
        lines.append(f"{top:6.0%} {bar}")
    last = f"label {len(accuracy):,}"
    lines.append(f"{'':7}{'label 1':<{max(width - len(last), 0)}}{last}")
    return lines
