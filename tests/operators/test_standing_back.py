"""A learner stands back from others on its machine: its own thread only."""

import os
import sys
import threading
from typing import Literal

import pytest

from operators.trainer import stand_back

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="niceness is a process's elsewhere")


@pytest.mark.parametrize(
    ("nice", "wanted"), [(5, (os.SCHED_OTHER, 5)), (19, (os.SCHED_OTHER, 19)), ("idle", None)]
)
def test_a_thread_stands_back_and_the_others_do_not(
    nice: int | Literal["idle"], wanted: tuple[int, int] | None
) -> None:
    found = []

    def learner() -> None:
        stand_back(nice)
        own = threading.get_native_id()
        found.append((os.sched_getscheduler(own), os.getpriority(os.PRIO_PROCESS, own)))

    before = os.sched_getscheduler(0), os.getpriority(os.PRIO_PROCESS, 0)
    thread = threading.Thread(target=learner)
    thread.start()
    thread.join()
    assert found == [wanted or (os.SCHED_IDLE, before[1])]
    assert (os.sched_getscheduler(0), os.getpriority(os.PRIO_PROCESS, 0)) == before
