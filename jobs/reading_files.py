"""Records of file inputs in plain Python, as the Java reader of the job has them."""

import heapq
from collections.abc import Iterator
from pathlib import Path

import msgspec

from jobs.config import Config, FileInput
from jobs.errors import Failure
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
        if file.is_file()
        and not any(part[0] in "._" for part in file.relative_to(path).parts)
    )
    return sorted(found, key=str)


def lines_of(file: Path, input_name: str) -> Iterator[Record]:
    """Records of one file, a line each; empty lines are none."""
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            raw = line.removesuffix(b"\n").removesuffix(b"\r")
            if raw:
                yield Record(input_name, str(file), f"{file}:{number}", raw)


def records(config: Config) -> Iterator[Record]:
    """Every record of every file input: one input in its order, several merged by time.

    Where there are several, a job's order is whatever their arrival makes it; time is the best guess
    that a backtest has.
    """
    streams = [_input(name, source) for name, source in config.inputs() if _is_file(source)]
    if len(streams) == 1:
        yield from streams[0]
        return
    timed = (_timed(stream, place) for place, stream in enumerate(streams))
    for *_, record in heapq.merge(*timed, key=lambda entry: entry[:3]):
        yield record


def _is_file(source: object) -> bool:
    return isinstance(source, FileInput)


def _input(name: str, source: FileInput) -> Iterator[Record]:
    for file in files_of(source):
        yield from lines_of(file, name)


class _Time(msgspec.Struct):
    ts: int


def _timed(stream: Iterator[Record], place: int) -> Iterator[tuple[int, int, int, Record]]:
    """Each record with the highest time of its stream so far: the stream's own order stays."""
    highest = -(1 << 63)
    read = msgspec.json.Decoder(_Time).decode
    for number, record in enumerate(stream):
        try:
            highest = max(highest, read(record.raw or b"").ts)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass  # it has no time of its own, and goes with the record before it
        yield highest, place, number, record
