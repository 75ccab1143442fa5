"""River's ImageSegments as a stream: an image every five minutes, its class minutes to a week later."""

import random
from collections.abc import Iterator
from pathlib import Path

from river import datasets

from jobs.delayed_labels import (
    MINUTE_MS,
    Transaction,
    by_time,
    feature_events,
    label_events,
    output_folder,
    random_delay,
    write_events,
)

FIRST_TS = 1_704_067_200_000  # 2024-01-01


def transactions(seed: int = 7) -> Iterator[Transaction]:
    """The 2,310 images in the order of the data set."""
    rng = random.Random(seed)
    for number, (features, kind) in enumerate(datasets.ImageSegments()):
        ts = FIRST_TS + number * 5 * MINUTE_MS
        yield Transaction(f"image-{number:04}", ts, features, kind, random_delay(rng))


if __name__ == "__main__":
    folder = output_folder(__doc__, Path(__file__).parent / "input")
    images = list(transactions())
    write_events(folder / "events.jsonl", by_time(label_events(images), feature_events(images)))
