"""Whole numbers that Flink shows of an operator: in its web UI, its REST API, its reporters.

docs/monitoring-metrics.md lists them: their names and units are a public format.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import takewhile
from typing import Any, Final

from pyflink.datastream import TimeDomain

from events.reasons import Reason
from operators.recent import Recent, Summary

# How soon a change shows, here and in batches, at the cost of one timer.
DELAY_MS = 200

Numbers = Mapping[str, Callable[[], int]]
# What a number is about, as name -> value, from the outside in.
Labels = Mapping[str, str]

# `Reason` names them in the order in which records meet them.
BEFORE_MODELS: Final = tuple(takewhile(lambda r: r is not Reason.PREDICT_FAILED, Reason))
BY_MODELS: Final = tuple(reason for reason in Reason if reason not in BEFORE_MODELS)

# What fits a long of Java's.
_LARGEST: Final = 2**63 - 1


def in_thread_mode(context: Any) -> bool:
    """Whether the interpreter runs in a thread of Flink's Java process."""
    return hasattr(context, "get_keyed_state_backend")


class Gauges:
    """Shows what functions return.

    In thread mode a gauge of PyFlink's is a Python function that whichever thread of Flink's reads
    the metrics calls on the interpreter state of the task's thread, while that runs: read every
    10 ms, that ended a task manager with SIGSEGV within two minutes. So the task hands the numbers
    to Java itself, a little after they have changed.

    Parameters
    ----------
    context : RuntimeContext
    read : mapping
        Name -> the function that tells the number. Called in the task's own thread.
    recent : mapping
        Name -> values of which NAME_p50, NAME_p99 and NAME_max are shown.
    before : callable, optional
        Called before numbers are shown: what is new may be added then.
    delay_ms : int
        How soon a change shows.
    """

    def __init__(
        self,
        context: Any,
        read: Numbers,
        recent: Mapping[str, Callable[[], Summary]] | None = None,
        before: Callable[[], None] | None = None,
        delay_ms: int = DELAY_MS,
    ) -> None:
        self._group = context.get_metrics_group()
        self._before = before
        self._delay_ms = delay_ms
        self._shown: list[_Shown] = []
        self._recent: list[tuple[Callable[[], Summary], list[_Shown]]] = []
        self._due = self._by_hand = in_thread_mode(context)
        self.add({}, read)
        for name, summary in (recent or {}).items():
            self._add_recent(name, summary)
        if self._by_hand:
            self.show()

    def add(self, labels: Labels, read: Numbers) -> None:
        """More numbers, about what `labels` say; each name once for the same labels."""
        group = self._group
        for label, value in labels.items():
            group = group.add_group(label, value)
        for name, number in read.items():
            if self._by_hand:
                self._shown.append(_Shown(group, name, number))
            else:
                group.gauge(name, number)

    def _add_recent(self, name: str, summary: Callable[[], Summary]) -> None:
        if self._by_hand:
            # Sorted once for all three.
            parts = [_Shown(self._group, f"{name}_{part}", None) for part in Summary._fields]
            self._recent.append((summary, parts))
        else:
            for part in Summary._fields:
                self._group.gauge(f"{name}_{part}", partial(_part_of, summary, part))

    def changing(self, ctx: Any) -> None:
        """A record or timer is being handled, and may change the numbers: they will show."""
        # In process mode the worker asks for the numbers itself.
        if self._due or not (self._by_hand or self._before):
            return
        self._due = True
        timers = ctx.timer_service()
        timers.register_processing_time_timer(timers.current_processing_time() + self._delay_ms)

    def woken(self, ctx: Any) -> bool:
        """Whether a timer that fired is one of these, set by this or an earlier run of the task."""
        if ctx.time_domain() is not TimeDomain.PROCESSING_TIME:
            return False
        self.show()
        return True

    def show(self) -> None:
        """Hand over the numbers that have changed."""
        self._due = False
        if self._before is not None:
            self._before()
        for shown in self._shown:
            shown.show(shown.read())  # type: ignore[misc]
        for summary, parts in self._recent:
            for part, value in zip(parts, summary(), strict=True):
                part.show(value)


class _Shown:
    """A number that Java has been told."""

    def __init__(self, group: Any, name: str, read: Callable[[], int] | None) -> None:
        # What PyFlink calls a distribution is, in thread mode, the last number it was given.
        self._java = group.distribution(name)
        self._last: int | None = None
        self.read = read

    def show(self, value: int) -> None:
        if value != self._last:
            self._last = value
            self._java.update(value)


def _part_of(summary: Callable[[], Summary], part: str) -> int:
    value: int = getattr(summary(), part)
    return value


def in_us(recent: Recent) -> Callable[[], Summary]:
    """Of values in nanoseconds, in microseconds."""
    return lambda: Summary(*(value // 1000 for value in recent.summary()))


def in_ms(recent: Recent) -> Callable[[], Summary]:
    """Of values in nanoseconds, in milliseconds."""
    return lambda: Summary(*(value // 1_000_000 for value in recent.summary()))


def millionths(value: float) -> int:
    """A fraction as a whole number.

    >>> millionths(0.83), millionths(-1e300) < 0
    (830000, True)
    """
    return int(min(max(round(value * 1e6), -_LARGEST), _LARGEST))


def dead_letters(counts: Mapping[Reason, int]) -> dict[str, Callable[[], int]]:
    """What an operator has refused: all of it, and by reason in the name."""
    return {
        "dead_letters": lambda: sum(counts.values()),
        **{f"dead_letters_{reason}": partial(counts.__getitem__, reason) for reason in Reason},
    }


def add_reasons(gauges: Gauges, counts: Mapping[Reason, int], reasons: Iterable[Reason]) -> None:
    """What an operator has refused, by reason in a label."""
    for reason in reasons:
        gauges.add({"reason": reason.value}, {"dead_letters": partial(counts.__getitem__, reason)})
