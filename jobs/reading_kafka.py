"""Records of Kafka topics outside a job: for a backtest, a look at a sample, dead letters."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from connectors.jars import MissingJars
from connectors.kafka_errors import KafkaError
from jobs import environment, kafka_clients
from jobs.errors import Failure
from jobs.settings import KafkaInput, KafkaSink
from operators.plain import Record


def streams(name: str, connection: KafkaInput | KafkaSink) -> list[Iterator[Record]]:
    """Of each partition the committed records that are there now, in their order.

    Parameters
    ----------
    name
        The input's or output's, for the records and for errors.

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
    return [
        _partition(name, servers, properties, topic, partition) for topic, partition in partitions
    ]


def _partition(
    name: str, servers: str, properties: Mapping[str, str], topic: str, partition: int
) -> Iterator[Record]:
    from connectors import kafka_reader

    place = f"{topic}-{partition}"
    with _failures(name):
        for offset, value in kafka_reader.read(servers, properties, topic, partition):
            yield Record(name, place, f"{place}-{offset}", value)


@contextmanager
def _failures(name: str) -> Iterator[None]:
    try:
        yield
    except MissingJars as error:
        raise Failure(f"the Kafka connector is missing: {error}") from None
    except KafkaError as error:
        raise Failure(f"[{name}] {error}") from None
