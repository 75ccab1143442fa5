"""What is odd about features, by those that came first."""

import random
import string
from typing import Any

import pytest
from msgspec import Raw

from events.features import encode_features
from operators.data_quality import MOST_NAMES, MOST_TOLD, Quality
from operators.monitor_settings import DriftSettings, MonitorSettings, QualitySettings
from operators.observing import FEATURES_KEY, Features
from tests.operators.monitored import Heard, heard

NONE: dict[str, dict[str, int]] = {
    "missing": {},
    "new": {},
    "out_of_range": {},
    "other_type": {},
}


def quality(*rows: dict[str, Any], reference: int = 3) -> tuple[int, dict[str, dict[str, int]]]:
    found = Quality(reference)
    for row in rows:
        found.update(row)
    return found.take()


REFERENCE: list[dict[str, Any]] = [
    {"a": 1, "b": "x", "c": True},
    {"a": 5.5, "b": "y", "c": False, "sometimes": 0},
    {"a": -2, "b": "x", "c": True},
]


@pytest.mark.parametrize(
    ("row", "odd"),
    [
        ({"a": 5.5, "b": "z", "c": False}, {}),
        ({"a": -2, "b": "", "c": True, "sometimes": 0}, {}),
        ({"a": 5.6, "b": "x", "c": True}, {"out_of_range": {"a": 1}}),
        ({"a": 10**400, "b": "x", "c": True}, {"out_of_range": {"a": 1}}),
        ({"a": "5", "b": 1, "c": 1}, {"other_type": {"a": 1, "b": 1, "c": 1}}),
        ({"a": True, "b": "x", "c": True}, {"other_type": {"a": 1}}),
        ({"amount": 1, "b": "x", "c": True}, {"new": {"amount": 1}, "missing": {"a": 1}}),
        ({}, {"missing": {"a": 1, "b": 1, "c": 1}}),
    ],
)
def test_what_is_odd(row: dict[str, Any], odd: dict[str, dict[str, int]]) -> None:
    assert quality(*REFERENCE, row) == (1, {**NONE, **odd})


def test_a_feature_that_has_had_two_types_may_have_any() -> None:
    reference: list[dict[str, Any]] = [{"a": 1}, {"a": "one"}, {"a": 1}]
    assert quality(*reference, {"a": True}, {"a": 10**6}) == (2, NONE)


def test_the_reference_itself_is_not_counted() -> None:
    found = Quality(3)
    for row in REFERENCE:
        found.update(row)
    assert (found.of_reference, found.take()) == (3, (0, NONE))


def test_counts_begin_again_when_they_were_taken() -> None:
    found = Quality(1)
    for row in ({"a": 1}, {}, {"a": 1}):
        found.update(row)
    assert found.take() == (2, {**NONE, "missing": {"a": 1}})
    assert found.take() == (0, NONE)


def test_names_by_the_million_fill_no_memory() -> None:
    found = Quality(10)
    for number in range(10):
        found.update({"a": number})
    for number in range(50_000):
        found.update({f"n{number}": 1, f"m{number}": 1, "again": 1})
    assert len(found.odd["new"]) == MOST_NAMES
    n, odd = found.take()
    assert n == 50_000
    assert len(odd["new"]) == MOST_TOLD
    # The most frequent first.
    assert next(iter(odd["new"].items())) == ("again", 50_000)
    assert odd["missing"] == {"a": 50_000}


def test_where_the_reference_has_more_names_than_are_remembered_none_is_called_new() -> None:
    found = Quality(2)
    for number in range(2):
        found.update({f"n{number}-{place}": 1 for place in range(MOST_NAMES)})
    assert len(found.known) == MOST_NAMES
    found.update({"n1-5": 1, "n0-5": "text"})
    assert found.take()[1] == {**NONE, "other_type": {"n0-5": 1}}


# In a monitor


def arrived(number: int, features: dict[str, Any]) -> Features:
    return Features(FEATURES_KEY, f"t{number}", 1000 + number, Raw(encode_features(features)))


