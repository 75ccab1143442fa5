"""Kafka as source and sink, by Flink's own connector."""

from collections.abc import Mapping
from typing import Any, Literal

from pyflink.datastream import DataStream, StreamExecutionEnvironment
from pyflink.java_gateway import get_gateway

from connectors import java_code
from connectors.reading import Reading

Offsets = Literal["earliest", "latest", "group"] | int
Delivery = Literal["exactly_once", "at_least_once"]

_SHADED = "org.apache.flink.kafka.shaded."
# How `${env:NAME}`, `${file:PATH:KEY}` and `${directory:PATH:FILE}` are filled in, by Kafka's client
# itself and where it is made: so no secret is in the job.
_PROVIDERS = {
    "env": "EnvVarConfigProvider",
    "file": "FileConfigProvider",
    "directory": "DirectoryConfigProvider",
}


def client_properties(servers: str, properties: Mapping[str, str]) -> dict[str, str]:
    """Settings of any of Kafka's clients; references to secrets stay references."""
    provider = f"{_SHADED}org.apache.kafka.common.config.provider."
    providers = {
        "config.providers": ",".join(_PROVIDERS),
        **{f"config.providers.{name}.class": provider + cls for name, cls in _PROVIDERS.items()},
    }
    # Class names in a user's settings are those that Kafka's manual has.
    given = {name: _shaded(value) for name, value in properties.items()}
    return {**providers, **given, "bootstrap.servers": servers}


def _shaded(value: str) -> str:
    """Kafka's class names as Flink's connector has them."""
    unshaded = value.replace(_SHADED + "org.apache.kafka.", "org.apache.kafka.")
    return unshaded.replace("org.apache.kafka.", _SHADED + "org.apache.kafka.")


def kafka_source(
    env: StreamExecutionEnvironment,
    *,
    input_name: str,
    topics: list[str],
    pattern: str | None,
    servers: str,
    group: str,
    properties: Mapping[str, str],
    start: Offsets,
    stop: Offsets | None,
    reading: Reading,
    parallelism: int,
    uid: str,
) -> DataStream:
    """The records of topics as rows for `keying.key_rows`.

    Parameters
    ----------
    env
        With the connectors attached, `kafka=True`, see `java_code.attach`.
    input_name
        `features`, `labels` or `control`: it stands in every record.
    topics, pattern
        Names, or where it is given a Java regular expression for them.
    group
        Under which offsets are committed, with each checkpoint. They are for others to see: the job
        goes on from its own state.
    start, stop
        From where a partition is read in a job without state, and up to where. A number is a time in
        ms since the epoch: the first record of that time or later. `group` is the group's committed
        offset, or the earliest where there is none. A `stop` of None never ends.
    parallelism
        No more than the largest topic has partitions: a subtask that has none says nothing of the
        time, and all others wait for it.
    uid
        What a savepoint finds the source's state by.
    """
    jvm = java_code.jvm()
    builder = (
        jvm.org.apache.flink.connector.kafka.source.KafkaSource.builder()
        .setProperties(java_properties(client_properties(servers, properties)))
        .setBootstrapServers(servers)
        .setGroupId(group)
        .setClientIdPrefix(f"{group}-{input_name}")
        .setStartingOffsets(_offsets(start))
        .setDeserializer(java_code.new("kafka.Records", reading.envelope(input_name)))
    )
    if pattern is None:
        builder = builder.setTopics(jvm.java.util.ArrayList(topics))
    else:
        builder = builder.setTopicPattern(jvm.java.util.regex.Pattern.compile(pattern))
    if stop is not None:
        builder = builder.setBounded(_offsets(stop))
    stream = env._j_stream_execution_environment.fromSource(
        builder.build(), reading.times(), f"{input_name}: Kafka"
    )
    return DataStream(stream.setParallelism(parallelism).uid(uid))


def kafka_sink(
    stream: DataStream,
    *,
    topic: str,
    servers: str,
    properties: Mapping[str, str],
    delivery: Delivery,
    transactional_id_prefix: str,
    by_chain: bool,
    uid: str,
    name: str,
) -> None:
    """Write a stream of JSON texts to a topic.

    Parameters
    ----------
    stream
        Of type STRING; the sink has its parallelism.
    delivery
        `exactly_once`: in transactions that end with checkpoints; who reads committed records only
        sees each once. `at_least_once`: at once, and again after a failure.
    transactional_id_prefix
        No two sinks of a Kafka cluster may have the same.
    by_chain
        Whether a record's key is its version up to the `@`, else its id.
    """
    jvm = java_code.jvm()
    guarantee = jvm.org.apache.flink.connector.base.DeliveryGuarantee
    sink = (
        jvm.org.apache.flink.connector.kafka.sink.KafkaSink.builder()
        .setBootstrapServers(servers)
        .setKafkaProducerConfig(java_properties(client_properties(servers, properties)))
        .setRecordSerializer(java_code.new("kafka.KeyedTexts", topic, by_chain))
        .setDeliveryGuarantee(getattr(guarantee, delivery.upper()))
        .setTransactionalIdPrefix(transactional_id_prefix)
        .build()
    )
    parallelism = stream._j_data_stream.getTransformation().getParallelism()
    written = stream._j_data_stream.sinkTo(sink).name(name).uid(uid)
    if parallelism > 0:
        written.setParallelism(parallelism)


def _offsets(where: Offsets) -> Any:
    jvm = java_code.jvm()
    initializer = (
        jvm.org.apache.flink.connector.kafka.source.enumerator.initializer.OffsetsInitializer
    )
    if where == "group":
        clients = jvm.org.apache.flink.kafka.shaded.org.apache.kafka.clients
        return initializer.committedOffsets(clients.consumer.OffsetResetStrategy.EARLIEST)
    if isinstance(where, int):
        return initializer.timestamp(where)
    return getattr(initializer, where)()


def java_properties(properties: Mapping[str, str]) -> Any:
    """As `java.util.Properties`."""
    made = get_gateway().jvm.java.util.Properties()
    for name, value in properties.items():
        made.setProperty(name, value)
    return made
