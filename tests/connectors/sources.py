"""A file source with everything at its plainest, and its records as Python sees them."""

import pickle
import zlib
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
    def of(cls, key: str, value: bytes) -> Self:
        """The record of a row; the id in its value is its key, unless it has none."""
        *fields, id = pickle.loads(value)
        assert id == (None if key.startswith("\0") else key)
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


def scattered(raw: bytes) -> str:
    """The key of a record that has none."""
    return f"\0{zlib.crc32(raw):08x}"
