"""Who stands back from others on a machine: a learner's own thread, and threads of a JVM by their names."""

import os
import resource
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import pytest

from operators.standing_back import Background, StandingBack

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
    """The kernel counts how often a thread gave its processor back by itself, waits for the interpreter, too.

    So no other thread may ask for the interpreter meanwhile, whatever tests before have left running.
    """
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
    with undisturbed():
        thread.start()
        thread.join()
    assert [count >= 5 for count in found] == [False, rests]


@contextmanager
def undisturbed() -> Iterator[None]:
    """Whoever has the interpreter keeps it until it sleeps or waits."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(60)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


@contextmanager
def threads(*names: str) -> Iterator[list[int]]:
    """Threads that the kernel knows by these names."""
    end = threading.Event()
    begun = [threading.Thread(target=end.wait) for _ in names]
    for thread, name in zip(begun, names, strict=True):
        thread.start()
        Path(f"/proc/self/task/{thread.native_id}/comm").write_text(name)
    try:
        yield [thread.native_id or 0 for thread in begun]
    finally:
        end.set()
        for thread in begun:
            thread.join()


def niceness(ids: list[int]) -> list[int]:
    return [os.getpriority(os.PRIO_PROCESS, each) for each in ids]


def test_compilers_and_who_writes_checkpoints_go_behind_and_nobody_else() -> None:
    own = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    names = ("C2 CompilerThread0", "Answering", "AsyncOperations-thread-1", "C1 CompilerThread0")
    background = Background(7)
    with threads(*(name[:15] for name in names)) as ids:
        background.look()
        assert niceness(ids) == [own] * 4, "who has just begun may have no name yet"
        background.look()
        assert niceness(ids) == [7, own, 7, 7]
        with threads("C2 CompilerThre") as late:
            background.look()
            background.look()
            assert niceness(late) == [7]
    background.look()
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == own


def test_who_is_further_behind_stays_there() -> None:
    with threads("C2 CompilerThre") as ids:
        os.setpriority(os.PRIO_PROCESS, ids[0], 15)
        background = Background(7)
        background.look()
        background.look()
        assert niceness(ids) == [15]


@pytest.mark.parametrize(("nice", "looks"), [(0, False), (3, True)])
def test_none_is_looked_for_where_all_is_to_stay_as_it_is(nice: int, looks: bool) -> None:
    before = threading.active_count()
    background = Background(nice)
    background.start()
    assert (threading.active_count() > before) == looks
    background.close()
