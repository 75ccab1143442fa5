"""Transactions whose labels come late, written as the lines that a job reads.

The demo and the examples make their input with it.
"""

import argparse
import math
import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from events.messages import FeatureValue, Label

MINUTE_MS: Final = 60_000
HOUR_MS: Final = 60 * MINUTE_MS
DAY_MS: Final = 24 * HOUR_MS

Event = dict[str, Any]


class Transaction(NamedTuple):
    """What happened at `ts` (ms since the epoch), and what turned out `delay_ms` later.

    A `label` of None: nobody ever says.
    """

    id: str
    ts: int
    features: dict[str, FeatureValue]
    label: Label | None
    delay_ms: int


def random_delay(
    rng: random.Random, shortest_ms: int = 5 * MINUTE_MS, longest_ms: int = 7 * DAY_MS
) -> int:
    """A delay in ms whose logarithm is uniform: most labels come soon, and some very late."""
    return round(shortest_ms * math.exp(rng.uniform(0, math.log(longest_ms / shortest_ms))))


def feature_events(transactions: Iterable[Transaction]) -> Iterator[Event]:
    """The feature event of each transaction."""
    for transaction in transactions:
        yield {"id": transaction.id, "features": transaction.features, "ts": transaction.ts}


def label_events(transactions: Iterable[Transaction]) -> Iterator[Event]:
    """The label event of each transaction that has one."""
    for transaction in transactions:
        if transaction.label is not None:
            ts = transaction.ts + transaction.delay_ms
            yield {"id": transaction.id, "label": transaction.label, "ts": ts}


def by_time(*streams: Iterable[Event]) -> list[Event]:
    """Events of all streams in the order of their times; at one time, those of the first stream first."""
    return sorted((event for stream in streams for event in stream), key=lambda event: event["ts"])


def write_events(path: Path, events: Iterable[Event]) -> int:
    """Write a line for each event into a file that is made anew; returns how many."""
    lines = [msgspec.json.encode(event) + b"\n" for event in events]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(lines))
    return len(lines)


def output_folder(description: str | None, default: Path) -> Path:
    """The folder that `--out` names on the command line of a maker of input."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--out", metavar="FOLDER", type=Path, default=default, help="default: %(default)s"
    )
    folder: Path = parser.parse_args().out
    return folder
