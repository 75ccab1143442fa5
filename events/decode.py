"""Bytes to events: one pass of a JSON decoder for a good record, a diagnosis for a bad one.

A good record costs about a microsecond, so nothing here asks why a record is bad: whatever looks
wrong is handed to `events.diagnosis`, which reads it again from the start.
"""

import base64
import codecs
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from events.diagnosis import diagnose
from events.limits import FeatureType, Limits, Schema, TimeRange
from events.messages import Event, FeatureValue, Label, Rejected, Time, TransactionId, Weight

__all__ = [
    "Decoder",
    "Limits",
    "Schema",
    "TimeRange",
    "dead_letter_raw",
]


def _reader(limits: Limits, allow_extra: bool) -> Callable[[bytes], Any]:
    """Reads any of the events that messages.py describes, within the limits."""
    name = Annotated[str, Meta(max_length=limits.name_length)]
    features = Annotated[dict[name, FeatureValue | None], Meta(max_length=limits.features)]
    fields: list[tuple[str, Any] | tuple[str, Any, Any]] = [
        ("id", Annotated[TransactionId, Meta(max_length=limits.name_length)]),
        ("ts", Time),
        ("features", features | UnsetType, UNSET),
        ("label", Label | UnsetType, UNSET),
        ("weight", Weight | None, None),
    ]
    record = msgspec.defstruct("Record", fields, forbid_unknown_fields=not allow_extra, gc=False)
    return msgspec.json.Decoder(record).decode


# What the decoder makes of each type; `type(True)` is bool, so an integer is never a boolean here.
_PYTHON_TYPES: Final[dict[FeatureType, frozenset[type]]] = {
    "number": frozenset({int, float}),
    "integer": frozenset({int}),
    "boolean": frozenset({bool}),
    "string": frozenset({str}),
}

_ANY_VALUE: Final[frozenset[type]] = frozenset({bool, int, float, str})


class _Types(dict[str, frozenset[type]]):
    """Feature name -> the types it may have; a name that the schema lacks may have `others`."""

    others: frozenset[type]

    def __missing__(self, name: str) -> frozenset[type]:
        return self.others


def _fit(types: _Types, features: Mapping[str, FeatureValue | None]) -> bool:
    """Whether every feature has one of its types; no null has. Measured: `all` over a map is slower."""
    for name, value in features.items():
        if type(value) not in types[name]:
            return False
    return True


def _without_nulls(features: dict[str, FeatureValue | None]) -> dict[str, FeatureValue]:
    return {name: value for name, value in features.items() if value is not None}


