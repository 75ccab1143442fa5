"""From `[[models]]` to what a job starts with."""

import json
import os
import pickle
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from river import linear_model, naive_bayes, preprocessing, tree

from jobs.config import Config, ConfigError, read_config
from jobs.deployments import deployments
from models.purity import Purity
from state import snapshots
from state.artifacts import Manifest, write_artifact
from state.snapshots import SnapshotSettings, pickle_model
from tests.operators.odd_models import Moody

ROOT = Path(__file__).parents[2]

LOGISTIC = {
    "pipeline": [
        {"class": "river.preprocessing.StandardScaler"},
        {"class": "river.linear_model.LogisticRegression"},
    ]
}
FOREST = {"class": "river.forest.ARFClassifier", "params": {"n_models": 3}}


def config(folder: Path, *models: dict[str, Any], given: bool = False) -> Config:
    document = {
        "job": {"name": "job"},
        "features": {"connector": "file", "path": "in.jsonl"},
        "models": [{"task": "classification", **model} for model in models],
    }
    return read_config(document, folder, {}, given)


def artifact(path: Path, model: Any = None, **changes: Any) -> Manifest:
    pickled = pickle_model(preprocessing.StandardScaler() if model is None else model)
    made: dict[str, Any] = {
        "model": "fraud",
        "lane": None,
        "version": "fraud@3-000102030405",
        "n": 3,
        "head": bytes(range(32)).hex(),
        "task": "classification",
        "origin": LOGISTIC,
        "label_type": "bool",
        "names": ["6:amount"],
        "purity": "names",
        "environment": snapshots.environment(),
        "sha256": sha256(pickled).hexdigest(),
        "created": 1,
        **changes,
    }
    manifest = Manifest(**made)
    write_artifact(path, manifest, pickled)
    return manifest


def test_a_spec_is_deployed_as_the_model_that_river_makes_of_it(tmp_path: Path) -> None:
    [deployed] = deployments(config(tmp_path, {"name": "fraud", "spec": LOGISTIC}))
    assert deployed.since is None
    assert deployed.settings.origin == LOGISTIC
    assert deployed.settings.purity is Purity.PURE
    model = pickle.loads(deployed.pickled)
    twin = preprocessing.StandardScaler() | linear_model.LogisticRegression()
    for number in range(20):
        x, y = {"a": number % 7, "b": 0.1 * number}, number % 3 == 0
        assert model.predict_proba_one(x) == twin.predict_proba_one(x)
        model.learn_one(x, y)
        twin.learn_one(x, y)


def test_a_seed_that_is_left_out_follows_from_the_name_and_is_part_of_the_genesis(
    tmp_path: Path,
) -> None:
    def seed(name: str) -> int:
        [deployed] = deployments(config(tmp_path, {"name": name, "spec": FOREST}))
        found = deployed.settings.origin["params"]["seed"]
        assert pickle.loads(deployed.pickled).seed == found
        return found

    assert seed("a") == seed("a") != seed("b")


def test_every_setting_of_a_model_arrives(tmp_path: Path) -> None:
    [deployed, second] = deployments(
        config(
            tmp_path,
            {
                "name": "fraud",
                "spec": LOGISTIC,
                "role": "shadow",
                "labels": "int",
                "learn_if": {"margin_below": 0.25},
                "reemit": True,
                "max_failures": 3,
                "failure_window": 33,
                "snapshot": {"overhead": 0.5, "max_replay": "2s", "max_entries": 9},
            },
            {
                "name": "strange",
                "task": "anomaly",
                "spec": {"class": "river.anomaly.HalfSpaceTrees"},
                "learn_on": "label",
                "learn_only": False,
                "snapshot": {"every": 5},
            },
        )
    )
    settings = deployed.settings
    assert (settings.name, settings.task, settings.role) == ("fraud", "classification", "shadow")
    assert (settings.labels, settings.margin_below, settings.reemit) == ("int", 0.25, True)
    assert (settings.max_failures, settings.failure_window) == (3, 33)
    assert settings.snapshot == SnapshotSettings(overhead=0.5, max_replay_ms=2000, max_entries=9)
    assert (settings.learn_on, settings.learn_only) == ("label", None)
    assert (second.settings.role, second.settings.task) == ("champion", "anomaly")
    assert (second.settings.learn_on, second.settings.learn_only) == ("label", False)
    assert second.settings.snapshot.every == 5
    assert second.settings.margin_below is None


def test_a_detector_learns_on_arrival_unless_told_otherwise(tmp_path: Path) -> None:
    model = {"name": "m", "task": "anomaly", "spec": {"class": "river.anomaly.HalfSpaceTrees"}}
    [deployed] = deployments(config(tmp_path, model))
    assert deployed.settings.learn_on == "arrival"


def test_models_that_change_when_asked_are_known_as_such(tmp_path: Path) -> None:
    ensemble = {
        "class": "river.ensemble.SRPClassifier",
        "params": {"model": {"class": "river.naive_bayes.GaussianNB"}, "n_models": 2},
    }
    [deployed] = deployments(config(tmp_path, {"name": "m", "spec": ensemble}))
    assert deployed.settings.purity is Purity.FIRST
    [given] = deployments(config(tmp_path, {"name": "m"}, given=True), Moody(restless=True))
    assert given.settings.purity is Purity.ALWAYS


# A River object given in Python


