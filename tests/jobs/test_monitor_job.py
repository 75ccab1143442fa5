"""Monitors in whole jobs: what they say is what they say in a backtest, record for record."""

import random
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs.running import run
from jobs.waiting import wait_until
from tests.cluster.streaming import Streaming
from tests.jobs import flows, monitored_jobs
from tests.jobs.controlled_jobs import NB, TREE, at, controlled_job, deploy, message
from tests.jobs.flows import classifier, job, phishing, write
from tests.jobs.injecting import Inject, injecting
from tests.jobs.monitored_jobs import MONITOR, expected, sections, written
from tests.patience import PATIENCE_S

pytestmark = pytest.mark.cluster

MODES = ("thread", "process")
MODELS = [
    classifier("lr"),
    classifier("nb", NB, role="challenger"),
    classifier("tree", TREE, role="shadow"),
]
ASSUME = {
    "label_timeout": "30m",
    "retention": "1h",
    "on_timeout": "assume",
    "assumed_label": False,
    "corrections": "learn",
}


def drifting(count: int = 500, last_delay: int = 40 * 60_000) -> list[dict[str, Any]]:
    """Phishing whose labels are flipped from the middle on."""
    found = []
    for event in phishing(count, last_delay=last_delay):
        if "label" in event and int(event["id"][1:]) >= count // 2:
            event = {**event, "label": not event["label"]}
        found.append(event)
    return found


@pytest.fixture
def inject(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Inject]:
    with injecting(monkeypatch, tmp_path / "flags") as inject:
        yield inject


def assert_telling(rows: monitored_jobs.Rows) -> None:
    """There is something in it to be compared."""
    kinds = Counter(
        row["kind"] for (output, *_), of in rows.items() for row in of if output == "alerts"
    )
    assert kinds["drift"] >= 2, kinds
    metrics = [row for (output, *_), of in rows.items() for row in of if output == "metrics"]
    assert {row.get("scope") for row in metrics} == {"all", "window", "event_time", None}
    ids = [row["alert"] for (output, *_), of in rows.items() for row in of if output == "alerts"]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("mode", MODES)
def test_a_job_that_failed_says_what_a_backtest_says(tmp_path, inject, mode):
    write(tmp_path / "events.jsonl", drifting())
    config = job(
        tmp_path,
        job={"checkpoint_interval": "50ms", "execution": mode},
        inputs={"features": {"path": "events.jsonl"}},
        models=MODELS,
        **sections(),
    )
    flags = inject((300, 401), (700, 1501))
    assert run(config)
    assert len(list(flags.iterdir())) == 4
    got, wanted = written(config), expected(config)
    assert_telling(wanted)
    assert got.keys() == wanted.keys()
    for about, rows in wanted.items():
        assert got[about] == rows, about


@pytest.mark.parametrize(("parallelism", "failures"), [(1, False), (2, True)])
def test_by_event_time_it_depends_on_the_input_alone(tmp_path, inject, parallelism, failures):
    """Assumed labels, corrections, neighbours that change places."""
    events = drifting(400)
    rng = random.Random(11)
    events.sort(key=lambda event: event["ts"] + rng.uniform(0, 240_000))
    write(tmp_path / "events.jsonl", events)
    config = job(
        tmp_path,
        job={"ordering": "event_time", "parallelism": parallelism, "checkpoint_interval": "50ms"},
        events={"max_out_of_orderness": "5m"},
        join=ASSUME,
        inputs={"features": {"path": "events.jsonl"}},
        models=MODELS,
        **sections(),
    )
    if failures:
        inject((150, 333), (300, 801))
    assert run(config)
    got, wanted = written(config), expected(config)
    assert_telling(wanted)
    rows = wanted["metrics", "q", "lr", "champion"]
    assert any(row.get("closed") for row in rows)
    last = [row for row in rows if row["scope"] == "all"][-1]
    assert last["corrected"] > 50
    assert got == wanted


def test_with_lanes_all_of_a_model_are_counted_together(tmp_path):
    """Lanes have no order between them, so the totals are compared."""
    events = drifting(300)
    for event in events:
        if "features" in event:
            event["features"]["shop"] = f"shop {int(event['id'][1:]) % 12}"
    write(tmp_path / "events.jsonl", events)
    spec = {
        "pipeline": [
            {"class": "river.compose.Discard", "args": ["shop"]},
            *flows.LOGISTIC["pipeline"],
        ]
    }
    monitor = {"name": "q", "metrics": ["ConfusionMatrix", "Accuracy"], "event_window": "1h"}
    config = job(
        tmp_path,
        job={"lane_by": "shop", "parallelism": 2, "ordering": "event_time"},
        inputs={"features": {"path": "events.jsonl"}},
        models=[classifier("lr", spec)],
        **sections(monitor),
    )
    assert run(config)
    about = ("metrics", "q", "lr", "champion")
    got, wanted = written(config)[about], expected(config)[about]
    [all_] = [row for row in got if row["scope"] == "all"]
    [other] = [row for row in wanted if row["scope"] == "all"]
    assert all_["predicted"] == all_["labelled"] == 300
    order = ("version", "id", "delay_ms")  # what the order decides
    assert {k: v for k, v in all_.items() if k not in order} == {
        k: v for k, v in other.items() if k not in order
    }
    spans = [row for row in got if row["scope"] == "event_time"]
    assert [(row["begin"], row["metrics"]) for row in spans] == [
        (row["begin"], row["metrics"]) for row in wanted if row["scope"] == "event_time"
    ]


