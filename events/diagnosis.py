"""Why a record is refused: reads it again, slowly, and says in a sentence what is wrong where.

Runs only on records that the decoder has turned down. It uses the standard library's JSON reader,
which, told to, keeps what msgspec throws away: every value under a repeated name, NaN, lone
surrogates.
"""

import json
import math
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from events.limits import FeatureType, Limits, Schema
from events.messages import Rejected
from events.reasons import Reason

FIELDS: Final = ("id", "features", "label", "ts", "weight")

_SHOWN_CHARACTERS: Final = 80
_VALUE: Final = "a number, a boolean or a string"
_MILLISECONDS: Final = "a whole number of milliseconds since 1970-01-01 within 64 bits"
_POSITIVE: Final = "a finite number above 0"
_WHITE_SPACE: Final = b" \t\r\n"
_BYTE_ORDER_MARK: Final = "\ufeff"

# msgspec, like Python, does not read longer ones.
_INTEGER_DIGITS: Final = 4300


class _Object(list[tuple[str, Any]]):
    """A JSON object with all its members in order, also those under a repeated name."""


class _Word(str):
    """NaN, Infinity or -Infinity."""


class _LongInteger(str):
    """The text of an integer that is too long to be read."""


def _integer(text: str) -> int | _LongInteger:
    digits = len(text) - text.startswith("-")
    return int(text) if digits <= _INTEGER_DIGITS else _LongInteger(text)


_reader: Final = json.JSONDecoder(
    object_pairs_hook=_Object, parse_constant=_Word, parse_int=_integer
)


class _Fault(NamedTuple):
    reason: Reason
    detail: str


def diagnose(
    raw: bytes | None, limits: Limits, allow_extra: bool, schema: Schema | None, complaint: str = ""
) -> Rejected:
    """Say why these bytes are no event; they are known to be none.

    Parameters
    ----------
    complaint : str
        What the decoder said, for the detail should nothing be found here.
    """
    if raw is None:
        return Rejected(Reason.NO_VALUE, "the record has no value", None)
    if len(raw) > limits.record_bytes:
        detail = f"the record has {len(raw)} bytes; [limits] record_bytes is {limits.record_bytes}"
        return Rejected(Reason.TOO_LARGE, detail, None)
    if not raw.strip(_WHITE_SPACE):
        return Rejected(Reason.EMPTY, f"the record is {len(raw)} bytes of white space", None)
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        detail = f"byte {raw[error.start]:#04x} at offset {error.start} is not UTF-8"
        return Rejected(Reason.NOT_UTF8, detail, None)
    if text.startswith(_BYTE_ORDER_MARK):
        detail = "begins with a byte order mark (EF BB BF), which JSON does not have"
        return Rejected(Reason.NOT_JSON, detail, None)
    try:
        value = _reader.decode(text)
    except RecursionError:
        return Rejected(*_too_deep(limits), None)
    except json.JSONDecodeError as error:
        return Rejected(Reason.NOT_JSON, f"{error.msg} at character {error.pos}", None)
    id = _readable_id(value, limits)
    fault = _fault(value, limits, allow_extra, schema)
    if fault is None:
        fault = _Fault(Reason.NOT_JSON, f"cannot be read: {complaint}")
    return Rejected(*fault, id)


def _fault(value: Any, limits: Limits, allow_extra: bool, schema: Schema | None) -> _Fault | None:
    fault = _wrong_anywhere(value, limits, allow_extra)
    if fault is not None:
        return fault
    if not isinstance(value, _Object):
        return _Fault(Reason.NOT_OBJECT, f"the record is {show(value)}; an object is expected")
    return (
        _unknown_field(value, allow_extra)
        or _bad_field(value)
        or _no_event(value, allow_extra)
        or _over_limits(value, limits)
        or _against_schema(_members(value).get("features"), schema)
    )


def _wrong_anywhere(value: Any, limits: Limits, allow_extra: bool) -> _Fault | None:
    """What no JSON value may hold, at whatever depth."""
    deepest = 0
    for path, depth, node in _nodes(value):
        ignored = allow_extra and bool(path) and path[0] not in FIELDS
        deepest = max(deepest, depth)
        if isinstance(node, _Word):
            return _Fault(Reason.NOT_FINITE, f"{_place(path)} is {node}, which is not JSON")
        if isinstance(node, float) and not math.isfinite(node) and not ignored:
            detail = f"{_place(path)} is a number too large for a 64-bit float"
            return _Fault(Reason.NOT_FINITE, detail)
        texts = (node, *path[-1:]) if isinstance(node, str) else path[-1:]
        if any(isinstance(text, str) and _has_surrogate(text) for text in texts):
            detail = f"{_place(path)} holds half a surrogate pair, which is not text"
            return _Fault(Reason.NOT_JSON, detail)
    if deepest > limits.depth and isinstance(value, _Object):
        return _too_deep(limits)
    return None


def _nodes(root: Any) -> Iterator[tuple[tuple[str | int, ...], int, Any]]:
    """Every value with its path and how many objects and arrays it is or lies in, as they stand."""
    waiting: list[tuple[tuple[str | int, ...], int, Any]] = [((), 0, root)]
    while waiting:
        path, outside, node = waiting.pop()
        if not isinstance(node, list):
            yield path, outside, node
            continue
        yield path, outside + 1, node
        members = node if isinstance(node, _Object) else enumerate(node)
        waiting.extend(reversed([((*path, key), outside + 1, member) for key, member in members]))


