"""Transactions for Kafka, with more labels than features: whoever learns all of them is late.

    .venv/bin/python -m perf.flood SERVERS TOPIC --rate 800 --seconds 30 --old 24000

First come the features of `--old` transactions, as fast as it goes. Then it says so and waits for a line
on standard input. Then each second has `--rate` features, in the long run as many labels, and labels of
old transactions in between, evenly. Each record is produced when it is due, and leaves at most 5 ms later
(`linger.ms`, as is the default of librdkafka and of Kafka's own producer).
"""

import argparse
import sys
import time
from collections.abc import Iterator
from itertools import cycle, islice
from typing import Any

import msgspec
from confluent_kafka import Producer
from river import datasets

from perf.load import events

_FIRST_TS = 1_700_000_000_000

Event = dict[str, Any]


def flooded(count: int, old: int, seed: int) -> Iterator[Event]:
    """The events of `count` transactions, and labels of old ones in between."""
    labels = (
        {"id": f"o{n}", "label": y, "ts": _FIRST_TS}
        for n, (_, y) in enumerate(islice(cycle(datasets.Bananas()), old))
    )
    sent = 0
    for number, event in enumerate(events(count, seed), 1):
        yield event
        while sent * 2 * count < number * old:
            yield next(labels)
            sent += 1


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("servers")
    parser.add_argument("topic")
    parser.add_argument("--rate", type=float, default=800.0, help="transactions a second")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--old", type=int, default=24_000, help="transactions before them")
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args(argv)
    producer = Producer({"bootstrap.servers": options.servers, "linger.ms": 5})

    def send(event: Event) -> None:
        while True:
            try:
                producer.produce(
                    options.topic, msgspec.json.encode(event), key=event["id"], partition=0
                )
                break
            except BufferError:
                producer.poll(0.01)
        producer.poll(0)

    for number, (x, _) in enumerate(islice(cycle(datasets.Bananas()), options.old)):
        send({"id": f"o{number}", "features": x, "ts": _FIRST_TS})
    producer.flush()
    print("the old ones are there", flush=True)
    sys.stdin.readline()
    made = list(flooded(int(options.rate * options.seconds), options.old, options.seed))
    begun = time.perf_counter()
    for number, event in enumerate(made):
        due = begun + number * options.seconds / len(made)
        while (wait := due - time.perf_counter()) > 0:
            time.sleep(wait)
        send(event)
    producer.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
