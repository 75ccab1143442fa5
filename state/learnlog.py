"""Entries of the learn log: what changed a model, in order, each under a hash.

An entry's bytes are the JSON text of its record without `parent`, `version` and `head`; the record
is these bytes with the three appended. So the chain can be checked from the text of the log alone.
"""

from typing import Literal

import msgspec
from msgspec import Raw, Struct

Kind = Literal["example", "control", "environment", "request"]


NO_FEATURES = Raw(b"null")


class Entry(Struct, frozen=True):
    """One step of a model; `n` counts the examples after it.

    `features` is the compact JSON text that the model was given; `event_time` the time of the
    features, ms since the epoch; `source` is `label`, `assumed`, `correction`, or `arrival` where an
    anomaly detector learned at once.
    """

    kind: Kind
    model: str
    lane: str | None
    n: int
    id: str | None = None
    features: Raw = NO_FEATURES
    label: bool | int | float | str | None = None
    weight: float | None = None
    source: str | None = None
    event_time: int | None = None
    op: str | None = None
    seq: int | None = None


def encode_entry(entry: Entry) -> bytes:
    """The entry's bytes: what is hashed, kept in state and replayed."""
    return msgspec.json.encode(entry)


def decode_entry(data: bytes) -> Entry:
    """The entry that these bytes are."""
    return msgspec.json.decode(data, type=Entry)


def log_record(entry: bytes, parent: str, version: str, head: bytes) -> str:
    """The learn log's record of an entry; versions hold no character that JSON escapes.

    >>> log_record(b'{"kind":"control"}', "m@0-ab", "m@0-cd", b"\\x01")
    '{"kind":"control","parent":"m@0-ab","version":"m@0-cd","head":"01"}'
    """
    return (
        f'{entry[:-1].decode()},"parent":"{parent}","version":"{version}","head":"{head.hex()}"}}'
    )


def entry_of_record(record: str) -> bytes:
    """The entry's bytes, cut from the text of its record.

    The last `,"parent":` is the one that `log_record` wrote: nothing behind it can hold another.
    """
    return record[: record.rindex(',"parent":')].encode() + b"}"
