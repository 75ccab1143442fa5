"""Every row of docs/join.md by hand, and any history at all against an independent oracle."""

import itertools
import json
import pickle
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from events.messages import Event, FeatureValue, Label
from events.reasons import Reason
from operators.items import EXAMPLE, FORGET, REQUEST, Origin
from operators.joining import Join, JoinSettings, Open, Refuse, Send, from_plain, to_plain
from tests.operators.join_oracle import (
    Dead,
    Ended,
    Example,
    Forget,
    Oracle,
    Outcome,
    Passed,
    Request,
    Rules,
    Step,
)

ID = "t1"
FAR = 1_000_000  # ms; beyond every retention here

# label_timeout 10 ms and retention 20 ms, unless a test says otherwise.
SHORT = Rules(label_timeout=10, retention=20)
EVERY_CHOICE = [
    {"on_timeout": on_timeout, "late_labels": late_labels, "corrections": corrections}
    for on_timeout in ("drop", "assume")
    for late_labels in ("learn", "drop")
    for corrections in ("ignore", "learn")
]


def rules(**changes: Any) -> Rules:
    return Rules(**{**vars(SHORT), **changes})


def features(ts: int, values: dict[str, FeatureValue] | None = None) -> Event:
    return Event(ID, ts, {"amount": 5} if values is None else values, None, None)


def label(ts: int, value: Label = True, weight: float | None = None) -> Event:
    return Event(ID, ts, None, value, weight)


def both(ts: int, value: Label = True, values: dict[str, FeatureValue] | None = None) -> Event:
    return Event(ID, ts, {"amount": 5} if values is None else values, value, None)


class Job:
    """The join of one transaction id, its state stored as Flink would store it."""

    def __init__(self, chosen: Rules) -> None:
        self.counts: Counter[str] = Counter()
        self.stored = pickle.dumps(None)
        self.steps = 0
        self.configure(chosen)

    def configure(self, chosen: Rules) -> None:
        """Go on under these settings, as after an upgrade."""
        self.join = Join(
            JoinSettings(
                label_timeout_ms=chosen.label_timeout,
                retention_ms=chosen.retention,
                on_timeout=chosen.on_timeout,
                assumed_label=chosen.assumed_label,
                late_labels=chosen.late_labels,
                corrections=chosen.corrections,
            ),
            chosen.lane_by,
        )

    @property
    def held(self) -> Any:
        return from_plain(pickle.loads(self.stored))

    def keep(self, held: Any) -> None:
        plain = None if held is None else to_plain(held)
        assert_plain(plain)
        self.stored = pickle.dumps(plain)
        assert repr(self.held) == repr(held)

    def play(self, step: Step) -> list[Outcome]:
        """What this step leads to; counts are added to `counts`."""
        out: list[Any] = []
        if isinstance(step, Event):
            number = self.steps
            origin = Origin("events", str(number), b"record %d" % number)
            self.keep(self.join.on_event(self.held, step, origin, out))
        elif isinstance(step, Passed):
            self.time_passes(step.time, out)
        else:
            self.join.on_input_end(self.held, ID, out)
            self.keep(None)
        self.steps += 1
        self.counts.update(outcome for outcome in out if isinstance(outcome, str))
        return [read(outcome) for outcome in out if not isinstance(outcome, str)]

    def time_passes(self, time: int, out: list[Any]) -> None:
        self.keep(self.join.on_time(self.held, ID, time, out))


class TimedJob(Job):
    """The same, where only timers tell that time has passed."""

    def __init__(self, chosen: Rules) -> None:
        super().__init__(chosen)
        self.timers: set[int] = set()

    def keep(self, held: Any) -> None:
        before = self.join.wake(self.held)
        super().keep(held)
        wake = self.join.wake(held)
        if wake is not None and wake != before:
            self.timers.add(wake)

    def time_passes(self, time: int, out: list[Any]) -> None:
        while self.timers and min(self.timers) <= time:
            timer = min(self.timers)
            self.timers.remove(timer)
            held = self.join.on_time(self.held, ID, timer, out)
            self.keep(held)
            wake = self.join.wake(held)
            if wake is not None:
                assert wake > timer, "due, but not done"
                self.timers.add(wake)


