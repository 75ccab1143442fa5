"""Which alert is sent, when, and when it is given up; by hand, and for any course of events."""

import math
import random
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators import delivering
from operators.delivering import (
    FIRST_WAIT_S,
    LONGEST_ASKED_S,
    REFUSED_TRIES,
    TRIES_IN_TURN,
    Answer,
    Deliveries,
    Ended,
    Verdict,
    backoff_s,
)

OK, DOWN, GONE = Answer(200), Answer(None, "refused"), Answer(404)


def deliveries(*alerts: int, longest_s: float = 60.0, **more: int) -> Deliveries:
    """With these alerts, and waits as short as chance makes them: half a backoff."""
    made = Deliveries(longest_s, chance=Least(), **more)
    for number in alerts:
        made.add(number, f"a{number}", f"text {number}")
    return made


class Least(random.Random):
    def random(self) -> float:
        return 0.0


def tried(made: Deliveries, answer: Answer, now: float) -> int:
    """The number of the alert that was sent and got this answer."""
    alert = made.next(now)
    assert alert is not None
    made.answered(alert.number, answer, now)
    return alert.number


def test_alerts_are_sent_one_at_a_time_in_their_order() -> None:
    made = deliveries(0, 1)
    first = made.next(10.0)
    assert first is not None and (first.number, first.id, first.text) == (0, "a0", "text 0")
    assert made.next(10.0) is None, "an answer is being waited for"
    assert made.wait_s(10.0) is None
    assert made.answered(0, OK, 10.0) is Verdict.DELIVERED
    assert made.taken() == [Ended(0, "a0", "text 0")]
    assert made.taken() == []
    assert tried(made, Answer(299), 10.0) == 1
    assert (len(made), made.delivered, made.failures) == (0, 2, 0)
    assert made.next(10.0) is None and made.wait_s(10.0) is None


def test_a_failure_holds_up_all_and_the_same_alert_is_sent_again() -> None:
    made = deliveries(0, 1)
    assert tried(made, DOWN, 0.0) == 0
    assert made.next(0.24) is None
    assert made.wait_s(0.0) == 0.25
    assert tried(made, Answer(503), 0.25) == 0
    assert made.wait_s(0.25) == 0.5
    assert (made.failing, made.failures) == (2, 2)
    assert tried(made, OK, 0.75) == 0
    assert made.failing == 0
    assert tried(made, OK, 0.75) == 1, "what waits behind it need wait no longer"
    assert (made.delivered, made.failures) == (2, 2)


def test_an_alert_that_fails_again_and_again_lets_others_pass() -> None:
    made = deliveries(0, 1, 2)
    now = 0.0
    for _ in range(TRIES_IN_TURN):
        now += made.wait_s(now) or 0.0
        assert tried(made, Answer(500), now) == 0
    now += made.wait_s(now) or 0.0
    assert tried(made, OK, now) == 1
    assert tried(made, OK, now) == 2
    rests = made.wait_s(now)
    assert rests is not None and rests > 0
    assert tried(made, OK, now + rests) == 0
    assert not made


def test_after_the_receiver_was_down_those_that_were_passed_come_first() -> None:
    made = deliveries(0, 1, 2)
    now, sent = 0.0, []
    for answer in (*[DOWN] * (TRIES_IN_TURN + 2), OK, OK, OK):
        now += made.wait_s(now) or 0.0
        sent.append(tried(made, answer, now))
    assert sent == [*[0] * TRIES_IN_TURN, 1, 0, 1, 0, 2]


def test_what_the_receiver_refuses_is_given_up_after_a_few_tries() -> None:
    made = deliveries(0, 1)
    now = 0.0
    for answer in (GONE, Answer(400), Answer(410)):
        now += made.wait_s(now) or 0.0
        assert tried(made, answer, now) == 0
    why = "the receiver refused it 3 times, the last with status 410"
    assert made.taken() == [Ended(0, "a0", "text 0", why, refused=True)]
    assert made.given_up == 1
    now += made.wait_s(now) or 0.0
    assert tried(made, OK, now) == 1


def test_a_receiver_that_was_down_in_between_has_not_refused_more_often() -> None:
    made = deliveries(0)
    now = 0.0
    for answer in (GONE, DOWN, GONE, DOWN):
        now += made.wait_s(now) or 0.0
        tried(made, answer, now)
    assert made.taken() == []


