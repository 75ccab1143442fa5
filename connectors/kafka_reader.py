"""A partition read to its present end, once or again and again, for tools outside a job."""

import struct
from collections.abc import Iterator, Mapping

from connectors import java_code
from connectors.kafka import client_properties, java_properties
from connectors.kafka_admin import load, refusals

# As Drain.java writes it: offset, length of the value or -1.
_HEAD = struct.Struct(">qi")
_NO_END = (1 << 63) - 1


def read(
    servers: str,
    properties: Mapping[str, str],
    topic: str,
    partition: int,
    end: int | None = None,
) -> Iterator[tuple[int, bytes | None]]:
    """Offset and value of every committed record of a partition; None for one without a value.

    Parameters
    ----------
    end
        The first offset that is not read any more; None for that behind the last record there is.

    Raises
    ------
    KafkaError
        Kafka does not answer, or refuses.
    MissingJars
        The Kafka connector has not been fetched.
    """
    tail = Tail(servers, properties, topic, partition, end)
    try:
        yield from tail.new()
    finally:
        tail.close()


class Tail:
    """A partition, read to its end as often as one likes; the arguments are those of `read`."""

    def __init__(
        self,
        servers: str,
        properties: Mapping[str, str],
        topic: str,
        partition: int,
        end: int | None = None,
    ) -> None:
        load()
        settings = {
            **client_properties(servers, properties),
            "isolation.level": "read_committed",
            "enable.auto.commit": "false",
            "default.api.timeout.ms": "15000",
        }
        self._servers = servers
        self._begun = False
        last = _NO_END if end is None else end
        with refusals(servers):
            self._drain = java_code.new(
                "kafka.Drain", java_properties(settings), topic, partition, last
            )

    def new(self) -> Iterator[tuple[int, bytes | None]]:
        """As `read`, what came since the last call."""
        with refusals(self._servers):
            if self._begun:
                self._drain.extend()
            self._begun = True
            while (batch := self._drain.next()) is not None:
                yield from _records(bytes(batch))

    def close(self) -> None:
        """End the connection."""
        self._drain.close()


def _records(batch: bytes) -> Iterator[tuple[int, bytes | None]]:
    at = 0
    while at < len(batch):
        offset, size = _HEAD.unpack_from(batch, at)
        at += _HEAD.size
        yield offset, None if size < 0 else batch[at : at + size]
        at += max(size, 0)
