"""River's metrics by name: what each is given, and what becomes of one that raises."""

import json
import logging
import math
import pickle
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from river import metrics

from models import tasks
from models.metrics import DEFAULTS, Measured, Pair, known, make, misfit, value_of
from models.specs import SpecError
from tests.operators.monitored import Fed

PARAMS: dict[str, dict[str, Any]] = {
    "FBeta": {"beta": 2.0},
    "MacroFBeta": {"beta": 2.0},
    "MicroFBeta": {"beta": 2.0},
    "WeightedFBeta": {"beta": 0.5},
    "MultiFBeta": {"betas": {"a": 1.0, "b": 2.0, "c": 0.5}, "weights": None},
    "RollingROCAUC": {"window_size": 50},
    "RollingPRAUC": {"window_size": 50},
}


def spec(name: str) -> Any:
    params = PARAMS.get(name)
    return name if params is None else {"class": f"river.metrics.{name}", "params": params}


def fits(task: Any) -> list[str]:
    """Names of River's metrics that measure models of a task."""
    found = []
    for name in known():
        try:
            if misfit(spec(name), task) is None:
                found.append(name)
        except SpecError:
            continue
    return found


def pairs(kind: str, count: int, seed: int = 1) -> list[Pair]:
    rng = random.Random(seed)
    found = []
    for _ in range(count):
        if kind == "regression":
            y = rng.random() + 0.5
            found.append(Pair(y, y + rng.random()))
        elif kind == "anomaly":
            y = rng.random() < 0.3
            found.append(Pair(y, None, None, (y + rng.random()) / 2))
        else:
            labels: list[Any] = {"bool": [False, True], "int": [0, 1, 5], "str": ["a", "b", "c"]}[
                kind
            ]
            y = rng.choice(labels)
            weights = [rng.random() + (label == y) for label in labels]
            p = {label: w / sum(weights) for label, w in zip(labels, weights, strict=True)}
            found.append(Pair(y, max(p, key=p.get), p))
    return found


CASES = [
    *(
        ("classification", "str" if name == "MultiFBeta" else "bool", name)
        for name in fits("classification")
    ),
    *(("regression", "regression", name) for name in fits("regression")),
    *(("anomaly", "anomaly", name) for name in fits("anomaly")),
]


def test_every_metric_of_river_that_gives_a_number_fits_a_task() -> None:
    none = {"ClassificationReport"}  # a text
    nested = {"ExactMatch", "MacroAverage", "MicroAverage", "PerOutput", "SampleAverage"}
    fitting = {name for task in tasks.TASK_NAMES for name in fits(task)}
    assert set(known()) - fitting == none | nested
    assert fits("anomaly") == ["LogLoss", "ROCAUC", "RollingPRAUC", "RollingROCAUC"]
    for task in tasks.TASK_NAMES:
        assert set(DEFAULTS[task]) <= set(fits(task))


@pytest.mark.parametrize(("task", "kind", "name"), CASES)
def test_a_metric_says_what_rivers_says(task: str, kind: str, name: str) -> None:
    """After each of many evaluations, kept and read again on the way, and after some are reverted."""
    given = pairs(kind, 120)
    measured = Measured([spec(name)])
    plain = Fed(lambda: make(spec(name)))
    for number, pair in enumerate(given):
        measured.update(pair)
        plain.update(pair)
        if number % 30 == 29:
            measured = pickle.loads(pickle.dumps(measured))
        assert measured.values()[name] == said(plain)
    for pair in given[:40]:
        measured.revert(pair)
        plain.revert(pair)
        assert measured.values()[name] == said(plain)


def said(plain: Fed) -> Any:
    try:
        value = plain.get()
    except ArithmeticError:
        return None
    return value if isinstance(value, dict) or math.isfinite(value) else None


def test_a_metric_of_more_classes_and_of_texts() -> None:
    for kind in ("int", "str"):
        measured = Measured(["Accuracy", "MacroF1", "ConfusionMatrix", "CrossEntropy"])
        plain = {name: Fed(getattr(metrics, name)) for name in measured.values()}
        for pair in pairs(kind, 100):
            measured.update(pair)
            for fed in plain.values():
                fed.update(pair)
        assert measured.values() == {name: fed.get() for name, fed in plain.items()}


def test_what_has_no_answer_is_counted_by_none() -> None:
    measured = Measured(["Accuracy", "LogLoss", "ROCAUC"])
    measured.update(Pair(True, None, None))
    measured.update(Pair(True, None, {}))
    assert measured.values() == {"Accuracy": None, "LogLoss": None, "ROCAUC": None}
    measured.update(Pair(True, True, None))  # a classifier without probabilities
    assert measured.values() == {"Accuracy": 1.0, "LogLoss": None, "ROCAUC": None}


# The positive label


def test_a_positive_label_is_true_to_metrics_of_two_classes() -> None:
    """As if the labels were whether they are that one."""
    names = ["F1", "Precision", "ROCAUC", "LogLoss", "MCC"]
    given = pairs("str", 150)
    measured, other = Measured(names, "b"), Measured(names)
    for pair in given:
        assert pair.probabilities is not None
        p = pair.probabilities["b"]
        measured.update(pair)
        other.update(Pair(pair.label == "b", pair.prediction == "b", {True: p, False: 1 - p}))
    assert measured.values() == other.values()
    assert all(value is not None for value in measured.values().values())
    said = [(pair.label == "b", pair.prediction == "b") for pair in given]
    right = said.count((True, True))
    wrong = said.count((True, False)) + said.count((False, True))
    assert measured.values()["F1"] == pytest.approx(2 * right / (2 * right + wrong))


