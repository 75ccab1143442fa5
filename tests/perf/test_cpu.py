"""CPU time of threads by what they do."""

import ctypes
import os
import threading
import time

import pytest

from jobs.waiting import wait_until
from perf.cpu import STAGES, Sampler, TooShort
from tests.patience import PATIENCE_S


def name_this_thread(name: str) -> None:
    """As the kernel knows it; Flink's threads are named by the JVM."""
    set_name = 15  # PR_SET_NAME
    ctypes.CDLL(None).prctl(set_name, name.encode(), 0, 0, 0)


def burn(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def test_a_threads_cpu_time_counts_for_its_stage_and_stays_when_it_has_ended():
    burnt, ended = threading.Event(), threading.Event()

    def work() -> None:
        name_this_thread("LabelJoin (1/1)")
        burn(0.3)
        burnt.set()
        ended.wait()

    def sampled_after(moment: float) -> bool:
        return bool(sampler.samples) and sampler.samples[-1].at > moment

    with Sampler([os.getpid()], every_s=0.02) as sampler:
        wait_until(lambda: sampled_after(0), "the first sample", timeout_s=PATIENCE_S)
        thread = threading.Thread(target=work)
        thread.start()
        burnt.wait()
        moment = time.time()
        # The one that was under way may have looked before.
        wait_until(lambda: sampled_after(moment + 0.05), "a sample of it all", timeout_s=PATIENCE_S)
        ended.set()
        thread.join()
        moment = time.time()
        wait_until(
            lambda: sampled_after(moment + 0.05), "a sample without it", timeout_s=PATIENCE_S
        )
    first, last = sampler.between(0, time.time())
    assert set(last.cpu_s) == set(STAGES)
    assert first.cpu_s["join"] == 0
    assert last.cpu_s["join"] == pytest.approx(0.3, rel=0.2)
    assert last.cpu_s["model"] == 0


def test_a_run_without_two_samples_is_too_short():
    with Sampler([os.getpid()], every_s=0.02) as sampler:
        pass
    with pytest.raises(TooShort, match="too short"):
        sampler.between(0, 1)
