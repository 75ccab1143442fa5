"""Monitors in the whole flow: their metrics equal River's own over what the flow wrote, restored or not."""

import json
import logging
import pickle
import random
import sys
import types
from collections import Counter
from functools import cache
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from river import anomaly, linear_model, metrics, naive_bayes, preprocessing, utils

from models import tasks
from models.metrics import DEFAULTS
from operators import monitor_state
from operators import monitors as monitors_module
from operators.joining import JoinSettings
from operators.learning import Out
from operators.monitor_settings import DriftSettings, MonitorSettings, QualitySettings
from operators.monitors import Monitors
from operators.observing import Evaluated, Observation, Predicted, Retired, key_of, write
from operators.roles import Role
from state.memory import MemoryStore
from tests.operators import odd_models
from tests.operators.flows import Bench, deployment, request
from tests.operators.monitored import (
    KEY,
    Heard,
    Restated,
    evaluated,
    heard,
    predicted,
    shown,
    travelled,
    watched_flow,
)

T0 = 1_700_000_000_000
WAIT, KEPT = 50, 120  # ms: label timeout and retention

MAKES = {
    "classification": {name: getattr(metrics, name) for name in DEFAULTS["classification"]},
    "regression": {name: getattr(metrics, name) for name in DEFAULTS["regression"]},
    "anomaly": {"ROCAUC": metrics.ROCAUC},
}
MODELS = {
    "bool": lambda: preprocessing.StandardScaler() | linear_model.LogisticRegression(),
    "int": naive_bayes.GaussianNB,
    "str": naive_bayes.GaussianNB,
    "number": lambda: preprocessing.StandardScaler() | linear_model.LinearRegression(),
    "score": lambda: anomaly.HalfSpaceTrees(n_trees=3, height=2, window_size=5, seed=1),
}
LABELS: dict[str, list[Any]] = {
    "bool": [False, True],
    "int": [0, 1, 2, 7],
    "str": ["a", "b", "true", "3"],
    "number": [0.0, 1.5, -3.0, 1e6, 2],
    "score": [False, True],
}
TASKS = {"number": "regression", "score": "anomaly"}


def stream(seed: int, count: int, labels: list[Any]) -> list[bytes]:
    """Transactions whose labels come at once, later, late, twice, differently or never; ids come again."""
    rng = random.Random(seed)
    found, time = [], T0
    for number in range(count):
        time += rng.choice((0, 1, 1, 2, 5, 60, 500))
        id = f"t{number}" if rng.random() < 0.9 else f"t{rng.randrange(number + 1)}"
        x = {"a": rng.random(), "b": rng.random()}
        found.append((time, {"id": id, "features": x, "ts": time}))
        due = time
        for _ in range(rng.choice((0, 1, 1, 1, 2, 3))):
            due += rng.choice((-3, 0, 1, 10, 40, 60, 110, 200))
            label = labels[(x["a"] > 0.5) if rng.random() < 0.6 else rng.randrange(len(labels))]
            found.append((max(due, time - 3), {"id": id, "label": label, "ts": max(due, 1)}))
    # As they arrive: times go back and forth a little.
    found.sort(key=lambda timed: timed[0] + rng.randrange(6))
    return [json.dumps(event).encode() for _, event in found]


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    kind=st.sampled_from(sorted(MODELS)),
    seed=st.integers(0, 10**6),
    window=st.integers(1, 12),
    every=st.integers(1, 30),
    assume=st.booleans(),
    corrections=st.sampled_from(["ignore", "learn"]),
    late=st.sampled_from(["learn", "drop"]),
    ordered=st.booleans(),
)
def test_metrics_equal_rivers_own_over_what_the_flow_wrote(
    kind: str,
    seed: int,
    window: int,
    every: int,
    assume: bool,
    corrections: Any,
    late: Any,
    ordered: bool,
) -> None:
    task: Any = TASKS.get(kind, "classification")
    join = JoinSettings(
        WAIT,
        KEPT,
        "assume" if assume else "drop",
        LABELS[kind][0] if assume else None,
        late,
        corrections,
    )
    monitor = MonitorSettings("q", window=window, every=every, event_window_ms=1000)
    labels = tasks.usual_labels(task)
    made = [
        deployment(MODELS[kind](), "m", "champion", task=task, labels=labels),
        deployment(MODELS[kind](), "other", "shadow", task=task, labels=labels),
    ]
    rows = watched_flow(stream(seed, 60, LABELS[kind]), made, (monitor,), join, ordered=ordered)
    checked = 0
    known = {name: Restated(monitor, task, MAKES[task], KEPT) for name in ("m", "other")}
    for output, row in rows:
        if output == "predictions":
            known[row["model"]].prediction(row)
        elif output == "evaluations":
            known[row["model"]].evaluation(row)
        elif output == "metrics":
            assert row["role"] == ("champion" if row["model"] == "m" else "shadow")
            known[row["model"]].check(row)
            checked += 1
    assert checked >= 6  # all, window and a span at the end, of each model