def assert_plain(value: Any) -> None:
    """Nothing whose pickle names a class of ours."""
    assert type(value) in (tuple, bytes, str, int, float, bool, type(None)), type(value)
    if isinstance(value, tuple):
        for part in value:
            assert_plain(part)


def read(outcome: Send | Refuse) -> Outcome:
    """The core's outcome in the oracle's words."""
    if isinstance(outcome, Refuse):
        assert outcome.detail
        source, position, raw = outcome.origin
        assert (source, raw) == ("events", b"record %d" % int(position))
        return Dead(int(position), outcome.reason.value)
    lane, (kind, id, *item) = outcome
    assert type(outcome.item) is tuple
    assert id == ID
    if kind == FORGET:
        assert item == []
        return Forget(lane)
    replaces = (None, False)
    if kind == REQUEST:
        *item, stamps = item
        assert stamps == b""  # what the rules do not know
    if kind == EXAMPLE:
        *item, replaced, replaced_assumed = item
        replaces = (replaced, replaced_assumed)
    *item, source, position = item
    assert source == (None if position is None else "events")
    number = None if position is None else int(position)
    if kind == REQUEST:
        ts, text = item
        return Request(number, lane, ts, text.decode())
    assert kind == EXAMPLE
    ts, text, value, weight, label_time, source_of_label, late, last = item
    text = None if text is None else text.decode()
    learned = number, lane, source_of_label, value, weight, late, text, ts, label_time, last
    return Example(*learned, replaces)


def in_words(outcome: Outcome) -> str:
    if isinstance(outcome, Request):
        return "predict"
    if isinstance(outcome, Forget):
        return "forget"
    if isinstance(outcome, Dead):
        return outcome.reason
    does = "evaluate" if outcome.features is None else "learn"
    return f"{does} {outcome.source} {outcome.label!r}{' late' if outcome.late else ''}"


def told(chosen: Rules, *steps: Step) -> tuple[list[str], dict[str, int]]:
    """What these steps lead to, in words, and what was counted."""
    job = TimedJob(chosen)
    outcomes = [in_words(outcome) for step in steps for outcome in job.play(step)]
    return outcomes, dict(job.counts)


# The rows of the table, by hand.


def test_features_are_predicted_at_once():
    assert told(SHORT, features(0)) == (["predict"], {})


def test_features_find_a_waiting_label_and_its_example_is_right_behind_the_request():
    assert told(SHORT, label(3), features(0)) == (["predict", "learn label True"], {})


def test_equal_features_again_are_counted_and_never_predicted_twice():
    assert told(SHORT, features(0), features(0)) == (["predict"], {"duplicates": 1})


@pytest.mark.parametrize(
    "again",
    [
        pytest.param(features(0, {"amount": 6}), id="another value"),
        pytest.param(features(0, {"amount": 5.0}), id="a float for an integer"),
        pytest.param(features(0, {}), id="none"),
        pytest.param(features(1), id="a later time"),
        pytest.param(features(-1), id="an earlier time"),
        pytest.param(features(20), id="the last moment of retention"),
    ],
)
def test_different_features_are_a_dead_letter(again):
    assert told(SHORT, features(0), again) == (["predict", "duplicate_features"], {})


def test_features_in_another_order_are_different_ones():
    a_b, b_a = features(0, {"a": 1, "b": 2}), features(0, {"b": 2, "a": 1})
    assert told(SHORT, a_b, b_a) == (["predict", "duplicate_features"], {})


def test_the_first_features_are_remembered_when_the_label_has_come_long_since():
    assert told(SHORT, features(0), label(1), features(0), features(0, {"amount": 6})) == (
        ["predict", "learn label True", "duplicate_features"],
        {"duplicates": 1},
    )


