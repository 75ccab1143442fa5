"""Records of an output, from files or from Kafka."""

from collections.abc import Iterator
from pathlib import Path

import msgspec

from connectors.files import part_files, read_parts
from jobs import reading_kafka
from jobs.config import Config
from jobs.errors import Failure
from jobs.lines import Lines
from jobs.settings import FileSink, KafkaInput, KafkaSink, StoredSink


def texts(config: Config, output: str) -> Iterator[str | bytes]:
    """The final records of the first sink of an output that is configured: a JSON text each.

    Raises
    ------
    Failure
        Kafka does not answer or refuses, or the topic is missing; the output goes nowhere but to
        webhooks.
    """
    stored = config.stored(output)
    if not stored:
        raise Failure(f"[{output}] goes to a webhook only: a file or topic beside it can be read")
    sink = stored[0]
    if isinstance(sink, FileSink):
        yield from read_parts(sink.path)
        return
    for partition in reading_kafka.streams(output, sink):
        for record in partition:
            if record.raw is not None:
                yield record.raw


def recorded(config: Config, output: str) -> StoredSink | None:
    """Where the record of an output is kept: its first exactly-once sink, or else its first."""
    sinks = config.stored(output)
    once = (sink for sink in sinks if sink.delivery == "exactly_once")
    return next(once, sinks[0] if sinks else None)


def named(text: str, output: str, like: StoredSink | KafkaInput | None) -> StoredSink:
    """The file or folder of this name, or else the topic, on the brokers of `like`.

    Raises
    ------
    Failure
        There is no such file, and `like` is not Kafka's.
    """
    path = Path(text).expanduser()
    if path.exists():
        return FileSink(path=str(path.absolute()))
    if isinstance(like, KafkaSink):
        return msgspec.structs.replace(like, topic=text, delivery="exactly_once")
    if isinstance(like, KafkaInput):
        return KafkaSink(
            topic=text, bootstrap_servers=like.bootstrap_servers, properties=like.properties
        )
    raise Failure(f"there is no file or folder {text}, and [{output}] names no Kafka brokers")


def files_of(sink: FileSink) -> list[Path]:
    """The finished part files, in the order in which they were written; or the one file it is.

    Raises
    ------
    Failure
        There is nothing at this path.
    """
    path = Path(sink.path)
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise Failure(f"no file or folder {path}")
    return part_files(path) or sorted(path.glob("[!.]*.jsonl"))


def into(lines: Lines, output: str, sink: StoredSink) -> Iterator[tuple[int, bytes]]:
    """All final records with the numbers that `lines` gives them, one file or partition after another.

    Raises
    ------
    Failure
        As `files_of`; Kafka does not answer or refuses, or the topic is missing.
    """
    if isinstance(sink, FileSink):
        for file in files_of(sink):
            yield from lines.of_file(file)
        return
    for partition in reading_kafka.streams(output, sink):
        yield from lines.of_partition(partition)
