import copy
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from river import compose, dummy, forest, linear_model, multiclass, neighbors, tree

from models.ordering import adding_order, pickle_in_order, select_in_order

ROOT = Path(__file__).parents[2]
pickle_in_order()

few = st.lists(st.text(max_size=6), unique=True, max_size=10)


@given(few)
def test_a_set_is_made_again_in_the_order_that_it_has(values):
    grown = set()
    for value in values:
        grown.add(value)
    order = adding_order(list(grown))
    assert sorted(order) == sorted(values)
    assert list(set(order)) == list(grown)


def test_pickle_alone_does_not_keep_the_order_of_every_set():
    # The reason for this module: were it to fail, the module could go.
    sets = [{f"a{number}", f"b{number}", f"c{number}"} for number in range(500)]
    assert any(list(pickle.loads(pickle.dumps(one))) != list(one) for one in sets)


@pytest.mark.parametrize("again", [lambda m: pickle.loads(pickle.dumps(m)), copy.deepcopy])
@pytest.mark.parametrize(
    ("make", "attribute"),
    [
        (dummy.NoChangeClassifier, "classes"),
        (forest.AMFClassifier, "_classes"),
        (lambda: multiclass.OneVsOneClassifier(linear_model.LogisticRegression()), "classes"),
        (neighbors.KNNClassifier, "classes"),
        (tree.HoeffdingAdaptiveTreeClassifier, "classes"),
    ],
)
def test_known_labels_come_out_of_a_pickle_in_their_order(make, attribute, again):
    for number in range(100):
        model = make()
        for label in ("fraud", "ok", "unsure", "card", "theft"):
            getattr(model, attribute).add(f"{label}{number}")
        restored = getattr(again(model), attribute)
        assert type(restored) is set
        assert list(restored) == list(getattr(model, attribute))


def test_selected_names_come_out_of_a_pickle_in_their_order():
    for number in range(50):
        select = compose.Select(*(f"{number} {name}" for name in range(60)))
        restored = pickle.loads(pickle.dumps(select))
        assert list(restored.keys) == list(select.keys)
        again = pickle.loads(pickle.dumps(restored))
        assert list(again.keys) == list(select.keys)


def test_a_pickle_names_nothing_of_this_project():
    for model in (compose.Select("a", "b"), tree.HoeffdingAdaptiveTreeClassifier(seed=1)):
        assert b"models" not in pickle.dumps(model)


def test_a_select_in_order_selects_as_river_does():
    select, river = compose.Select("b", "a"), compose.Select("b", "a")
    select_in_order(select, ["b", "a"])
    x = {"a": 1, "b": 2, "c": 3}
    assert select.transform_one(x) == river.transform_one(x)
    assert list(select.transform_one(x)) == ["b", "a"]
    assert str(select) == str(river)
    assert select.clone().transform_one(x) == river.transform_one(x)
    with pytest.raises(KeyError):
        select.transform_one({"a": 1})


def digests(stage, folder, hash_seed):
    done = subprocess.run(
        [sys.executable, "-m", "tests.models.digests", stage, str(folder)],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def test_a_model_goes_on_in_another_process_as_it_would_have_in_its_own(tmp_path):
    # Under this seed the labels of the zoo come out of a plain pickle in another order.
    here = digests("first", tmp_path, "3")
    assert digests("then", tmp_path, "3") == here