def test_a_label_in_time_is_learned():
    assert told(SHORT, features(0), label(4)) == (["predict", "learn label True"], {})


def test_a_label_exactly_at_label_timeout_is_in_time_and_one_millisecond_later_late():
    assert told(SHORT, features(0), label(10))[0] == ["predict", "learn label True"]
    assert told(SHORT, features(0), label(11))[0] == ["predict", "learn label True late"]


def test_a_label_older_than_its_features_is_in_time():
    assert told(SHORT, features(0), label(-15)) == (["predict", "learn label True"], {})


def test_what_an_example_tells_the_model():
    job = Job(rules(lane_by="shop"))
    job.play(features(100, {"shop": 7, "amount": 0.5}))
    assert job.play(label(104, "fraud", 2.5)) == [
        Example(
            number=1,
            lane="7",
            source="label",
            label="fraud",
            weight=2.5,
            late=False,
            features='{"shop":7,"amount":0.5}',
            event_time=100,
            label_time=104,
            last=True,
        )
    ]


def test_a_label_without_features_waits_until_the_last_moment_of_retention():
    assert told(SHORT, label(0), Passed(20)) == ([], {})
    assert told(SHORT, label(0), Passed(21)) == (["orphan_label"], {})
    assert told(SHORT, label(0), Passed(20), features(20)) == (["predict", "learn label True"], {})


def test_a_label_without_features_gives_way_to_an_event_after_its_retention():
    assert told(SHORT, label(0), features(21)) == (["orphan_label", "predict"], {})


def test_features_too_old_for_the_label_that_waited_are_predicted_without_it():
    assert told(SHORT, label(20), features(0))[0] == ["predict", "learn label True late"]
    assert told(SHORT, label(21), features(0)) == (["predict", "orphan_label"], {})


def test_equal_labels_wait_as_one():
    assert told(SHORT, label(1), label(2), features(0)) == (
        ["predict", "learn label True"],
        {"duplicates": 1},
    )


def test_a_different_label_does_not_wait_behind_another_where_corrections_are_ignored():
    assert told(SHORT, label(1, True), label(2, False), features(0)) == (
        ["conflicting_label", "predict", "learn label True"],
        {},
    )


def test_different_labels_wait_in_their_order_where_corrections_are_learned():
    correcting = rules(corrections="learn")
    assert told(correcting, label(2, "a"), label(1, "b"), label(3, "a"), features(0)) == (
        ["predict", "learn label 'a'", "learn correction 'b'", "learn correction 'a'"],
        {"corrections": 2},
    )


def test_all_labels_that_waited_in_vain_are_dead_letters():
    correcting = rules(corrections="learn")
    assert told(correcting, label(0, "a"), label(20, "b"), Passed(21)) == (
        ["orphan_label", "orphan_label"],
        {},
    )


def test_a_late_label_is_learned_as_if_in_time():
    assert told(SHORT, features(0), Passed(10), label(15)) == (
        ["predict", "learn label True late"],
        {"timeouts": 1},
    )


def test_a_late_label_is_dropped_if_so_configured():
    assert told(rules(late_labels="drop"), features(0), label(15)) == (
        ["predict", "forget", "late_label"],
        {"timeouts": 1},
    )


def test_a_late_label_that_outruns_the_timer_finds_the_same_as_one_behind_it():
    for choice in EVERY_CHOICE:
        before = told(rules(**choice), features(0), label(15), Passed(15))
        assert before == told(rules(**choice), features(0), Passed(10), label(15), Passed(15))


def test_the_event_times_decide_that_a_label_is_late_and_not_the_watermark():
    assert told(SHORT, features(0), Passed(19), label(10)) == (
        ["predict", "learn label True"],
        {"timeouts": 1},
    )


def test_without_a_label_nothing_is_learned_and_it_is_counted():
    assert told(SHORT, features(0), Passed(9)) == (["predict"], {})
    assert told(SHORT, features(0), Passed(10)) == (["predict"], {"timeouts": 1})
    assert told(SHORT, features(0), Passed(10), Passed(21)) == (
        ["predict", "forget"],
        {"timeouts": 1},
    )


