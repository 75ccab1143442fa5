"""Whole numbers that Flink shows of an operator: in its web UI, its REST API, its reporters."""

from collections.abc import Callable, Mapping
from typing import Any

from pyflink.datastream import TimeDomain

# How soon a change shows, at the cost of one timer.
DELAY_MS = 200


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
    """

    def __init__(self, context: Any, read: Mapping[str, Callable[[], int]]) -> None:
        group = context.get_metrics_group()
        self._read = read
        self._shown: dict[str, int] = {}
        self._numbers: dict[str, Any] = {}
        self._due = self._by_hand = in_thread_mode(context)
        if self._by_hand:
            # What PyFlink calls a distribution is, in thread mode, the last number it was given.
            self._numbers = {name: group.distribution(name) for name in read}
            self.show()
        else:
            for name, number in read.items():
                group.gauge(name, number)

    def changing(self, ctx: Any) -> None:
        """A record or timer is being handled, and may change the numbers: they will show."""
        if self._due or not self._by_hand:
            return
        self._due = True
        timers = ctx.timer_service()
        timers.register_processing_time_timer(timers.current_processing_time() + DELAY_MS)

    def woken(self, ctx: Any) -> bool:
        """Whether a timer that fired is one of these, set by this or an earlier run of the task."""
        if ctx.time_domain() is not TimeDomain.PROCESSING_TIME:
            return False
        self.show()
        return True

    def show(self) -> None:
        """Hand over the numbers that have changed."""
        self._due = False
        for name, number in self._read.items():
            now = number()
            if self._shown.get(name) != now:
                self._shown[name] = now
                self._numbers[name].update(now)
