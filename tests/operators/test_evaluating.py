"""Predictions and outcomes are matched whichever comes first, and none that leaked counts as foresight."""

import itertools
import json
from typing import Any

import pytest

from operators import items, observing
from operators.evaluating import Matched, Matching
from operators.items import Example, Item, Request
from operators.serving import AllSaid, Said, _encode

TASKS = {"m": "classification", "r": "regression", "a": "anomaly"}


def said(*each: Said) -> str:
    return _encode(AllSaid("t", list(each)))


def a_said(learned_to: int = 5, **more: Any) -> Said:
    usual = {"prediction": True, "probabilities": {"true": 0.75, "false": 0.25}}
    return Said("m", "m@3-0123456789ab", learned_to, "bool", **{**usual, **more})


def outcome(label: Any = True, **more: Any) -> Item:
    usual: dict[str, Any] = {
        "id": "t",
        "time": 1000,
        "features": b'{"x":1}',
        "label": label,
        "weight": None,
        "label_time": 4000,
        "source": "label",
        "late": False,
        "last": True,
        "input": "labels",
        "position": "l-0-1",
    }
    return items.example(Example(**{**usual, **more}))


Step = str | tuple[int, Item]


def run(*steps: Step, held: Matched | None = None) -> tuple[list[dict[str, Any]], Matched | None]:
    """What is written, and what is held in the end."""
    matching, out = Matching(TASKS), []  # type: ignore[arg-type]
    for step in steps:
        before = Matched() if held is None else Matched(*tuple(held))
        if isinstance(step, str):
            held = matching.on_said(before, step, out)
        else:
            held = matching.on_outcome(before, *step, out)
    return [json.loads(text) for text in out], held


WANTED = {
    "id": "t",
    "model": "m",
    "lane": None,
    "version": "m@3-0123456789ab",
    "prediction": True,
    "label": False,
    "event_time": 1000,
    "label_time": 4000,
    "delay_ms": 3000,
    "source": "label",
    "late": False,
    "leaked": False,
    "probabilities": {"true": 0.75, "false": 0.25},
}


def test_an_outcome_meets_its_prediction_in_either_order_and_nothing_is_left():
    steps = said(a_said()), (6, outcome(False))
    for order in itertools.permutations(steps):
        assert run(*order) == ([WANTED], None)


@pytest.mark.parametrize(("learned_to", "leaked"), [(-1, False), (5, False), (6, True), (7, True)])
def test_a_version_that_had_learned_up_to_the_label_has_not_predicted_it(learned_to, leaked):
    steps = said(a_said(learned_to)), (6, outcome())
    for order in itertools.permutations(steps):
        [row], held = run(*order)
        assert (row["leaked"], held) == (leaked, None)


def test_the_first_label_that_was_learned_decides_for_those_after_it():
    first, second = (6, outcome(last=False)), (9, outcome(False, source="correction"))
    for learned_to, leaked in ((5, False), (6, True), (8, True)):
        for order in (
            (said(a_said(learned_to)), first, second),
            (first, second, said(a_said(learned_to))),
        ):
            rows, held = run(*order)
            assert [(row["source"], row["leaked"]) for row in rows] == [
                ("label", leaked),
                ("correction", leaked),
            ]
            assert held is None


def test_a_label_that_is_only_evaluated_leaks_nothing():
    rows, _ = run(said(a_said(100)), (6, outcome(features=None)))
    assert rows[0]["leaked"] is False


def test_what_no_label_comes_for_is_forgotten_whenever_it_was_predicted():
    for order in itertools.permutations([said(a_said()), (6, items.forget("t"))]):
        assert run(*order) == ([], None)


def test_a_request_in_the_queue_says_nothing_of_the_truth():
    asked = items.request(Request("t", 1, b"{}", None, None))
    assert run((3, asked))[1] == Matched()
    assert run(said(a_said()), (3, asked), (6, outcome(False)))[0] == [WANTED]


def test_models_are_evaluated_by_what_each_said_and_one_without_a_version_not_at_all():
    score = Said("a", "a@1-0123456789ab", 5, None, None, None, 0.5)
    number = Said("r", "r@1-0123456789ab", 5, "number", 2.5)
    rows, held = run(said(score, Said("m"), number), (6, outcome(3.0)))
    assert [(row["model"], row.get("score"), row["prediction"]) for row in rows] == [
        ("a", 0.5, None),
        ("r", None, 2.5),
    ]
    assert held is None


def test_a_label_of_another_type_is_none_of_this_models():
    assert run(said(a_said()), (6, outcome("yes"))) == ([], None)


def observed(*steps: str | tuple[int, Item]) -> list[Any]:
    """What the monitor is told."""
    roles = {"m": "champion", "r": "challenger", "a": "shadow"}
    matching = Matching(TASKS, roles)  # type: ignore[arg-type]
    held: Matched | None = Matched()
    for step in steps:
        assert held is not None
        if isinstance(step, str):
            held = matching.on_said(Matched(*held), step, [])
        else:
            held = matching.on_outcome(Matched(*held), *step, [])
    return [observing.read(text) for text in matching.observed]


def timed(*each: Said) -> str:
    return _encode(AllSaid("t", list(each), 1000))


def test_the_monitor_is_told_of_each_answer_and_of_its_truth_beside_the_champions():
    regression = Said("r", "r@1-0123456789ab", 9, None, 2.5)
    told = observed(timed(a_said(), regression), (6, outcome(False)))
    predicted, other, evaluated, beside = told
    assert [seen.id for seen in told] == ["m/champion", "r/challenger"] * 2
    assert (predicted.value, other.value) == (0.75, 2.5)
    assert (evaluated.leaked, evaluated.champion) == (False, None)
    assert beside.leaked, "it had learned up to the ninth record"
    assert beside.champion == observing.Said("m", True)
    assert evaluated.pair(False) == (False, True, {True: 0.75, False: 0.25}, None)


def test_a_correction_says_what_it_replaces_and_whether_that_was_assumed():
    correction = outcome(
        True, source="correction", replaces=False, replaces_assumed=True, last=True
    )
    told = observed(
        timed(a_said()), (6, outcome(False, source="assumed", last=False)), (7, correction)
    )
    assert [(s.source, s.replaces, s.replaces_assumed) for s in told[1:]] == [
        ("assumed", None, False),
        ("correction", False, True),
    ]


def test_what_was_said_before_there_was_a_monitor_is_not_told_of():
    assert observed(said(a_said()), (6, outcome(False))) == []
    assert observed((6, outcome(False)), said(a_said())) == []
    assert len(observed((6, outcome(False)), timed(a_said()))) == 2