def test_where_nothing_can_be_learned_after_the_timeout_any_label_is_a_late_one():
    strict = rules(late_labels="drop")
    assert told(strict, features(0), Passed(10), label(10), label(12)) == (
        ["predict", "forget", "late_label", "late_label"],
        {"timeouts": 1},
    )


def test_without_a_label_the_assumed_one_is_learned():
    assuming = rules(on_timeout="assume", assumed_label=False)
    assert told(assuming, features(0), Passed(9)) == (["predict"], {})
    assert told(assuming, features(0), Passed(10), Passed(15)) == (
        ["predict", "learn assumed False"],
        {"timeouts": 1},
    )


def test_an_assumed_label_has_the_time_of_the_timeout_and_comes_from_no_record():
    job = Job(rules(on_timeout="assume", assumed_label="ok"))
    job.play(features(100))
    assert job.play(Passed(500)) == [
        Example(None, None, "assumed", "ok", None, False, '{"amount":5}', 100, 110, last=False),
        Forget(None),
    ]


@pytest.mark.parametrize(
    ("corrections", "true_label", "expected"),
    [
        ("learn", label(15, True), "learn correction True late"),
        ("learn", label(15, False), "evaluate correction False late"),
        ("learn", label(15, False, 2.0), "learn correction False late"),
        ("learn", label(5, True), "learn correction True"),
        ("ignore", label(15, True), "evaluate correction True late"),
        ("ignore", label(15, False), "evaluate correction False late"),
    ],
)
@pytest.mark.parametrize("late_labels", ["learn", "drop"])
def test_the_truth_after_an_assumed_label_is_evaluated_and_learned_if_it_differs(
    late_labels, corrections, true_label, expected
):
    assuming = rules(on_timeout="assume", corrections=corrections, late_labels=late_labels)
    assert told(assuming, features(0), Passed(10), true_label) == (
        ["predict", "learn assumed False", expected],
        {"timeouts": 1, "corrections": 1},
    )


def test_a_label_after_the_truth_after_an_assumed_one_is_a_label_again():
    steps = (features(0), Passed(10), label(12, True), label(13, True), label(14, False))
    heard = ["predict", "learn assumed False"]
    assert told(rules(on_timeout="assume"), *steps) == (
        [*heard, "evaluate correction True late", "conflicting_label"],
        {"timeouts": 1, "corrections": 1, "duplicates": 1},
    )
    assert told(rules(on_timeout="assume", corrections="learn"), *steps) == (
        [*heard, "learn correction True late", "learn correction False late"],
        {"timeouts": 1, "corrections": 2, "duplicates": 1},
    )


def test_an_equal_label_again_is_counted():
    assert told(SHORT, features(0), label(1), label(2), label(15)) == (
        ["predict", "learn label True"],
        {"duplicates": 2},
    )


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        (label(1, 1), label(1, 1.0), True),
        (label(1, 1), label(1, True), False),
        (label(1, 0.0), label(1, False), False),
        (label(1, "1"), label(1, 1), False),
        (label(1, 2**53), label(1, 2.0**53), True),
        (label(1, 2**53 + 1), label(1, 2.0**53), False),
        (label(1, "a", 2.0), label(1, "a", 2.0), True),
        (label(1, "a", 2.0), label(1, "a", 3.0), False),
        (label(1, "a"), label(1, "a", 1.0), True),
        (label(1, "a"), label(1, "a", 2.0), False),
    ],
)
def test_labels_are_equal_if_value_and_weight_are_and_true_is_not_one(one, other, equal):
    expected = (["predict"], {"duplicates": 1}) if equal else (["predict", "conflicting_label"], {})
    outcomes, counts = told(SHORT, features(0), one, other)
    assert (outcomes[:1] + outcomes[2:], counts) == expected
    waited, waited_counts = told(SHORT, one, other)
    assert (waited, waited_counts) == (expected[0][1:], expected[1])


