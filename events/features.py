"""Features as text: how they travel, are stored and are hashed, and back."""

import hashlib
from typing import Final

import msgspec

from events.messages import FeatureValue

Features = dict[str, FeatureValue]

# Text in each of two generations. Decoded, features take some ten times the room of their text.
_ROOM_BYTES: Final = 2 << 20


class _Known:
    """What texts were decoded to lately, by text.

    A transaction is encoded by the join, decoded by the model to predict and again to learn, often
    within one process and soon after each other. Finding costs a tenth of decoding, and the names come
    back as the very strings that the model has met: River looks them up faster. Two generations, of
    which the older one is dropped when the younger is full, need no order kept on each use.
    """

    def __init__(self, room: int) -> None:
        self._room = room
        self._young: dict[bytes, Features] = {}
        self._old: dict[bytes, Features] = {}
        self._size = 0

    def remember(self, text: bytes, features: Features) -> None:
        self._size += len(text)
        if self._size > self._room:
            self._young, self._old, self._size = {}, self._young, len(text)
        self._young[text] = features

    def find(self, text: bytes) -> Features | None:
        found = self._young.get(text)
        return self._old.get(text) if found is None else found


_known = _Known(_ROOM_BYTES)
_write: Final = msgspec.json.Encoder().encode
_read: Final = msgspec.json.Decoder(Features).decode


def encode_features(features: Features) -> bytes:
    """The features as compact JSON, in their order; `decode_features` gives back the same values.

    The features must not be changed afterwards.

    >>> encode_features({"b": 1, "a": 1.0})
    b'{"b":1,"a":1.0}'
    """
    text = _write(features)
    _known.remember(text, features)
    return text


def decode_features(text: bytes) -> Features:
    """The features that `encode_features` wrote: integers stay integers, floats are equal to the bit.

    They are the caller's own, to change at will.
    """
    features = _known.find(text)
    if features is None:
        features = _read(text)
        _known.remember(text, features)
    return features.copy()


def input_digest(id: str, features: bytes) -> str:
    """Names what a model was given: SHA-256 of the id, a NUL and the features' compact JSON, in hex."""
    return hashlib.sha256(id.encode() + b"\0" + features).hexdigest()