_REFUSALS: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Decoder:
    """Turns a record's bytes into what they mean, or says why they mean nothing.

    Parameters
    ----------
    limits : Limits
    allow_extra : bool
        Leave fields that no event has out of account instead of refusing the record.
    schema : Schema or None
        What the features may be; None lets everything through.

    Examples
    --------
    >>> decoder = Decoder(Limits())
    >>> decoder.decode(b'{"id": "t1", "features": {"amount": 5, "shop": null}, "ts": 0}')
    Event(id='t1', ts=0, features={'amount': 5}, label=None, weight=None)
    >>> decoder.decode(b'{"id": "t1", "ts": 0}').reason
    <Reason.NO_EVENT: 'no_event'>
    """

    def __init__(
        self, limits: Limits, allow_extra: bool = False, schema: Schema | None = None
    ) -> None:
        self.limits = limits
        self.allow_extra = allow_extra
        self.schema = schema
        self._read = _reader(limits, allow_extra)
        self._types: _Types | None = None
        self._drops = schema is not None and schema.unknown == "drop"
        if schema is not None:
            self._types = _Types({name: _PYTHON_TYPES[type] for name, type in schema.types.items()})
            self._types.others = _ANY_VALUE if schema.unknown == "keep" else frozenset()

    def __reduce__(self) -> tuple[Any, ...]:
        # Travels to the workers as its settings: msgspec's decoders cannot be pickled.
        return Decoder, (self.limits, self.allow_extra, self.schema)

    def decode(self, raw: bytes | None) -> Event | Rejected:
        """The event in these bytes; None is a record without a value.

        Features come without nulls, under the schema, in the order received. Where a name stands
        twice in an object each value must be valid, and the last counts.
        """
        limits = self.limits
        if raw is None or len(raw) > limits.record_bytes:
            return self._refuse(raw)
        try:
            record = self._read(raw)
        except _REFUSALS as error:
            return self._refuse(raw, str(error))
        id, given, said, weight = record.id, record.features, record.label, record.weight
        features: dict[str, FeatureValue] | None = None
        label: Label | None = None
        if given is not UNSET:
            features = self._let_through(given, raw)
            if features is None:
                return self._refuse(raw)
        elif said is UNSET:
            return self._refuse(raw)
        if said is not UNSET:
            label = said
            if weight is not None:
                weight = _exact_float(weight)
                if weight is None:
                    return self._refuse(raw)
        elif weight is not None:
            if not self.allow_extra:
                return self._refuse(raw)
            weight = None
        if self.allow_extra and not _ignorable(raw, limits.depth):
            return self._refuse(raw)
        # What Event(...) does, at a third of its cost.
        return tuple.__new__(Event, (id, record.ts, features, label, weight))

    def _let_through(
        self, given: dict[str, FeatureValue | None], raw: bytes
    ) -> dict[str, FeatureValue] | None:
        """The features without nulls, under the schema; None if they break it."""
        types = self._types
        if types is None:
            # Looking for the word costs a tenth of looking at the values.
            return _without_nulls(given) if b"null" in raw else given  # type: ignore[return-value]
        if _fit(types, given):
            return given  # type: ignore[return-value]
        features = _without_nulls(given)
        if self._drops:
            features = {name: value for name, value in features.items() if name in types}
        return features if _fit(types, features) else None

    def _refuse(self, raw: bytes | None, complaint: str = "") -> Rejected:
        return diagnose(raw, self.limits, self.allow_extra, self.schema, complaint)


def _exact_float(weight: float) -> float | None:
    """None for an integer that no float equals: nothing may be rounded unnoticed."""
    try:
        exact = float(weight)
    except OverflowError:
        return None
    return exact if exact == weight else None


_OPENING_OR_CLOSING: Final = re.compile(rb'"(?:[^"\\]|\\.)*"|([\[{])|([\]}])', re.DOTALL)


def _ignorable(raw: bytes, depth: int) -> bool:
    """Whether the limits hold inside the fields that were skipped, which msgspec does not look into."""
    if not raw.isascii():
        try:
            raw.decode()
        except UnicodeDecodeError:
            return False
    if raw.count(b"{") + raw.count(b"[") <= depth:
        return True
    level = 0
    for token in _OPENING_OR_CLOSING.finditer(raw):
        if token[1]:
            level += 1
            if level > depth:
                return False
        elif token[2]:
            level -= 1
    return True


_BASE64: Final = "base64:"


def dead_letter_raw(raw: bytes | None, limit: int) -> str | None:
    """What a dead letter shows of a record: its first `limit` bytes, never half a character.

    Bytes that are not UTF-8 come as Base64 behind `base64:`, and so does a text that itself begins
    like that.

    >>> dead_letter_raw("5 €".encode(), 4), dead_letter_raw(b"\\xff", 4)
    ('5 ', 'base64:/w==')
    """
    if raw is None:
        return None
    shown = raw[:limit]
    try:
        # Bytes of a character that is cut off at the end are held back, not refused.
        text = codecs.getincrementaldecoder("utf-8")().decode(shown, final=len(raw) <= limit)
    except UnicodeDecodeError:
        return _BASE64 + base64.b64encode(shown).decode()
    return _BASE64 + base64.b64encode(shown).decode() if text.startswith(_BASE64) else text
