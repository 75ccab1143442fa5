"""Version names and the hash chain under them.

A version is a model after exactly these entries of its log. `head_0` is the SHA-256 of the genesis
JSON, `head_k = SHA-256(head_{k-1} || SHA-256(entry bytes))`. A name shows the first 12 of a head's
64 hex digits; code compares whole heads.
"""

from hashlib import sha256
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

import msgspec

SHOWN_DIGITS = 12


def genesis(origin: Any, model: str, lane: str | None) -> bytes:
    """Head of a model that has learned nothing.

    Parameters
    ----------
    origin : JSON value
        The stored spec, or `{"pickle": <SHA-256 of its bytes>}` for an object given in Python.
    """
    return sha256(
        msgspec.json.encode({"spec": origin, "model": model, "lane": lane}, order="sorted")
    ).digest()


def advance(head: bytes, entry: bytes) -> bytes:
    """Head after one more entry."""
    return sha256(head + sha256(entry).digest()).digest()


def version_name(model: str, lane: str | None, n: int, head: bytes) -> str:
    """`NAME@N-HEX`, with lanes `NAME/LANE@N-HEX`; N counts the examples in this state.

    >>> version_name("fraud", "shop 7/b", 3, bytes(32))
    'fraud/shop%207%2Fb@3-000000000000'
    """
    return f"{place_of(model, lane)}@{n}-{head.hex()[:SHOWN_DIGITS]}"


def place_of(model: str, lane: str | None) -> str:
    """What the names of a model's versions in a lane begin with: `NAME` or `NAME/LANE`."""
    return model if lane is None else f"{model}/{quote(lane, safe='')}"


class VersionName(NamedTuple):
    """The parts of a version's name; `digits` are the first hex digits of its head."""

    model: str
    lane: str | None
    n: int
    digits: str


def parse_version(name: str) -> VersionName:
    """Take a version's name apart.

    Raises
    ------
    ValueError
        If `name` is not of the form `NAME@N-HEX` or `NAME/LANE@N-HEX`.

    >>> parse_version("fraud/shop%207%2Fb@3-000000000000")
    VersionName(model='fraud', lane='shop 7/b', n=3, digits='000000000000')
    """
    place, at, state = name.rpartition("@")
    n, dash, digits = state.partition("-")
    if not (at and dash and n.isdecimal() and len(digits) == SHOWN_DIGITS):
        raise ValueError(f"{name!r} is not a version: expected NAME@N-HEX or NAME/LANE@N-HEX")
    model, slash, lane = place.partition("/")
    return VersionName(model, unquote(lane) if slash else None, int(n), digits)
