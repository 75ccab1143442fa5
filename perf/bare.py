"""The bare River loop over a file of events: what the job is compared with.

Run in a process of its own, so that nothing of Flink is in it; prints a `Measured` as JSON.
"""

import sys
import time
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from perf.workloads import MODELS


class Measured(Struct):
    """What one pass gave; times for the transactions after the first `skipped`.

    Attributes
    ----------
    wall_s, cpu_s : float
        Of the whole loop: parse, predict, learn.
    parse_s : float
        CPU time of parsing the same lines without doing anything with them.
    said : list of dict
        The probabilities of each transaction, labels as JSON keys.
    """

    wall_s: float
    cpu_s: float
    parse_s: float
    said: list[dict[str, float]]


class Event(Struct):
    """A line of the file."""

    id: str
    ts: int
    features: dict[str, bool | int | float | str] | None = None
    label: bool | None = None


decode_event = msgspec.json.Decoder(Event).decode


def measure(events: Path, model: Any, transactions: int, skipped: int) -> Measured:
    """Predict at the features, learn at the label, as a user without Flink would."""
    predict, learn = model.predict_proba_one, model.learn_one
    features: dict[str, dict[str, Any]] = {}
    said: list[dict[Any, float]] = []
    with events.open("rb") as lines:
        for line in lines:
            event = decode_event(line)
            if event.features is None:
                learn(features.pop(event.id), event.label)
                continue
            said.append(predict(event.features))
            features[event.id] = event.features
            if len(said) == skipped:
                begun, cpu_begun = time.perf_counter(), time.process_time()
            if len(said) == transactions:
                wall, cpu = time.perf_counter() - begun, time.process_time() - cpu_begun
    keys = {True: "true", False: "false"}
    return Measured(
        wall,
        cpu,
        _parse_s(events) * (1 - skipped / transactions),
        [{keys[label]: p for label, p in answer.items()} for answer in said],
    )


def _parse_s(events: Path) -> float:
    with events.open("rb") as lines:
        begun = time.process_time()
        for line in lines:
            decode_event(line)
        return time.process_time() - begun


if __name__ == "__main__":
    path, name, transactions, skipped = sys.argv[1:]
    measured = measure(Path(path), MODELS[name](), int(transactions), int(skipped))
    sys.stdout.buffer.write(msgspec.json.encode(measured))