def test_the_window_is_rivers_rolling_over_the_same_evaluations() -> None:
    """Without corrections; where a model has no answer, its place in the window is empty."""
    rng = random.Random(5)
    rolling = {
        name: utils.Rolling(make, window_size=30) for name, make in MAKES["classification"].items()
    }
    seen: list[Observation] = []
    wanted = []
    for number in range(400):
        label, p = rng.random() < 0.4, rng.random()
        said = p > 0.5
        seen.append(evaluated(number, label, said, probabilities={"true": p, "false": 1 - p}))
        for metric in rolling.values():
            needs = metric.obj.requires_labels
            metric.update(label, said if needs else {True: p, False: 1 - p})
        if number % 20 == 19:
            matrix = rolling["ConfusionMatrix"].obj
            wanted.append(
                {
                    name: shown(matrix) if name == "ConfusionMatrix" else metric.obj.get()
                    for name, metric in rolling.items()
                }
            )
    found = heard(seen, MonitorSettings("q", window=30, every=20), ends=False)
    assert [row["metrics"] for row in found.of("metrics", scope="window")] == wanted


# Restore

DRIFT = (
    DriftSettings("error", "ADWIN", quiet=20),
    DriftSettings("error", "DDM", quiet=20),
    DriftSettings("error", "FHDDM", quiet=20),
    DriftSettings("prediction", "KSWIN", params={"window_size": 40, "stat_size": 15}, quiet=20),
    DriftSettings("prediction", "PageHinkley", quiet=20),
)
WHOLE = MonitorSettings(
    "q",
    metrics=("Accuracy", "ROCAUC", "LogLoss", "RollingROCAUC", "MCC", "ConfusionMatrix"),
    window=40,
    every=17,
    event_window_ms=1000,
    drift=DRIFT,
)


def observations(seed: int, count: int = 500) -> list[Observation]:
    """Of a challenger that grows bad in the middle."""
    rng = random.Random(seed)
    found: list[Observation] = []
    open_: list[tuple[int, int, float, bool]] = []
    for number in range(count):
        time = T0 + number * 40
        bad = 1 / 3 < number / count < 2 / 3
        p = rng.random() / 2 + bad / 2
        label = rng.random() < 0.3
        said = label if rng.random() < (0.3 if bad else 0.95) else not label
        found.append(predicted(number, time, value=p))
        open_.append((number, time, p, said))
        while open_ and rng.random() < 0.6:
            other, at, p, said = open_.pop(rng.randrange(len(open_)))
            truth: Any = {"label": label, "prediction": said}
            probabilities = {"true": p, "false": 1 - p}
            champion = ("other", rng.random() < 0.5) if rng.random() < 0.9 else None
            more = {"probabilities": probabilities, "champion": champion, "label_time": time + 1}
            first = rng.choice(("label", "assumed"))
            found.append(evaluated(other, time=at, source=first, **truth, **more))
            if rng.random() < 0.3:
                again = {**truth, "label": not label}
                replaces = {"replaces": label, "replaces_assumed": first == "assumed"}
                found.append(
                    evaluated(other, time=at, source="correction", **again, **more, **replaces)
                )
    return [travelled(seen) for seen in found]


