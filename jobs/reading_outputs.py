"""Records of an output, from files or from Kafka."""

from collections.abc import Iterator

from connectors.files import read_parts
from jobs import reading_kafka
from jobs.config import Config
from jobs.settings import FileSink


def texts(config: Config, output: str) -> Iterator[str | bytes]:
    """The final records of the first sink of an output that is configured: a JSON text each.

    Raises
    ------
    Failure
        Kafka does not answer or refuses, or the topic is missing.
    """
    sink = config.sinks(output)[0]
    if isinstance(sink, FileSink):
        yield from read_parts(sink.path)
        return
    for partition in reading_kafka.streams(output, sink):
        for record in partition:
            if record.raw is not None:
                yield record.raw
