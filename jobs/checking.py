"""`riverrun check`: what a configuration means, and whether its models cope with real records."""

import itertools
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Struct

from events.messages import DeadLetter
from jobs import webhook_rules
from jobs.backtest import flow
from jobs.config import Config
from jobs.reading_inputs import records
from jobs.settings import KafkaInput


class Sample(Struct, frozen=True):
    """What became of the first records of the inputs.

    Attributes
    ----------
    records, predictions, learned : int
    dead_letters : dict
        Reason -> how many, and the first of them.
    """

    records: int
    predictions: int
    learned: int
    dead_letters: dict[str, tuple[int, DeadLetter]]


def warnings(config: Config) -> Iterator[str]:
    """What is allowed and probably not meant."""
    if not config.dead_letters:
        yield "[dead_letters] is left out: records that are refused will only be counted"
    if not config.predictions:
        yield "[predictions] is left out: nobody will see what the models say"
    if config.predictions and not config.learn_log:
        yield "[learn_log] is left out: no audit will find the model that made a prediction"
    if isinstance(config.control, KafkaInput) and not config.security.require_signatures:
        yield "[security] require_signatures is false: whoever writes to the control topic commands"
    yield from webhook_rules.warnings(config)


def try_sample(config: Config, count: int, model: Any = None) -> Sample:
    """Run the join and the models over the first `count` records of the file inputs."""
    letters: dict[str, tuple[int, DeadLetter]] = {}

    def emit(output: str, record: str) -> None:
        if output == "dead_letters":
            letter = msgspec.json.decode(record, type=DeadLetter)
            seen, first = letters.get(letter.reason, (0, letter))
            letters[str(letter.reason)] = seen + 1, first

    running = flow(config, emit, model)
    for record in itertools.islice(records(config), count):
        running.record(record)
    running.end()
    stats = running.stats
    return Sample(running.records, stats.predictions, stats.examples, letters)
