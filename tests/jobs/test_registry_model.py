"""What stands alone in MLflow agrees with what the job does."""

import json
import pickle

import numpy as np
import pandas as pd
import pytest

from jobs import registry_model
from models.purity import names_in
from models.rehearsal import examples, wishes_of
from models.tasks import as_label, same, task_for
from state.snapshots import pickle_model
from tests.jobs.versions import artifact
from tests.models.zoo import ZOO


@pytest.mark.parametrize("name", ZOO)
def test_every_model_answers_as_in_the_job(name):
    known = ZOO[name]
    task = task_for(known.task)
    model = pickle.loads(pickle_model(known.model))
    rows = examples(wishes_of(model), 80)
    for row in rows[:60]:
        task.learn(model, dict(row.x), row.y(known.task))
    twin = pickle.loads(pickle_model(model))
    manifest = {"task": known.task, "label_type": None}
    for row in rows[60:]:
        expected = task.predict(model, dict(row.x))
        said = registry_model.answer(twin, manifest, dict(row.x))
        assert same(said["prediction"], expected.prediction)
        assert same(said.get("probabilities"), expected.probabilities)
        assert same(said.get("score"), expected.score)


@pytest.mark.parametrize("label_type", ["bool", "int", "str", "number"])
@pytest.mark.parametrize("value", [True, False, None, 1, 0, 2, 0.3, "a"])
def test_labels_have_the_type_that_the_job_gives_them(label_type, value):
    assert repr(registry_model.as_label(value, label_type)) == repr(as_label(value, label_type))


def test_names_are_those_of_the_manifest():
    row = {"amount": 3.5, "city": "Lyon", "a=b": 1, "ok": True}
    assert registry_model.names_in(row) == names_in(row)


def test_cells_become_features_in_the_order_of_the_columns():
    table = pd.DataFrame(
        {
            "z": np.array([1, 2], dtype="int64"),
            "a": [0.5, float("nan")],
            "nullable": pd.array([3, None], dtype="Int64"),
            "ok": [True, False],
            "mixed": pd.Series([1, 1.0], dtype=object),
            "text": ["x", None],
            "small": np.array([0.1, 0.2], dtype="float32"),
        }
    )
    first, second = registry_model.rows(table)
    small = float(np.float32(0.1)), float(np.float32(0.2))
    assert json.dumps(first) == json.dumps(
        {"z": 1, "a": 0.5, "nullable": 3, "ok": True, "mixed": 1, "text": "x", "small": small[0]}
    )
    assert json.dumps(second) == json.dumps({"z": 2, "ok": False, "mixed": 1.0, "small": small[1]})
    assert list(registry_model.rows([{"b": np.int64(2), "a": None}, {}])) == [{"b": 2}, {}]
    assert list(registry_model.rows(pd.DataFrame(index=[1, 2]))) == [{}, {}]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (np.zeros((2, 2)), "a DataFrame or a list of dicts is expected"),
        ([[1, 2]], "a dict is expected"),
        (pd.DataFrame([[1, 2]]), "a name that is a string"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "two columns have one name"),
        ([{"a": [1]}], "feature 'a' is"),
    ],
)
def test_what_is_no_features_is_refused(given, said):
    with pytest.raises((TypeError, ValueError), match=said):
        list(registry_model.rows(given))


def test_an_unknown_format_is_refused(tmp_path):
    path = artifact(tmp_path / "v.rrv", None, format=3)
    with pytest.raises(ValueError, match="format 3"):
        registry_model.read(str(path), [])
