"""Inputs, configurations and outputs of whole jobs under test."""

import json
import random
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from connectors.files import read_parts
from jobs.backtest import flow
from jobs.config import Config, read_config
from jobs.reading_inputs import records
from operators.plain import Record

OUTPUTS = ("predictions", "evaluations", "learn_log", "dead_letters")
DAY = 86_400_000
T0 = 1_700_000_000_000
# Stamped with the clock of the run.
CLOCK_FIELDS = ("predicted_at", "at")

LOGISTIC = {
    "pipeline": [
        {"class": "river.preprocessing.StandardScaler"},
        {"class": "river.linear_model.LogisticRegression"},
    ]
}


def phishing(count: int = 1250, seed: int = 7, last_delay: int = 7 * DAY // 60) -> list[dict]:
    """Feature events of River's Phishing data and their labels, in order of time."""
    from river import datasets

    rng = random.Random(seed)
    events = []
    for i, (x, y) in zip(range(count), datasets.Phishing(), strict=False):
        ts = T0 + i * 60_000
        due = ts + rng.randrange(1, last_delay)
        events.append((ts, 1, {"id": f"t{i}", "features": x, "ts": ts}))
        events.append((due, 0, {"id": f"t{i}", "label": y, "ts": due}))
    return [event for *_, event in sorted(events, key=lambda entry: (*entry[:2], entry[2]["id"]))]


def write(path: Path, events: Iterable[Any]) -> Path:
    """A file of JSON lines; bytes and texts as they are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        for event in events:
            text = json.dumps(event) if isinstance(event, dict) else event
            file.write((text.encode() if isinstance(text, str) else text) + b"\n")
    return path


def job(folder: Path, *, inputs: dict[str, Any], models: list[dict], **sections: Any) -> Config:
    """A configuration that writes every output below `folder`."""
    outputs = {
        name: {"connector": "file", "path": f"out/{name}", "roll_interval": "1s"}
        for name in OUTPUTS
    }
    given = {name: {"connector": "file", **source} for name, source in inputs.items()}
    sections["job"] = {"name": "job", "checkpoint_interval": "300ms", **sections.get("job", {})}
    return read_config({**sections, **given, **outputs, "models": models}, folder)


def classifier(name: str = "m", spec: dict | None = None, **more: Any) -> dict[str, Any]:
    return {"name": name, "task": "classification", "spec": spec or LOGISTIC, **more}


def written(config: Config) -> dict[str, list[dict]]:
    """What a job wrote, without what the clock put there; in order where one subtask wrote."""
    return {
        output: [timeless(json.loads(line)) for line in _lines(config, output)]
        for output in OUTPUTS
    }


def _lines(config: Config, output: str) -> Iterable[str]:
    folder = Path(config.sinks(output)[0].path)  # type: ignore[union-attr]
    return read_parts(folder) if folder.is_dir() else ()


def expected(config: Config, *, ended: bool = True) -> dict[str, list[dict]]:
    """What the plain flow makes of the same files; not `ended`: more may come."""
    return plain(config, records(config), ended=ended)


def plain(config: Config, given: Iterable[Record], *, ended: bool) -> dict[str, list[dict]]:
    """What the plain flow makes of these records."""
    rows: dict[str, list[dict]] = defaultdict(list)
    running = flow(config, lambda output, text: rows[output].append(timeless(json.loads(text))))
    for record in given:
        running.record(record)
    if ended:
        running.end()
    return {output: rows[output] for output in OUTPUTS}


def river_loop(events: list[dict]) -> dict[str, dict[str, float]]:
    """Probabilities by id: River alone, predict at features, learn at the label."""
    from river import linear_model, preprocessing

    model = preprocessing.StandardScaler() | linear_model.LogisticRegression()
    open_, said = {}, {}
    for event in events:
        if "features" in event:
            open_[event["id"]] = event["features"]
            said[event["id"]] = model.predict_proba_one(event["features"])
        else:
            model.learn_one(open_.pop(event["id"]), event["label"])
    return {id: {"false": p[False], "true": p[True]} for id, p in said.items()}


def timeless(row: dict) -> dict:
    return {name: value for name, value in row.items() if name not in CLOCK_FIELDS}


def by_content(rows: Iterable[dict]) -> list[str]:
    """Rows in an order of their own, for outputs whose order says nothing."""
    return sorted(json.dumps(row, sort_keys=True) for row in rows)