def test_a_different_label_again_is_a_dead_letter_or_a_correction():
    steps = (features(0), label(1, True), label(2, False))
    assert told(SHORT, *steps) == (["predict", "learn label True", "conflicting_label"], {})
    assert told(rules(corrections="learn"), *steps) == (
        ["predict", "learn label True", "learn correction False"],
        {"corrections": 1},
    )


def test_a_correction_is_itself_corrected_by_the_first_label():
    correcting = rules(corrections="learn")
    assert told(correcting, features(0), label(1, 1), label(2, 2), label(3, 1)) == (
        ["predict", "learn label 1", "learn correction 2", "learn correction 1"],
        {"corrections": 2},
    )


def test_a_correction_is_never_too_late_within_retention():
    strict = rules(corrections="learn", late_labels="drop")
    assert told(strict, features(0), label(1, True), label(20, False)) == (
        ["predict", "learn label True", "learn correction False late"],
        {"corrections": 1},
    )


def test_features_and_label_in_one_record_are_predicted_before_they_are_learned():
    assert told(SHORT, both(0)) == (["predict", "learn label True"], {})


def test_a_label_that_waits_goes_before_the_one_in_the_record_of_the_features():
    assert told(SHORT, label(0, True), both(0, False)) == (
        ["predict", "learn label True", "conflicting_label"],
        {},
    )
    assert told(rules(corrections="learn"), label(0, True), both(0, False)) == (
        ["predict", "learn label True", "learn correction False"],
        {"corrections": 1},
    )
    assert told(SHORT, label(0, True), both(0, True)) == (
        ["predict", "learn label True"],
        {"duplicates": 1},
    )


def test_the_label_beside_equal_features_counts_and_beside_different_ones_does_not():
    assert told(SHORT, features(0), both(0)) == (
        ["predict", "learn label True"],
        {"duplicates": 1},
    )
    assert told(SHORT, both(0), both(0)) == (["predict", "learn label True"], {"duplicates": 2})
    other = both(0, True, {"amount": 6})
    assert told(SHORT, features(0), other) == (["predict", "duplicate_features"], {})


def test_whatever_comes_after_retention_is_a_new_transaction():
    assert told(SHORT, features(0), label(20))[0] == ["predict", "learn label True late"]
    assert told(SHORT, features(0), label(21), features(22)) == (
        ["predict", "forget", "predict", "learn label True"],
        {"timeouts": 1},
    )
    assert told(SHORT, features(0), features(21), label(21)) == (
        ["predict", "forget", "predict", "learn label True"],
        {"timeouts": 1},
    )


def test_a_transaction_whose_successor_comes_has_its_timeout_first():
    assuming = rules(on_timeout="assume")
    assert told(assuming, features(0), features(21)) == (
        ["predict", "learn assumed False", "forget", "predict"],
        {"timeouts": 1},
    )


def test_the_end_of_the_input_assumes_nothing():
    for choice in EVERY_CHOICE:
        assert told(rules(**choice), features(0), Ended()) == (
            ["predict", "forget"],
            {"unlabelled": 1},
        )
        assert told(rules(**choice), label(0), Ended()) == (["orphan_label"], {})


def test_the_end_of_the_input_counts_as_unlabelled_what_has_neither_label_nor_timeout():
    assert told(SHORT, both(0), Ended()) == (["predict", "learn label True"], {})
    assert told(SHORT, features(0), Passed(10), Ended()) == (["predict", "forget"], {"timeouts": 1})


def test_the_model_is_told_to_forget_once_unless_the_example_was_the_last():
    end = Passed(FAR)
    assert told(SHORT, both(0), end)[0] == ["predict", "learn label True"]
    assert told(rules(corrections="learn"), both(0), end)[0][2:] == ["forget"]
    assert told(rules(late_labels="drop"), features(0), end)[0] == ["predict", "forget"]


