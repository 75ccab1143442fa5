"""Whole jobs on a MiniCluster, compared with plain loops over the same lines."""

import json
import os
import random
import sys
from pathlib import Path

import cloudpickle
import msgspec
import pytest

from connectors.files import read_parts
from jobs.audit import Verdict, audit
from jobs.config import ConfigError
from jobs.errors import Failure
from jobs.running import run
from operators.online_model import OnlineModel, OrderedOnlineModel
from tests.jobs import flows
from tests.jobs.flows import (
    T0,
    by_content,
    classifier,
    expected,
    job,
    phishing,
    river_loop,
    write,
    written,
)

pytestmark = pytest.mark.cluster

MODES = ("thread", "process")


def same(config, *, ordered_outputs: bool = True) -> dict[str, list[dict]]:
    """Assert that the job wrote what the plain flow makes, and return it.

    There is an order within a lane, none between lanes.
    """
    got, wanted = written(config), expected(config)
    for output in flows.OUTPUTS:
        for rows in (got[output], wanted[output]):
            rows.sort(key=lambda row: row.get("lane") or "")
        if ordered_outputs and output != "dead_letters":
            assert got[output] == wanted[output], output
        else:
            assert by_content(got[output]) == by_content(wanted[output]), output
    return got


@pytest.mark.parametrize("mode", MODES)
def test_a_job_says_what_a_river_loop_says_and_what_the_backtest_says(tmp_path, mode):
    events = phishing(400)
    write(tmp_path / "events.jsonl", events)
    config = job(
        tmp_path,
        job={"execution": mode},
        inputs={"features": {"path": "events.jsonl"}},
        models=[classifier()],
    )
    seen = []
    assert run(config, progress=seen.append, poll_s=0.1)
    got = same(config)
    assert {row["id"]: row["probabilities"] for row in got["predictions"]} == river_loop(events)
    assert len(got["evaluations"]) == len(got["learn_log"]) == 400


BAD = [
    (b"", None),  # an empty line is no record
    (b"   ", "empty"),
    (b"\xff\xfe{", "not_utf8"),
    (b'{"id": "b1", "features": {"x": 1', "not_json"),
    (b"[1, 2]", "not_object"),
    (b'{"id": "b2", "features": {"x": NaN}, "ts": %d}' % T0, "not_finite"),
    (b'{"id": 5, "features": {}, "ts": %d}' % T0, "bad_field"),
    (b'{"id": "", "features": {}, "ts": %d}' % T0, "bad_field"),
    (b'{"id": "b3", "features": {"x": [1]}, "ts": %d}' % T0, "bad_field"),
    (b'{"id": "b4", "features": {}, "ts": %d, "more": 1}' % T0, "unknown_field"),
    (b'{"id": "b5", "ts": %d}' % T0, "no_event"),
    (b'{"id": "b6", "features": {"x": 1}, "ts": 1700000000}', "bad_ts"),
    (b'{"id": "b7", "features": {"x": 1}, "ts": 99999999999999}', "bad_ts"),
    (b'{"id": "b8", "features": {"x": "%s"}, "ts": %d}' % (b"y" * 70_000, T0), "too_large"),
    (b'{"id": "nobody", "label": true, "ts": %d}' % T0, "orphan_label"),
    (b'{"id": "t0", "features": {"x": 1}, "ts": %d}' % T0, "duplicate_features"),
    (b'{"id": "t0", "label": "yes", "ts": %d}' % (T0 + 1000), "conflicting_label"),
    (b'{"id": "text", "features": {"ip_in_url": "no"}, "ts": %d}' % T0, "predict_failed"),
]


