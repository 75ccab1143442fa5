"""Drift: what River's detector says, told once, with the place of the change and its end."""

import logging
import random
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from river import drift

from operators import drifts
from operators.drifts import BINARY, NUMERIC, REMEMBERED, Change, Drift, Seen, best_split
from operators.monitor_settings import DriftSettings, MonitorSettings
from tests.operators.monitored import evaluated, heard, predicted


def seen(values: Iterable[float], begin: int = 0) -> list[Seen]:
    return [
        Seen(float(value), f"t{number}", 10 * number, f"v{number}")
        for number, value in enumerate(values, begin)
    ]


def changes(found: Drift, values: list[Seen]) -> list[tuple[int, Change]]:
    """Place -> what was told there."""
    told = ((place, found.update(value)) for place, value in enumerate(values))
    return [(place, change) for place, change in told if change is not None]


def coins(rng: random.Random, *parts: tuple[float, int]) -> list[float]:
    """So many of each share of ones."""
    return [float(rng.random() < share) for share, count in parts for _ in range(count)]


def bare(name: str) -> Any:
    """River's detector, made by hand; KSWIN's seed is what the project makes of the name."""
    if name == "KSWIN":
        return drift.KSWIN(seed=drifts.detector(name, {}, "x").seed)
    return getattr(drift.binary if name in BINARY else drift, name)()


def detections(name: str, values: list[float]) -> list[int]:
    """Where River's own detector says so. FHDDM takes 1 for right, whatever its text says."""
    own, found = bare(name), []
    for place, value in enumerate(values):
        own.update(1 - value if name == "FHDDM" else value)
        if own.drift_detected:
            found.append(place)
    return found


@pytest.mark.parametrize("name", [*BINARY, *NUMERIC])
@pytest.mark.parametrize("seed", range(4))
def test_the_first_detection_is_where_the_bare_detector_has_it(name: str, seed: int) -> None:
    values = coins(random.Random(seed), (0.1, 1500), (0.6, 1000))
    wanted = detections(name, values)
    found = changes(Drift(drifts.detector(name, {}, "x"), 10**6, False), seen(values))
    assert [place for place, _ in found] == wanted[:1]
    assert wanted, "there is a change to be found"


@pytest.mark.parametrize("name", [*BINARY, "ADWIN", "PageHinkley"])
def test_a_rise_of_errors_is_told_of_and_a_fall_is_not(name: str) -> None:
    rise = coins(random.Random(3), (0.1, 1500), (0.6, 1000))
    fall = coins(random.Random(3), (0.6, 1500), (0.1, 1000))
    settings: dict[str, Any] = {"quiet": 10**6, "rises_only": True}
    [(_, change)] = [
        (place, change)
        for place, change in changes(Drift(drifts.detector(name, {}, "x"), **settings), seen(rise))
        if place >= 1500
    ] or changes(Drift(drifts.detector(name, {}, "x"), **settings), seen(rise))
    assert change.kind == "drift"
    assert change.before < change.after
    told = changes(Drift(drifts.detector(name, {}, "x"), **settings), seen(fall))
    assert [place for place, _ in told if place > 1500] == []


@pytest.mark.parametrize("name", ["DDM", "HDDMA", "HDDMW", "FHDDM", "ADWIN"])
def test_a_rise_is_found_though_the_model_has_learned_before(name: str) -> None:
    """The fall of the errors while it learned stands out more than the rise."""
    values = coins(random.Random(5), (0.6, 300), (0.05, 900), (0.3, 500))
    told = changes(Drift(drifts.detector(name, {}, "x"), 200, True), seen(values))
    place, change = told[0]
    assert 1200 <= place < 1700
    assert change.before < 0.2 < change.after
    assert abs(int(change.fresh.id[1:]) - 1200) <= 30