def test_metrics_are_of_the_role_in_which_a_prediction_was_made(tmp_path):
    """A challenger is promoted, another is retired while labels of what they said are on their way."""
    events = phishing(300, last_delay=60 * 60_000)
    messages = [
        message(1, "promote", "nb", effective_at=at(120)),
        message(2, "retire", "tree", effective_at=at(180)),
        deploy(3, "tree", TREE, role="challenger", effective_at=at(240)),
    ]
    write(tmp_path / "events.jsonl", events)
    write(tmp_path / "control.jsonl", messages)
    config = controlled_job(
        tmp_path,
        models=[classifier("lr"), classifier("nb", NB, role="challenger"),
                classifier("tree", TREE, role="challenger")],
        job={"ordering": "event_time", "checkpoint_interval": "50ms"},
        **{**sections(), "alerts": {"connector": "file", "path": "out/alerts"}},
    )  # fmt: skip
    assert run(config)
    got, wanted = written(config), expected(config)
    assert got == wanted
    asked = {
        (model, role): [row["predicted"] for row in rows if row.get("scope") == "all"]
        for (output, _, model, role), rows in got.items()
        if output == "metrics"
    }
    # What the second `tree` was asked is counted from nothing.
    assert {key: counts[-1] for key, counts in asked.items() if key[0]} == {
        ("lr", "champion"): 120,
        ("lr", "challenger"): 180,
        ("nb", "challenger"): 120,
        ("nb", "champion"): 180,
        ("tree", "challenger"): 60,
    }
    assert max(asked["tree", "challenger"]) == 180
    for (output, _, model, role), rows in got.items():
        if output == "metrics" and model:
            last = [row for row in rows if row.get("scope") == "all"][-1]
            assert last["labelled"] <= last["predicted"]
            assert ("versus" in last) == (role == "challenger")
    versus = [row["versus"] for row in got["metrics", "q", "tree", "challenger"] if "versus" in row]
    assert {row["model"] for row in versus} == {"lr", "nb"}


def test_a_monitor_is_rescaled_with_transactions_whose_labels_are_on_their_way(cluster, tmp_path):
    """At parallelism 2 the order of arrival is any, so what is known in the end is compared with what the job wrote."""
    cluster.start_task_manager(2)
    events = drifting(300)
    monitor = {**MONITOR, "every": 1, "metrics": ["Accuracy", "ConfusionMatrix"]}
    job = Streaming(cluster, tmp_path, MODELS, **sections(monitor))
    share = len(events) // 3
    for step, parallelism in enumerate((1, 2, 1)):
        job.configure(job={"parallelism": parallelism})
        if step:
            job.upgrade()
        else:
            job.submit()
        seen = events[: share * (step + 1)]
        for begin in range(share * step, share * (step + 1), 20):
            job.feed(events[begin : begin + 20])
        ids = {event["id"] for event in seen if "features" in event}
        wait_until(lambda ids=ids: ids <= job.begun(), "predictions", timeout_s=PATIENCE_S)
    job.wait_for(3 * 300, "evaluations")
    job.wait_until_final()
    job.stop()
    got = written(job.config)
    evaluations = flows.written(job.config)["evaluations"]
    for model in MODELS:
        role = model.get("role", "champion")
        rows = got["metrics", "q", model["name"], role]
        last = max(
            (row for row in rows if row["scope"] == "all"),
            key=lambda row: (row["predicted"], row["n"]),
        )
        assert last["predicted"] == last["labelled"] == last["n"] == 300
        counts: dict[str, Counter] = defaultdict(Counter)
        own = [row for row in evaluations if row["model"] == model["name"]]
        for row in own:
            if row["prediction"] is not None:
                counts[str(row["label"]).lower()][str(row["prediction"]).lower()] += 1
        assert last["metrics"]["ConfusionMatrix"] == {
            label: dict(row) for label, row in counts.items()
        }
        # Each observation once: asked and evaluated 300 times, a record after each.
        assert len([row for row in rows if row["scope"] == "all"]) == 600
    assert sum(row["n"] for row in got["metrics", "q", "", ""]) == 300 - 50
    ids = [row["alert"] for (output, *_), of in got.items() for row in of if output == "alerts"]
    assert len(ids) == len(set(ids)) > 0


def test_a_changed_monitor_begins_anew_in_an_upgrade_and_the_job_goes_on(cluster, tmp_path):
    events = drifting(300)
    half = len(events) // 2
    job = Streaming(cluster, tmp_path, [classifier("lr")], **sections({**MONITOR, "every": 1}))
    job.feed(events[:half])
    job.submit()
    job.wait_for(sum("features" in event for event in events[:half]))
    changed = {**MONITOR, "every": 1, "window": 10}
    job.configure(**sections(changed))
    job.upgrade()
    job.feed(events[half:])
    job.wait_for(300)
    job.wait_until_final()
    job.stop()
    rows = [
        row
        for row in written(job.config)["metrics", "q", "lr", "champion"]
        if row["scope"] == "all"
    ]
    asked = [row["predicted"] for row in rows]
    assert asked.count(1) >= 2, "it began twice"
    assert all(row["labelled"] <= row["predicted"] for row in rows)
    first_half = sum("features" in event for event in events[:half])
    assert asked[-1] == 300 - first_half
