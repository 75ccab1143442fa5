"""`backtest` over files: what it writes, what it refuses, and that it equals plain River."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from river import linear_model, naive_bayes

from events.messages import DeadLetter, Evaluation, LearnLogRecord, Prediction
from jobs.backtest import backtest
from jobs.config import Config, ConfigError, read_config
from jobs.errors import Failure
from state.artifacts import read_artifact
from tests.jobs.flows import LOGISTIC, T0, classifier, job, write, written
from tests.operators.flows import said
from tests.operators.loops import (
    MINUTE,
    Transaction,
    delayed_loop,
    detector,
    events,
    hat,
    scaled,
    srp,
    transactions,
)

FEATURES = {"features": {"path": "events.jsonl"}}
HAT = {
    "class": "river.tree.HoeffdingAdaptiveTreeClassifier",
    "params": {"grace_period": 30, "delta": 1e-3, "seed": 3},
}
SRP = {
    "class": "river.ensemble.SRPClassifier",
    "params": {
        "model": {"class": "river.naive_bayes.GaussianNB"},
        "n_models": 3,
        "subspace_size": 3,
        "seed": 5,
    },
}
PROJECTION = {
    "pipeline": [
        {"class": "river.preprocessing.GaussianRandomProjector", "params": {"seed": 4}},
        {"class": "river.linear_model.LogisticRegression"},
    ]
}
HALF_SPACE_TREES = {
    "class": "river.anomaly.HalfSpaceTrees",
    "params": {"n_trees": 5, "height": 5, "window_size": 40, "seed": 9},
}
LINEAR = {
    "pipeline": [
        {"class": "river.preprocessing.StandardScaler"},
        {"class": "river.linear_model.LinearRegression", "params": {"intercept_lr": 0.1}},
    ]
}


def logistic() -> Any:
    return scaled(linear_model.LogisticRegression())


def over(folder: Path, rows: list[Transaction], *models: dict[str, Any], **sections: Any) -> Config:
    """A configuration over these transactions, in one file."""
    write(folder / "events.jsonl", events(rows))
    return job(folder, inputs=FEATURES, models=list(models), **sections)


def predicted(config: Config, model: str = "m") -> dict[str, Any]:
    return {row["id"]: said(row) for row in written(config)["predictions"] if row["model"] == model}


# What it computes


@pytest.mark.parametrize(
    ("data", "task", "spec", "make"),
    [
        ("Phishing", "classification", LOGISTIC, logistic),
        ("Bananas", "classification", HAT, hat),
        ("ImageSegments", "classification", SRP, lambda: srp(naive_bayes.GaussianNB())),
        ("TrumpApproval", "regression", LINEAR, None),
        ("Phishing", "anomaly", HALF_SPACE_TREES, detector),
    ],
)
def test_a_spec_says_what_the_river_object_says(
    tmp_path: Path, data: str, task: str, spec: dict[str, Any], make: Any
) -> None:
    rows = transactions(data, 200)
    config = over(tmp_path, rows, classifier("m", spec, task=task, learn_on="label"))
    running = backtest(config)
    model = make() if make else scaled(linear_model.LinearRegression(intercept_lr=0.1))
    assert predicted(config) == delayed_loop(task, model, rows)
    assert running.records == 400
    assert len(written(config)["evaluations"]) == 200


def test_a_river_object_says_what_it_says_in_a_notebook(tmp_path: Path) -> None:
    rows = transactions("Phishing", 200)
    write(tmp_path / "events.jsonl", events(rows))
    config = read_config(
        {
            "job": {"name": "job"},
            "features": {"connector": "file", "path": "events.jsonl"},
            "predictions": {"connector": "file", "path": "out/predictions"},
            "models": [{"name": "m", "task": "classification"}],
        },
        tmp_path,
        {},
        model_given=True,
    )
    model = logistic()
    backtest(config, model)
    lines = (tmp_path / "out/predictions/part-0-0.jsonl").read_text().splitlines()
    predictions = [json.loads(line) for line in lines]
    expected = delayed_loop("classification", logistic(), rows)
    assert {row["id"]: said(row) for row in predictions} == expected
    assert model["LogisticRegression"].weights == {}, "the object given is not used up"


def test_features_and_labels_apart_are_merged_by_time(tmp_path: Path) -> None:
    """At one time labels come first, as in River's simulation and in event_time order."""
    rows = transactions("Phishing", 300)
    happened = events(rows)
    write(tmp_path / "a/features.jsonl", [event for event in happened if "features" in event])
    write(tmp_path / "b/labels.jsonl", [event for event in happened if "label" in event])
    config = job(
        tmp_path,
        inputs={"features": {"path": "a"}, "labels": {"path": "b/labels.jsonl"}},
        models=[classifier()],
    )
    backtest(config)
    assert predicted(config) == delayed_loop("classification", logistic(), rows)


