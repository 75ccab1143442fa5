"""Topics for tests, written and read by kafka-python: none of the code under test is in it."""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Self

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, NewPartitions, NewTopic
from kafka.structs import OffsetAndMetadata

from jobs.waiting import wait_until
from tests.patience import PATIENCE_S


class Topics:
    """The topics whose names begin with `prefix`."""

    def __init__(self, servers: str, prefix: str, **security: Any) -> None:
        self.servers = servers
        self._prefix = prefix
        self._client = {"bootstrap_servers": servers, **security}
        self._producer = self._new_producer()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._producer.close(timeout=5)

    def name(self, topic: str) -> str:
        """As Kafka knows it."""
        return f"{self._prefix}-{topic}"

    def create(
        self, *topics: str, partitions: int = 1, configs: dict[str, str] | None = None
    ) -> None:
        with self._admin() as admin:
            admin.create_topics(
                [
                    NewTopic(self.name(topic), partitions, 1, topic_configs=configs or {})
                    for topic in topics
                ]
            )
            # The controller has them before the broker that is asked next does.
            names = {self.name(topic) for topic in topics}
            wait_until(
                lambda: names <= set(admin.list_topics()), "the topics", timeout_s=PATIENCE_S
            )

    def grow(self, topic: str, partitions: int) -> None:
        """Add partitions until there are so many."""
        with self._admin() as admin:
            admin.create_partitions({self.name(topic): NewPartitions(partitions)})
        # The producer would learn of them minutes later.
        self._producer.close()
        self._producer = self._new_producer()

    def configs(self, topic: str, *names: str) -> list[str]:
        """Settings of a topic."""
        asked = ConfigResource(ConfigResourceType.TOPIC, self.name(topic))
        with self._admin() as admin:
            found = admin.describe_configs([asked], config_filter="all")
        [settings] = [of for kind in found.values() for of in kind.values()]
        return [settings[name]["value"] for name in names]

    def partitions(self, topic: str) -> int:
        """How many a topic has."""
        with self._consumer() as consumer:
            return len(consumer.partitions_for_topic(self.name(topic)))

    def commit(self, topic: str, offset: int, *, group: str) -> None:
        """Commit an offset of partition 0 for a consumer group."""
        partition = TopicPartition(self.name(topic), 0)
        with self._consumer(group_id=group) as consumer:
            consumer.assign([partition])
            consumer.commit({partition: OffsetAndMetadata(offset, "", -1)})

    def _new_producer(self) -> KafkaProducer:
        return KafkaProducer(**self._client, linger_ms=5, acks="all")

    def committed(self, topic: str, *, group: str) -> int:
        """What a consumer group has committed in partition 0."""
        with self._consumer(group_id=group) as consumer:
            return consumer.committed(TopicPartition(self.name(topic), 0)) or 0

    @contextmanager
    def _admin(self) -> Iterator[KafkaAdminClient]:
        admin = KafkaAdminClient(**self._client)
        try:
            yield admin
        finally:
            admin.close()

    @contextmanager
    def _consumer(self, **settings: Any) -> Iterator[KafkaConsumer]:
        consumer = KafkaConsumer(
            **{"group_id": None, "enable_auto_commit": False, **self._client, **settings}
        )
        try:
            yield consumer
        finally:
            consumer.close()

    def send(
        self,
        topic: str,
        records: Iterable[Any],
        *,
        partition: int | None = 0,
        key: bytes | None = None,
    ) -> None:
        """Append records: dicts as JSON, texts, bytes and None as they are; all are written on return.

        A `partition` of None spreads them by their ids, as producers do.
        """
        sent = []
        for record in records:
            value = json.dumps(record) if isinstance(record, dict) else record
            value = value.encode() if isinstance(value, str) else value
            own = record["id"].encode() if partition is None else key
            if own is None and value is None:
                own = b"no value"  # the client refuses a record without either
            sent.append(self._producer.send(self.name(topic), value, key=own, partition=partition))
        self._producer.flush()
        for future in sent:
            future.get(timeout=60)

    def read(self, topic: str, *, committed: bool = True) -> list[Any]:
        """Every record up to the present end, by partition and offset."""
        isolation = "read_committed" if committed else "read_uncommitted"
        with self._consumer(isolation_level=isolation) as consumer:
            name = self.name(topic)
            partitions = [
                TopicPartition(name, number) for number in consumer.partitions_for_topic(name) or ()
            ]
            consumer.assign(partitions)
            ends = consumer.end_offsets(partitions)
            consumer.seek_to_beginning(*partitions)
            found: dict[TopicPartition, list[Any]] = {partition: [] for partition in partitions}
            while any(consumer.position(each) < ends[each] for each in partitions):
                for partition, records in consumer.poll(timeout_ms=200).items():
                    found[partition] += [r for r in records if r.offset < ends[partition]]
            return [record for partition in partitions for record in found[partition]]

    def texts(self, topic: str) -> list[str]:
        """Committed records as text."""
        return [record.value.decode() for record in self.read(topic)]

    def rows(self, topic: str) -> list[dict[str, Any]]:
        """Committed records as JSON."""
        return [json.loads(text) for text in self.texts(topic)]