def test_without_a_positive_label_metrics_of_two_classes_leave_other_labels_out() -> None:
    measured = Measured(["F1", "LogLoss", "Accuracy"])
    for pair in pairs("str", 20):
        measured.update(pair)
    assert measured.values()["F1"] is None
    assert measured.values()["LogLoss"] is None
    assert measured.values()["Accuracy"] > 0


def test_a_metrics_own_positive_label_wins() -> None:
    own = {"class": "river.metrics.F1", "params": {"pos_val": "c"}}
    auc = {"class": "river.metrics.RollingROCAUC", "params": {"pos_val": "c", "window_size": 99}}
    measured, other = Measured([own, auc], "b"), Measured(["F1", "RollingROCAUC"], "c")
    for pair in pairs("str", 80):
        measured.update(pair)
        other.update(pair)
    assert measured.values() == other.values()


def test_every_default_takes_a_positive_label() -> None:
    for task, names in DEFAULTS.items():
        measured = Measured(names, "fraud")
        measured.update(Pair("fraud", None, None, 0.7) if task == "anomaly" else Pair(1.0, 1.0))


# One that raises


class Rows:
    """What a metric is given that it cannot take."""

    HUGE = Pair(1e200, -1e200)
    NEGATIVE = Pair(1.0, -5.0)
    BIG_INTEGER = Pair(10**400, 0.5)


@pytest.mark.parametrize(
    ("names", "fails", "bad"),
    [
        (["RMSLE", "MAE"], {"RMSLE"}, Rows.NEGATIVE),
        (["MAE", "R2"], {"MAE", "R2"}, Rows.BIG_INTEGER),
    ],
)
def test_a_metric_that_raises_has_no_value_from_then_on(
    names: list[str], fails: set[str], bad: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    good = pairs("regression", 30)
    measured = Measured(names, of="monitor q of m/champion")
    for pair in good:
        measured.update(pair)
    assert None not in measured.values().values()
    with caplog.at_level(logging.WARNING):
        measured.update(bad)
        measured.update(bad)
        for pair in good:
            measured.update(pair)
            measured.revert(pair)
        new = measured.blank()
        new.update(bad)
    assert {name for name, value in measured.values().items() if value is None} == fails
    assert [record.getMessage().split(" has no")[0] for record in caplog.records] == [
        f"monitor q of m/champion: metric {name}" for name in names if name in fails
    ]
    # Another span does not know of it.
    new = measured.blank()
    for pair in good:
        new.update(pair)
    assert None not in new.values().values()


def test_a_label_that_is_no_number_is_counted_by_no_metric_of_a_regression() -> None:
    measured = Measured(["MAE", "RMSE", "R2"])
    measured.update(Pair("a", 1.0))
    measured.update(Pair(1.0, 1.5))
    measured.revert(Pair("a", 1.0))
    assert measured.values()["MAE"] == 0.5


def test_what_is_not_finite_is_null() -> None:
    measured = Measured(["MAE", "MSE"])
    measured.update(Pair(1e308, -1e308))
    assert measured.values() == {"MAE": None, "MSE": None}
    json.dumps(measured.values(), allow_nan=False)


ODD: Any = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3), st.just(10**400)
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            ODD, ODD, st.none() | st.dictionaries(ODD, st.floats(), max_size=3), st.none() | ODD
        ),
        max_size=12,
    ),
    st.sampled_from([None, True, "a", 1]),
)
def test_nothing_that_a_stream_brings_stops_a_metric_from_being_written(
    rows: list[tuple[Any, Any, Any, Any]], positive: Any
) -> None:
    for task in tasks.TASK_NAMES:
        measured = Measured([spec(name) for name in fits(task)], positive)
        for row in rows:
            measured.update(Pair(*row))
        json.dumps(measured.values(), allow_nan=False)
        for row in reversed(rows):
            measured.revert(Pair(*row))
        json.dumps(measured.values(), allow_nan=False)


# Correcting


@pytest.mark.parametrize("name", ["R2", "MAE", "RMSE"])
def test_the_only_evaluation_can_be_corrected(name: str) -> None:
    """River's R2 cannot go back to nothing."""
    measured, other = Measured([name]), Measured([name])
    measured.update(Pair(5.0, 1.0))
    measured.revert(Pair(5.0, 1.0))
    assert measured.values() == {name: None}
    for pair in pairs("regression", 10):
        measured.update(pair)
        other.update(pair)
    assert measured.values() == other.values()


def test_a_confusion_matrix_is_written_by_truth_and_prediction() -> None:
    measured = Measured(["ConfusionMatrix"])
    for label, prediction in [(True, True), (True, False), (True, False), (False, False)]:
        measured.update(Pair(label, prediction))
    measured.revert(Pair(False, False))
    assert measured.values() == {"ConfusionMatrix": {"true": {"true": 1, "false": 2}}}


def test_numbers_of_numpy_are_plain() -> None:
    auc = metrics.ROCAUC()
    auc.update(True, 0.5)
    auc.update(False, 0.1)
    assert type(value_of(auc)) is float
