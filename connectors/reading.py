"""What every source does with the bytes of a record, whatever they come from."""

from typing import Any, Literal, NamedTuple

from pyflink.java_gateway import get_gateway

from connectors import java_code


class Reading(NamedTuple):
    """How records are judged before Python sees them; times in ms.

    Attributes
    ----------
    min_ts, max_future_ms
        Which times are in range: from `min_ts` since the epoch to `max_future_ms` from now.
    record_limit, raw_keep
        Most bytes of a record, and how many are kept of a larger one.
    max_out_of_orderness_ms
        How far the watermark of each file or partition trails the highest time read from it.
    idle_timeout_ms
        After how long a file or partition that yields nothing holds back no watermark; None for
        never.
    punctuated
        Whether the watermark moves with each record instead of every 200 ms.
    control
        Which records are control messages: none, all, or some, objects without id that have `op` or
        `payload`.
    holds
        With `control` all: whether no watermark passes until the input has ended.
    """

    min_ts: int
    max_future_ms: int
    record_limit: int
    raw_keep: int
    max_out_of_orderness_ms: int
    idle_timeout_ms: int | None
    punctuated: bool
    control: Literal["none", "some", "all"] = "none"
    holds: bool = False

    def envelope(self, input_name: str) -> Any:
        """What makes rows of records, in Java."""
        return java_code.new(
            "Envelope",
            input_name,
            self.min_ts,
            self.max_future_ms,
            self.record_limit,
            self.raw_keep,
            self.control,
        )

    def times(self, held_until: str | None = None) -> Any:
        """What makes watermarks of them, in Java; `held_until` as in EventTime.java."""
        if self.control == "all":
            return java_code.new("ControlTime", self.holds)
        times = java_code.new(
            "EventTime", self.max_out_of_orderness_ms, self.punctuated, held_until
        )
        if self.idle_timeout_ms is None:
            return times
        duration = get_gateway().jvm.java.time.Duration
        return times.withIdleness(duration.ofMillis(self.idle_timeout_ms))
