"""How a learner lets others on its machine go first: predictors, say."""

import os
import sys
import threading
import time
from typing import Literal

_NAP_EVERY_S = 0.002
_NAP_S = 0.0002


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
