"""What Kafka's clients are told: names filled in, references to secrets left to them, defaults."""

import re
from collections.abc import Iterator

from jobs import secret_values
from jobs.settings import OUTPUTS, Config, KafkaInput, KafkaSink

_OF_SOURCES = {
    # What a producer took back was never there.
    "isolation.level": "read_committed",
    "partition.discovery.interval.ms": "30000",
}
# Somebody may wait for these: a record leaves as soon as the one before it has. Others wait a moment
# for more of their kind, as a request each is most of what a broker does.
_AWAITED = frozenset({"predictions", "alerts", "commands", "control_acks"})
_LINGER_MS = 50


def inputs(config: Config) -> Iterator[tuple[str, KafkaInput]]:
    """The inputs that are read from Kafka, by name."""
    for name, source in config.inputs():
        if isinstance(source, KafkaInput):
            yield name, source


def sinks(config: Config) -> Iterator[tuple[str, KafkaSink]]:
    """The outputs that go to Kafka, by name."""
    for output in OUTPUTS:
        for sink in config.sinks(output):
            if isinstance(sink, KafkaSink):
                yield output, sink


def used(config: Config) -> bool:
    """Whether this job needs Kafka at all."""
    return any(True for _ in inputs(config)) or any(True for _ in sinks(config))


def servers(connection: KafkaInput | KafkaSink) -> str:
    return secret_values.resolve(connection.bootstrap_servers)


def topic(sink: KafkaSink) -> str:
    return secret_values.resolve(sink.topic)


def topics(source: KafkaInput) -> list[str]:
    """Empty where a pattern says which."""
    return [secret_values.resolve(name) for name in source.named_topics]


def topics_among(connection: KafkaInput | KafkaSink, known: set[str]) -> list[str]:
    """Those of the connection, known or not; of a pattern those that match it, as Python reads it."""
    if isinstance(connection, KafkaSink):
        return [topic(connection)]
    if (expression := pattern(connection)) is not None:
        return sorted(name for name in known if re.fullmatch(expression, name))
    return topics(connection)


def pattern(source: KafkaInput) -> str | None:
    return source.topic_pattern and secret_values.resolve(source.topic_pattern)


def group(config: Config, source: KafkaInput) -> str:
    """The consumer group that offsets are committed for."""
    return secret_values.resolve(source.properties.get("group.id", config.job.name))


def transactional_id(config: Config, output: str, place: int) -> str:
    """What the ids of a sink's transactions begin with: whoever may write them needs to be told."""
    return f"{config.job.name}/{output}" + (f"/{place}" if place else "")


def properties(connection: KafkaInput | KafkaSink) -> dict[str, str]:
    """As configured; environment variables are filled in by the client."""
    return {name: secret_values.for_client(value) for name, value in connection.properties.items()}


def source_properties(source: KafkaInput) -> dict[str, str]:
    return {**_OF_SOURCES, **properties(source)}


def sink_properties(config: Config, output: str, sink: KafkaSink) -> dict[str, str]:
    """With transactions that outlive the longest outage, as configured."""
    return {
        "linger.ms": "0" if output in _AWAITED else str(_LINGER_MS),
        "transaction.timeout.ms": str(config.job.max_outage_ms),
        **properties(sink),
    }