def test_a_river_object_begins_with_the_digest_of_its_pickle(tmp_path: Path) -> None:
    model = preprocessing.StandardScaler() | linear_model.LogisticRegression()
    model.learn_one({"a": 1.0}, True)
    [deployed] = deployments(config(tmp_path, {"name": "m"}, given=True), model)
    assert deployed.settings.origin == {"pickle": sha256(deployed.pickled).hexdigest()}
    twin = pickle.loads(deployed.pickled)
    assert twin.predict_proba_one({"a": 1.0}) == model.predict_proba_one({"a": 1.0})


def test_the_object_given_stays_as_it_was(tmp_path: Path) -> None:
    model = tree.HoeffdingTreeClassifier()
    before = pickle_model(model)
    deployments(config(tmp_path, {"name": "m"}, given=True), model)
    assert pickle_model(model) == before


@pytest.mark.parametrize(
    ("model", "problem"),
    [
        (None, "neither spec nor artifact, and no River object was given"),
        (linear_model.LinearRegression(), "LinearRegression is a regressor; classification needs"),
        (preprocessing.StandardScaler(), "StandardScaler is a transformer; classification needs"),
        (naive_bayes.GaussianNB, "classification needs a classifier"),
        (lambda: 1, "cannot be pickled"),
    ],
)
def test_an_object_that_cannot_be_used_is_refused(tmp_path: Path, model: Any, problem: str) -> None:
    with pytest.raises(ConfigError) as error:
        deployments(config(tmp_path, {"name": "m"}, given=True), model)
    [line] = error.value.problems
    assert line.startswith("[[models]] m: ")
    assert problem in line


SCRIPT = """
from river import linear_model, preprocessing
from jobs.config import ConfigError, read_config
from jobs.deployments import deployments
from pathlib import Path

class Local(linear_model.LogisticRegression):
    pass

config = read_config(
    {
        "job": {"name": "job"},
        "features": {"connector": "file", "path": "in.jsonl"},
        "models": [{"name": "m", "task": "classification"}],
    },
    Path("."), {}, True,
)
for model in (Local(), preprocessing.StandardScaler() | Local()):
    try:
        deployments(config, model)
    except ConfigError as error:
        print(error)
"""


def test_a_class_of_the_script_itself_is_refused_however_deep(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    ran = subprocess.run(
        [sys.executable, str(script)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    line = (
        "[[models]] m: Local is defined in the script that runs; put it into a module that task "
        "managers can import"
    )
    assert ran.stdout.splitlines() == [line, line]


# Artifacts


def test_an_artifact_brings_what_its_version_has_behind_it(tmp_path: Path) -> None:
    model = preprocessing.StandardScaler() | linear_model.LogisticRegression()
    model.learn_one({"amount": 1.0}, True)
    manifest = artifact(tmp_path / "fraud.rrv", model)
    [deployed] = deployments(config(tmp_path, {"name": "fraud", "artifact": "fraud.rrv"}))
    since = deployed.since
    assert since is not None
    assert (since.model, since.lane, since.n) == ("fraud", None, 3)
    assert since.head == bytes(range(32))
    assert since.label_type == "bool"
    assert since.names == {"6:amount"}
    assert deployed.settings.purity is Purity.NAMES
    assert since.environment == manifest.environment
    assert deployed.settings.origin == LOGISTIC
    twin = pickle.loads(deployed.pickled)
    assert twin.predict_proba_one({"amount": 2.0}) == model.predict_proba_one({"amount": 2.0})


def test_every_model_that_cannot_be_used_is_named_at_once(tmp_path: Path) -> None:
    artifact(tmp_path / "unfit.rrv")
    artifact(tmp_path / "changed.rrv", sha256="00")
    artifact(tmp_path / "head.rrv", naive_bayes.GaussianNB(), head="no hex")
    artifact(tmp_path / "purity.rrv", naive_bayes.GaussianNB(), purity="mostly")
    names = ("missing", "unfit", "changed", "head", "purity")
    models = [{"name": name, "artifact": f"{name}.rrv"} for name in names]
    with pytest.raises(ConfigError) as error:
        deployments(config(tmp_path, *models, {"name": "good", "spec": LOGISTIC}))
    missing, unfit, changed, head, purity = error.value.problems
    assert missing.startswith(f"[[models]] missing: {tmp_path}/missing.rrv is not an artifact")
    assert "StandardScaler is a transformer; classification needs a classifier" in unfit
    assert changed.startswith(f"[[models]] changed: {tmp_path}/changed.rrv was changed")
    assert head.startswith("[[models]] head: ")
    assert "'mostly' is not a valid Purity" in purity


def test_an_artifact_whose_pickle_cannot_be_read_here_says_so(tmp_path: Path) -> None:
    path = tmp_path / "old.rrv"
    pickled = b"\x80\x05cno_such_module\nX\n."
    made = artifact(path, environment={"python": "3.9.1", "river": "0.20"})
    manifest = Manifest(
        **{**json.loads(json.dumps(_asdict(made))), "sha256": sha256(pickled).hexdigest()}
    )
    write_artifact(path, manifest, pickled)
    with pytest.raises(ConfigError, match="written under python 3.9.1, river 0.20 cannot be read"):
        deployments(config(tmp_path, {"name": "m", "artifact": "old.rrv"}))


def _asdict(manifest: Manifest) -> dict[str, Any]:
    return {name: getattr(manifest, name) for name in manifest.__struct_fields__}
