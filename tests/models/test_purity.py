import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from river import (
    anomaly,
    base,
    compose,
    ensemble,
    facto,
    feature_extraction,
    forest,
    linear_model,
    naive_bayes,
    neighbors,
    preprocessing,
    stats,
    tree,
)

from models.purity import Purity, names_in, probe
from models.tasks import task_for

CLASSIFICATION, REGRESSION, ANOMALY = map(task_for, ("classification", "regression", "anomaly"))


def lr():
    return linear_model.LogisticRegression()


@pytest.mark.parametrize(
    "make",
    [
        lambda: preprocessing.StandardScaler() | lr(),
        lambda: linear_model.PAClassifier(),
        lambda: tree.HoeffdingAdaptiveTreeClassifier(grace_period=50, seed=1),
        lambda: forest.AMFClassifier(seed=1),
        lambda: naive_bayes.GaussianNB(),
        lambda: naive_bayes.BernoulliNB(),
        lambda: neighbors.KNNClassifier(),
        lambda: compose.Select("amount", "hour") | preprocessing.StandardScaler() | lr(),
        lambda: feature_extraction.Agg("amount", ["card"], stats.Mean()) | lr(),
        lambda: feature_extraction.BagOfWords(on="text") | naive_bayes.MultinomialNB(),
        lambda: preprocessing.FeatureHasher(n_features=16, seed=1) | lr(),
    ],
)
def test_asking_leaves_most_classifiers_as_they_are(make):
    assert probe(make, CLASSIFICATION) is Purity.PURE


def test_asking_leaves_half_space_trees_as_they_are():
    assert probe(lambda: anomaly.HalfSpaceTrees(seed=1), ANOMALY) is Purity.PURE


@pytest.mark.parametrize(
    "make",
    [
        lambda: forest.ARFClassifier(seed=1),
        lambda: forest.ARFClassifier(n_models=1, leaf_prediction="mc", seed=42),
        lambda: ensemble.SRPClassifier(naive_bayes.BernoulliNB(), n_models=3, seed=42),
        lambda: ensemble.SRPClassifier(
            tree.HoeffdingAdaptiveTreeClassifier(seed=0), n_models=3, seed=42
        ),
    ],
)
def test_models_that_draw_by_the_first_names_change_with_the_first_request(make):
    assert probe(make, CLASSIFICATION) is Purity.FIRST


def test_a_forest_counts_the_names_of_the_first_request_of_all():
    """River's own doing: asked once about one name, it looks at one feature at each split for good."""
    asked, fresh = (forest.ARFClassifier(n_models=3, seed=1) for _ in range(2))
    asked.predict_proba_one({"a": 1})
    for model in (asked, fresh):
        model.learn_one({name: 1.0 for name in "abcdefghi"}, True)
    assert (asked.max_features, fresh.max_features) == (1, 3)


@pytest.mark.parametrize(
    "make",
    [
        lambda: preprocessing.GaussianRandomProjector(seed=1) | lr(),
        lambda: preprocessing.SparseRandomProjector(density=0.5, seed=1) | lr(),
        lambda: feature_extraction.RBFSampler(n_components=5, seed=1) | lr(),
        lambda: facto.FMClassifier(n_factors=3, seed=1),
        lambda: facto.FwFMClassifier(n_factors=3, seed=1),
    ],
)
def test_models_that_draw_for_each_new_name_change_with_names_only(make):
    assert probe(make, CLASSIFICATION) is Purity.NAMES


def test_a_field_aware_factorisation_machine_draws_for_pairs_of_names():
    # Two names that it knows, and meets together for the first time, change it.
    assert probe(lambda: facto.FFMClassifier(n_factors=3, seed=1), CLASSIFICATION) is Purity.ALWAYS


def test_one_hot_columns_of_numbers_are_new_names_to_a_projection():
    def make():
        projector = preprocessing.GaussianRandomProjector(n_components=1, seed=1)
        return preprocessing.OneHotEncoder() | projector | lr()

    assert probe(make, CLASSIFICATION) is Purity.ALWAYS