def test_the_place_of_a_change_and_its_means() -> None:
    values = seen([0.0] * 300 + [1.0] * 100)
    found = Drift(drift.ADWIN(), 1000, False)
    [(place, change)] = changes(found, values)
    assert change.kind == "drift"
    assert (change.before, change.after) == (0.0, 1.0)
    assert change.usual_version == "v299"
    fresh = change.fresh
    assert (fresh.id, fresh.event_time, fresh.until) == ("t300", 3000, 10 * place)
    assert fresh.count == place - 300 + 1


def test_a_second_change_is_sought_behind_the_first() -> None:
    """It is smaller: over all that is remembered the first would stand out."""
    values = coins(random.Random(1), (0.0, 600), (0.8, 600), (1.0, 500))
    found = changes(Drift(drift.ADWIN(), 100, False), seen(values))
    assert [change.kind for _, change in found] == ["drift", "drift"]
    assert abs(int(found[1][1].fresh.id[1:]) - 1200) <= 20
    assert found[1][1].before == pytest.approx(0.8, abs=0.05)


# Debounce and recovery


def test_for_a_while_after_a_change_no_other_is_told_of() -> None:
    class Always:
        drift_detected = True

        def update(self, x: float) -> None:
            pass

    values = [0.0] * 10 + [float(number) for number in range(90)]
    assert changes(Drift(Always(), 25, False), seen(values[:10])) == [], "nothing has changed"
    found = changes(Drift(Always(), 25, False), seen(values))
    places = [place for place, _ in found]
    assert len(places) > 2
    assert all(later - place >= 25 for place, later in pairwise(places))


def test_it_is_told_once_that_a_change_is_over() -> None:
    values = coins(random.Random(2), (0.1, 800), (0.7, 300), (0.1, 800))
    found = changes(Drift(drift.binary.HDDMA(), 100, True), seen(values))
    assert [change.kind for _, change in found] == ["drift", "recovered"]
    (first, rise), (second, back) = found
    assert 800 < first < 1100 < second < 1300
    assert back.before == rise.after
    assert back.after < (rise.before + rise.after) / 2
    assert back.fresh.count == 100


def test_a_detector_that_sees_the_way_back_says_that_it_is_over() -> None:
    """ADWIN tells of falls, too: that is the recovery, and no other drift."""
    values = coins(random.Random(4), (0.1, 800), (0.8, 600), (0.1, 800))
    for rises_only in (False, True):
        found = changes(Drift(drift.ADWIN(), 50, rises_only), seen(values))
        assert [change.kind for _, change in found] == ["drift", "recovered"]


def test_a_fall_that_is_seen_again_and_again_is_no_rise() -> None:
    """ADWIN drops what was before little by little, and detects each time: what is left is noise."""
    for seed in range(30):
        values = coins(random.Random(seed), (0.6, 500), (0.1, 700))
        assert len(detections("ADWIN", values)) >= 1
        assert changes(Drift(drift.ADWIN(), 200, True), seen(values)) == []


def test_a_change_that_stays_is_no_recovery() -> None:
    values = coins(random.Random(6), (0.1, 800), (0.6, 3000))
    found = changes(Drift(drift.ADWIN(), 100, False), seen(values))
    assert [change.kind for _, change in found] == ["drift"]


def test_what_is_remembered_is_bounded() -> None:
    found = Drift(drift.ADWIN(), 100, False)
    for value in seen(coins(random.Random(1), (0.5, 3 * REMEMBERED))):
        found.update(value)
    assert len(found.seen) == REMEMBERED


# One that raises


def test_a_detector_that_raises_is_given_nothing_more(caplog: pytest.LogCaptureFixture) -> None:
    class Fails:
        drift_detected = False
        calls = 0

        def update(self, x: float) -> None:
            self.calls += 1
            if x > 5:
                raise ValueError("too much")

    detector = Fails()
    found = Drift(detector, 10, False)
    with caplog.at_level(logging.WARNING):
        assert changes(found, seen([1.0, 9.0, 1.0, 9.0])) == []
    assert detector.calls == 2
    assert [record.getMessage() for record in caplog.records] == [
        "Fails looks for no drift any more: ValueError('too much')"
    ]


