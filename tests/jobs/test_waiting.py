import pytest

from jobs.waiting import TimedOut, wait_until


def test_a_probe_is_asked_even_if_no_time_is_given():
    assert wait_until(lambda: 7, "seven", timeout_s=0) == 7


def test_an_end_without_the_condition_says_what_was_waited_for_and_how_long():
    with pytest.raises(TimedOut, match="the moon: not within 0.01 s"):
        wait_until(lambda: None, "the moon", timeout_s=0.01, every_s=0.001)


def test_what_the_probe_raises_ends_the_wait():
    def broken() -> None:
        raise LookupError("gone")

    with pytest.raises(LookupError, match="gone"):
        wait_until(broken, "nothing", timeout_s=60)
