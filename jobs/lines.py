"""Records by number, kept on disk: of 10 million, memory holds where they are."""

import tempfile
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import IO, Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from operators.plain import Record

_CHUNK = 1 << 20
# A place in a file is its number and an offset into it.
_OFFSET_BITS = 44
_OFFSET = (1 << _OFFSET_BITS) - 1


class _Source(NamedTuple):
    """Where records come from, and the number of the first.

    Attributes
    ----------
    offsets : array or None
        Kafka's; None for lines of a file.
    blanks : array
        For each empty line of a file the number of the record behind it.
    """

    name: str
    first: int
    offsets: "array[int] | None"
    blanks: "array[int]"


class Lines:
    """Records of files and partitions, read once in their order and then at will by number.

    Files are mapped into memory, not read into it; what comes from Kafka goes to a temporary file. To
    be closed: `with Lines() as lines`.

    Examples
    --------
    >>> with tempfile.NamedTemporaryFile() as file, Lines() as lines:
    ...     _ = file.write(b"one\\n\\ntwo\\n")
    ...     file.flush()
    ...     found = list(lines.of_file(Path(file.name)))
    ...     found, lines[1], lines.position(1).endswith(":3")
    ([(0, b'one'), (1, b'two')], b'two', True)
    """

    def __init__(self) -> None:
        self._starts = array("q")
        self._ends = array("q")
        self._maps: list[Any] = []
        self._sources: list[_Source] = []
        self._open = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let the files go."""
        self._open.close()

    def __getstate__(self) -> Any:
        """Of files: where their records are. What came from Kafka is this process's own."""
        if any(source.offsets is not None for source in self._sources):
            raise TypeError("records of a topic lie in a temporary file")
        return self._starts, self._ends, self._sources

    def __setstate__(self, state: Any) -> None:
        self.__init__()  # type: ignore[misc]
        self._starts, self._ends, self._sources = state
        for source in self._sources:
            self._open_file(Path(source.name))

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, number: int) -> bytes:
        start = self._starts[number]
        found: bytes = self._maps[start >> _OFFSET_BITS][start & _OFFSET : self._ends[number]]
        return found

    def of_file(self, path: Path) -> Iterator[tuple[int, bytes]]:
        """The lines of a file with their numbers, empty ones left out."""
        file, base = self._open_file(path)
        source = _Source(str(path), len(self._starts), None, array("q"))
        self._sources.append(source)
        at = 0
        # Many lines at a time: one by one, finding them costs more than reading what they say.
        while chunk := file.read(_CHUNK):
            chunk += file.readline()
            texts = chunk.split(b"\n")
            if not texts[-1]:
                texts.pop()
            number = len(self._starts)
            ends = np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)) + 1) - 1
            starts = np.concatenate(([0], ends[:-1] + 1))
            if b"\r\n" in chunk or b"" in texts:
                texts, starts, ends = _trimmed(texts, starts, ends, number, source.blanks)
            self._starts.frombytes((starts + (base + at)).tobytes())
            self._ends.frombytes((ends + at).tobytes())
            at += len(chunk)
            yield from enumerate(texts, number)

    def of_partition(self, records: Iterable[Record]) -> Iterator[tuple[int, bytes]]:
        """The records of a partition with their numbers, those without a value left out."""
        file = self._open.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - close() ends it
        first, offsets, at = len(self._starts), array("q"), 0
        place = ""
        base = len(self._maps) << _OFFSET_BITS
        self._maps.append(b"")
        for record in records:
            if not record.raw:
                continue
            place = record.partition
            file.write(record.raw)
            offsets.append(int(record.position.rpartition("-")[2]))
            self._starts.append(base + at)
            at += len(record.raw)
            self._ends.append(at)
            yield len(self._starts) - 1, record.raw
        file.flush()
        self._sources.append(_Source(place, first, offsets, array("q")))
        if at:
            self._maps[base >> _OFFSET_BITS] = self._mapped(file)

    def position(self, number: int) -> str:
        """Where a record stands, as dead letters say it: `file:line` or `topic-partition-offset`."""
        place = bisect_right(self._sources, number, key=lambda source: source.first) - 1
        source = self._sources[place]
        if source.offsets is not None:
            return f"{source.name}-{source.offsets[number - source.first]}"
        line = number - source.first + 1 + bisect_right(source.blanks, number)
        return f"{source.name}:{line}"

    def _open_file(self, path: Path) -> tuple[IO[bytes], int]:
        """The file, and where its bytes begin."""
        file = self._open.enter_context(path.open("rb"))
        base = len(self._maps) << _OFFSET_BITS
        empty = file.seek(0, 2) == 0
        file.seek(0)
        self._maps.append(b"" if empty else self._mapped(file))
        return file, base

    def _mapped(self, file: IO[bytes]) -> mmap:
        return self._open.enter_context(mmap(file.fileno(), 0, access=ACCESS_READ))


def _trimmed(
    texts: list[bytes],
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    number: int,
    blanks: "array[int]",
) -> tuple[list[bytes], NDArray[np.int64], NDArray[np.int64]]:
    """Lines without their carriage returns, the empty ones left out and noted."""
    kept, texts_kept = [], []
    for place, text in enumerate(texts):
        text = text.rstrip(b"\r")
        if text:
            kept.append(place)
            texts_kept.append(text)
        else:
            blanks.append(number + len(kept))
    begins = starts[kept]
    return texts_kept, begins, begins + np.fromiter(map(len, texts_kept), np.int64, len(kept))
