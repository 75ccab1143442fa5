"""Records of Kafka topics outside a job: for a backtest, a look at a sample, dead letters."""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from connectors.jars import MissingJars
from connectors.kafka_errors import KafkaError
from jobs import environment, kafka_clients
from jobs.errors import Failure
from jobs.settings import KafkaInput, KafkaSink
from operators.plain import Record


def streams(
    name: str, connection: KafkaInput | KafkaSink, *, until_committed_by: str | None = None
) -> list[Iterator[Record]]:
    """Of each partition the committed records that are there now, in their order.

    Parameters
    ----------
    name
        The input's or output's, for the records and for errors.
    until_committed_by
        A consumer group: nothing at or behind the offsets that it has committed.

    Raises
    ------
    Failure
        Kafka does not answer or refuses, or a topic is missing.
    """
    servers, properties, partitions = _partitions(name, connection)
    ends: dict[tuple[str, int], int | None] = dict.fromkeys(partitions)
    if until_committed_by is not None:
        from connectors.kafka_admin import Admin

        with _failures(name), Admin(servers, properties) as admin:
            ends = {**dict.fromkeys(partitions, 0), **admin.committed(until_committed_by)}
    return [
        _partition(name, servers, properties, topic, partition, ends[topic, partition])
        for topic, partition in partitions
    ]


def _partitions(
    name: str, connection: KafkaInput | KafkaSink
) -> tuple[str, dict[str, str], list[tuple[str, int]]]:
    """Servers, properties, and every partition of the topics that a connection is about."""
    environment.prepare()
    # Only now: importing PyFlink fixes where it looks for Flink.
    from connectors.kafka_admin import Admin

    servers = kafka_clients.servers(connection)
    properties = kafka_clients.properties(connection)
    with _failures(name), Admin(servers, properties) as admin:
        known = admin.topics()
        topics = kafka_clients.topics_among(connection, known)
        if missing := [topic for topic in topics if topic not in known]:
            raise Failure(f"[{name}] there is no topic {missing[0]!r}")
        return servers, properties, admin.partitions(topics)


def most_partitions(name: str, connection: KafkaInput) -> int:
    """How many the largest of an input's topics has; 0 where it has no topic yet.

    Raises
    ------
    Failure
        Kafka does not answer or refuses, or a topic is missing.
    """
    _, _, partitions = _partitions(name, connection)
    return max(Counter(topic for topic, _ in partitions).values(), default=0)


def committed(name: str, connection: KafkaInput, group: str) -> dict[tuple[str, int], int]:
    """What a consumer group has committed, by topic and partition; empty where it never did.

    Raises
    ------
    Failure
        Kafka does not answer or refuses.
    """
    environment.prepare()
    # Only now: importing PyFlink fixes where it looks for Flink.
    from connectors.kafka_admin import Admin

    servers = kafka_clients.servers(connection)
    with _failures(name), Admin(servers, kafka_clients.properties(connection)) as admin:
        return admin.committed(group)


def _partition(
    name: str,
    servers: str,
    properties: Mapping[str, str],
    topic: str,
    partition: int,
    end: int | None,
) -> Iterator[Record]:
    from connectors import kafka_reader

    place = f"{topic}-{partition}"
    with _failures(name):
        for offset, value in kafka_reader.read(servers, properties, topic, partition, end):
            yield Record(name, place, f"{place}-{offset}", value)


class Tail:
    """The committed records of all partitions of a topic, as they come.

    Partitions that are added later are not among them.

    Raises
    ------
    Failure
        Kafka does not answer or refuses, or the topic is missing.
    """

    def __init__(self, name: str, connection: KafkaSink) -> None:
        self._name = name
        self._partitions: list[tuple[str, Any]] = []
        servers, properties, partitions = _partitions(name, connection)
        from connectors import kafka_reader

        with _failures(name):
            for topic, number in partitions:
                tail = kafka_reader.Tail(servers, properties, topic, number)
                self._partitions.append((f"{topic}-{number}", tail))

    def new(self) -> Iterator[Record]:
        """What came since the last call."""
        with _failures(self._name):
            for place, tail in self._partitions:
                for offset, value in tail.new():
                    yield Record(self._name, place, f"{place}-{offset}", value)

    def close(self) -> None:
        """End the connections."""
        for _, tail in self._partitions:
            tail.close()


@contextmanager
def _failures(name: str) -> Iterator[None]:
    try:
        yield
    except MissingJars as error:
        raise Failure(f"the Kafka connector is missing: {error}") from None
    except KafkaError as error:
        raise Failure(f"[{name}] {error}") from None
