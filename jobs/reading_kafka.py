"""Records of Kafka topics outside a job: for a backtest, a look at a sample, dead letters."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

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
        partitions = admin.partitions(topics)
        ends = (
            dict.fromkeys(partitions)
            if until_committed_by is None
            else {**dict.fromkeys(partitions, 0), **admin.committed(until_committed_by)}
        )
    return [
        _partition(name, servers, properties, topic, partition, ends[topic, partition])
        for topic, partition in partitions
    ]


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


@contextmanager
def _failures(name: str) -> Iterator[None]:
    try:
        yield
    except MissingJars as error:
        raise Failure(f"the Kafka connector is missing: {error}") from None
    except KafkaError as error:
        raise Failure(f"[{name}] {error}") from None
