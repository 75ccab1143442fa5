"""Who lets others on the machine go first: a learner, and what works in the background of a task manager."""

import contextlib
import os
import sys
import threading
import time
from pathlib import Path
from typing import Literal

_NAP_EVERY_S = 0.002
_NAP_S = 0.0002

_TASKS = Path("/proc/self/task")
# As Linux has them, of 15 characters: compilers, and who writes checkpoints.
_BACKGROUND = ("C1 CompilerThre", "C2 CompilerThre", "AsyncOperations")
_LOOK_EVERY_S = 1.0


class StandingBack:
    """The calling thread goes behind others, from now on; it alone. Only Linux knows threads' niceness.

    Parameters
    ----------
    nice : int or "idle"
        0 to 19, as `nice` has it; or only when nobody else wants to run (`SCHED_IDLE`).
    """

    def __init__(self, nice: int | Literal["idle"]) -> None:
        self._naps = nice == "idle"
        self._rested_at = time.thread_time()
        if sys.platform != "linux":
            return
        if nice == "idle":
            os.sched_setscheduler(threading.get_native_id(), os.SCHED_IDLE, os.sched_param(0))
        else:
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), nice)

    def rest(self) -> None:
        """To be called between examples: with "idle", now and then let go of the processor.

        A thread of `SCHED_IDLE` makes way for who wakes on its processor, not for who waits on another. Those
        are fetched over when a processor has nothing to do, which it never has while such a thread is busy.
        """
        if self._naps and time.thread_time() - self._rested_at >= _NAP_EVERY_S:
            time.sleep(_NAP_S)
            self._rested_at = time.thread_time()


class Background:
    """The threads of this task manager that no record waits for: they go behind those that answer.

    They are looked for each second, as a JVM starts and ends them as it likes. Who has gone behind stays there.

    Parameters
    ----------
    nice : int
        0 to 19, as `nice` has it; 0 leaves all as it is. Only Linux knows threads' niceness.
    """

    def __init__(self, nice: int) -> None:
        self._nice = nice
        self._new: set[str] = set()
        self._known: set[str] = set()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="background", daemon=True)

    def start(self) -> None:
        if self._nice and sys.platform == "linux":
            self._thread.start()

    def close(self) -> None:
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join()

    def look(self) -> None:
        """Send behind who has come since; who has just begun may have no name yet, and waits for the next look."""
        there = set(os.listdir(_TASKS))
        for task in there & self._new:
            # A thread may end at any time.
            with contextlib.suppress(OSError):
                if (_TASKS / task / "comm").read_text().rstrip() in _BACKGROUND:
                    self._send_behind(int(task))
        self._known = (self._known & there) | (self._new & there)
        self._new = there - self._known

    def _send_behind(self, thread: int) -> None:
        # Who is further behind already cannot be fetched back without the right to.
        if os.getpriority(os.PRIO_PROCESS, thread) < self._nice:
            os.setpriority(os.PRIO_PROCESS, thread, self._nice)

    def _run(self) -> None:
        while not self._closed.wait(_LOOK_EVERY_S):
            self.look()
