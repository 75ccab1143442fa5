"""What monitors know, as numbers that Flink shows: of each monitor, model and role."""

import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final

from msgspec import UNSET
from msgspec.structs import asdict

from events.messages import Metrics
from operators.gauges import Gauges, Numbers, millionths

# Metrics are worked out of what they have counted each time: that must not become what a monitor does.
_DELAY_MS: Final = 1000

_COUNTS: Final = ("predicted", "labelled", "assumed", "late", "corrected", "leaked")
_SHARES: Final = ("unlabelled", "rate")
_VERSUS: Final = ("difference", "low", "high")

# What a number is about, as (label, value) pairs from the outside in, and its name.
Named = tuple[tuple[tuple[str, str], ...], str]


def numbers_of(record: Metrics) -> dict[Named, int]:
    """The numbers in a record of scope `all` or `window`; what is not known yet is left out."""
    about = (("monitor", record.monitor), ("model", record.model), ("role", record.role))
    scope = (*about, ("scope", record.scope))
    found: dict[Named, int] = {(scope, "evaluated"): record.n}
    for name, value in record.metrics.items():
        # A confusion matrix is no number: it is in the records.
        if isinstance(value, float):
            found[(*scope, ("metric", name)), "millionths"] = millionths(value)
    for name in _COUNTS:
        count = getattr(record, name)
        if count is not UNSET:
            found[about, name] = count
    for name in _SHARES:
        share = getattr(record, name)
        if isinstance(share, float):
            found[about, f"{name}_millionths"] = millionths(share)
    if record.delay_ms is not UNSET:
        for name, value in asdict(record.delay_ms).items():
            if value is not None:
                found[about, f"label_delay_ms_{name}"] = round(value)
    if record.versus is not UNSET:
        versus = record.versus
        found[about, "versus_n"] = versus.n
        for name in _VERSUS:
            value = getattr(versus, name)
            if value is not None:
                found[about, f"versus_{name}_millionths"] = millionths(value)
    return found


class MonitorGauges:
    """Shows what is known under the keys of a subtask of the monitor.

    Parameters
    ----------
    context : RuntimeContext
    read : mapping
        Numbers of the operator itself.
    look : callable
        The records that say what is known under a key now.
    """

    def __init__(
        self, context: Any, read: Numbers, look: Callable[[str], Iterable[Metrics]]
    ) -> None:
        self._look = look
        self._touched: set[str] = set()
        self._values: dict[Named, int] = {}
        self._gauges = Gauges(context, read, before=self._refresh, delay_ms=_DELAY_MS)

    def seen(self, key: str, ctx: Any) -> None:
        """Something was observed under a key: what is known of it will show."""
        self._touched.add(key)
        self._gauges.changing(ctx)

    def woken(self, ctx: Any) -> bool:
        """Whether a timer that fired was for showing."""
        return self._gauges.woken(ctx)

    def _refresh(self) -> None:
        now = time.time_ns() // 1_000_000
        for key in self._touched:
            for record in self._look(key):
                found = numbers_of(record)
                about = next(iter(found))[0][:3]
                found[about, "updated_at_ms"] = now
                self._put(found)
        self._touched.clear()

    def _put(self, found: dict[Named, int]) -> None:
        for named, value in found.items():
            new = named not in self._values
            self._values[named] = value
            if new:
                labels, name = named
                self._gauges.add(dict(labels), {name: partial(self._values.__getitem__, named)})