def whole(seen: list[Observation], monitors: tuple[MonitorSettings, ...] = (WHOLE,)) -> list[Any]:
    return heard(seen, *monitors, retention_ms=3000).rows


SEEDS = (1, 2)


@cache
def wanted(seed: int) -> list[Any]:
    return whole(observations(seed))


def test_the_stream_that_is_cut_has_drifts_recoveries_and_closed_spans() -> None:
    rows = [row for seed in SEEDS for _, row in wanted(seed)]
    assert {row.get("kind") for row in rows} >= {"drift", "recovered"}
    assert any(row.get("closed") for row in rows)
    assert any(row.get("versus", {}).get("verdict") == "better" for row in rows)
    assert {row["detector"] for row in rows if "detector" in row} >= {"ADWIN", "DDM", "FHDDM"}


@settings(max_examples=20, deadline=None)
@given(
    seed=st.sampled_from(SEEDS),
    cuts=st.lists(st.tuples(st.integers(0, 1100), st.integers(0, 60)), min_size=1, max_size=4),
)
def test_what_is_kept_and_what_was_observed_since_equal_a_run_without_a_cut(
    seed: int, cuts: list[tuple[int, int]]
) -> None:
    """At each cut the state is kept, some are observed, and all of it is lost but what is in state."""
    seen = observations(seed)
    found = Heard()
    monitors = Monitors((WHOLE,), 3000, KEY, found.tell)
    snapshot_at = dict(cuts)
    kept, since, die_at = monitors.kept(), [], -1
    for place, one in enumerate(seen):
        monitors.observe(one)
        since.append(write(one))
        if place in snapshot_at:
            kept, since = monitors.kept(), []
            die_at = place + snapshot_at[place]
        if place == die_at:
            monitors = Monitors((WHOLE,), 3000, KEY, found.tell, kept, since)
    monitors.tell()
    assert found.rows == wanted(seed)


def test_every_cut_of_a_short_stream(caplog: pytest.LogCaptureFixture) -> None:
    quick = MonitorSettings(
        "q",
        window=5,
        every=3,
        event_window_ms=1000,
        drift=(DriftSettings("error", "ADWIN", quiet=5), DriftSettings("prediction", "ADWIN")),
    )
    seen = observations(3, 40)
    uncut = whole(seen, (quick,))
    for cut in range(len(seen) + 1):
        found = Heard()
        monitors = Monitors((quick,), 3000, KEY, found.tell)
        for one in seen[:cut]:
            monitors.observe(one)
        monitors = Monitors((quick,), 3000, KEY, found.tell, monitors.kept())
        for one in seen[cut:]:
            monitors.observe(one)
        monitors.tell()
        assert found.rows == uncut, cut
    assert not caplog.records


