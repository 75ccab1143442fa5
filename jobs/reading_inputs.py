"""Records of all inputs in plain Python, as the readers of the job have them; topics to their end."""

import heapq
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from jobs import kafka_clients, reading_kafka
from jobs.config import Config, FileInput
from jobs.errors import Failure
from jobs.lines import Lines
from jobs.settings import Input, KafkaInput, KafkaSink, NamedInput, StoredSink
from operators.plain import Record


def files_of(source: FileInput) -> list[Path]:
    """The file, or those of the folder in name order; hidden ones and `_` are left out.

    Raises
    ------
    Failure
        There is nothing at this path.
    """
    path = Path(source.path)
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise Failure(f"no file or folder {path}")
    found = (
        file
        for file in path.rglob("*")
        if file.is_file() and not any(part[0] in "._" for part in file.relative_to(path).parts)
    )
    return sorted(found, key=str)


def lines_of(file: Path, input_name: str) -> Iterator[Record]:
    """Records of one file, a line each; empty lines are none."""
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            raw = line.removesuffix(b"\n").removesuffix(b"\r")
            if raw:
                yield Record(input_name, str(file), f"{file}:{number}", raw)


def records(config: Config, *, read_by_the_job: bool = False) -> Iterator[Record]:
    """Every record of every input: one file, folder or partition in its order, several merged by time.

    Where there are several, a job's order is whatever their arrival makes it; time is the best guess
    that a backtest has. What `[labels]` holds of one time goes first, as labels do by event time.
    """
    streams = [
        (_marked(stream, config.control_in(input)), -place)
        for place, input in enumerate(config.inputs())
        for stream in _streams(config, input.name, input.source, read_by_the_job)
    ]
    if len(streams) == 1:
        yield from streams[0][0]
        return
    times, now_ms = config.time_range(), time.time_ns() // 1_000_000
    timed = (
        _timed(stream, place, lambda ts: times.accepts(ts, now_ms)) for stream, place in streams
    )
    for *_, record in heapq.merge(*timed, key=lambda entry: entry[:3]):
        yield record


Part = Callable[[Lines], Iterator[tuple[int, bytes]]]


def parts(inputs: Iterable[NamedInput]) -> Iterator[Part]:
    """Files and partitions, one after another; each puts its records into `Lines`, and gives them.

    Raises
    ------
    Failure
        As `files_of`; Kafka does not answer or refuses, or a topic is missing.
    """
    for name, source in inputs:
        if isinstance(source, KafkaInput):
            for records in reading_kafka.streams(name, source):
                yield partial(Lines.of_partition, records=records)
        else:
            for file in files_of(source):
                yield partial(Lines.of_file, path=file)


def as_input(sink: StoredSink) -> Input:
    """An input that reads where an output writes."""
    if isinstance(sink, KafkaSink):
        return KafkaInput(
            topic=sink.topic,
            bootstrap_servers=sink.bootstrap_servers,
            properties=sink.properties,
        )
    return FileInput(path=sink.path)


def taken(config: Config) -> Callable[[int], bool] | None:
    """Tells of the times of one file's or partition's records, in their order, whether a job takes them.

    None where that does not depend on the order.
    """
    if config.job.ordering != "event_time":
        return None
    times, now_ms = config.time_range(), time.time_ns() // 1_000_000
    behind, highest = config.events.max_out_of_orderness_ms, -(1 << 63)

    def accepts(ts: int) -> bool:
        nonlocal highest
        if not times.accepts(ts, now_ms) or ts < highest - behind:
            return False
        highest = max(highest, ts)
        return True

    return accepts


def _streams(
    config: Config, name: str, source: Input, read_by_the_job: bool
) -> list[Iterator[Record]]:
    """Each a sequence of records whose order is given: a file or folder, or a partition."""
    if isinstance(source, KafkaInput):
        group = kafka_clients.group(config, source) if read_by_the_job else None
        return reading_kafka.streams(name, source, until_committed_by=group)
    return [chain.from_iterable(lines_of(file, name) for file in files_of(source))]


def _marked(stream: Iterator[Record], control: str) -> Iterator[Record]:
    """The records, those for the gate known as such."""
    if control == "none":
        return stream
    return (record._replace(control=control == "all" or _is_control(record)) for record in stream)


class _Names(msgspec.Struct):
    id: Any = None
    op: Any = UNSET
    payload: Any = UNSET


def _is_control(record: Record) -> bool:
    """Whether it is an object without id that has `op` or `payload`, as Java sees it."""
    try:
        names = msgspec.json.decode(record.raw or b"", type=_Names)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return not isinstance(names.id, str) and (names.op is not UNSET or names.payload is not UNSET)


class _Time(msgspec.Struct):
    ts: int | UnsetType = UNSET
    effective_at: int | UnsetType = UNSET
    payload: str | None = None

    def read(self) -> int | UnsetType:
        """Of an event its time; of a control message when it takes effect."""
        if self.payload is not None:
            return msgspec.json.decode(self.payload, type=_Time).read()
        return self.ts if self.ts is not UNSET else self.effective_at


def _timed(
    stream: Iterator[Record], place: int, accepts: Callable[[int], bool]
) -> Iterator[tuple[int, int, int, Record]]:
    """Each record with the highest time of its stream so far: the stream's own order stays."""
    highest = -(1 << 63)
    read = msgspec.json.Decoder(_Time).decode
    for number, record in enumerate(stream):
        try:
            ts = read(record.raw or b"").read()
            # One bad time must not put off all that comes behind it.
            if isinstance(ts, int) and accepts(ts):
                highest = max(highest, ts)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass  # it has no time of its own, and goes with the record before it
        yield highest, place, number, record