@pytest.mark.parametrize("mode", MODES)
def test_bad_records_are_dead_letters_and_change_nothing_for_their_neighbours(tmp_path, mode):
    good = phishing(300)
    rng = random.Random(3)
    lines = [json.dumps(event) for event in good]
    places = sorted(rng.sample(range(len(lines) // 2, len(lines)), len(BAD)), reverse=True)
    for place, (bad, _) in zip(places, BAD, strict=True):
        lines.insert(place, bad)
    # The poison that predicting refuses is offered to learning, too.
    lines.append(json.dumps({"id": "text", "label": True, "ts": T0 + 1}))
    path = write(tmp_path / "events.jsonl", lines)
    config = job(
        tmp_path,
        job={"execution": mode},
        inputs={"features": {"path": "events.jsonl"}},
        models=[classifier()],
        limits={"record_bytes": 65_536},
    )
    assert run(config)
    got = same(config)
    wanted = sorted([reason for _, reason in BAD if reason] + ["learn_failed"])
    assert sorted(letter["reason"] for letter in got["dead_letters"]) == wanted
    numbered = dict(enumerate(path.read_bytes().split(b"\n"), 1))
    for letter in got["dead_letters"]:
        file, _, line = letter["position"].rpartition(":")
        assert file == str(path)
        if letter["stage"] in ("decode", "join") and not letter["raw"].startswith("base64:"):
            assert numbered[int(line)].startswith(letter["raw"].encode()[:4096])
    clean = river_loop(good)
    ours = {row["id"]: row["probabilities"] for row in got["predictions"] if row["id"] in clean}
    assert ours == clean


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("left_out", ["dead_letters", "evaluations", "learn_log", "predictions"])
def test_an_output_that_is_left_out_is_not_written_and_stops_nothing(tmp_path, mode, left_out):
    """Bad records above all: their letters go nowhere then."""
    lines = [json.dumps(event) for event in phishing(60)]
    for place, (bad, _) in enumerate(BAD):
        lines.insert(10 + 5 * place, bad)
    write(tmp_path / "events.jsonl", [*lines, json.dumps({"id": "text", "label": True, "ts": T0})])
    whole = job(
        tmp_path,
        job={"execution": mode},
        inputs={"features": {"path": "events.jsonl"}},
        models=[classifier()],
        limits={"record_bytes": 65_536},
    )
    config = msgspec.structs.replace(whole, **{left_out: ()})
    assert run(config)
    wanted = flows.expected(whole)
    assert wanted[left_out]
    for output in flows.OUTPUTS:
        folder = tmp_path / "out" / output
        if output == left_out:
            assert not folder.exists()
        else:
            got = [flows.timeless(json.loads(line)) for line in read_parts(folder)]
            assert flows.by_content(got) == flows.by_content(wanted[output])


def test_half_of_the_examples_are_poison_and_the_rest_is_learned(tmp_path):
    events = []
    for i in range(400):
        features = {"x": float(i % 7), "y": "poison" if i % 2 else 1.0}
        events.append({"id": f"t{i}", "features": features, "label": i % 3 == 0, "ts": T0 + i})
    write(tmp_path / "events.jsonl", events)
    config = job(
        tmp_path,
        inputs={"features": {"path": "events.jsonl"}},
        models=[classifier(max_failures=900), classifier("strict", role="shadow")],
    )
    assert run(config)
    got = same(config)
    learned = [row for row in got["learn_log"] if row["model"] == "m" and row["kind"] == "example"]
    assert len(learned) == 200
    frozen = [row for row in got["learn_log"] if row["op"] == "freeze"]
    assert [row["model"] for row in frozen] == ["strict"]
    assert len(got["predictions"]) == 800


class Failing:
    """Raises once, in the middle of a job, at each of the items whose numbers it is given."""

    def fail_at(self, folder: str, places: tuple[int, ...]):
        self._folder, self._places = folder, places
        return self

    def _lane(self, key):
        lane = super()._lane(key)
        lane.handle = lambda item: self._check() or type(lane).handle(lane, item)
        return lane

    def _check(self):
        self._seen = getattr(self, "_seen", 0) + 1
        for place in self._places:
            # The number counts from the last restore; the flag outlives the process.
            flag = f"{self._folder}/failed-{place}"
            if self._seen == place and not os.path.exists(flag):
                with open(flag, "w"):
                    pass
                raise RuntimeError("injected")


class FailingModel(Failing, OnlineModel):
    pass


class FailingOrderedModel(Failing, OrderedOnlineModel):
    pass


class AlwaysFailing(OnlineModel):
    def _lane(self, key):
        raise RuntimeError("never again")


def test_a_job_that_fails_for_ever_ends_with_its_cause(tmp_path, monkeypatch):
    from jobs import online_learning

    write(tmp_path / "events.jsonl", phishing(5))
    config = job(tmp_path, inputs={"features": {"path": "events.jsonl"}}, models=[classifier()])
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    monkeypatch.setattr(online_learning, "OnlineModel", AlwaysFailing)
    try:
        with pytest.raises(Failure, match="never again"):
            run(config)
    finally:
        cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


@pytest.fixture
def injected(monkeypatch, tmp_path):
    """Jobs built from now on fail at these items of the model's."""
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    flags = tmp_path / "flags"
    flags.mkdir()

    def inject(*places: int) -> Path:
        from jobs import online_learning

        for name, failing in (
            ("OnlineModel", FailingModel),
            ("OrderedOnlineModel", FailingOrderedModel),
        ):
            monkeypatch.setattr(
                online_learning, name, lambda *args, f=failing: f(*args).fail_at(str(flags), places)
            )
        return flags

    yield inject
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


SPECS = {
    "logistic": flows.LOGISTIC,
    "forest": {"class": "river.forest.ARFClassifier", "params": {"n_models": 3, "seed": 1}},
    "subspaces": {
        "class": "river.ensemble.SRPClassifier",
        "params": {"model": {"class": "river.naive_bayes.GaussianNB"}, "n_models": 3},
    },
}


@pytest.mark.parametrize("mode", MODES)
def test_a_job_that_failed_twice_ends_as_one_that_never_did(tmp_path, injected, mode):
    write(tmp_path / "events.jsonl", phishing(700))
    config = job(
        tmp_path,
        job={"checkpoint_interval": "50ms", "execution": mode},
        inputs={"features": {"path": "events.jsonl"}},
        models=[
            classifier(name, spec, role="champion" if name == "forest" else "challenger")
            for name, spec in SPECS.items()
        ],
    )
    # In pieces, so that checkpoints fall between the failures.
    flags = injected(400, 501)
    assert run(config)
    assert len(list(flags.iterdir())) == 2
    got = same(config)
    assert len(got["predictions"]) == 3 * 700
    assert len({(row["id"], row["model"]) for row in got["predictions"]}) == 3 * 700
    found = audit(config)
    assert (found.verdicts, found.forks) == ({Verdict.EQUAL: 3 * 700}, 0), found.problems[:3]


@pytest.mark.parametrize(("parallelism", "failures"), [(1, ()), (3, ()), (2, (150, 333))])
def test_event_time_order_depends_on_the_input_alone(tmp_path, injected, parallelism, failures):
    events = phishing(400, last_delay=40 * 60_000)
    rng = random.Random(11)
    features = [event for event in events if "features" in event]
    labels = [event for event in events if "label" in event]
    # Neighbours change places, within the bound.
    features.sort(key=lambda event: event["ts"] + rng.uniform(0, 240_000))
    write(tmp_path / "features.jsonl", features)
    write(tmp_path / "labels.jsonl", labels)
    config = job(
        tmp_path,
        job={"ordering": "event_time", "parallelism": parallelism, "checkpoint_interval": "50ms"},
        events={"max_out_of_orderness": "5m"},
        join={
            "label_timeout": "30m",
            "retention": "1h",
            "on_timeout": "assume",
            "assumed_label": False,
            "corrections": "learn",
        },
        inputs={"features": {"path": "features.jsonl"}, "labels": {"path": "labels.jsonl"}},
        models=[classifier()],
    )
    flags = injected(*failures)
    assert run(config)
    assert len(list(flags.iterdir())) == len(failures)
    got = same(config)
    assert len(got["predictions"]) == 400
    assert {"assumed", "correction", "label"} == {row["source"] for row in got["evaluations"]}


def test_a_model_per_lane_from_a_small_cache_equals_all_of_them_in_memory(tmp_path):
    events = phishing(300)
    for event in events:
        if "features" in event:
            event["features"]["shop"] = f"shop {int(event['id'][1:]) % 40}/ä"
    write(tmp_path / "events.jsonl", events)
    spec = {
        "pipeline": [
            {"class": "river.compose.Discard", "args": ["shop"]},
            *flows.LOGISTIC["pipeline"],
        ]
    }
    config = job(
        tmp_path,
        job={"lane_by": "shop", "live_lanes": 3},
        inputs={"features": {"path": "events.jsonl"}},
        models=[classifier(spec=spec)],
    )
    assert run(config)
    got = same(config)
    lanes = {row["lane"] for row in got["predictions"]}
    assert len(lanes) == 40
    versions = {row["version"] for row in got["predictions"]}
    assert any(version.startswith("m/shop%207%2F%C3%A4@0-") for version in versions)


def test_a_watched_folder_goes_on_after_an_interrupt(tmp_path, monkeypatch):
    """The first run is ended as by Ctrl-C, the second resumes with more files there."""
    import threading

    from jobs import running

    events = phishing(300)
    write(tmp_path / "in" / "1.jsonl", events[:200])
    config = job(
        tmp_path, inputs={"features": {"path": "in", "watch": True}}, models=[classifier()]
    )
    interrupt = threading.Event()
    monkeypatch.setattr(running, "_interrupts", lambda: _given(interrupt))

    def until(records: int):
        def look(so_far):
            if so_far.records >= records and config_has_checkpoint(config):
                interrupt.set()

        return look

    assert not run(config, progress=until(200), poll_s=0.2)
    with pytest.raises(Failure, match="--resume"):
        run(config)
    write(tmp_path / ".2.jsonl", events[200:]).rename(tmp_path / "in" / "2.jsonl")
    interrupt.clear()
    assert not run(config, start="resume", progress=until(400), poll_s=0.2)
    got = written(config)
    wanted = expected(config)
    ids = [row["id"] for row in got["predictions"]]
    assert len(ids) == len(set(ids))
    # What was in an open part file at the last checkpoint is not finished; nothing else is missing.
    assert got["predictions"] == wanted["predictions"][: len(ids)]


def config_has_checkpoint(config) -> bool:
    from jobs.starting import checkpoints

    return bool(checkpoints(config))


class _given:
    def __init__(self, event):
        self._event = event

    def __enter__(self):
        return self._event

    def __exit__(self, *_):
        return None


def test_a_start_that_would_spoil_output_is_refused(tmp_path):
    write(tmp_path / "events.jsonl", phishing(5))
    config = job(tmp_path, inputs={"features": {"path": "events.jsonl"}}, models=[classifier()])
    assert run(config)
    with pytest.raises(Failure, match="--overwrite"):
        run(config)
    assert run(config, start="fresh", overwrite=True)
    assert len(written(config)["predictions"]) == 5


def test_a_missing_input_file_is_one_clear_error(tmp_path):
    config = job(tmp_path, inputs={"features": {"path": "none.jsonl"}}, models=[classifier()])
    with pytest.raises((Failure, FileNotFoundError), match="none.jsonl"):
        run(config)


def test_a_model_that_does_not_fit_its_task_is_refused(tmp_path):
    write(tmp_path / "events.jsonl", phishing(5))
    with pytest.raises(ConfigError, match="classif"):
        run(
            job(
                tmp_path,
                inputs={"features": {"path": "events.jsonl"}},
                models=[classifier(spec={"class": "river.linear_model.LinearRegression"})],
            )
        )


def test_labels_are_assumed_in_order_of_arrival_too_and_nothing_is_out_of_order(tmp_path):
    """Timers decide here, so the watermark moves with each record: the run equals the plain flow."""
    events = phishing(300, last_delay=90 * 60_000)
    rng = random.Random(5)
    # Far more out of order than max_out_of_orderness, and yet all of it counts as it comes.
    events.sort(key=lambda event: event["ts"] + rng.uniform(0, 1_200_000))
    write(tmp_path / "events.jsonl", events)
    config = job(
        tmp_path,
        events={"max_out_of_orderness": "5s"},
        join={
            "label_timeout": "30m",
            "retention": "2h",
            "on_timeout": "assume",
            "assumed_label": False,
            "corrections": "learn",
        },
        inputs={"features": {"path": "events.jsonl"}},
        models=[classifier()],
    )
    assert run(config)
    got = same(config)
    assert len(got["predictions"]) == 300
    assert {"assumed", "correction", "label"} <= {row["source"] for row in got["evaluations"]}
    assert not got["dead_letters"]