def test_a_changed_monitor_begins_anew_and_the_others_go_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The new one counts transactions from then on: of those before it has not heard all."""
    seen = observations(1)
    cut = 400
    same = MonitorSettings("same", every=50, event_window_ms=1000)
    before, after = (
        MonitorSettings("changed", every=every, event_window_ms=1000) for every in (50, 60)
    )
    first = Monitors((same, before), 3000, KEY, Heard().tell)
    for one in seen[:cut]:
        first.observe(one)
    found = Heard()
    with caplog.at_level(logging.WARNING):
        second = Monitors((same, after), 3000, KEY, found.tell, first.kept())
    assert [record.getMessage() for record in caplog.records] == [
        "monitor 'changed' of m/champion begins anew: it was changed"
    ]
    for one in seen[cut:]:
        second.observe(one)
    second.tell()
    reached = max(one.time for one in seen[:cut] if isinstance(one, Predicted))
    fresh = [one for one in seen[cut:] if one.time > reached]
    assert found.of("metrics", monitor="changed") == heard(fresh, after, retention_ms=3000).metrics
    last = found.of("metrics", monitor="changed", scope="all")[-1]
    assert 0 < last["labelled"] < last["predicted"]
    unchanged = heard(seen, same, retention_ms=3000).metrics
    assert found.of("metrics", monitor="same")[-1] == unchanged[-1]


def test_a_changed_monitor_begins_at_the_restore_whenever_the_last_snapshot_was() -> None:
    """What was observed between the two is replayed for the others only."""
    seen = observations(1)
    before, after = (MonitorSettings("q", every=every) for every in (50, 60))
    told = []
    for snapshot in (0, 100, 399):
        first = Monitors((before,), 3000, KEY, Heard().tell)
        for one in seen[:snapshot]:
            first.observe(one)
        found = Heard()
        since = [write(one) for one in seen[snapshot:400]]
        second = Monitors((after,), 3000, KEY, found.tell, first.kept(), since)
        for one in seen[400:]:
            second.observe(one)
        second.tell()
        told.append(found.rows)
    assert told[0] == told[1] == told[2] != []


def test_a_monitor_that_is_added_counts_from_then_on() -> None:
    seen = observations(1)
    first = Monitors((), 3000, KEY, Heard().tell)
    for one in seen[:400]:
        first.observe(one)
    found = Heard()
    second = Monitors((WHOLE,), 3000, KEY, found.tell, first.kept())
    for one in seen[400:]:
        second.observe(one)
    second.tell()
    last = found.of("metrics", scope="all")[-1]
    assert last["predicted"] == sum(isinstance(one, Predicted) for one in seen[400:])
    assert last["labelled"] <= last["predicted"]


@pytest.mark.parametrize("damage", ["another release", "unreadable"])
def test_state_that_cannot_be_read_is_begun_anew_and_stops_nothing(
    damage: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = observations(1)
    first = Monitors((WHOLE,), 3000, KEY, Heard().tell)
    for one in seen[:400]:
        first.observe(one)
    kept = first.kept()
    if damage == "another release":
        monkeypatch.setattr(monitors_module, "_FORMAT", 2)
    else:
        monkeypatch.delitem(monitor_state._CLASSES, "operators.monitoring.Waits")
    with caplog.at_level(logging.WARNING):
        second = Monitors((WHOLE,), 3000, KEY, Heard().tell, kept)
    monkeypatch.undo()
    assert "begins anew" in caplog.text
    assert second.views == {}
    for one in seen[400:]:
        second.observe(one)


def test_state_is_read_by_the_release_that_wrote_it_beside_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Modules of the same names may be another release's, when a task manager runs both."""
    seen = observations(1)
    first = Monitors((WHOLE,), 3000, KEY, Heard().tell)
    for one in seen[:400]:
        first.observe(one)
    for name in [name for name in sys.modules if name.startswith(("operators.", "models."))]:
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    kept = first.kept()
    found = Heard()
    second = Monitors((WHOLE,), 3000, KEY, found.tell, kept)
    for one in seen[400:]:
        second.observe(one)
    second.tell()
    assert found.rows == wanted(1)[-len(found.rows) :]
    assert found.of("metrics", scope="all")[-1]["predicted"] == 500


def test_a_key_that_an_older_configuration_lacks_changes_no_monitor() -> None:
    first = Monitors((WHOLE,), 3000, KEY, Heard().tell)
    first.observe(predicted(1))
    written, reached, begun, views = pickle.loads(first.kept())
    text, view = views["q"]
    older = {name: value for name, value in json.loads(text).items() if name != "threshold"}
    assert older != json.loads(text)
    kept = pickle.dumps((written, reached, begun, {"q": (json.dumps(older).encode(), view)}))
    assert Monitors((WHOLE,), 3000, KEY, Heard().tell, kept).views.keys() == {"q"}


