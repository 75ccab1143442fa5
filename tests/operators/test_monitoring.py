"""What a monitor knows of one model in one role: counts, delays, windows, spans of event time."""

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.monitor_settings import MonitorSettings
from operators.monitoring import ModelMonitor
from operators.observing import Observation
from tests.operators.monitored import KEY, Delays, Heard, evaluated, heard, predicted

HOUR = 3_600_000
ACCURACY = MonitorSettings("q", metrics=("Accuracy",), every=10**9)


def last(rows: list[Observation], monitor: MonitorSettings = ACCURACY) -> dict[str, Any]:
    """What is known of all transactions in the end."""
    return heard(rows, monitor).of("metrics", scope="all")[-1]


# Counts


@pytest.mark.parametrize(
    ("rows", "counts"),
    [
        ([evaluated(1, True)], {"labelled": 1, "n": 1}),
        ([evaluated(1, True, late=True)], {"labelled": 1, "late": 1, "n": 1}),
        ([evaluated(1, True, source="assumed")], {"assumed": 1, "n": 1}),
        # The truth after what was assumed: labelled, no longer assumed.
        (
            [
                evaluated(1, False, source="assumed"),
                evaluated(
                    1, True, source="correction", replaces=False, replaces_assumed=True, late=True
                ),
            ],
            {"labelled": 1, "assumed": 0, "late": 1, "corrected": 1, "n": 1, "right": 1},
        ),
        # Another truth: labelled before.
        (
            [evaluated(1, False), evaluated(1, True, source="correction", replaces=False)],
            {"labelled": 1, "corrected": 1, "n": 1, "right": 1},
        ),
        # What the version had learned already says nothing of it, yet the label is there.
        ([evaluated(1, True, leaked=True)], {"labelled": 1, "leaked": 1, "n": 0}),
        ([evaluated(1, True, None)], {"labelled": 1, "n": 1}),
    ],
)
def test_what_is_counted(rows: list[Observation], counts: dict[str, int]) -> None:
    found = last([predicted(1), predicted(2), *rows])
    names = ("labelled", "assumed", "late", "corrected", "leaked", "n")
    assert {name: found[name] for name in names} == {name: counts.get(name, 0) for name in names}
    assert found["predicted"] == 2
    assert found["unlabelled"] == 1 - counts.get("labelled", 0) / 2
    if "right" in counts:
        assert found["metrics"] == {"Accuracy": 1.0}


def test_leaked_evaluations_are_left_out_of_every_metric() -> None:
    monitor = MonitorSettings("q", metrics=("Accuracy",), window=5)
    rows = [evaluated(n, True, n % 2 == 0, leaked=n % 2 == 1) for n in range(20)]
    found = heard(rows, monitor).metrics
    assert {row["scope"] for row in found} == {"all", "window", "event_time"}
    assert all(row["metrics"] == {"Accuracy": 1.0} for row in found)


def test_the_rate_of_anomaly_scores_above_the_threshold() -> None:
    monitor = MonitorSettings("q", threshold=0.75)
    scores = [0.1, 0.75, 0.76, 0.9, None]
    rows = [predicted(n, task="anomaly", value=score) for n, score in enumerate(scores)]
    assert last(rows, monitor)["rate"] == 2 / 4  # one that gave no score is in no rate
    assert last(rows, monitor)["predicted"] == 5
    assert last([evaluated(1, True, None, score=0.5, task="anomaly")], monitor)["rate"] is None


def test_a_record_says_where_in_the_stream_it_is() -> None:
    rows = [predicted(1, 500, version="m@1-a"), evaluated(7, True, time=100, label_time=900)]
    found = last(rows)
    assert (found["version"], found["id"], found["clock"]) == ("m@0-0", "t7", 900)
    assert (found["monitor"], found["model"], found["role"]) == ("q", "m", "champion")


def test_a_record_comes_after_so_many_observations() -> None:
    monitor = MonitorSettings("q", every=7)
    rows = [predicted(n) if n % 3 else evaluated(n, True) for n in range(40)]
    found = heard(rows, monitor, ends=False).of("metrics", scope="all")
    assert [row["id"] for row in found] == [f"t{n}" for n in (6, 13, 20, 27, 34)]


