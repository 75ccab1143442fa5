"""A file source with everything at its plainest, and its records as Python sees them."""

import pickle
import struct
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self

from pyflink.datastream import DataStream, StreamExecutionEnvironment

from connectors import files
from connectors.reading import Reading

READING = Reading(
    min_ts=0,
    max_future_ms=3_600_000,
    record_limit=1 << 20,
    raw_keep=4096,
    max_out_of_orderness_ms=0,
    idle_timeout_ms=None,
    punctuated=True,
)
FINE, NO_TS, BAD_TS, OUT_OF_ORDER, TOO_LARGE = range(5)


class Record(NamedTuple):
    """A row, unpickled."""

    key: str
    verdict: int
    ts: int
    input: str
    position: str
    raw: bytes | None

    @classmethod
    def of(cls, key: str, value: bytes, produced: int = 0) -> Self:
        """The record of a row; the id in its value is its key, unless it has none.

        It was ingested just now, and produced when the test says.
        """
        *fields, id, stamps = pickle.loads(value)
        ingested, stamp = struct.unpack("<qq", stamps)
        # An id may begin with NUL, too, where the JSON has it escaped, or is none.
        assert id == key or (id is None and key.startswith("\0"))
        assert 0 <= time.time() * 1000 - ingested < 600_000
        assert stamp == produced
        return cls(key, *fields)


def source(env: StreamExecutionEnvironment, path: Path, **settings: Any) -> DataStream:
    """`files.file_source`; what is not set is as harmless as can be."""
    reading = READING._replace(**{k: settings.pop(k) for k in READING._fields if k in settings})
    plain = {"input_name": "features", "watch": False, "hold_until_last_file": False}
    settings = {**plain, **settings, "reading": reading}
    return files.file_source(env, path=path, uid=f"source-{settings['input_name']}", **settings)


def collected(stream: DataStream) -> Iterator[Record]:
    """Run the job and give the stream's rows; it ends when the job does."""
    with stream.execute_and_collect() as rows:
        for key, value in rows:
            yield Record.of(key, bytes(value))


def write_ids(path: Path, counts: Counter[str]) -> None:
    """A line for each id, as often as it counts, a millisecond apart."""
    lines = [f'{{"id":"{id}","ts":{i}}}' for i, id in enumerate(counts.elements())]
    path.write_text("\n".join(lines).replace("\0", "\\u0000"))


def scattered(raw: bytes) -> str:
    """The key of a record that has none."""
    return f"\0{zlib.crc32(raw):08x}"
