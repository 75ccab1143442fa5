"""What MLflow is told of a version, without a server."""

import sys

import pytest

from jobs.errors import Failure
from jobs.registry import Registry
from jobs.registry_facts import hyperparameters
from state.artifacts import Manifest, read_artifact
from tests.jobs.versions import artifact


def of_origin(tmp_path, origin) -> Manifest:
    return read_artifact(artifact(tmp_path / "v.rrv", None, origin=origin)).manifest


def test_a_spec_becomes_flat_params(tmp_path):
    spec = {
        "pipeline": [
            {"class": "river.preprocessing.StandardScaler"},
            {
                "class": "river.linear_model.LogisticRegression",
                "params": {
                    "l2": 1e-05,
                    "optimizer": {"class": "river.optim.SGD", "args": [0.1, None]},
                    "intercept_lr": True,
                    "seed": 7,
                    "none": {},
                },
            },
        ]
    }
    assert hyperparameters(of_origin(tmp_path, spec)) == {
        "pipeline.0.class": "river.preprocessing.StandardScaler",
        "pipeline.1.class": "river.linear_model.LogisticRegression",
        "pipeline.1.params.l2": "0.00001",
        "pipeline.1.params.optimizer.class": "river.optim.SGD",
        "pipeline.1.params.optimizer.args.0": "0.1",
        "pipeline.1.params.optimizer.args.1": "null",
        "pipeline.1.params.intercept_lr": "true",
        "pipeline.1.params.seed": "7",
        "pipeline.1.params.none": "{}",
    }
    assert hyperparameters(of_origin(tmp_path, {"pickle": "ab"})) == {"pickle": "ab"}


def test_what_mlflow_would_refuse_is_cut_and_told_apart(tmp_path):
    odd = {
        "a/b:c": 1,
        "a:b/c": 2,
        "k" * 300: 3,
        "k" * 299 + "x": 4,
        "text": "v" * 7000,
    }
    found = hyperparameters(of_origin(tmp_path, odd))
    assert len(found) == 5
    assert all(len(key) <= 250 and "/" not in key and ":" not in key for key in found)
    assert found["a_b_c"] == "1"
    assert sorted(value for value in found.values() if len(value) == 1) == ["1", "2", "3", "4"]
    assert len(found["text"]) == 6000


def test_without_mlflow_it_says_what_to_install(tmp_path, monkeypatch, riverrun):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(Failure, match=r"pip install 'riverrun\[mlflow\]'"):
        Registry("http://127.0.0.1:1")
    file = artifact(tmp_path / "v.rrv", None)
    done = riverrun("registry", "push", file, "--tracking-uri", "http://127.0.0.1:1")
    assert (done.code, "with the extra mlflow" in done.err) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["push", "{rrv}", "fraud@3-000000000000"], "is one version"),
        (["push", "{toml}"], "which versions of"),
        (["push", "missing.rrv"], "does not exist"),
        (["pull", "fraud:x", "--out", "v.rrv"], "is not NAME or NAME:N"),
        (["pull", ":3", "--out", "v.rrv"], "is not NAME or NAME:N"),
        (["pull", "fraud", "--out", "v.rrv", "--trusted-key", "x"], "'x' is no public key"),
    ],
)
def test_wrong_usage_is_exit_code_2(tmp_path, riverrun, arguments, said):
    files = {"rrv": artifact(tmp_path / "v.rrv", None), "toml": tmp_path / "job.toml"}
    files["toml"].touch()
    given = [word.format(**files) for word in arguments]
    done = riverrun("registry", *given, "--tracking-uri", "http://127.0.0.1:1")
    assert done.code == 2
    assert said in " ".join(done.err.replace("│", " ").split())