def test_one_bad_time_does_not_put_off_the_other_records_of_its_input(tmp_path: Path) -> None:
    rows = transactions("Phishing", 200)
    happened = events(rows)
    features = [event for event in happened if "features" in event]
    features.insert(20, {"id": "future", "features": {}, "ts": 32_503_680_000_000})
    features.insert(40, {"id": "seconds", "features": {}, "ts": T0 // 1000})
    features.insert(60, "no json")
    write(tmp_path / "features.jsonl", features)
    write(tmp_path / "labels.jsonl", [event for event in happened if "label" in event])
    config = job(
        tmp_path,
        inputs={"features": {"path": "features.jsonl"}, "labels": {"path": "labels.jsonl"}},
        models=[classifier()],
    )
    backtest(config)
    assert predicted(config) == delayed_loop("classification", logistic(), rows)
    letters = [
        (row["reason"], row["position"], row["source"]) for row in written(config)["dead_letters"]
    ]
    path = tmp_path / "features.jsonl"
    assert letters == [
        ("bad_ts", f"{path}:21", "features"),
        ("bad_ts", f"{path}:41", "features"),
        ("not_json", f"{path}:61", "features"),
    ]


def test_the_files_of_a_folder_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    rows = transactions("Phishing", 90)
    happened = events(rows)
    for place, name in enumerate(("1.jsonl", "2/x.jsonl", "3.jsonl")):
        write(tmp_path / "in" / name, happened[place * 60 : (place + 1) * 60])
    write(tmp_path / "in/.hidden", ["{"])
    write(tmp_path / "in/_SUCCESS", ["{"])
    config = job(tmp_path, inputs={"features": {"path": "in"}}, models=[classifier()])
    backtest(config)
    assert predicted(config) == delayed_loop("classification", logistic(), rows)
    assert written(config)["dead_letters"] == []


# Bad records

BAD = [
    (b"{", "decode", "not_json"),
    (b'"text"', "decode", "not_object"),
    (b"   ", "decode", "empty"),
    (b"\xff", "decode", "not_utf8"),
    (b'{"id":"x","features":{"a":1e999},"ts":1700000000000}', "decode", "not_finite"),
    (b'{"id":"x","features":{"a":{}},"ts":1700000000000}', "decode", "bad_field"),
    (b'{"id":"x","ts":1700000000000}', "decode", "no_event"),
    (b'{"id":"x","label":1,"ts":1700000000000,"also":1}', "decode", "unknown_field"),
    (b'{"id":"x","label":1,"ts":1700000000}', "decode", "bad_ts"),
    (b'{"id":"%s","label":1,"ts":1700000000000}' % (b"x" * 300), "decode", "name_too_long"),
    (b'{"id":"x","features":{"a":1,"b":2},"ts":1700000000000}', "decode", "too_many_features"),
    (b'{"id":"x","features":{"age_of_domain":"old"},"ts":1700000000000}', "decode", "schema"),
    (b'{"id":"x","label":"%s","ts":1}' % (b"x" * 2000), "decode", "too_large"),
    (b'{"id":"x","features":' + b"[" * 8 + b"]" * 8 + b"}", "decode", "too_deep"),
    (b'{"id":"t00000","features":{"other":1},"ts":1700000000000}', "join", "duplicate_features"),
    (b'{"id":"x","label":true,"ts":1700000000000}', "join", "orphan_label"),
]


@pytest.mark.parametrize("ordering", ["arrival", "event_time"])
def test_bad_records_are_dead_letters_and_their_neighbours_do_not_notice(
    tmp_path: Path, ordering: str
) -> None:
    rows = [
        row._replace(x={"age_of_domain": row.x["age_of_domain"]})
        for row in transactions("Phishing", 60)
    ]
    lines: list[Any] = []
    wanted = []
    for place, event in enumerate(events(rows)):
        lines.append(event)
        if 3 <= place < 3 + len(BAD):
            raw, stage, reason = BAD[place - 3]
            lines.append(raw)
            wanted.append((stage, reason, f"{tmp_path}/events.jsonl:{len(lines)}"))
    write(tmp_path / "events.jsonl", lines)
    config = job(
        tmp_path,
        job={"ordering": ordering},
        # The times in bad records are those of the stream's begin.
        events={"max_out_of_orderness": "1d"},
        limits={"record_bytes": 1000, "features": 1},
        inputs={
            "features": {
                "path": "events.jsonl",
                "schema": {"age_of_domain": "number"},
            }
        },
        models=[classifier()],
    )
    backtest(config)
    letters = written(config)["dead_letters"]
    got = sorted((row["stage"], row["reason"], row["position"]) for row in letters)
    assert got == sorted(wanted)
    expected = delayed_loop("classification", logistic(), rows)
    assert predicted(config) == expected


def test_half_poison_is_learned_around(tmp_path: Path) -> None:
    """Texts where numbers were: neither asked nor taught, and the others' model is a clean one."""
    rows = transactions("Phishing", 200)
    poisoned = [
        row._replace(x={**row.x, "https": "yes"}) if number % 2 else row
        for number, row in enumerate(rows)
    ]
    config = over(tmp_path, poisoned, classifier(max_failures=999, failure_window=1000))
    running = backtest(config)
    expected = delayed_loop("classification", logistic(), rows[::2])
    got = predicted(config)
    assert {id: got[id] for id in expected} == expected
    silent = {id for id, answer in got.items() if answer.prediction is None}
    assert silent.isdisjoint(expected)
    # A scaler that has seen no number yet lets a text pass.
    assert 90 < len(silent) <= 100
    reasons = [row["reason"] for row in written(config)["dead_letters"]]
    assert sorted(reasons) == ["learn_failed"] * 100 + ["predict_failed"] * len(silent)
    assert running.stats.rebuilds == 100


# What it writes


def test_every_record_is_as_the_formats_say(tmp_path: Path) -> None:
    rows = transactions("ImageSegments", 30)
    rows.append(rows[0]._replace(id="bad", x={"a": "é"}))
    config = over(tmp_path, rows, classifier())
    backtest(config)
    for output, record in (
        ("predictions", Prediction),
        ("evaluations", Evaluation),
        ("learn_log", LearnLogRecord),
        ("dead_letters", DeadLetter),
    ):
        folder = tmp_path / "out" / output
        assert [file.name for file in folder.iterdir()] == ["part-0-0.jsonl"]
        text = (folder / "part-0-0.jsonl").read_bytes().decode()
        assert text.endswith("\n")
        lines = text.splitlines()
        assert lines
        for line in lines:
            msgspec.json.decode(line, type=record)
            assert set(json.loads(line)) <= set(record.__struct_fields__)


def test_an_output_may_go_to_several_folders_and_be_left_out(tmp_path: Path) -> None:
    write(tmp_path / "events.jsonl", events(transactions("Phishing", 20)))
    two = [{"connector": "file", "path": f"out/{name}"} for name in ("one", "two")]
    config = read_config(
        {
            "job": {"name": "job"},
            "features": {"connector": "file", "path": "events.jsonl"},
            "predictions": two,
            "models": [classifier()],
        },
        tmp_path,
    )
    backtest(config)
    one, other = (
        (tmp_path / "out" / name / "part-0-0.jsonl").read_text() for name in ("one", "two")
    )
    assert one == other
    assert len(one.splitlines()) == 20
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["one", "two"]


def test_progress_is_told(tmp_path: Path) -> None:
    seen: list[int] = []
    config = over(tmp_path, transactions("Phishing", 1100), classifier())
    backtest(config, progress=lambda flow: seen.append(flow.records))
    assert seen == [1000, 2000, 2200]


# What it refuses


def test_output_of_another_run_is_not_touched_unless_told(tmp_path: Path) -> None:
    config = over(tmp_path, transactions("Phishing", 20), classifier())
    backtest(config)
    before = written(config)
    old = tmp_path / "out/predictions/part-0-7.jsonl"
    old.write_text("{}\n")
    with pytest.raises(Failure, match="there is output already in .*predictions.*--overwrite"):
        backtest(config)
    assert old.exists()
    backtest(config, overwrite=True)
    assert not old.exists()
    assert written(config) == before


def test_what_cannot_run_deletes_nothing(tmp_path: Path) -> None:
    good = over(tmp_path, transactions("Phishing", 20), classifier())
    backtest(good)
    before = written(good)
    regressor = {"class": "river.linear_model.LinearRegression"}
    missing_file = job(tmp_path, inputs={"features": {"path": "no.jsonl"}}, models=[classifier()])
    artifact = {"name": "m", "task": "classification", "artifact": "no.rrv"}
    for config, error in (
        (missing_file, Failure),
        (job(tmp_path, inputs=FEATURES, models=[artifact]), ConfigError),
        (job(tmp_path, inputs=FEATURES, models=[classifier()], job={"lane_by": "https"}), Failure),
    ):
        with pytest.raises(error):
            backtest(config, overwrite=True, save=tmp_path / "m.rrv")
        assert written(good) == before
    with pytest.raises(ConfigError):
        job(tmp_path, inputs=FEATURES, models=[classifier("m", regressor)])


# Artifacts


@pytest.mark.parametrize("name", ["LR", "SRP", "projection"])
def test_a_saved_version_goes_on_as_one_long_run(tmp_path: Path, name: str) -> None:
    """Predictions, heads and the learn log of both runs, one behind the other, are those of one."""
    spec = {"LR": LOGISTIC, "SRP": SRP, "projection": PROJECTION}[name]
    rows = transactions("Phishing", 200)
    gap = max(row.due for row in rows) - T0 + MINUTE
    later = [
        row._replace(
            id=f"later{number}",
            ts=row.ts + gap,
            due=row.due + gap,
            # A name that was not there before: of a projection this is in the log.
            x={**row.x, "late": 1.0} if number > 50 else row.x,
        )
        for number, row in enumerate(rows[:120])
    ]
    whole = over(tmp_path / "whole", rows + later, classifier("m", spec))
    backtest(whole)

    first = over(tmp_path / "first", rows, classifier("m", spec))
    file = tmp_path / "kept" / "m.rrv"
    backtest(first, save=file)
    artifact = {"name": "m", "task": "classification", "artifact": str(file)}
    second = over(tmp_path / "second", later, artifact)
    backtest(second)

    one, two, both = written(first), written(second), written(whole)
    for output in ("predictions", "learn_log", "evaluations"):
        assert one[output] + two[output] == both[output], output
    manifest, _, _ = read_artifact(file)
    assert manifest.head == one["learn_log"][-1]["head"]
    assert manifest.version == one["learn_log"][-1]["version"] == two["predictions"][0]["version"]
    assert manifest.n == 200
    kinds = {row["kind"] for row in two["learn_log"]}
    assert kinds == ({"example", "request"} if name == "projection" else {"example"})
    assert ("request" in {row["kind"] for row in one["learn_log"]}) == (name != "LR")


def test_under_another_name_the_same_model_begins_a_chain_of_its_own(tmp_path: Path) -> None:
    rows = transactions("Phishing", 60)
    first = over(tmp_path / "first", rows, classifier("m"))
    file = tmp_path / "m.rrv"
    backtest(first, save=file)
    manifest, _, _ = read_artifact(file)
    artifact = {"name": "new", "task": "classification", "artifact": str(file)}
    second = over(tmp_path / "second", rows[:1], artifact)
    backtest(second)
    [row] = written(second)["predictions"]
    assert row["version"].startswith("new@60-")
    assert row["version"] != manifest.version.replace("m@", "new@")
    model = logistic()
    for done in sorted(rows, key=lambda row: (row.due, row.id)):
        model.learn_one(done.x, done.y)
    assert row["probabilities"]["true"] == model.predict_proba_one(rows[0].x)[True]


def test_the_champion_is_what_is_saved(tmp_path: Path) -> None:
    rows = transactions("Phishing", 30)
    config = over(
        tmp_path, rows, classifier("a", HAT, role="challenger"), classifier("b", role="champion")
    )
    backtest(config, save=tmp_path / "x.rrv")
    manifest, _, _ = read_artifact(tmp_path / "x.rrv")
    assert (manifest.model, manifest.n, manifest.label_type) == ("b", 30, "bool")
    assert manifest.origin == LOGISTIC


def test_a_version_of_a_lane_is_not_saved(tmp_path: Path) -> None:
    config = over(tmp_path, transactions("Phishing", 5), classifier(), job={"lane_by": "https"})
    with pytest.raises(Failure, match="one a lane"):
        backtest(config, save=tmp_path / "x.rrv")
    assert not (tmp_path / "x.rrv").exists()