# Delays


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(-1000, 10**9), max_size=80))
def test_delays_are_rivers_statistics_of_them(delays: list[int]) -> None:
    """Those of labels that came before the features are below zero."""
    plain = Delays()
    rows: list[Observation] = [predicted(0, 0)]
    for number, delay in enumerate(delays):
        rows.append(evaluated(number, True, time=5000, label_time=5000 + delay))
        plain.update(delay)
    assert last(rows)["delay_ms"] == plain.get()


def test_delays_are_of_true_labels_once_each() -> None:
    rows = [
        evaluated(1, True, time=0, label_time=10, source="assumed"),
        evaluated(
            1, True, time=0, label_time=30, source="correction", replaces=True,
            replaces_assumed=True,
        ),
        evaluated(1, False, time=0, label_time=90, source="correction", replaces=True),
    ]  # fmt: skip
    assert last(rows)["delay_ms"] == dict.fromkeys(("mean", "p50", "p90", "p99", "max"), 30.0)


# The window


def test_a_correction_keeps_its_place_in_the_window() -> None:
    monitor = MonitorSettings("q", metrics=("ConfusionMatrix",), window=3)
    rows = [evaluated(n, True) for n in range(3)]
    rows.append(evaluated(0, False, source="correction", replaces=True))
    rows.append(evaluated(1, False, source="correction", replaces=True))
    rows.append(evaluated(3, True))  # the first leaves
    rows.append(evaluated(0, True, source="correction", replaces=False))
    [found] = heard(rows, monitor).of("metrics", scope="window")
    assert found["n"] == 3
    assert found["metrics"]["ConfusionMatrix"] == {"true": {"true": 2}, "false": {"true": 1}}


def test_an_id_that_comes_again_in_the_window_is_another_transaction() -> None:
    monitor = MonitorSettings("q", metrics=("ConfusionMatrix",), window=3)
    rows = [evaluated(0, True), evaluated(0, True), evaluated(2, True)]
    rows.append(evaluated(0, False, source="correction", replaces=True))  # the second
    rows.append(evaluated(4, True))  # the first leaves
    [found] = heard(rows, monitor).of("metrics", scope="window")
    assert found["metrics"]["ConfusionMatrix"] == {"true": {"true": 2}, "false": {"true": 1}}


# Spans of event time


def of_spans(found: Heard) -> list[tuple[int, int, int, bool]]:
    return [
        (row["begin"], row["predicted"], row["labelled"], row["closed"])
        for row in found.of("metrics", scope="event_time")
    ]


def spans(rows: list[Observation], **settings: Any) -> list[tuple[int, int, int, bool]]:
    monitor = MonitorSettings("q", event_window_ms=HOUR, **settings)
    return of_spans(heard(rows, monitor, retention_ms=2 * HOUR))


def test_what_is_known_so_far_of_the_predictions_of_each_hour() -> None:
    rows: list[Observation] = [
        predicted(1, 0),
        predicted(2, HOUR - 1),
        predicted(3, HOUR),
        evaluated(1, True, time=0, label_time=HOUR + 5),
    ]
    assert spans(rows) == [(0, 2, 1, False), (HOUR, 1, 0, False)]


def test_a_span_is_told_of_where_something_has_changed() -> None:
    rows: list[Observation] = [predicted(1, 0), predicted(2, HOUR)]
    rows += [evaluated(2, True, time=HOUR), predicted(3, HOUR + 1)]
    assert spans(rows, every=2) == [
        (0, 1, 0, False),
        (HOUR, 1, 0, False),
        (HOUR, 2, 1, False),
    ]


def test_a_span_is_closed_when_no_label_can_come_and_nothing_is_kept_of_it() -> None:
    monitor = MonitorSettings("q", event_window_ms=HOUR, every=1)
    found = Heard()
    one = ModelMonitor(monitor, 2 * HOUR, KEY, "classification", found.tell)
    one.predicted(predicted(1, 10))
    one.predicted(predicted(2, 3 * HOUR - 1))
    assert of_spans(found)[-1] == (2 * HOUR, 1, 0, False)
    one.predicted(predicted(3, 3 * HOUR))
    assert (0, 1, 0, True) in of_spans(found)
    assert sorted(one.spans) == [2 * HOUR, 3 * HOUR]
    # What comes for it nevertheless counts among all, and makes no span anew.
    told = len(of_spans(found))
    one.evaluated(evaluated(1, True, time=10, label_time=20))
    one.evaluated(evaluated(1, False, time=10, source="correction", replaces=True))
    one.predicted(predicted(9, HOUR - 1))
    assert all(begin != 0 for begin, *_ in of_spans(found)[told:])
    row = found.of("metrics", scope="all")[-1]
    assert (row["predicted"], row["labelled"], row["n"]) == (4, 1, 1)


