"""Outputs as they grow: what has been written since it was asked last."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol, Self

from connectors.files import part_files
from jobs import reading_kafka
from jobs.config import Config
from jobs.monitor_records import Line
from jobs.settings import FileSink, KafkaSink


class Begun(Exception):
    """What had been read is no more: another run has begun."""


class Follower(Protocol):
    """What an output is followed with."""

    def new(self) -> Iterator[Line]:
        """The final records since the last call.

        Raises
        ------
        Begun
            What was read before was deleted; the next call begins anew.
        Failure
            Kafka does not answer or refuses, or the topic is missing.
        """

    def close(self) -> None:
        """Let files and connections go."""


class _Part(NamedTuple):
    """How far a part file was read.

    Attributes
    ----------
    last : bytes
        The last line: where it stands no more, the file is another one.
    seen : (int, int)
        Size and time of the file when it was looked at last.
    """

    at: int
    last: bytes
    seen: tuple[int, int]


class Files:
    """The finished part files of a folder, which need not be there yet; whole lines only."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: dict[Path, _Part] = {}

    def new(self) -> Iterator[Line]:
        try:
            parts = part_files(self._folder)
            if not self._read.keys() <= set(parts):
                raise Begun
            for part in parts:
                yield from self._rest(part)
        except (Begun, FileNotFoundError):
            self._read.clear()
            raise Begun from None

    def _rest(self, part: Path) -> Iterator[Line]:
        stat = part.stat()
        seen = stat.st_size, stat.st_mtime_ns
        at, last, before = self._read.get(part, _Part(0, b"", (-1, -1)))
        if seen == before:
            return
        with part.open("rb") as file:
            file.seek(at - len(last))
            if file.read(len(last)) != last:
                raise Begun
            while (line := file.readline()).endswith(b"\n"):
                at += len(line)
                last = line
                if text := line.strip():
                    yield Line(text, f"{part} at byte {at - len(line)}")
        self._read[part] = _Part(at, last, seen)

    def close(self) -> None:
        pass


class Topic:
    """A topic's committed records."""

    def __init__(self, output: str, sink: KafkaSink) -> None:
        self._tail = reading_kafka.Tail(output, sink)

    def new(self) -> Iterator[Line]:
        for record in self._tail.new():
            if record.raw:
                yield Line(record.raw, record.position)

    def close(self) -> None:
        self._tail.close()


class Following:
    """Some outputs of a job, to be closed: `with Following(config, outputs) as following`.

    Parameters
    ----------
    outputs
        Those that are not configured are none.
    """

    def __init__(self, config: Config, outputs: tuple[str, ...]) -> None:
        self._followers: dict[str, Follower] = {}
        for output in outputs:
            for sink in config.stored(output)[:1]:
                follower: Follower
                if isinstance(sink, FileSink):
                    follower = Files(Path(sink.path))
                else:
                    follower = Topic(output, sink)
                self._followers[output] = follower

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for follower in self._followers.values():
            follower.close()

    def new(self) -> Iterator[tuple[str, Line]]:
        """Output and record, of all that came since the last call.

        Raises
        ------
        Begun, Failure
            As `Follower.new`.
        """
        for output, follower in self._followers.items():
            for line in follower.new():
                yield output, line
