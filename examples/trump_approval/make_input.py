"""River's TrumpApproval as two streams: polls on their days, approval ratings hours to a week later."""

import random
from collections.abc import Iterator
from pathlib import Path

from river import datasets

from jobs.delayed_labels import (
    DAY_MS,
    HOUR_MS,
    Transaction,
    by_time,
    feature_events,
    label_events,
    output_folder,
    random_delay,
    write_events,
)

EPOCH_DAY = 719_163  # 1970-01-01 as an ordinal


def transactions(seed: int = 7) -> Iterator[Transaction]:
    """The 1,001 days in the order of the data set; each at the midnight that begins it."""
    rng = random.Random(seed)
    for number, (features, rating) in enumerate(datasets.TrumpApproval()):
        ts = (features["ordinal_date"] - EPOCH_DAY) * DAY_MS
        delay = random_delay(rng, shortest_ms=HOUR_MS)
        yield Transaction(f"day-{number:04}", ts, features, rating, delay)


if __name__ == "__main__":
    folder = output_folder(__doc__, Path(__file__).parent / "input")
    days = list(transactions())
    write_events(folder / "polls.jsonl", feature_events(days))
    write_events(folder / "ratings.jsonl", by_time(label_events(days)))
