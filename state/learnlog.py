"""Entries of the learn log: what changed a model, in order, each under a hash.

An entry's bytes are the JSON text of its record without `parent`, `version` and `head`; the record
is these bytes with the three appended. So the chain can be checked from the text of the log alone.
"""

from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Literal

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


def op_text(op: str, fields: Mapping[str, Any] | None = None) -> str:
    """What a control entry's `op` says: the operation and, where it has any, its fields as JSON.

    >>> op_text("rollback", {"version": "m@3-0123456789ab"})
    'rollback {"version":"m@3-0123456789ab"}'
    """
    return f"{op} {msgspec.json.encode(fields).decode()}" if fields else op


def parse_op(text: str) -> tuple[str, dict[str, Any]]:
    """The operation and its fields, from a control entry's `op`.

    >>> parse_op('rollback {"version":"m@3-0123456789ab"}')
    ('rollback', {'version': 'm@3-0123456789ab'})
    >>> parse_op("freeze")
    ('freeze', {})
    """
    op, _, fields = text.partition(" ")
    return op, msgspec.json.decode(fields) if fields else {}


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


def erased_record(record: str) -> str:
    """The record without what it holds of a transaction: the digest of the entry's bytes stands for it.

    Its kind, model, lane and count stay, and so do parent, version and head: the chain goes through
    the digest as it went through the entry. An erased record stays as it is.

    >>> entry = encode_entry(Entry("example", "m", None, 1, "t1", Raw(b'{"a":1}')))
    >>> erased = msgspec.json.decode(erased_record(log_record(entry, "p", "v", b"\\x01")))
    >>> erased["erased"] == sha256(entry).hexdigest(), erased["id"], erased["features"], erased["head"]
    (True, None, None, '01')
    """
    cut = record.rindex(',"parent":')
    entry = record[:cut].encode() + b"}"
    found = msgspec.json.decode(entry, type=_Erasable)
    if found.erased is not None:
        return record
    kept = encode_entry(Entry(found.kind, found.model, found.lane, found.n)).decode()
    return f'{kept[:-1]},"erased":"{sha256(entry).hexdigest()}"{record[cut:]}'


class _Erasable(Struct):
    kind: Kind
    model: str
    lane: str | None
    n: int
    erased: str | None = None
