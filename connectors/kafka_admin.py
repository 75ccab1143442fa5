"""Asking Kafka about topics and limits, by the client that is inside Flink's connector.

So whatever security a job's properties ask for holds here as it does in the job.
"""

import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self

from py4j.protocol import Py4JJavaError
from pyflink.java_gateway import get_gateway

from connectors import java_code
from connectors.kafka import client_properties, java_properties
from connectors.kafka_errors import KafkaError, NotAllowed

_TIMEOUT_MS = 15_000
# What the protocol has for "as the broker is configured".
_DEFAULT = -1


class Admin:
    """A connection to a Kafka cluster, to be closed: `with Admin(servers, properties) as admin`.

    Parameters
    ----------
    properties
        Of the client, as in the configuration. References to secrets are filled in by the client.

    Raises
    ------
    KafkaError
        Nobody answers at these servers, or not to this user.
    MissingJars
        The Kafka connector has not been fetched.
    """

    def __init__(self, servers: str, properties: Mapping[str, str]) -> None:
        load()
        self._servers = servers
        self._jvm = get_gateway().jvm
        limits = {"default.api.timeout.ms": str(_TIMEOUT_MS), "request.timeout.ms": "10000"}
        settings = {**client_properties(servers, properties), **limits}
        # What is meant for consumers and producers would only be warned of.
        with refusals(servers):
            self._client = _shaded().clients.admin.Admin.create(java_properties(settings))
        try:
            self._get(self._client.describeCluster().clusterId())
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection."""
        self._client.close(self._jvm.java.time.Duration.ZERO)

    def topics(self) -> set[str]:
        """The names of all topics that this user may see, Kafka's own left out."""
        return set(self._get(self._client.listTopics().names()))

    def partitions(self, topics: Collection[str]) -> list[tuple[str, int]]:
        """Every partition of topics that exist, in the order of topics and numbers."""
        described = self._get(
            self._client.describeTopics(self._jvm.java.util.ArrayList(list(topics))).allTopicNames()
        )
        return [
            (topic, number)
            for topic in topics
            for number in range(described[topic].partitions().size())
        ]

    def committed(self, group: str) -> dict[tuple[str, int], int]:
        """The offsets that a consumer group has committed, by topic and partition."""
        found = self._get(
            self._client.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata()
        )
        return {(each.topic(), each.partition()): found[each].offset() for each in found}

    def create(
        self,
        name: str,
        configs: Mapping[str, str],
        *,
        partitions: int | None = None,
        replication: int | None = None,
    ) -> None:
        """Make a topic, and wait until it is there.

        Parameters
        ----------
        configs
            Settings of the topic, as Kafka names them.
        partitions, replication
            None for the broker's default.
        """
        made = (
            _shaded()
            .clients.admin.NewTopic(name, partitions or _DEFAULT, replication or _DEFAULT)
            .configs(self._jvm.java.util.HashMap(dict(configs)))
        )
        self._get(self._client.createTopics(self._jvm.java.util.Collections.singleton(made)).all())
        # The controller has made it; the broker that is asked next may hear of it later.
        deadline = time.monotonic() + _TIMEOUT_MS / 1000
        while name not in self.topics():
            if time.monotonic() >= deadline:
                raise KafkaError(f"Kafka at {self._servers}: {name} was made and is not to be seen")
            time.sleep(0.05)

    def topic_configs(self, names: Collection[str]) -> dict[str, dict[str, str]]:
        """The settings of topics, by name, defaults filled in."""
        return self._configs("TOPIC", names)

    def broker_config(self, name: str) -> str | None:
        """A setting of the brokers; None where they have none of this name."""
        nodes = self._get(self._client.describeCluster().nodes())
        found = self._configs("BROKER", [str(nodes.iterator().next().id())])
        return next(iter(found.values())).get(name)

    def _configs(self, kind: str, names: Collection[str]) -> dict[str, dict[str, str]]:
        config = _shaded().common.config
        resources = self._jvm.java.util.ArrayList()
        for name in names:
            resources.add(config.ConfigResource(config.ConfigResource.Type.valueOf(kind), name))
        answers = self._get(self._client.describeConfigs(resources).all())
        # A collection that is neither list nor set cannot be gone through from here.
        as_list = self._jvm.java.util.ArrayList
        return {
            resource.name(): {
                entry.name(): entry.value() for entry in as_list(answers[resource].entries())
            }
            for resource in answers
        }

    def _get(self, future: Any) -> Any:
        with refusals(self._servers):
            return future.get()


def load() -> None:
    """Make Kafka's client, and the classes here that use it, known to this process's JVM.

    Raises
    ------
    MissingJars
        The Kafka connector has not been fetched.
    """
    java_code.load(*java_code.kafka_jars(get_gateway()))


@contextmanager
def refusals(servers: str) -> Iterator[None]:
    """What Kafka's client throws within the block becomes a `KafkaError`."""
    try:
        yield
    except Py4JJavaError as error:
        raise _refusal(servers, error.java_exception) from None


def _refusal(servers: str, thrown: Any) -> KafkaError:
    while thrown.getCause() is not None:
        thrown = thrown.getCause()
    name = thrown.getClass().getSimpleName()
    text = " ".join(str(thrown.getMessage()).split())
    if name == "TimeoutException":
        return KafkaError(f"no Kafka broker answers at {servers}: {text}")
    error = NotAllowed if name.endswith("AuthorizationException") else KafkaError
    return error(f"Kafka at {servers}: {name.removesuffix('Exception')}: {text}")


def _shaded() -> Any:
    return java_code.jvm().org.apache.flink.kafka.shaded.org.apache.kafka