def test_a_lane_is_the_text_of_its_feature():
    for value, lane in [("a b", "a b"), (True, "true"), (3, "3"), (0.5, "0.5")]:
        (request,) = Job(rules(lane_by="shop")).play(features(0, {"shop": value}))
        assert request.lane == lane


def test_features_without_their_lane_are_a_dead_letter_and_change_nothing():
    by_shop = rules(lane_by="shop")
    known, lacking = features(0, {"shop": "a"}), both(21)
    assert told(by_shop, lacking, known, lacking, lacking, label(10)) == (
        ["missing_lane", "predict", "missing_lane", "missing_lane", "learn label True"],
        {},
    )
    assert told(by_shop, label(0), lacking, known) == (
        ["missing_lane", "predict", "learn label True"],
        {},
    )


# Every short history, and long ones at random, against the oracle.


def agree(chosen: Rules, steps: list[Step], make: Callable[[Rules], Job]) -> Job:
    """Play the steps on core and oracle, and compare after each."""
    job, oracle = make(chosen), Oracle(chosen)
    for step in steps:
        # As text, because 1 == 1.0 == True.
        assert repr(job.play(step)) == repr(oracle.play(step)), step
        assert job.counts == oracle.counts
        assert (job.held is None) == (oracle.transaction is None)
    return job


@pytest.mark.parametrize("choice", EVERY_CHOICE, ids=lambda choice: "-".join(choice.values()))
def test_every_history_of_three_steps_on_the_boundaries_agrees_with_the_oracle(choice):
    chosen = Rules(label_timeout=2, retention=4, **choice)
    moments = (0, 2, 3, 4, 5)
    steps: list[Step] = [features(0), features(5), features(0, {}), both(0), both(0, False)]
    steps += [label(ts, value) for ts in moments for value in (True, False)]
    steps += [Passed(ts) for ts in moments[1:]]
    for history in itertools.product(steps, repeat=3):
        passed = [step.time for step in history if isinstance(step, Passed)]
        if passed == sorted(passed):
            job = agree(chosen, [*history, Passed(FAR)], TimedJob)
            assert job.held is None


TIMES = st.integers(-3, 12)
FEATURES: list[dict[str, FeatureValue]] = [
    {"shop": "a", "n": 1},
    {"n": 1, "shop": "a"},
    {"shop": "a", "n": 1.0},
    {"shop": 3},
    {"n": 1},
]
CHOICES = st.sampled_from(EVERY_CHOICE)
LABELS = st.sampled_from([True, 1, 1.0, "a"])
WEIGHTS = st.sampled_from([None, None, 2.0])
LABEL_EVENTS = st.builds(Event, st.just(ID), TIMES, st.none(), LABELS, WEIGHTS)
FEATURE_EVENTS = st.builds(
    Event, st.just(ID), TIMES, st.sampled_from(FEATURES), st.none(), st.none()
)
BOTH_EVENTS = st.builds(Event, st.just(ID), TIMES, st.sampled_from(FEATURES), LABELS, WEIGHTS)


@st.composite
def histories(draw: st.DrawFn) -> list[Step]:
    """A few events in any order, any number of times, while time goes on; perhaps the end."""
    events = draw(
        st.lists(
            LABEL_EVENTS | FEATURE_EVENTS | BOTH_EVENTS, min_size=1, max_size=5, unique_by=repr
        )
    )
    steps: list[Step] = []
    now = -5
    for step in draw(st.lists(st.sampled_from(events) | st.integers(0, 6), max_size=14)):
        if isinstance(step, int):
            now += step
            step = Passed(now)
        steps.append(step)
    return [*steps, *draw(st.sampled_from([[], [Ended()]])), Passed(FAR)]


@st.composite
def any_rules(draw: st.DrawFn, **fixed: Any) -> Rules:
    label_timeout = draw(st.integers(1, 5))
    return Rules(
        label_timeout=label_timeout,
        retention=label_timeout + draw(st.integers(1, 6)),
        assumed_label=draw(st.sampled_from([True, 1.0])),
        lane_by=draw(st.sampled_from([None, None, "shop"])),
        **fixed,
    )


