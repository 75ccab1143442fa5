"""Waiting for a condition, with an end."""

import time
from collections.abc import Callable
from typing import TypeVar

from jobs.errors import Failure

T = TypeVar("T")


class TimedOut(Failure):
    """The condition did not come true in time."""


def wait_until(
    probe: Callable[[], T | None], what: str, *, timeout_s: float, every_s: float = 0.1
) -> T:
    """Call `probe` until it gives something true, and return that.

    Parameters
    ----------
    probe
        Called at once, then every `every_s` seconds; what it raises ends the wait.
    what
        What is being waited for; the error names it.
    timeout_s
        Seconds before `TimedOut`.

    Examples
    --------
    >>> answers = iter([None, None, "up"])
    >>> wait_until(lambda: next(answers), "the answer", timeout_s=5, every_s=0)
    'up'
    """
    deadline = time.monotonic() + timeout_s
    while True:
        answer = probe()
        if answer:
            return answer
        if time.monotonic() >= deadline:
            raise TimedOut(f"{what}: not within {timeout_s:g} s")
        time.sleep(every_s)
