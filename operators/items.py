"""What LabelJoin sends to OnlineModel: plain tuples, so that pickling them is cheap and stable.

Every item is `(kind, id, ...)`; a request and its example travel on the same channel, in order.
Under `ordering = "event_time"` an item travels as `(time, rank, id, index, item)`: `rank` orders
what happens in one millisecond, `index` what one transaction does there.
"""

from collections.abc import Callable
from typing import Any, Final, Literal, NamedTuple

REQUEST: Final = 0
EXAMPLE: Final = 1
FORGET: Final = 2
CONTROL: Final = 3
REPEAT: Final = 4

Item = tuple[Any, ...]

RANK_CONTROL: Final = 0
RANK_LABEL: Final = 1
RANK_TIMEOUT: Final = 2
RANK_FEATURES: Final = 3


class Origin(NamedTuple):
    """Where a record came from; `raw` None for a record without a value."""

    input: str | None
    position: str | None
    raw: bytes | None


class Request(NamedTuple):
    """A transaction to predict: `features` is compact JSON, `time` that of the features in ms.

    `stamps`, for metrics only, says when the record came, see operators/recent.py; empty where nobody
    knows.
    """

    id: str
    time: int
    features: bytes
    input: str | None
    position: str | None
    stamps: bytes = b""


class Example(NamedTuple):
    """A label for a transaction; `features` None: only to evaluate, not to learn.

    `source` is `label`, `assumed` or `correction`, or `arrival` for what is learned without a label;
    `last` says that no other evaluation of this transaction can come; `replaces` is the label that a
    correction takes the place of, `replaces_assumed` whether that was assumed only.
    """

    id: str
    time: int
    features: bytes | None
    label: Any
    weight: float | None
    label_time: int
    source: Literal["label", "assumed", "correction", "arrival"]
    late: bool
    last: bool
    input: str | None
    position: str | None
    replaces: Any = None
    replaces_assumed: bool = False


def request(asked: Request) -> Item:
    """What travels of a request."""
    return (REQUEST, *asked)


def stamped(asked: Item, stamps: bytes) -> Item:
    """The item of a request, with when its record came."""
    return (*asked[:-1], stamps)


def asked_of_item(item: Item) -> Request:
    """The request that travelled; one in the state of an earlier release is without stamps."""
    return _new(Request, item[1:]) if len(item) == _STAMPED else Request(*item[1:])


def example(labelled: Example) -> Item:
    """What travels of an example."""
    return (EXAMPLE, *labelled)


def forget(id: str) -> Item:
    """The transaction has ended: what was kept to evaluate it can go."""
    return (FORGET, id)


# What a named tuple's own constructor does, at a third of its cost.
_new: Callable[..., Any] = tuple.__new__
_STAMPED: Final = 1 + len(Request._fields)


class Operation(NamedTuple):
    """A control message that the gate let through.

    Attributes
    ----------
    number : int
        Its place among all of them, from 1.
    time : int
        Under `ordering = "event_time"` when it takes effect, ms since the epoch; else 0.
    text : bytes
        The JSON text of its payload.
    settings : bytes or None
        `deploy` of a spec or an artifact: JSON of `operators.live.ModelSettings`.
    artifact : bytes or None
        `deploy` of an artifact: the file, whose signature was checked.
    acks : bool
        Whether the lane says what came of it; else the gate has.
    """

    number: int
    time: int
    text: bytes
    settings: bytes | None
    artifact: bytes | None
    acks: bool


def control(id: str, operation: Operation) -> Item:
    """What travels of an operation; its id orders those of one millisecond."""
    return (CONTROL, id, *operation)


def repeat(id: str, issuer: str, seq: int) -> Item:
    """The message came again: so does its ack."""
    return (REPEAT, id, issuer, seq)


def effective(item: Item) -> int:
    """When something of the gate takes effect, in event time; 0 where it does when it comes."""
    return int(item[3]) if item[0] == CONTROL else 0