@pytest.mark.parametrize("make", [Job, TimedJob])
@pytest.mark.parametrize("choice", EVERY_CHOICE, ids=lambda choice: "-".join(choice.values()))
def test_any_order_duplication_and_delay_agrees_with_the_oracle(choice, make):
    @settings(max_examples=250, deadline=None)
    @given(any_rules(**choice), histories())
    def check(chosen: Rules, steps: list[Step]) -> None:
        job = agree(chosen, steps, make)
        assert job.held is None

    check()


# What does not depend on the order of arrival.


def sends(chosen: Rules, steps: list[Step]) -> list[Outcome]:
    """What the model is told, whatever step each came with."""
    job = Job(chosen)
    outcomes = [outcome for step in steps for outcome in job.play(step)]
    return [
        outcome._replace(number=None) if isinstance(outcome, Request | Example) else outcome
        for outcome in outcomes
        if not isinstance(outcome, Dead)
    ]


@settings(max_examples=300, deadline=None)
@given(CHOICES, st.lists(LABEL_EVENTS, max_size=5), TIMES, st.data())
def test_it_does_not_matter_where_among_their_labels_the_features_arrive(
    choice, labels, time, data
):
    # Nothing is further apart than 15 ms, so all of it is one transaction.
    chosen = Rules(label_timeout=data.draw(st.integers(1, 14)), retention=15, **choice)
    place = data.draw(st.integers(0, len(labels)))
    first = sends(chosen, [features(time), *labels])
    assert repr(sends(chosen, [*labels[:place], features(time), *labels[place:]])) == repr(first)


@settings(max_examples=300, deadline=None)
@given(st.permutations([features(0), *map(label, (3, 10, 11, 15))]), st.data())
def test_how_far_the_watermark_is_does_not_change_what_is_learned(events, data):
    steps: list[Step] = list(events)
    passed = sorted(data.draw(st.lists(st.integers(0, 20), max_size=4)))
    places = sorted(data.draw(st.integers(0, len(events))) for _ in passed)
    for place, time in reversed(list(zip(places, passed, strict=True))):
        steps.insert(place, Passed(time))
    chosen = rules(on_timeout="drop", late_labels="learn")
    assert repr(sends(chosen, steps)) == repr(sends(chosen, list(events)))


@settings(max_examples=400, deadline=None)
@given(
    CHOICES.flatmap(lambda choice: any_rules(**choice)),
    st.lists(LABEL_EVENTS | FEATURE_EVENTS | BOTH_EVENTS, max_size=8),
    st.lists(TIMES, max_size=6),
)
def test_in_the_order_of_their_times_events_lead_to_the_same_however_often_time_is_told(
    chosen, events, passed
):
    events.sort(key=lambda event: event.ts)
    # At one time: first the events, then the watermark.
    told_often = sorted([*events, *map(Passed, passed)], key=time_and_kind)
    told_once, told_often = [*events, Passed(FAR)], [*told_often, Passed(FAR)]
    assert repr(sends(chosen, told_often)) == repr(sends(chosen, told_once))
    once, often = Job(chosen), Job(chosen)
    refused_once = [reason for step in told_once for reason in reasons(once.play(step))]
    refused_often = [reason for step in told_often for reason in reasons(often.play(step))]
    assert sorted(refused_often) == sorted(refused_once)
    assert often.counts == once.counts


def time_and_kind(step: Step) -> tuple[int, int]:
    return (step.time, 1) if isinstance(step, Passed) else (step.ts, 0)


def reasons(outcomes: list[Outcome]) -> list[str]:
    return [outcome.reason for outcome in outcomes if isinstance(outcome, Dead)]


# What is held, and for how long.