def _too_deep(limits: Limits) -> _Fault:
    detail = f"nested deeper than {limits.depth} levels, which [limits] depth allows"
    return _Fault(Reason.TOO_DEEP, detail)


def _unknown_field(record: _Object, allow_extra: bool) -> _Fault | None:
    if not allow_extra:
        for name, _ in record:
            if name not in FIELDS:
                detail = f"field {show(name)} is none of {', '.join(FIELDS)}"
                return _Fault(Reason.UNKNOWN_FIELD, detail)
    return None


def _bad_field(record: _Object) -> _Fault | None:
    present = _members(record)
    for name in ("id", "ts"):
        if name not in present:
            return _Fault(Reason.BAD_FIELD, f"{name} is missing")
    for name, value in record:
        expected = _expected(name, value)
        if expected is not None:
            detail = f"{name} is {show(value)}; {expected} is expected"
            return _Fault(Reason.BAD_FIELD, detail)
        if name == "features":
            for feature, given in value:
                if given is not None and not _is_value(given):
                    detail = f"feature {show(feature)} is {show(given)}; {_VALUE} is expected"
                    return _Fault(Reason.BAD_FIELD, detail)
    return None


def _expected(name: str, value: Any) -> str | None:
    """What should stand in this field instead; None if the value will do."""
    match name:
        case "id" if not isinstance(value, str) or not value or isinstance(value, _LongInteger):
            return "a string that is not empty"
        case "ts" if type(value) is not int or not -(2**63) <= value < 2**63:
            return _MILLISECONDS
        case "features" if not isinstance(value, _Object):
            return "an object"
        case "label" if not _is_value(value):
            return _VALUE
        case "weight" if value is not None and not _is_weight(value):
            return _POSITIVE
    return None


def _is_value(value: Any) -> bool:
    return isinstance(value, bool | int | float | str) and not isinstance(value, _LongInteger)


def _is_weight(value: Any) -> bool:
    if type(value) not in (int, float) or value <= 0:
        return False
    try:
        return float(value) == value
    except OverflowError:
        return False


def _no_event(record: _Object, allow_extra: bool) -> _Fault | None:
    present = _members(record)
    if "label" in present:
        return None
    if "features" not in present:
        return _Fault(Reason.NO_EVENT, "the record has neither features nor a label")
    if present.get("weight") is not None and not allow_extra:
        detail = "field weight belongs to a label, and the record has none"
        return _Fault(Reason.UNKNOWN_FIELD, detail)
    return None


def _over_limits(record: _Object, limits: Limits) -> _Fault | None:
    present = _members(record)
    names = dict(present.get("features", ())).keys()
    if len(names) > limits.features:
        detail = f"{len(names)} features; [limits] features is {limits.features}"
        return _Fault(Reason.TOO_MANY_FEATURES, detail)
    named = {f"feature {show(name)}": name for name in names} | {"id": present["id"]}
    for what, name in named.items():
        if len(name) > limits.name_length:
            detail = (
                f"{what} has {len(name)} characters; [limits] name_length is {limits.name_length}"
            )
            return _Fault(Reason.NAME_TOO_LONG, detail)
    return None


def _against_schema(features: _Object | None, schema: Schema | None) -> _Fault | None:
    if schema is None or features is None:
        return None
    for name, value in dict(features).items():
        if value is None:
            continue
        if name not in schema.types:
            if schema.unknown == "reject":
                detail = f"feature {show(name)} is not in [features.schema]"
                return _Fault(Reason.SCHEMA, detail)
        elif not _is_a(value, schema.types[name]):
            detail = (
                f"feature {show(name)} is {show(value)}; "
                f'[features.schema] says "{schema.types[name]}"'
            )
            return _Fault(Reason.SCHEMA, detail)
    return None


def _is_a(value: Any, type: FeatureType) -> bool:
    match type:
        case "boolean":
            return isinstance(value, bool)
        case "string":
            return isinstance(value, str)
        case "integer":
            return isinstance(value, int) and not isinstance(value, bool)
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)


def _members(record: _Object) -> dict[str, Any]:
    """As the decoder sees them: the last under each name."""
    return dict(record)


def _readable_id(value: Any, limits: Limits) -> str | None:
    id = _members(value).get("id") if isinstance(value, _Object) else None
    if type(id) is not str or not 0 < len(id) <= limits.name_length or _has_surrogate(id):
        return None
    return id


def _has_surrogate(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _place(path: tuple[str | int, ...]) -> str:
    """`features["amount"]`; a path that is empty is the record itself."""
    if not path:
        return "the record"
    first, *rest = path
    begin = first if first in FIELDS else f"[{show(first)}]"
    return f"{begin}{''.join(f'[{show(step)}]' for step in rest)}"


def show(value: Any) -> str:
    """A value in few words, as JSON where it is short."""
    match value:
        case _Object():
            return "an object"
        case list():
            return "an array"
        case _LongInteger():
            return f"an integer of {len(value)} digits"
        case str() if _has_surrogate(value):
            return _cut(json.dumps(value))
        case _:
            return _cut(json.dumps(value, ensure_ascii=False))


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"
