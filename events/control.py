"""Control messages: bytes to a payload, signed or not, or why they are none."""

from typing import Any, Final, NamedTuple

import msgspec
from msgspec import UNSET

from events.limits import Limits
from events.messages import ControlPayload, Rejected, SignedControl
from events.reasons import Reason

# What an operation takes, besides what all do; of `deploy`, exactly one of the last three.
_MODELS: Final = ("spec", "artifact", "from_version")
FIELDS: Final[dict[str, tuple[str, ...]]] = {
    "deploy": ("task", "role", *_MODELS, "feed_from"),
    "promote": (),
    "rollback": ("version",),
    "pin": ("version",),
    "unpin": (),
    "freeze": (),
    "unfreeze": (),
    "split": ("weights",),
    "retire": (),
    "publish": (),
}
_ALL_FIELDS: Final = ("task", "role", *_MODELS, "feed_from", "version", "weights")


class ControlMessage(NamedTuple):
    """A control payload, its exact text, and who signed that; None where nobody did."""

    payload: ControlPayload
    text: bytes
    key_id: str | None
    signature: str | None


def read_control(raw: bytes | None, limits: Limits) -> ControlMessage | Rejected:
    """The control message in a record; None is a record without a value.

    Examples
    --------
    >>> read_control(b'{"job":"j","issuer":"i","seq":1,"op":"freeze","model":"m"}', Limits()).text
    b'{"job":"j","issuer":"i","seq":1,"op":"freeze","model":"m"}'
    >>> read_control(b'{"job":"j","issuer":"i","seq":1,"op":"pin","model":"m"}', Limits()).detail
    'pin needs version'
    """
    if raw is None:
        return Rejected(Reason.NO_VALUE, "the record has no value")
    if len(raw) > limits.record_bytes:
        return Rejected(Reason.TOO_LARGE, "more bytes than [limits] record_bytes")
    found = _object(raw)
    if isinstance(found, Rejected):
        return found
    if "payload" not in found:
        return _message(found, raw, None, None)
    try:
        signed = msgspec.convert(found, SignedControl)
    except msgspec.ValidationError as error:
        return _bad(error)
    text = signed.payload.encode()
    inside = _object(text)
    if isinstance(inside, Rejected):
        return inside
    return _message(inside, text, signed.key_id, signed.signature)


def _object(raw: bytes) -> dict[str, Any] | Rejected:
    if not raw.strip():
        return Rejected(Reason.EMPTY, "the record is empty")
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        return Rejected(Reason.NOT_UTF8, str(error))
    try:
        found = msgspec.json.decode(raw)
    except RecursionError:
        return Rejected(Reason.TOO_DEEP, "nested too deeply to be read")
    except msgspec.DecodeError as error:
        return Rejected(Reason.NOT_JSON, str(error))
    if not isinstance(found, dict):
        return Rejected(Reason.NOT_OBJECT, f"{type(found).__name__} instead of an object")
    return found


def _message(
    found: dict[str, Any], text: bytes, key_id: str | None, signature: str | None
) -> ControlMessage | Rejected:
    try:
        payload = msgspec.convert(found, ControlPayload)
    except RecursionError:
        return Rejected(Reason.TOO_DEEP, "nested too deeply to be read")
    except msgspec.ValidationError as error:
        return _bad(error)
    problem = _misfit(payload)
    if problem is not None:
        return Rejected(Reason.BAD_FIELD, problem)
    return ControlMessage(payload, text, key_id, signature)


def _bad(error: msgspec.ValidationError) -> Rejected:
    unknown = "unknown field" in str(error)
    return Rejected(Reason.UNKNOWN_FIELD if unknown else Reason.BAD_FIELD, str(error))


def _misfit(payload: ControlPayload) -> str | None:
    """What the operation lacks, or has and does not take."""
    op = payload.op
    given = {name for name in _ALL_FIELDS if getattr(payload, name) is not UNSET}
    for name in _ALL_FIELDS:
        if name in given and name not in FIELDS[op]:
            return f"{op} takes no {name}"
    if op == "deploy":
        models = [name for name in _MODELS if name in given]
        if len(models) != 1:
            return (
                f"deploy needs one of {', '.join(_MODELS)}; it has {' and '.join(models) or 'none'}"
            )
        if "spec" in given and "task" not in given:
            return "deploy of a spec needs task"
        if "feed_from" in given and "spec" not in given:
            return "feed_from goes with a spec: others go on from what they have learned"
        return None
    missing = [name for name in FIELDS[op] if name not in given]
    return f"{op} needs {', '.join(missing)}" if missing else None