# Models that go


def test_a_retired_model_is_told_of_once_more_and_leaves_a_few_bytes() -> None:
    found = Heard()
    monitors = Monitors((WHOLE,), 3000, KEY, found.tell)
    seen = observations(1)
    for one in seen:
        monitors.observe(one)
    before = len(monitors.kept())
    told = len(found.rows)
    monitors.retire()
    assert found.rows[told][1]["scope"] == "all"
    assert len(monitors.kept()) < 1500 < before / 10
    monitors.tell()
    monitors.retire()
    again = Monitors((WHOLE,), 3000, KEY, found.tell, monitors.kept())
    told = len(found.rows)
    # Its name comes again: labels of what the one before had said are not about the new one.
    late = [one for one in seen if isinstance(one, Evaluated)][-20:]
    for one in late:
        again.observe(one)
    again.observe(predicted(10**6, T0 + 10**9))
    again.tell()
    last = found.of("metrics", scope="all")[-1]
    assert (last["predicted"], last["labelled"], last["n"]) == (1, 0, 0)
    assert len(found.rows) > told
    ids = [alert["alert"] for alert in found.alerts]
    assert len(ids) == len(set(ids)) > 0


def test_a_model_that_loses_its_role_by_an_answer_was_asked_in_it() -> None:
    """The champion cannot answer and is suspended: what it was asked stands under its old role."""
    made = [
        deployment(odd_models.Moody(), "m", max_failures=2, failure_window=10),
        deployment(naive_bayes.GaussianNB(), "other", "challenger"),
    ]
    bench = Bench(made, MemoryStore(), out=Out(observations=True))
    bench.written.texts["observations"] = []
    bench.lane.roles.former.append("other")
    for number in range(6):
        bench.handle(request(f"t{number}", T0 + number, {"break": number}))
    assert bench.lane.roles.champion == "other"
    asked = Counter(json.loads(text)["id"] for text in bench.written.texts["observations"])
    # The third is the one too many.
    assert asked == {
        "m/champion": 3,
        "other/challenger": 3,
        "m/challenger": 3,
        "other/champion": 3,
    }


def test_keys_of_all_roles_are_told_apart() -> None:
    keys = {key_of("m", role) for role in get_args(Role)}
    assert len(keys) == 3
    assert {Retired(key).id for key in keys} == keys


# Which models, which features


def test_a_monitor_is_about_the_models_that_it_names() -> None:
    one, other = MonitorSettings("one", models=("m",)), MonitorSettings("other", models=("x",))
    found = heard([predicted(1)], one, other)
    assert {row["monitor"] for row in found.metrics} == {"one"}


def test_metrics_and_detectors_that_do_not_fit_a_task_are_left_out() -> None:
    """A model of another task may be deployed by a message, whatever the configuration says."""
    monitor = MonitorSettings(
        "q",
        metrics=("Accuracy", "MAE"),
        drift=(DriftSettings("error", "DDM"), DriftSettings("prediction", "ADWIN")),
    )
    seen = [predicted(1, task="regression", value=2.0)]
    seen.append(evaluated(1, 3.0, 2.5, task="regression"))
    found = heard(seen, monitor)
    assert found.of("metrics", scope="all")[-1]["metrics"] == {"MAE": 0.5}


def test_features_are_looked_at_by_those_who_want_them() -> None:
    monitors = (
        MonitorSettings("none"),
        MonitorSettings("quality", data_quality=QualitySettings(reference=10), every=5),
    )
    rows = watched_flow(
        stream(1, 40, LABELS["bool"]),
        [deployment(naive_bayes.GaussianNB())],
        monitors,
        JoinSettings(WAIT, KEPT),
    )
    told = [row for output, row in rows if output == "metrics" and "of_reference" in row]
    assert {row["monitor"] for row in told} == {"quality"}
    transactions = sum(output == "predictions" for output, _ in rows)
    assert sum(row["n"] for row in told) == transactions - 10