def watched(rows: list[dict[str, Any]], **settings: Any) -> Heard:
    monitor = MonitorSettings(
        "q", data_quality=QualitySettings(reference=100, share=0.05), every=200, **settings
    )
    seen = [arrived(number, row) for number, row in enumerate(rows)]
    return heard(seen, monitor, key=FEATURES_KEY)


def test_a_renamed_feature_is_missing_and_new_and_comes_back() -> None:
    rng = random.Random(1)
    good = [{"amount": rng.random(), "hour": rng.randrange(24)} for _ in range(1100)]
    rows = [
        {"value": row["amount"], "hour": row["hour"]} if 400 <= number < 700 else row
        for number, row in enumerate(good)
    ]
    found = watched(rows)
    assert [(row["n"], row["of_reference"]) for row in found.metrics] == [(200, 100)] * 5
    assert [row["missing"] for row in found.metrics] == [
        {},
        {"amount": 100},
        {"amount": 200},
        {},
        {},
    ]
    said = [(row["kind"], row["feature"], row["after"]) for row in found.alerts]
    assert said == [
        ("data_quality", "amount", 0.5),
        ("data_quality", "value", 0.5),
        ("recovered", "amount", 0.0),
        ("recovered", "value", 0.0),
    ]
    first = found.alerts[0]
    # The transactions that were counted, from the first after the record before.
    assert first["fresh"] == {"id": "t300", "event_time": 1300, "until": 1499, "count": 200}
    assert (first["id"], first["event_time"], first["before"]) == ("t499", 1499, 0.0)
    assert first["model"] is None
    assert "role" not in first
    assert first["detail"] == "missing in 50.0% of 200 transactions"


def test_a_first_record_begins_after_the_reference() -> None:
    found = watched([{"a": 1}] * 100 + [{}] * 200)
    assert found.alerts[0]["fresh"]["id"] == "t100"


def test_a_change_below_the_share_is_counted_and_alarms_nobody() -> None:
    rows = [{"a": 1} for _ in range(300)]
    for number in range(100, 110):
        rows[number] = {"a": 2}
    found = watched(rows)
    assert [row["out_of_range"] for row in found.metrics] == [{"a": 10}]
    assert found.alerts == []


def test_a_few_transactions_at_the_end_alarm_nobody() -> None:
    found = watched([{"a": 1}] * 300 + [{}] * 20)
    assert [(row["n"], row["missing"]) for row in found.metrics] == [(200, {}), (20, {"a": 20})]
    assert found.alerts == []


def test_without_features_there_is_nothing_odd_and_nothing_fails() -> None:
    found = watched([{}] * 300)
    assert [(row["n"], row["missing"]) for row in found.metrics] == [(200, {})]


def test_every_transaction_with_names_of_its_own() -> None:
    """A record stays small, and no alarm is taken back that was not heard of again."""
    rows: list[dict[str, Any]] = [{"a": 1}] * 100
    for number in range(600):
        noise = {f"n{number}-{letter}": 1 for letter in string.ascii_letters}
        rows.append({"a": 1, "often": 1, **noise} if number < 200 else {"a": 1, **noise})
    found = watched(rows)
    assert all(len(row["new"]) == MOST_TOLD for row in found.metrics)
    assert [(row["kind"], row["feature"]) for row in found.alerts] == [("data_quality", "often")]


def test_drift_of_a_feature_is_that_of_the_numbers_among_its_values() -> None:
    rng = random.Random(2)
    rows: list[dict[str, Any]] = []
    for number in range(1200):
        value: Any = rng.gauss(5 if number >= 700 else 0, 1)
        rows.append({"x": rng.choice((value, value, "text", 10**400))})
    monitor = MonitorSettings("q", drift=(DriftSettings("feature", "ADWIN", feature="x"),))
    seen = [arrived(number, row) for number, row in enumerate(rows)]
    [row] = heard(seen, monitor, key=FEATURES_KEY).alerts
    assert (row["kind"], row["feature"], row["on"]) == ("drift", "x", "feature")
    assert abs(int(row["fresh"]["id"][1:]) - 700) <= 10
    assert row["before"] == pytest.approx(0, abs=0.3)
    assert row["after"] == pytest.approx(5, abs=1)
    assert "usual_version" not in row
