"""An outcome on its way from the join to the learner, and what the job reads of its own topics."""

from typing import cast

import msgspec
from msgspec import Raw

from events.messages import QueuedRecord, Source
from operators.items import (
    EXAMPLE,
    REQUEST,
    Example,
    Item,
    Request,
    asked_of_item,
    example,
    forget,
    request,
)
from state.learnlog import NO_FEATURES


class _Queued(QueuedRecord, frozen=True):
    """A `QueuedRecord` whose features are the text that the model is given."""

    features: Raw = NO_FEATURES  # type: ignore[assignment]


_encode = msgspec.json.Encoder().encode
_read_queued = msgspec.json.Decoder(_Queued).decode


def queued_text(item: Item) -> str:
    """An item as a record of the learn queue."""
    kind, id, *_ = item
    if kind == EXAMPLE:
        labelled = Example(*item[1:])
        features = NO_FEATURES if labelled.features is None else Raw(labelled.features)
        record = _Queued(
            "example", id, labelled.time, features, labelled.label, labelled.weight,
            labelled.label_time, cast("Source", labelled.source), labelled.late, labelled.last,
            labelled.input, labelled.position, labelled.replaces,
            labelled.replaces_assumed,
        )  # fmt: skip
    elif kind == REQUEST:
        asked = asked_of_item(item)
        record = _Queued(
            "request", id, asked.time, Raw(asked.features),
            input=asked.input, position=asked.position,
        )  # fmt: skip
    else:
        record = _Queued("forget", id)
    return _encode(record).decode()


def queued_of(text: str) -> Item:
    """The item that `queued_text` wrote; a float stays one, an integer too.

    Raises
    ------
    msgspec.DecodeError
        The text is none.
    """
    record = _read_queued(text)
    features = None if record.features == NO_FEATURES else bytes(record.features)
    if record.kind == "forget":
        return forget(record.id)
    if record.time is None:
        raise msgspec.ValidationError("a record without a time")
    if record.kind == "request":
        if features is None:
            raise msgspec.ValidationError("a request without features")
        return request(Request(record.id, record.time, features, record.input, record.position))
    if record.label_time is None or record.source is None:
        raise msgspec.ValidationError("an example without its label's time or source")
    return example(
        Example(
            record.id,
            record.time,
            features,
            record.label,
            record.weight,
            record.label_time,
            record.source,
            record.late,
            record.last,
            record.input,
            record.position,
            record.replaces,
            record.replaces_assumed,
        )
    )


def arrived(text: str) -> tuple[int, int, str]:
    """Offset, time in ms and value of a row that `Queued.java` wrote."""
    offset, time, value = text.split(" ", 2)
    return int(offset), int(time), value
