"""Topics that a job both writes and reads: the learn queue, published versions."""

from collections.abc import Mapping

from pyflink.datastream import DataStream, StreamExecutionEnvironment

from connectors import java_code
from connectors.kafka import client_properties, java_properties


def own_topic(
    env: StreamExecutionEnvironment,
    *,
    name: str,
    topic: str,
    servers: str,
    group: str,
    properties: Mapping[str, str],
    key: str | None,
    remembers: bool,
    greets: bool = False,
    uid: str,
) -> DataStream:
    """The committed records of a topic from its beginning, as rows `(key, "offset time value")`.

    Parameters
    ----------
    env
        With the connectors attached, `kafka=True`, see `java_code.attach`.
    key
        Of every row; None: the record's `id`.
    remembers
        Whether it goes on, after a restart, where it was; else it begins again.
    greets
        Whether a row with an empty text comes before all others, at each start. It needs a `key`.
    """
    jvm = java_code.jvm()
    offsets = jvm.org.apache.flink.connector.kafka.source.enumerator.initializer.OffsetsInitializer
    settings = {
        "isolation.level": "read_committed",
        **({} if remembers else {"commit.offsets.on.checkpoint": "false"}),
        **properties,
    }
    source = (
        jvm.org.apache.flink.connector.kafka.source.KafkaSource.builder()
        .setProperties(java_properties(client_properties(servers, settings)))
        .setBootstrapServers(servers)
        .setGroupId(group)
        .setClientIdPrefix(group)
        .setStartingOffsets(offsets.earliest())
        .setTopics(jvm.java.util.Collections.singletonList(topic))
        .setDeserializer(java_code.new("kafka.Queued", key))
        .build()
    )
    stream = env._j_stream_execution_environment.fromSource(
        java_code.new("kafka.OwnTopic", source, not remembers, key if greets else None),
        java_code.new("NoTime"),
        f"{name}: Kafka",
    )
    return DataStream(stream.setParallelism(1).uid(uid))


def keyed_texts(stream: DataStream) -> DataStream:
    """JSON texts as rows `(id, text)`, in their order."""
    keyed = stream._j_data_stream.map(java_code.new("Keyed", None))
    # Left to itself it has the environment's, and what one subtask says is dealt out to several.
    parallelism = stream._j_data_stream.getTransformation().getParallelism()
    return DataStream(keyed.setParallelism(parallelism) if parallelism > 0 else keyed)