@pytest.mark.parametrize("name", NUMERIC)
def test_no_number_stops_a_detector_from_being_asked(name: str) -> None:
    found = Drift(drifts.detector(name, {}, "x"), 50, False)
    rng = random.Random(1)
    huge = [rng.choice((1.0, 1e100, -1e100, 1e-308, 0.0)) for _ in range(500)]
    changes(found, seen(huge))
    assert not found.stopped


def test_what_is_no_finite_number_is_given_to_no_detector() -> None:
    adwin = MonitorSettings("q", drift=(DriftSettings("error", "ADWIN"),))
    rows = [
        evaluated(number, label, 0.5, task="regression")
        for number, label in enumerate((1.0, 10**400, 1e308, "a", 2.0))
    ]
    rows.append(evaluated(9, 1e308, -1e308, task="regression"))
    assert heard(rows, adwin).alerts == []


# The best split


def brute_force(values: list[float]) -> float:
    """The smallest sum of squares around two means."""

    def squares(part: list[float]) -> float:
        mean = sum(part) / len(part)
        return sum((value - mean) ** 2 for value in part)

    return min(squares(values[:k]) + squares(values[k:]) for k in range(1, len(values)))


@given(st.lists(st.integers(-20, 20).map(float), min_size=2, max_size=60))
def test_the_best_split_leaves_the_smallest_sum_of_squares(values: list[float]) -> None:
    place = best_split(values)
    assert place is not None
    left, right = values[:place], values[place:]
    means = [sum(part) / len(part) for part in (left, right)]
    found = sum(
        (value - mean) ** 2
        for part, mean in zip((left, right), means, strict=True)
        for value in part
    )
    assert found == pytest.approx(brute_force(values), abs=1e-6)


def test_of_fewer_than_two_values_there_is_no_split() -> None:
    assert best_split([]) is None
    assert best_split([1.0]) is None


# Alerts


def test_an_alert_says_what_changed_and_where() -> None:
    monitor = MonitorSettings(
        "q", every=10**6, drift=(DriftSettings("prediction", "ADWIN", quiet=100),)
    )
    values = coins(random.Random(7), (0.1, 500), (0.9, 200), (0.1, 500))
    rows = [predicted(n, 1000 + n, value=v, version=f"m@{n}-0") for n, v in enumerate(values)]
    found = heard(rows, monitor).alerts
    assert [row["kind"] for row in found] == ["drift", "recovered"]
    row = found[0]
    assert row["alert"] == f"q/m/champion/1/{row['id']}"
    assert (row["monitor"], row["model"], row["role"]) == ("q", "m", "champion")
    assert (row["on"], row["detector"]) == ("prediction", "ADWIN")
    assert "feature" not in row
    assert row["before"] == pytest.approx(0.1, abs=0.05)
    assert row["after"] > 0.8
    assert row["event_time"] == 1000 + int(row["id"][1:])
    assert row["fresh"]["until"] == row["event_time"]
    place = int(row["fresh"]["id"][1:])
    assert abs(place - 500) <= 5
    assert row["usual_version"] == f"m@{place - 1}-0"


def test_errors_of_corrections_and_leaked_ones_are_given_to_no_detector() -> None:
    """A correction says of the past what was not seen then."""
    monitor = MonitorSettings("q", drift=(DriftSettings("error", "ADWIN"),))
    rows = [evaluated(n, True, True) for n in range(500)]
    for n in range(500):
        fields = {"source": "correction", "replaces": True}
        rows.append(evaluated(n, False, True, **fields))
    rows += [evaluated(n, False, True, leaked=True) for n in range(500, 1000)]
    assert heard(rows, monitor).alerts == []
    rows += [evaluated(n, False, True) for n in range(1000, 1200)]
    [row] = heard(rows, monitor).alerts
    assert (row["before"], row["after"]) == (0.0, 1.0)