@pytest.mark.parametrize(
    ("asked", "waits"), [(30.0, 30.0), (0.0, 0.25), (10.0**9, LONGEST_ASKED_S)]
)
def test_a_receiver_that_asks_for_time_gets_it(asked: float, waits: float) -> None:
    made = deliveries(0)
    tried(made, Answer(429, asked_s=asked), 100.0)
    assert made.wait_s(100.0) == waits
    assert made.next(100.0 + waits / 2) is None
    assert made.next(100.0 + waits) is not None


def test_who_may_be_left_alone_for_longer_may_ask_for_as_long() -> None:
    made = deliveries(0, longest_s=10_000.0)
    tried(made, Answer(503, asked_s=1e9), 0.0)
    assert made.wait_s(0.0) == 10_000.0


def test_hurry_ends_backoffs_but_not_what_the_receiver_asked_for() -> None:
    made = deliveries(0)
    now = 0.0
    for _ in range(20):
        tried(made, DOWN, now)
        now += made.wait_s(now) or 0.0
    tried(made, DOWN, now)
    assert (made.wait_s(now) or 0.0) > 10
    made.hurry()
    assert tried(made, Answer(503, asked_s=30.0), now) == 0
    made.hurry()
    assert made.wait_s(now) == 30.0


def test_beyond_the_limit_the_oldest_is_given_up_but_not_while_it_is_being_sent() -> None:
    made = deliveries(0, 1, most=2)
    made.add(2, "a2", "text 2")
    why = "more than 2 alerts wait, and it was the oldest"
    assert made.taken() == [Ended(0, "a0", "text 0", why)]
    sent = made.next(0.0)
    assert sent is not None and sent.number == 1
    made.add(3, "a3", "text 3")
    assert made.taken() == [Ended(2, "a2", "text 2", why)]
    made.answered(1, OK, 0.0)
    assert [alert.number for alert in made.waiting()] == [3]
    assert (made.delivered, made.given_up) == (1, 2)


def test_an_answer_for_what_was_given_up_meanwhile_counts_nothing() -> None:
    made = deliveries(0)
    assert made.next(0.0) is not None
    made.give_up_all("the end")
    assert made.taken() == [Ended(0, "a0", "text 0", "the end")]
    assert made.answered(0, OK, 0.0) is Verdict.DELIVERED
    assert made.taken() == []
    assert (made.delivered, made.given_up) == (0, 1)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        *((status, Verdict.DELIVERED) for status in (200, 201, 202, 204, 299)),
        *((status, Verdict.AGAIN) for status in (None, 408, 429, 500, 502, 503, 504, 599)),
        *((status, Verdict.REFUSED) for status in (100, 300, 301, 307, 308, 400, 401, 404, 413)),
    ],
)
def test_what_a_status_means(status: int | None, expected: Verdict) -> None:
    assert delivering.verdict(Answer(status)) is expected


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("", None),
        ("0", 0.0),
        (" 7 ", 7.0),
        ("9" * 400, LONGEST_ASKED_S),
        ("-3", None),
        ("1.5", None),
        ("٣", None),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 60.0),
        ("Sun, 06 Nov 1994 08:47:37 GMT", 0.0),
        ("Sun, 99 Nov 1994 08:49:37 GMT", None),
    ],
)
def test_what_retry_after_asks_for(header: str | None, seconds: float | None) -> None:
    now = 784_111_717.0  # 1994-11-06 08:48:37 UTC
    assert delivering.asked_s(header, now) == seconds


@given(
    st.integers(1, 10**9),
    st.floats(0.001, 1e6),
    st.floats(0, 1, exclude_max=True),
)
def test_a_backoff_doubles_up_to_its_longest_and_chance_takes_off_no_more_than_half(
    failures: int, longest: float, fraction: float
) -> None:
    waits = backoff_s(failures, longest, fraction)
    whole = min(FIRST_WAIT_S * 2 ** min(failures - 1, 40), longest)
    assert whole / 2 <= waits <= whole <= longest
    assert backoff_s(failures + 1, longest, 0.0) >= backoff_s(failures, longest, 0.0)


