"""Trials in a process of their own: whatever a model asks for, the worst is a refusal."""

import json
import os
import time
import zlib
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from jobs.waiting import wait_until
from models.purity import Purity
from operators.scratch import Scratch, Sources, Trial, TrialLimits, Tried
from state.artifacts import Manifest, artifact_bytes
from state.snapshots import environment, pickle_model
from tests.operators.gates import SCALED_LR
from tests.operators.loops import hat
from tests.patience import PATIENCE_S

ROOT = Path(__file__).parents[2]
PACKAGES = ("events", "models", "operators", "state")

FOREST = {"class": "river.forest.ARFClassifier", "params": {"n_models": 3}}
SUBSPACES = {
    "class": "river.ensemble.SRPClassifier",
    "params": {"model": {"class": "river.naive_bayes.GaussianNB"}, "n_models": 2, "seed": 1},
}


def trial(spec: Any, task: str = "classification", **limits: Any) -> Tried:
    return Scratch(TrialLimits(**limits)).start(task, "m", spec, None).wait()


@pytest.mark.parametrize(
    ("spec", "task", "purity"),
    [
        (SCALED_LR, "classification", "pure"),
        (SUBSPACES, "classification", "first"),
        ({"class": "river.facto.FMRegressor"}, "regression", "names"),
        ({"class": "river.anomaly.HalfSpaceTrees", "params": {"seed": 1}}, "anomaly", "pure"),
    ],
    ids=["LR", "SRP", "FM", "HST"],
)
def test_what_runs_is_accepted_and_known_for_what_changes_it(
    spec: Any, task: str, purity: str
) -> None:
    assert trial(spec, task) == Tried(None, purity)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"class": "os.system", "args": ["touch FLAG"]}, "unknown class 'os.system'"),
        ({"class": "subprocess.run", "args": [["touch", "FLAG"]]}, "unknown class"),
        ({"class": "river.linear_model.LogisticRegression", "params": {"l2": "much"}}, ""),
        ({"class": "river.linear_model.LinearRegression"}, "classif"),
        ("not a spec", "spec"),
        (None, "spec"),
    ],
    ids=str,
)
def test_what_is_no_model_is_refused_with_the_reason(
    spec: Any, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = trial(spec)
    assert found.problem is not None
    assert said in found.problem
    assert list(tmp_path.iterdir()) == [], "nothing was run"


def test_one_that_takes_too_long_is_ended() -> None:
    """A million trees; what it has of the processor is counted, and this is not much."""
    spec = {"class": "river.forest.ARFClassifier", "params": {"n_models": 1_000_000, "seed": 1}}
    begun = time.monotonic()
    assert trial(spec, seconds=1) == Tried("it was not done within 1 s", "")
    # Starting Python takes its time, too, on a busy machine.
    assert time.monotonic() - begun < 31


def test_one_that_takes_too_much_memory_is_refused() -> None:
    """River's Rust ends the process where an allocation fails, Python raises: both are refusals."""
    spec = {"class": "river.forest.ARFClassifier", "params": {"n_models": 1_000_000, "seed": 1}}
    found = trial(spec, seconds=60, memory_mb=512)
    assert found.problem is not None
    assert "memory" in found.problem.lower()


def test_a_trial_is_there_to_be_asked_and_can_be_stopped() -> None:
    scratch = Scratch(TrialLimits())
    going = scratch.start("classification", "m", SCALED_LR, None)
    assert going.result() is None, "Python has not even started"
    wait_until(lambda: going.result() is not None, "the end of a trial", timeout_s=PATIENCE_S)
    stopped = scratch.start("classification", "m", SCALED_LR, None)
    stopped.stop()
    found = stopped.wait()
    assert found.problem is not None


def test_a_process_that_dies_says_what_it_complained_of() -> None:
    scratch = Scratch(TrialLimits(), Sources(packed({"operators": "", "events": ""})))
    found = scratch.start("classification", "m", SCALED_LR, None).wait()
    assert found.problem is not None
    assert found.problem.startswith("it could not be tried: ")
    assert "operators.scratch_trial" in found.problem


# Code from an archive


def packed(sources: dict[str, str]) -> bytes:
    return zlib.compress(json.dumps(sources).encode())


def sources_of_the_project() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        found[package] = (ROOT / package / "__init__.py").read_text()
        for file in (ROOT / package).glob("*.py"):
            if file.name != "__init__.py":
                found[f"{package}.{file.stem}"] = file.read_text()
    return found


def test_a_job_brings_its_own_code_and_that_is_tried() -> None:
    """Not what happens to lie where the process starts: a newer job may run there."""
    sources = sources_of_the_project()
    before = "problems = specs.check(spec)"
    assert sources["operators.scratch_trial"].count(before) == 1
    sources["operators.scratch_trial"] = sources["operators.scratch_trial"].replace(
        before, 'problems = ["by the code of the archive"]'
    )
    scratch = Scratch(TrialLimits(), Sources(packed(sources)))
    for _ in range(2):
        found = scratch.start("classification", "m", SCALED_LR, None).wait()
        assert found == Tried("by the code of the archive", "")


# Artifacts


def artifact(model: Any, task: str = "classification", purity: str = "pure") -> bytes:
    pickled = pickle_model(model)
    digest = sha256(pickled).hexdigest()
    manifest = Manifest(
        model="m",
        lane=None,
        version=f"m@0-{digest[:12]}",
        n=0,
        head=digest,
        task=task,
        origin={"pickle": digest},
        label_type=None,
        names=[],
        purity=purity,
        environment=environment(),
        sha256=digest,
        created=0,
    )
    return artifact_bytes(manifest, pickled)


def started(data: bytes, task: str = "classification") -> Trial:
    return Scratch(TrialLimits()).start(task, "m", {"pickle": "of it"}, data)


def test_an_artifact_is_tried_and_keeps_what_is_known_of_it() -> None:
    assert started(artifact(hat(), purity="names")).wait() == Tried(None, Purity.NAMES)
    large = hat()
    large.ballast = os.urandom(3 << 20)
    assert started(artifact(large)).wait() == Tried(None, "pure"), "more than a pipe holds"


def test_an_artifact_that_cannot_be_used_is_refused() -> None:
    for data, said in ((artifact(hat()), "regress"), (artifact({"a": 1}), "")):
        found = started(data, "regression").wait()
        assert found.problem is not None
        assert said in found.problem