@given(
    st.dictionaries(
        st.text(max_size=5),
        st.booleans()
        | st.integers(-(2**70), 2**70)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(max_size=5),
        max_size=6,
    )
)
def test_features_keep_their_order_and_their_types_to_the_last_bit(values):
    request, example = Job(SHORT).play(both(0, True, values))
    given_names_and_values = [(name, repr(value)) for name, value in values.items()]
    for text in (request.features, example.features):
        read_back = json.loads(text, object_pairs_hook=list)
        assert [(name, repr(value)) for name, value in read_back] == given_names_and_values


def test_features_travel_byte_for_byte_as_compact_json():
    (request,) = Job(SHORT).play(
        features(0, {"z": 1, "a": 1.0, "é": -0.0, "10": True, "9": "1", "big": 2**60, "s": 1e-7})
    )
    assert request.features == (
        '{"z":1,"a":1.0,"é":-0.0,"10":true,"9":"1","big":1152921504606846976,"s":1e-7}'
    )


def kept_features(*steps: Step, **choice: str) -> bool:
    job = Job(rules(**choice))
    for step in steps:
        job.play(step)
    assert isinstance(job.held, Open)
    return job.held.features is not None


@pytest.mark.parametrize(
    ("choice", "after_label", "after_timeout"),
    [
        ({"on_timeout": "drop", "late_labels": "learn", "corrections": "ignore"}, False, True),
        ({"on_timeout": "drop", "late_labels": "learn", "corrections": "learn"}, True, True),
        ({"on_timeout": "drop", "late_labels": "drop", "corrections": "ignore"}, False, False),
        ({"on_timeout": "drop", "late_labels": "drop", "corrections": "learn"}, True, False),
        ({"on_timeout": "assume", "late_labels": "learn", "corrections": "ignore"}, False, False),
        ({"on_timeout": "assume", "late_labels": "learn", "corrections": "learn"}, True, True),
        ({"on_timeout": "assume", "late_labels": "drop", "corrections": "ignore"}, False, False),
        ({"on_timeout": "assume", "late_labels": "drop", "corrections": "learn"}, True, True),
    ],
)
def test_features_are_kept_only_while_something_can_need_them(choice, after_label, after_timeout):
    assert kept_features(features(0), **choice)
    assert kept_features(features(0), Passed(9), **choice)
    assert kept_features(features(0), label(1), **choice) == after_label
    assert kept_features(features(0), Passed(10), **choice) == after_timeout


def test_the_mark_that_remains_is_small_however_many_features_there_were():
    job = Job(SHORT)
    job.play(both(0, True, {f"feature {number}": number for number in range(1000)}))
    assert job.held is not None
    assert len(job.stored) < 120  # bytes


def test_nothing_is_held_once_retention_is_over():
    job = TimedJob(SHORT)
    for step in (both(0), Passed(20)):
        job.play(step)
    assert job.held is not None
    job.play(Passed(21))
    assert job.held is None
    assert job.timers == set()


@pytest.mark.parametrize("first", [features(0), label(0), both(0)])
def test_after_an_upgrade_to_longer_times_the_old_timer_is_early_and_the_new_one_comes(first):
    job = TimedJob(SHORT)
    job.play(first)
    job.configure(rules(label_timeout=40, retention=50))
    assert job.play(Passed(40 if first.label is None else 50)) == []
    assert job.held is not None
    job.play(Passed(51))
    assert job.held is None
    assert job.timers == set()


def test_after_an_upgrade_a_label_whose_features_are_gone_is_a_late_one():
    job = Job(rules(late_labels="drop"))
    for step in (features(0), Passed(10)):
        job.play(step)
    job.configure(SHORT)
    assert reasons(job.play(label(12))) == [Reason.LATE_LABEL]


def test_after_an_upgrade_a_correction_whose_features_are_gone_is_only_evaluated():
    job = Job(SHORT)
    job.play(both(0, True))
    job.configure(rules(corrections="learn"))
    assert [in_words(outcome) for outcome in job.play(label(3, False))] == [
        "evaluate correction False"
    ]