class Counting(base.Regressor):
    """Says how often it was taught, and does something more when it is asked."""

    def __init__(self):
        self.said = 0.0
        self.names = []

    def learn_one(self, x, y):
        self.said += 1

    def predict_one(self, x):
        self.asked(x)
        return self.said

    def asked(self, x):
        raise NotImplementedError


def probe_asked(asked):
    kind = type("Asked", (Counting,), {"asked": asked})
    return probe(kind, REGRESSION)


def test_a_model_that_does_nothing_when_asked_is_pure():
    assert probe_asked(lambda self, x: None) is Purity.PURE


def test_a_model_that_counts_requests_always_changes():
    def asked(self, x):
        self.said += 0.001

    assert probe_asked(asked) is Purity.ALWAYS


def test_a_model_that_draws_random_numbers_when_asked_always_changes():
    class Drawing(base.Regressor):
        def __init__(self):
            self.rng = random.Random(1)

        def learn_one(self, x, y):
            """Nothing to learn."""

        def predict_one(self, x):
            return self.rng.random()

    assert probe(Drawing, REGRESSION) is Purity.ALWAYS


def test_a_model_that_differs_each_time_always_changes():
    assert probe(lambda: forest.ARFClassifier(n_models=3), CLASSIFICATION) is Purity.ALWAYS


def test_a_model_that_learns_the_last_request_always_changes():
    class Remembering(Counting):
        """What is asked between a request and its label decides what is learned."""

        last = 0

        def learn_one(self, x, y):
            self.said += self.last

        def asked(self, x):
            self.last = len(x)

    assert probe(Remembering, REGRESSION) is Purity.ALWAYS


def test_a_model_that_keeps_the_order_of_names_it_is_asked_in_always_changes():
    def asked(self, x):
        if list(x)[::-1] == self.names:
            self.said += 1
        self.names = list(x)

    assert probe_asked(asked) is Purity.ALWAYS


def test_a_model_that_changes_with_text_instead_of_a_number_changes_with_names():
    def asked(self, x):
        new = {f"{k}{v}" for k, v in x.items() if isinstance(v, str)} - set(self.names)
        self.names += sorted(new)
        self.said += len(new)

    assert probe_asked(asked) is Purity.NAMES


def test_a_model_that_changes_when_a_known_name_is_missing_always_changes():
    def asked(self, x):
        if self.names and "a" not in x:
            self.said += 1
        self.names = list(x)

    assert probe_asked(asked) is Purity.ALWAYS


def test_a_model_that_takes_its_names_from_the_first_request_changes_with_that():
    def asked(self, x):
        if not self.names:
            self.names = list(x) or ["none"]
            self.said = len(self.names) / 1000

    assert probe_asked(asked) is Purity.FIRST


def test_a_model_that_raises_in_the_middle_of_being_asked_is_found_out():
    def asked(self, x):
        for value in x.values():
            if isinstance(value, str):
                raise TypeError("text")
            if value == -1e6:
                self.said += 1
                raise ValueError("too low")

    assert probe_asked(asked) is Purity.ALWAYS


def test_a_model_that_cannot_be_run_is_taken_for_the_worst():
    def asked(self, x):
        raise RuntimeError("never works")

    assert probe_asked(asked) is Purity.ALWAYS


def test_at_most_four_models_are_made():
    made = []

    def make():
        made.append(naive_bayes.GaussianNB())
        return made[-1]

    assert probe(make, CLASSIFICATION) is Purity.PURE
    assert len(made) == 4


scalars = st.booleans() | st.integers() | st.text(max_size=3)
features = st.dictionaries(st.text(max_size=3), scalars, max_size=4)


@given(features, features)
def test_names_tell_apart_what_is_new_to_a_model(one, other):
    def told(x):
        return {(name, value if isinstance(value, str) else None) for name, value in x.items()}

    assert (set(names_in(one)) >= set(names_in(other))) is (told(one) >= told(other))
