"""A challenger beside the champion: what is counted, and whether the interval keeps its promise."""

import math
import random
import statistics
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.metrics import Pair
from operators.comparing import LEAST, MOST_CHAMPIONS, Comparison, Comparisons, loss
from operators.monitor_settings import MonitorSettings
from tests.operators.monitored import evaluated, heard


@pytest.mark.parametrize(
    ("pair", "task", "wanted"),
    [
        (Pair(True, True), "classification", 0.0),
        (Pair("a", "b"), "classification", 1.0),
        (Pair("a", None), "classification", None),
        (Pair(2, -1.5), "regression", 3.5),
        (Pair(True, 0.25), "regression", 0.75),
        (Pair("a", 1.0), "regression", None),
        (Pair(10**400, 1.0), "regression", None),
        (Pair(1e308, -1e308), "regression", None),
        (Pair(1e101, 0.0), "regression", None),
        (Pair(True, None, None, 0.5), "anomaly", None),
        (Pair(True, True, None, 0.5), "anomaly", None),
    ],
)
def test_how_wrong_an_answer_was(pair: Pair, task: Any, wanted: float | None) -> None:
    assert loss(pair, task) == wanted


def theorem(differences: list[float], alpha: float, tight_at: int) -> tuple[float, float]:
    """Theorem 2.2 of arXiv:2103.06476, and the rho of its section 3.2 that is narrowest at a time.

    mean +- sd * sqrt(2 (t rho^2 + 1) / (t^2 rho^2) * log(sqrt(t rho^2 + 1) / alpha)).
    """
    t = len(differences)
    rho = math.sqrt((-2 * math.log(alpha) + math.log(-2 * math.log(alpha) + 1)) / tight_at)
    mean, sd = statistics.fmean(differences), statistics.pstdev(differences)
    inside = 2 * (t * rho**2 + 1) / (t**2 * rho**2)
    half = sd * math.sqrt(inside * math.log(math.sqrt(t * rho**2 + 1) / alpha))
    return mean - half, mean + half


@given(
    st.lists(st.floats(-100, 100), min_size=LEAST, max_size=300),
    st.sampled_from([0.8, 0.95, 0.99]),
    st.sampled_from([100, 1000]),
)
@settings(max_examples=50, deadline=None)
def test_the_interval_is_that_of_the_theorem(
    differences: list[float], confidence: float, tight_at: int
) -> None:
    comparison = Comparison(confidence, tight_at)
    for difference in differences:
        comparison.update(difference)
    found = comparison.get("other")
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    low, high = theorem(differences, 1 - confidence, tight_at)
    assert found.difference == pytest.approx(statistics.fmean(differences), abs=1e-9)
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-4)
    assert found.wins == sum(difference < 0 for difference in differences)
    assert found.losses == sum(difference > 0 for difference in differences)


def test_it_is_narrowest_where_it_was_asked_to_be() -> None:
    """Half the width over the square root of the time, for a spread that stays the same."""

    def width(t: int, tight_at: int) -> float:
        low, high = theorem([-1.0, 1.0] * (t // 2), 0.05, tight_at)
        return high - low

    for t in (200, 1000, 5000):
        best = min((100, 200, 1000, 5000, 20_000), key=lambda tight_at: width(t, tight_at))
        assert best == t


def test_before_a_hundred_transactions_there_is_no_interval() -> None:
    comparison = Comparison(0.95, 1000)
    assert comparison.get("other") is None
    for number in range(1, LEAST + 1):
        comparison.update(1.0 if number % 2 else 0.5)
        found = comparison.get("other")
        assert found is not None
        if number < LEAST:
            assert (found.low, found.high, found.verdict) == (None, None, "open")
    assert found.verdict == "worse"


def verdicts(rng: random.Random, own: float, its: float, both: float, count: int) -> set[str]:
    """Every verdict on the way; `both` is the share of transactions whose errors they share."""
    comparison = Comparison(0.95, 1000)
    found = set()
    for _ in range(count):
        if rng.random() < both:
            difference = 0.0
        else:
            difference = float(rng.random() < own) - float(rng.random() < its)
        comparison.update(difference)
        said = comparison.get("other")
        assert said is not None
        found.add(said.verdict)
        if said.verdict != "open":
            break
    return found


@pytest.mark.parametrize("both", [0.0, 0.8])
def test_looked_at_after_every_transaction_it_errs_in_fewer_cases_than_it_says(
    both: float,
) -> None:
    """Two models that are equally good, 300 streams; an ordinary test at each look would err far more often."""
    wrong = sum(
        verdicts(random.Random(seed), 0.2, 0.2, both, 2000) != {"open"} for seed in range(300)
    )
    assert wrong <= 0.05 * 300


def test_a_difference_that_is_real_is_found() -> None:
    for seed in range(20):
        assert "better" in verdicts(random.Random(seed), 0.15, 0.25, 0.0, 4000)
        assert "worse" in verdicts(random.Random(seed), 0.25, 0.15, 0.0, 4000)


@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), min_size=1, max_size=150))
def test_a_correction_leaves_what_would_be_known_without_the_first_label(
    pairs: list[tuple[int, int]],
) -> None:
    corrected, plain = Comparison(0.95, 1000), Comparison(0.95, 1000)
    for before, after in pairs:
        corrected.update(before)
        plain.update(after)
    for before, after in pairs:
        corrected.revert(before)
        corrected.update(after)
    assert corrected.get("other") == plain.get("other")


# Champions


def test_labels_from_before_a_promotion_do_not_disturb_the_newest_champion() -> None:
    """They come in turn with those from after it."""
    found = Comparisons(0.95, 1000)
    for number in range(LEAST):
        found.update("old", number, 1.0)
        found.update("new", 10_000 + number, -1.0)
        said = found.get()
        assert said is not None
        assert (said.model, said.n, said.difference) == ("new", number + 1, -1.0)
    assert found.by_champion["old"].n == LEAST


def test_a_few_champions_are_remembered() -> None:
    found = Comparisons(0.95, 1000)
    for number in range(100):
        found.update(f"c{number}", number, 1.0)
    assert list(found.by_champion) == [f"c{100 - place}" for place in range(MOST_CHAMPIONS, 0, -1)]
    found.correct("c3", 1.0, 0.0)  # no longer known
    said = found.get()
    assert said is not None
    assert (said.model, said.n) == ("c99", 1)


def test_only_transactions_that_both_have_answered_are_compared() -> None:
    champion = ("other", False)
    seen = [
        evaluated(1, True, True, champion=champion),
        evaluated(2, True, None, champion=champion),
        evaluated(3, True, True, champion=("other", None)),
        evaluated(4, True, False),
        evaluated(5, True, True, champion=champion, leaked=True),
        evaluated(6, False, True, champion=champion),
        evaluated(6, True, True, champion=champion, source="correction", replaces=False, time=6),
    ]
    versus = heard(seen, MonitorSettings("q")).of("metrics", scope="all")[-1]["versus"]
    assert versus == {
        "model": "other",
        "n": 2,
        "wins": 2,
        "losses": 0,
        "difference": -1.0,
        "low": None,
        "high": None,
        "verdict": "open",
    }
    alone = heard([evaluated(1, True)], MonitorSettings("q")).of("metrics", scope="all")[-1]
    assert "versus" not in alone