class Job:
    """An operator in small: what it keeps in state, its checkpoints, and alerts that come in order."""

    def __init__(self, longest_s: float, answers: Iterable[Answer], seed: int) -> None:
        self.longest_s = longest_s
        self.answers = iter(answers)
        self.seed = seed
        self.now = 0.0
        self.made = 0
        self.state: dict[int, str] = {}
        self.saved: tuple[int, dict[int, str]] = (0, {})
        self.received: list[int] = []  # by the receiver, which said so
        self.given_up: set[int] = set()
        self.tries: list[tuple[float, int, Verdict]] = []
        self.restart()

    def restart(self) -> None:
        """From the last checkpoint: alerts made since are made again."""
        self.made, state = self.saved
        self.state = dict(state)
        self.deliveries = Deliveries(self.longest_s, chance=random.Random(self.seed))
        for number in sorted(self.state):
            self.deliveries.add(number, f"a{number}", self.state[number])

    def checkpoint(self) -> None:
        self.saved = self.made, dict(self.state)

    def alert(self) -> None:
        self.state[self.made] = f"text {self.made}"
        self.deliveries.add(self.made, f"a{self.made}", f"text {self.made}")
        self.made += 1

    def send(self, *, answered: bool = True) -> None:
        """One try, when its time has come; or the job dies before the answer is there."""
        wait_s = self.deliveries.wait_s(self.now)
        if wait_s is None:
            return
        assert wait_s <= max(LONGEST_ASKED_S, self.longest_s) + self.longest_s + 1e-6
        if wait_s > 0:
            # Not a moment too early: nothing is sent before.
            assert self.deliveries.next(self.now) is None
            self.now = math.nextafter(self.now + wait_s, math.inf)
        alert = self.deliveries.next(self.now)
        assert alert is not None, "what wait_s says is true"
        assert self.state[alert.number] == alert.text
        answer = next(self.answers, OK)
        found = delivering.verdict(answer)
        self.tries.append((self.now, alert.number, found))
        if found is Verdict.DELIVERED:
            self.received.append(alert.number)
        if answered:
            self.deliveries.answered(alert.number, answer, self.now)
        else:
            self.restart()

    def wake(self) -> None:
        for ended in self.deliveries.taken():
            del self.state[ended.number]
            if ended.why is not None:
                assert ended.refused
                self.given_up.add(ended.number)

    def drain(self) -> None:
        for _ in range(10_000):
            self.wake()
            if not self.state:
                return
            self.send()
        raise AssertionError("it never ends")


ANSWERS = st.builds(
    Answer,
    st.sampled_from([200, 204, None, 408, 429, 500, 503, 301, 400, 404]),
    asked_s=st.one_of(st.none(), st.floats(0, 1e5)),
)
STEPS = st.lists(
    st.sampled_from(["alert", "send", "die", "wake", "checkpoint", "restart", "pass"]), max_size=60
)


@given(STEPS, st.lists(ANSWERS, max_size=60), st.sampled_from([0.3, 5.0, 300.0]), st.integers(0))
@settings(max_examples=400, deadline=None)
def test_whatever_happens_each_alert_is_delivered_or_said_to_be_refused(
    steps: list[str], answers: list[Answer], longest_s: float, seed: int
) -> None:
    job = Job(longest_s, answers, seed)
    for step in steps:
        match step:
            case "alert":
                job.alert()
            case "send":
                job.send()
            case "die":
                job.send(answered=False)
            case "wake":
                job.wake()
            case "checkpoint":
                job.checkpoint()
            case "restart":
                job.restart()
            case "pass":
                job.now += 1.0
    made = job.made
    job.drain()
    assert set(job.received) | job.given_up >= set(range(made)), "none is forgotten"
    assert job.deliveries.failing == 0 or job.given_up


@given(st.lists(ANSWERS, max_size=60), st.integers(1, 8), st.integers(0))
@settings(max_examples=300, deadline=None)
def test_without_a_restart_each_arrives_once_and_only_what_fails_for_long_is_passed(
    answers: list[Answer], count: int, seed: int
) -> None:
    job = Job(60.0, answers, seed)
    for _ in range(count):
        job.alert()
    job.drain()
    assert sorted([*job.received, *job.given_up]) == list(range(count))
    failed: dict[int, int] = {}
    refused: dict[int, int] = {}
    for _, number, found in job.tries:
        if found is not Verdict.DELIVERED:
            failed[number] = failed.get(number, 0) + 1
            refused[number] = refused.get(number, 0) + (found is Verdict.REFUSED)
    in_turn = [number for number in job.received if failed.get(number, 0) < TRIES_IN_TURN]
    assert in_turn == sorted(in_turn)
    assert {number for number, times in refused.items() if times >= REFUSED_TRIES} == job.given_up
    # After a failure the receiver is left alone, for longer each time.
    failing = 0
    for (at, _, found), (then, _, _) in zip(job.tries, job.tries[1:], strict=False):
        failing = 0 if found is Verdict.DELIVERED else failing + 1
        if failing:
            assert then - at >= backoff_s(failing, 60.0, 0.0) - 1e-6
