"""What a copy of this process does while this one goes on: done, failed, killed, left alone."""

import contextlib
import io
import multiprocessing
import os
import signal
import sys
from pathlib import Path

import pytest

from jobs.meanwhile import meanwhile, possible

pytestmark = pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="nothing is forked here"
)


def test_another_process_makes_the_call() -> None:
    with meanwhile(os.getpid) as result:
        assert result() != os.getpid()


def test_more_comes_back_than_a_pipe_holds() -> None:
    with meanwhile(lambda: bytes(1 << 22)) as result:
        assert result() == bytes(1 << 22)


def test_what_it_changes_is_its_own() -> None:
    here: list[int] = []
    with meanwhile(lambda: here.append(1) or len(here)) as result:  # type: ignore[func-returns-value]
        assert result() == 1
    assert here == []


def test_what_it_raises_is_raised_here(capfd: pytest.CaptureFixture[str]) -> None:
    with meanwhile(lambda: 1 / 0) as result, pytest.raises(ZeroDivisionError):
        result()
    # Libraries that others have loaded may say that they were forked.
    assert "ZeroDivisionError" not in "".join(capfd.readouterr())


def test_what_it_says_does_not_go_where_a_progress_bar_is_drawn() -> None:
    """A thread draws there, which the copy does not have: it would wait for it for ever."""
    here = os.getpid()

    class Drawn(io.StringIO):
        def write(self, text: str) -> int:
            assert os.getpid() == here
            return super().write(text)

    def call() -> int:
        print("told", end="")
        print("told", file=sys.stderr, end="")
        return os.getpid()

    with (
        contextlib.redirect_stderr(Drawn()),
        contextlib.redirect_stdout(Drawn()),
        meanwhile(call) as result,
    ):
        assert result() != here


def test_who_is_killed_is_stood_in_for() -> None:
    own = os.getpid()

    def call() -> int:
        if os.getpid() != own:
            os.kill(os.getpid(), signal.SIGKILL)
        return os.getpid()

    with meanwhile(call) as result:
        assert result() == own


def test_who_is_not_waited_for_is_ended(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    os.mkfifo(pid)

    def call() -> None:
        pid.write_text(str(os.getpid()))
        signal.pause()

    with pytest.raises(ZeroDivisionError), meanwhile(call):
        begun = int(pid.read_text())
        raise ZeroDivisionError
    with pytest.raises(ProcessLookupError):
        os.kill(begun, 0)


def test_a_worker_of_a_pool_works_alone() -> None:
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply(possible) is False


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="Linux has it")
def test_it_is_left_alone_where_there_is_one_processor() -> None:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert not possible()
    finally:
        os.sched_setaffinity(0, before)
    assert possible() == (len(before) > 1)
