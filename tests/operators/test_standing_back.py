"""A learner stands back from others on its machine: its own thread only."""

import os
import resource
import sys
import threading
import time
from typing import Literal

import pytest

from operators.standing_back import StandingBack

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="niceness is a process's elsewhere")


@pytest.mark.parametrize(
    ("nice", "wanted"), [(5, (os.SCHED_OTHER, 5)), (19, (os.SCHED_OTHER, 19)), ("idle", None)]
)
def test_a_thread_stands_back_and_the_others_do_not(
    nice: int | Literal["idle"], wanted: tuple[int, int] | None
) -> None:
    found = []

    def learner() -> None:
        StandingBack(nice)
        own = threading.get_native_id()
        found.append((os.sched_getscheduler(own), os.getpriority(os.PRIO_PROCESS, own)))

    before = os.sched_getscheduler(0), os.getpriority(os.PRIO_PROCESS, 0)
    thread = threading.Thread(target=learner)
    thread.start()
    thread.join()
    assert found == [wanted or (os.SCHED_IDLE, before[1])]
    assert (os.sched_getscheduler(0), os.getpriority(os.PRIO_PROCESS, 0)) == before


@pytest.mark.parametrize(("nice", "rests"), [(0, False), ("idle", True)])
def test_who_learns_when_nobody_else_wants_to_lets_go_of_the_processor(
    nice: int | Literal["idle"], rests: bool
) -> None:
    """The kernel counts how often a thread gave its processor back by itself."""
    found = []

    def given_back() -> int:
        return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw

    def learner() -> None:
        standing_back = StandingBack(nice)
        for busy in (False, True):
            before = given_back()
            for _ in range(5):
                until = time.thread_time() + (0.005 if busy else 0)
                while time.thread_time() < until:
                    pass
                standing_back.rest()
            found.append(given_back() - before)

    thread = threading.Thread(target=learner)
    thread.start()
    thread.join()
    assert [count >= 5 for count in found] == [False, rests]
