"""One record appended to a topic, for tools outside a job, by the client that is inside Flink's connector."""

from collections.abc import Mapping

from pyflink.java_gateway import get_gateway

from connectors import java_code
from connectors.kafka import client_properties, java_properties
from connectors.kafka_admin import Admin, refusals
from connectors.kafka_errors import KafkaError

_BYTES = "org.apache.kafka.common.serialization.ByteArraySerializer"
# Key, headers and the batch around a record.
_AROUND_BYTES = 65_536


def append(
    servers: str, properties: Mapping[str, str], topic: str, key: bytes, value: bytes
) -> tuple[int, int]:
    """Write a record, and wait until every replica in sync has it.

    Returns
    -------
    (int, int)
        Its partition and its offset there. Records of one key go to one partition.

    Raises
    ------
    KafkaError
        Kafka does not answer, or refuses; there is no such topic.
    MissingJars
        The Kafka connector has not been fetched.
    """
    with Admin(servers, properties) as admin:
        if topic not in admin.topics():
            raise KafkaError(f"there is no topic {topic!r} (or this user may not see it)")
    settings = {
        "max.request.size": str(len(value) + _AROUND_BYTES),
        **client_properties(
            servers, {**properties, "key.serializer": _BYTES, "value.serializer": _BYTES}
        ),
        "acks": "all",
        # A request may take so long, and the whole not much longer.
        "request.timeout.ms": "10000",
        "max.block.ms": "15000",
        "delivery.timeout.ms": "30000",
    }
    clients = java_code.jvm().org.apache.flink.kafka.shaded.org.apache.kafka.clients.producer
    with refusals(servers):
        producer = clients.KafkaProducer(java_properties(settings))
        try:
            written = producer.send(clients.ProducerRecord(topic, key, value)).get()
            return written.partition(), written.offset()
        finally:
            producer.close(get_gateway().jvm.java.time.Duration.ZERO)
