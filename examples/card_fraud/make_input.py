"""Made up card payments of sixty days, 0.17 % of them frauds.

Only a fraud gets a label, a chargeback hours to a week later; nobody says that a payment was genuine.
"""

import math
import random
from collections.abc import Iterator
from pathlib import Path

from events.messages import FeatureValue
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

FIRST_TS = 1_704_067_200_000  # 2024-01-01
DAYS = 60
PAYMENTS = 20_000
FRAUDS = 34


def transactions(seed: int = 17) -> Iterator[Transaction]:
    """Payments in the order of their times."""
    rng = random.Random(seed)
    times = sorted(FIRST_TS + rng.randrange(DAYS * DAY_MS) for _ in range(PAYMENTS))
    frauds = set(rng.sample(range(PAYMENTS), FRAUDS))
    for number, ts in enumerate(times):
        fraud = number in frauds
        yield Transaction(
            f"payment-{number:05}",
            ts,
            payment(rng, fraud),
            True if fraud else None,
            random_delay(rng, shortest_ms=HOUR_MS),
        )


def payment(rng: random.Random, fraud: bool) -> dict[str, FeatureValue]:
    """Thieves spend more, farther from the cardholder's home, in quick succession, often by night."""
    by_night = fraud and rng.random() < 0.5
    return {
        "amount": round(math.exp(rng.gauss(4.6 if fraud else 3.2, 0.8)), 2),
        "hour": rng.randrange(6) if by_night else min(23, max(0, round(rng.gauss(14, 4)))),
        "km_from_home": round(math.exp(rng.gauss(4.5 if fraud else 1.5, 1.2)), 1),
        "minutes_since_last": round(math.exp(rng.gauss(3 if fraud else 6, 1.2)), 1),
    }


if __name__ == "__main__":
    folder = output_folder(__doc__, Path(__file__).parent / "input")
    payments = list(transactions())
    write_events(folder / "events.jsonl", by_time(label_events(payments), feature_events(payments)))
