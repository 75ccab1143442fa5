"""A view answers as its model does, float for float, and is made of small pieces."""

import pickle
from itertools import cycle, islice
from typing import Any

import pytest
from river import (
    compose,
    datasets,
    ensemble,
    forest,
    linear_model,
    naive_bayes,
    preprocessing,
    tree,
)

from models import tasks
from models.ordering import pickle_in_order
from state import views

HAT = {"grace_period": 50, "delta": 0.01, "seed": 1}
CLASSIFIERS = {
    "ARF": lambda: forest.ARFClassifier(n_models=5, seed=1),
    "ARF mc": lambda: forest.ARFClassifier(n_models=5, leaf_prediction="mc", seed=1),
    "ARF nb": lambda: forest.ARFClassifier(n_models=5, leaf_prediction="nb", seed=1),
    "HAT": lambda: tree.HoeffdingAdaptiveTreeClassifier(**HAT),
    "HAT mc": lambda: tree.HoeffdingAdaptiveTreeClassifier(leaf_prediction="mc", **HAT),
    "tree": lambda: tree.HoeffdingTreeClassifier(grace_period=50, delta=0.01),
    "EFDT": lambda: tree.ExtremelyFastDecisionTreeClassifier(grace_period=50, delta=0.01),
    "SRP(HAT)": lambda: ensemble.SRPClassifier(
        tree.HoeffdingAdaptiveTreeClassifier(**HAT), n_models=3, seed=1
    ),
    "SRP(NB)": lambda: ensemble.SRPClassifier(naive_bayes.GaussianNB(), n_models=3, seed=1),
    "LR": lambda: preprocessing.StandardScaler() | linear_model.LogisticRegression(),
    "scaled ARF": lambda: compose.Pipeline(
        preprocessing.StandardScaler(), forest.ARFClassifier(n_models=3, seed=1)
    ),
}
REGRESSORS = {
    "ARF": lambda: forest.ARFRegressor(n_models=5, seed=1),
    "HAT": lambda: tree.HoeffdingAdaptiveTreeRegressor(grace_period=50, seed=1),
}
DATA = {"Phishing": datasets.Phishing, "Bananas": datasets.Bananas}


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_view_says_what_its_model_says_whatever_that_has_learned(name, data):
    rows = list(islice(cycle(DATA[data]()), 2000))
    model = CLASSIFIERS[name]()
    for count, (x, y) in enumerate(rows):
        # SRP draws its subspaces when it is first asked, from a generator that its view has not.
        if count in (1, 10, 300, 1999) or (count == 0 and not name.startswith("SRP")):
            # Asking changes some models, so the one that learns is not asked.
            asked = pickle.loads(pickle.dumps(model))
            view = loaded(views.pieces(model))
            for other, _ in rows[:200]:
                said = asked.predict_proba_one(other)
                assert list(view.predict_proba_one(other).items()) == list(said.items())
        model.learn_one(x, y)


@pytest.mark.parametrize("name", REGRESSORS)
def test_a_view_of_a_regressor_says_the_same(name):
    rows = list(islice(cycle(datasets.TrumpApproval()), 1500))
    model = REGRESSORS[name]()
    for x, y in rows:
        model.learn_one(x, y)
    view = loaded(views.pieces(model))
    assert [view.predict_one(x) for x, _ in rows[:300]] == [
        model.predict_one(x) for x, _ in rows[:300]
    ]


def test_a_forest_of_megabytes_becomes_small_pieces_and_goes_on_learning_as_before():
    pickle_in_order()
    rows = list(islice(cycle(datasets.Bananas()), 4000))
    model, twin = (forest.ARFClassifier(n_models=5, seed=1) for _ in range(2))
    for x, y in rows[:3000]:
        model.learn_one(x, y)
        twin.learn_one(x, y)
    cut = views.pieces(model)
    assert sum(map(len, cut)) < len(pickle.dumps(model)) / 8
    assert len(cut) > 10
    assert max(map(len, cut)) < 50_000
    for x, y in rows[3000:]:
        assert model.predict_proba_one(x) == twin.predict_proba_one(x)
        model.learn_one(x, y)
        twin.learn_one(x, y)


def test_what_a_view_leaves_out_is_found_where_predicting_needs_it():
    model = Gambling()
    view = loaded(views.pieces(model))
    assert model.predict_one({}) in (0, 1)
    with pytest.raises(AttributeError):
        view.predict_one({})


class Gambling:
    """Predicting draws a number, so it needs its generator."""

    def __init__(self) -> None:
        import random

        self._rng = random.Random(1)

    def predict_one(self, x: dict) -> int:
        return self._rng.randrange(2)


def loaded(cut: list[bytes]) -> Any:
    loading = views.Loading(cut)
    while loading.step():
        pass
    return loading.model


def test_a_task_asks_a_view_as_it_asks_a_model():
    model = CLASSIFIERS["LR"]()
    for x, y in islice(datasets.Phishing(), 100):
        model.learn_one(x, y)
    x, _ = next(iter(datasets.Phishing()))
    task = tasks.task_for("classification")
    assert task.predict(loaded(views.pieces(model)), x) == task.predict(model, x)