def test_a_huge_gap_closes_everything_and_fills_no_memory() -> None:
    monitor = MonitorSettings("q", event_window_ms=HOUR, every=10)
    found = Heard()
    one = ModelMonitor(monitor, 2 * HOUR, KEY, "classification", found.tell)
    for n in range(100):
        one.predicted(predicted(n, n * 10**13))
    assert len(one.spans) <= 1
    closed = [begin for begin, *_, closed in of_spans(found) if closed]
    assert len(closed) == len(set(closed)) == 99


def test_times_before_1970_are_times() -> None:
    rows: list[Observation] = [predicted(1, -5 * HOUR), predicted(2, -5 * HOUR + 1)]
    rows.append(evaluated(1, True, time=-5 * HOUR, label_time=-4 * HOUR))
    assert spans(rows) == [(-5 * HOUR, 2, 1, False)]
    assert last(rows)["clock"] == -4 * HOUR
    assert spans([predicted(1, 0), predicted(2, -1)]) == [(-HOUR, 1, 0, False), (0, 1, 0, False)]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(-20, 20), st.integers(0, 40), st.booleans()), max_size=60),
    st.integers(1, 10),
)
def test_whatever_the_order_of_times_every_span_adds_up(
    rows: list[tuple[int, int, bool]], every: int
) -> None:
    """Of each span the last record is a plain count of what came before it was closed."""
    unit = HOUR // 4
    retention = 2 * HOUR
    seen: list[Observation] = []
    open_: dict[int, int] = {}
    plain: dict[int, list[int]] = {}
    clock, since, closed = -(10**18), 0, set()
    for number, (at, later, labels) in enumerate(rows):
        time = at * unit
        label_time = time + later * unit
        seen.append(predicted(number, time))
        if labels:
            seen.append(evaluated(number, True, time=time, label_time=label_time))
        for kind in (0, 1)[: 1 + labels]:
            begin = time // HOUR * HOUR
            over = begin + HOUR + retention <= clock
            if begin in open_ or not over:
                open_.setdefault(begin, 0)
                plain.setdefault(begin, [0, 0])[kind] += 1
            clock = max(clock, label_time if kind else time)
            since += 1
            if since == every:
                since = 0
                gone = {b for b in open_ if b + HOUR + retention <= clock}
                closed |= gone
                for begin in gone:
                    del open_[begin]
    monitor = MonitorSettings("q", event_window_ms=HOUR, every=every)
    found = of_spans(heard(seen, monitor, retention_ms=retention))
    final = {begin: (asked, known) for begin, asked, known, _ in found}
    assert final == {begin: tuple(counts) for begin, counts in plain.items()}
    assert {begin for begin, *_, over in found if over} >= closed
    assert len([begin for begin, *_, over in found if over]) == len(
        {begin for begin, *_, over in found if over}
    )


# A metric that raises


def test_a_metric_that_raises_stops_neither_the_others_nor_the_monitor(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Where its evaluation counts; the log has it once, whatever the number of spans."""
    monitor = MonitorSettings(
        "q", metrics=("RMSLE", "MAE"), event_window_ms=HOUR, window=10, every=10
    )
    rng = random.Random(1)
    rows: list[Observation] = []
    for n in range(60):
        said = -5.0 if n in (15, 16, 35) else rng.random()
        at = n // 20 * HOUR
        rows.append(evaluated(n, rng.random(), said, time=at, task="regression"))
    found = heard(rows, monitor)
    assert found.of("metrics", scope="all")[0]["metrics"]["RMSLE"] is not None
    last_all = found.of("metrics", scope="all")[-1]["metrics"]
    assert last_all["RMSLE"] is None
    assert last_all["MAE"] > 0
    by_span = {
        row["begin"]: row["metrics"]["RMSLE"] for row in found.of("metrics", scope="event_time")
    }
    assert by_span[0] is None
    assert by_span[HOUR] is None
    assert by_span[2 * HOUR] is not None
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 1
    assert said[0].startswith("monitor q of m/champion: metric RMSLE has no value")
