"""What LabelJoin sends to OnlineModel: plain tuples, so that pickling them is cheap and stable.

Every item is `(kind, id, ...)`; a request and its example travel on the same channel, in order.
Under `ordering = "event_time"` an item travels as `(time, rank, id, index, item)`: `rank` orders
what happens in one millisecond, `index` what one transaction does there.
"""

from typing import Any, Final, NamedTuple

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


NOWHERE = Origin(None, None, None)


def request(id: str, time: int, features: bytes, origin: Origin) -> Item:
    """A transaction to predict: `features` is compact JSON, `time` that of the features in ms."""
    return (REQUEST, id, time, features, origin.input, origin.position)


def example(
    id: str,
    time: int,
    features: bytes | None,
    label: Any,
    weight: float | None,
    label_time: int,
    source: str,
    late: bool,
    last: bool,
    origin: Origin,
) -> Item:
    """A label for a transaction; `features` None: only to evaluate, not to learn.

    `last` says that no other evaluation of this transaction can come.
    """
    return (
        EXAMPLE,
        id,
        time,
        features,
        label,
        weight,
        label_time,
        source,
        late,
        last,
        origin.input,
        origin.position,
    )


def forget(id: str) -> Item:
    """The transaction has ended: what was kept to evaluate it can go."""
    return (FORGET, id)
