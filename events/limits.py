"""How large a record may be, what its features may hold, and between which times it may lie."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

FeatureType = Literal["number", "integer", "boolean", "string"]
UnknownFeatures = Literal["keep", "drop", "reject"]


class Limits(Struct, frozen=True):
    """What a record may hold; more is a dead letter.

    Attributes
    ----------
    record_bytes : int
        Bytes of a whole record.
    features : int
        Features of one event, nulls included.
    name_length : int
        Characters of an id and of a feature's name.
    depth : int
        Objects and arrays inside one another; a feature event has two.
    raw_bytes : int
        Where the text of a dead letter is cut, in bytes.
    """

    # A record is held in memory several times over while it is handled, and Flink's network
    # buffers cannot pass on one beyond 2 GiB.
    record_bytes: Annotated[int, Meta(ge=1, le=1 << 30)] = 1_048_576
    features: Annotated[int, Meta(ge=1)] = 10_000
    name_length: Annotated[int, Meta(ge=1)] = 256
    # Every level costs C stack, of which a Java thread has 1 MiB.
    depth: Annotated[int, Meta(ge=2, le=256)] = 8
    raw_bytes: Annotated[int, Meta(ge=0, le=1 << 20)] = 4096


class Schema(Struct, frozen=True):
    """Which types the features have; one that is missing or null breaks no schema.

    Attributes
    ----------
    types : dict
        Feature name -> type: `number` is an integer or a float, never a boolean, and is kept as it
        came; a float without fraction is no `integer`.
    unknown : {"keep", "drop", "reject"}
        What happens with features that `types` does not name.
    """

    types: dict[str, FeatureType]
    unknown: UnknownFeatures = "keep"


class TimeRange(Struct, frozen=True):
    """The times that a record may have: from `min_ts`, ms since the epoch, to `max_future_ms` ahead.

    In a Flink job this check is made in Java, before the watermark; elsewhere it is made here.
    """

    min_ts: int
    max_future_ms: int

    def accepts(self, ts: int, now_ms: int) -> bool:
        """Whether a record of time `ts` may be used when the clock says `now_ms`."""
        return self.min_ts <= ts <= now_ms + self.max_future_ms
