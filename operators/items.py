"""What LabelJoin sends to OnlineModel: plain tuples, so that pickling them is cheap and stable.

Every item is `(kind, id, ...)`; a request and its example travel on the same channel, in order.
Under `ordering = "event_time"` an item travels as `(time, rank, id, index, item)`: `rank` orders
what happens in one millisecond, `index` what one transaction does there.
"""

from typing import Any, Final, Literal, NamedTuple

REQUEST: Final = 0
EXAMPLE: Final = 1
FORGET: Final = 2

Item = tuple[Any, ...]

RANK_LABEL: Final = 1  # 0 is control
RANK_TIMEOUT: Final = 2
RANK_FEATURES: Final = 3


class Origin(NamedTuple):
    """Where a record came from; `raw` None for a record without a value."""

    input: str | None
    position: str | None
    raw: bytes | None


class Request(NamedTuple):
    """A transaction to predict: `features` is compact JSON, `time` that of the features in ms."""

    id: str
    time: int
    features: bytes
    input: str | None
    position: str | None


class Example(NamedTuple):
    """A label for a transaction; `features` None: only to evaluate, not to learn.

    `source` is `label`, `assumed` or `correction`, or `arrival` for what is learned without a label;
    `last` says that no other evaluation of this transaction can come.
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


def request(asked: Request) -> Item:
    """What travels of a request."""
    return (REQUEST, *asked)


def example(labelled: Example) -> Item:
    """What travels of an example."""
    return (EXAMPLE, *labelled)


def forget(id: str) -> Item:
    """The transaction has ended: what was kept to evaluate it can go."""
    return (FORGET, id)
