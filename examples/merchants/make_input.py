"""Made up orders at fifty merchants; what makes an order come back differs from one to the next."""

import math
import random
from collections.abc import Iterator
from pathlib import Path

from events.messages import FeatureValue
from jobs.delayed_labels import (
    DAY_MS,
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
ORDERS = 6_000
MERCHANTS = 50
SHARE_LABELLED = 0.97


def transactions(seed: int = 23) -> Iterator[Transaction]:
    """Orders, one every five minutes; the larger merchants get most of them."""
    rng = random.Random(seed)
    names = [f"merchant-{number:02}" for number in range(MERCHANTS)]
    sizes = [1 / (5 + number) for number in range(MERCHANTS)]
    tastes = {name: [rng.gauss(0, 2) for _ in range(3)] for name in names}
    for number in range(ORDERS):
        [merchant] = rng.choices(names, sizes)
        price, items, distance = (rng.gauss(0, 1) for _ in range(3))
        liking = sum(
            weight * value
            for weight, value in zip(tastes[merchant], (price, items, distance), strict=True)
        )
        returned = rng.random() < 1 / (1 + math.exp(-liking))
        features: dict[str, FeatureValue] = {
            "merchant": merchant,
            "price": round(30 * math.exp(price / 2), 2),
            "items": max(1, round(4 + 2 * items)),
            "km": round(200 * math.exp(distance / 2), 1),
        }
        yield Transaction(
            f"order-{number:04}",
            FIRST_TS + number * 5 * MINUTE_MS,
            features,
            returned if rng.random() < SHARE_LABELLED else None,
            random_delay(rng, longest_ms=3 * DAY_MS),
        )


if __name__ == "__main__":
    folder = output_folder(__doc__, Path(__file__).parent / "input")
    orders = list(transactions())
    write_events(folder / "events.jsonl", by_time(label_events(orders), feature_events(orders)))
