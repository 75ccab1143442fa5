"""Transactions for Kafka: real River data, labels after a delay, all at once or at a rate.

    .venv/bin/python -m perf.load SERVERS TOPIC --rate 800 --seconds 30

One topic holds features and labels, as JSON. At a rate, each second has `--rate` features and, in the
long run, as many labels; records are sent one by one when they are due, by kafka-python.
"""

import argparse
import random
import sys
import time
from collections.abc import Iterator
from itertools import cycle, islice
from typing import Any

import msgspec
from kafka import KafkaProducer
from river import datasets

_FIRST_TS = 1_700_000_000_000
_GAP_MS = 1000

Event = dict[str, Any]


def events(count: int, seed: int, mean_delay: float = 100.0) -> Iterator[Event]:
    """Bananas (5,300 x 2, again and again), each label an exponential delay later.

    Parameters
    ----------
    count : int
        Transactions. Every one gets its label.
    mean_delay : float
        In transactions.
    """
    rng = random.Random(seed)
    due: dict[int, list[Event]] = {}
    for number, (x, y) in enumerate(islice(cycle(datasets.Bananas()), count)):
        ts = _FIRST_TS + number * _GAP_MS
        yield {"id": f"t{number}", "features": x, "ts": ts}
        later = number + 1 + int(rng.expovariate(1 / mean_delay))
        due.setdefault(later, []).append({"id": f"t{number}", "label": y})
        for label in due.pop(number, ()):
            yield {**label, "ts": ts}
    for number in sorted(due):
        for label in due[number]:
            yield {**label, "ts": _FIRST_TS + number * _GAP_MS}


def fill(servers: str, topic: str, count: int, seed: int) -> None:
    """Write all events of `count` transactions, as fast as it goes."""
    producer = KafkaProducer(bootstrap_servers=servers, linger_ms=50, batch_size=1 << 18)
    for event in events(count, seed):
        producer.send(topic, msgspec.json.encode(event), key=event["id"].encode(), partition=0)
    producer.flush()
    producer.close()


def flow(servers: str, topic: str, rate: float, seconds: float, seed: int) -> None:
    """Write events at a rate of so many transactions a second: a record when it is due, at once."""
    producer = KafkaProducer(bootstrap_servers=servers, linger_ms=0)
    begun = time.perf_counter()
    for number, event in enumerate(events(int(rate * seconds), seed)):
        due = begun + number / (2 * rate)
        while (wait := due - time.perf_counter()) > 0:
            time.sleep(wait)
        producer.send(topic, msgspec.json.encode(event), key=event["id"].encode(), partition=0)
    producer.flush()
    producer.close()


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("servers")
    parser.add_argument("topic")
    parser.add_argument("--rate", type=float, default=800.0, help="transactions a second")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args(argv)
    flow(options.servers, options.topic, options.rate, options.seconds, options.seed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
