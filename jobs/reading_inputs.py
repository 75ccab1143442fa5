"""Records of all inputs in plain Python, as the readers of the job have them; topics to their end."""

import heapq
import time
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

import msgspec

from jobs import kafka_clients, reading_kafka
from jobs.config import Config, FileInput
from jobs.errors import Failure
from jobs.settings import Input, KafkaInput
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
        (stream, -place)
        for place, (name, source) in enumerate(config.inputs())
        for stream in _streams(config, name, source, read_by_the_job)
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


def _streams(
    config: Config, name: str, source: Input, read_by_the_job: bool
) -> list[Iterator[Record]]:
    """Each a sequence of records whose order is given: a file or folder, or a partition."""
    if isinstance(source, KafkaInput):
        group = kafka_clients.group(config, source) if read_by_the_job else None
        return reading_kafka.streams(name, source, until_committed_by=group)
    return [chain.from_iterable(lines_of(file, name) for file in files_of(source))]


class _Time(msgspec.Struct):
    ts: int


def _timed(
    stream: Iterator[Record], place: int, accepts: Callable[[int], bool]
) -> Iterator[tuple[int, int, int, Record]]:
    """Each record with the highest time of its stream so far: the stream's own order stays."""
    highest = -(1 << 63)
    read = msgspec.json.Decoder(_Time).decode
    for number, record in enumerate(stream):
        try:
            ts = read(record.raw or b"").ts
            # One bad time must not put off all that comes behind it.
            if accepts(ts):
                highest = max(highest, ts)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass  # it has no time of its own, and goes with the record before it
        yield highest, place, number, record
