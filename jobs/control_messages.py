"""Control messages as JSON texts: checked, signed, read."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from events.control import FIELDS, ControlMessage, read_control
from events.limits import Limits
from events.messages import ControlPayload, Rejected
from jobs.errors import Failure
from jobs.reading import nearest
from state.signing import SigningKey, signed_control

# How large a message may be depends on the job, and is asked when it is sent.
_ANY_SIZE: Final = Limits(record_bytes=1 << 30)
_BOM: Final = "\ufeff"


def payload_text(fields: Mapping[str, Any]) -> str:
    """The JSON text of a payload, fields in the order given.

    Raises
    ------
    Failure
        As `read_payload`.
    """
    text = msgspec.json.encode(fields).decode()
    read_payload(text)
    return text


def read_payload(text: str) -> ControlPayload:
    """The payload that a JSON text is.

    Raises
    ------
    Failure
        It is none; the text says what is wrong with it.

    Examples
    --------
    >>> read_payload('{"job":"j","issuer":"i","seq":1,"op":"pim","model":"m"}')
    Traceback (most recent call last):
    jobs.errors.Failure: no control message: op is 'pim'; did you mean "pin"?
    """
    found = read_message(text)
    if found.key_id is not None:
        raise Failure("this is a signed message already; its payload is expected")
    return found.payload


def read_message(text: str) -> ControlMessage:
    """A control message in either form, signed or plain; the signature is not looked at.

    Raises
    ------
    Failure
        The text is none; the error says why.
    """
    if text.startswith(_BOM):
        raise Failure("no control message: it begins with a byte order mark, which JSON has not")
    found = read_control(text.encode(), _ANY_SIZE)
    if isinstance(found, Rejected):
        raise Failure(f"no control message: {_unknown_op(text) or found.detail}")
    return found


def _unknown_op(text: str) -> str | None:
    try:
        op = msgspec.json.decode(text, type=_Operation).op
    except (msgspec.DecodeError, RecursionError):
        return None
    return None if op in FIELDS else f"op is {op!r}; {nearest(op, FIELDS)}"


class _Operation(msgspec.Struct):
    op: str


def sign(text: str, key: SigningKey) -> str:
    """The signed form of a payload, whose text is kept to the byte.

    Raises
    ------
    Failure
        As `read_payload`.

    Examples
    --------
    >>> payload = '{"job":"j", "issuer":"i", "seq":1, "op":"freeze", "model":"m"}'
    >>> msgspec.json.decode(sign(payload, SigningKey.generate()))["payload"] == payload
    True
    """
    read_payload(text)
    return signed_control(text, key)
