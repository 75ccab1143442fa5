"""When a learner publishes, what of its model, and which examples it leaves out when it is behind."""

import json
from typing import Any

import pytest
from river import datasets, ensemble, linear_model, naive_bayes, preprocessing, tree

from events.features import encode_features
from models.purity import Purity
from operators.live import LiveModel, ModelSettings
from operators.publishing import Publisher, PublishSettings
from state import views
from state.published import Assembler, Complete
from state.signing import SigningKey, TrustedKeys
from state.versions import genesis

KEY = SigningKey.generate()
PHISHING = list(datasets.Phishing())


def settings(**more: Any) -> PublishSettings:
    usual = {
        "job": "job",
        "signing_key_file": "",
        "every": 10,
        "interval_ms": 1000,
        "part_bytes": 1000,
        "max_lag_ms": None,
        "on_lag": "go_on",
        "sample": 0.5,
    }
    return PublishSettings(**{**usual, **more})


def live_model(model: Any, purity: Purity = Purity.PURE) -> LiveModel:
    live = LiveModel(ModelSettings("m", "classification", "champion", {}, purity), None)
    live.put(model, 0, 0, genesis({}, "m", None))
    return live


def logistic() -> Any:
    return preprocessing.StandardScaler() | linear_model.LogisticRegression()


def learn(live: LiveModel, publisher: Publisher, begin: int, end: int) -> None:
    for place in range(begin, end):
        x, y = PHISHING[place]
        live.teach(x, y, None)
        live.n += 1
        live.at(bytes([live.n % 256]) * 32)
        publisher.saw(place, encode_features(x))


def complete(records: list[str]) -> Complete:
    reader = Assembler("job", ["m"], TrustedKeys([KEY.public]))
    *before, found = [reader.take(record) for record in records]
    assert set(before) <= {None}
    assert found is not None
    return found


def loaded(found: Complete) -> Any:
    loading = views.Loading(found.pieces)
    while loading.step():
        pass
    return loading.model


def test_the_first_version_goes_out_before_anything_was_learned():
    live, publisher = live_model(logistic()), Publisher(settings(), KEY, None)
    assert publisher.due(live, 0)
    found = complete(publisher.publish(live, 500))
    assert (found.manifest.version, found.manifest.learned_to) == (live.version, -1)
    assert not publisher.due(live, 10**12)
    assert publisher.wake(live, 500) is None


def test_another_follows_after_so_many_examples_or_so_long_if_anything_was_learned():
    live, publisher = live_model(logistic()), Publisher(settings(), KEY, None)
    publisher.publish(live, 5000)
    learn(live, publisher, 0, 9)
    assert not publisher.due(live, 5999)
    assert publisher.wake(live, 5001) == 6000
    assert publisher.due(live, 6000)
    learn(live, publisher, 9, 10)
    assert publisher.due(live, 5001)
    publisher.publish(live, 5001)
    assert not publisher.due(live, 10**12)


def test_a_version_says_what_the_model_says_and_up_to_where_it_learned():
    live, publisher = live_model(logistic()), Publisher(settings(), KEY, None)
    learn(live, publisher, 0, 300)
    found = complete(publisher.publish(live, 1))
    assert found.manifest.learned_to == 299
    assert (found.manifest.n, found.manifest.head) == (300, live.head.hex())
    model = loaded(found)
    for x, _ in PHISHING:
        assert model.predict_proba_one(x) == live.model.predict_proba_one(x)


def test_sets_go_to_the_two_slots_in_turn_and_are_ever_younger_though_the_clock_goes_back():
    live, publisher = live_model(logistic()), Publisher(settings(), KEY, None)
    made = []
    for now in (1000, 900, 900, 2000):
        records = publisher.publish(live, now)
        made.append((json.loads(records[0])["id"], complete(records).manifest.created))
    assert made == [("m/0", 1000), ("m/1", 1001), ("m/0", 1002), ("m/1", 2000)]


def test_a_learner_that_is_restored_goes_on_where_it_was():
    live, publisher = live_model(logistic()), Publisher(settings(), KEY, None)
    learn(live, publisher, 0, 3)
    publisher.publish(live, 1000)
    again = Publisher(settings(), KEY, publisher.plain())
    assert not again.due(live, 10**12)
    records = again.publish(live, 900)
    assert json.loads(records[0])["id"] == "m/1"
    assert complete(records).manifest.created == 1001
    assert again.learned_to == 2


def test_a_forest_goes_out_as_a_view_a_model_that_asking_changes_too_and_others_whole():
    hat = tree.HoeffdingAdaptiveTreeClassifier(grace_period=50, delta=0.01, seed=1)
    srp = ensemble.SRPClassifier(naive_bayes.GaussianNB(), n_models=3, seed=1)
    for model, purity, is_view in (
        (hat, Purity.PURE, True),
        (srp, Purity.NAMES, True),
        (ensemble.SRPClassifier(naive_bayes.GaussianNB(), n_models=3), Purity.ALWAYS, False),
        (Random(), Purity.PURE, False),
    ):
        live, publisher = live_model(model, purity), Publisher(settings(), KEY, None)
        learn(live, publisher, 0, 400)
        assert complete(publisher.publish(live, 1)).manifest.view is is_view
        assert (publisher.views, publisher.whole) == (int(is_view), int(not is_view))


def test_publishing_a_model_that_asking_changes_does_not_change_it():
    make = lambda: ensemble.SRPClassifier(naive_bayes.GaussianNB(), n_models=3, seed=1)
    live, twin = live_model(make(), Purity.NAMES), make()
    publisher = Publisher(settings(), KEY, None)
    publisher.publish(live, 1)
    for begin in range(0, 300, 100):
        learn(live, publisher, begin, begin + 100)
        for x, y in PHISHING[begin : begin + 100]:
            twin.learn_one(x, y)
        found = complete(publisher.publish(live, 1))
        for x, _ in PHISHING[:200]:
            assert loaded(found).predict_proba_one(x) == twin.predict_proba_one(x)


def test_a_view_that_says_anything_else_never_goes_out(monkeypatch):
    live, publisher = live_model(logistic()), Publisher(settings(), KEY, None)
    learn(live, publisher, 0, 100)
    other = logistic()
    other.learn_one(*PHISHING[0])
    monkeypatch.setattr(views, "pieces", lambda model: views._Cutting().cut(other))
    found = complete(publisher.publish(live, 1))
    assert found.manifest.view is False
    assert loaded(found).predict_proba_one(PHISHING[5][0]) == live.model.predict_proba_one(
        PHISHING[5][0]
    )


@pytest.mark.parametrize(
    ("on_lag", "share"), [("go_on", 1.0), ("skip_oldest", 0.0), ("sample", 0.25)]
)
def test_past_the_bound_a_learner_goes_on_or_leaves_examples_out_and_counts_them(on_lag, share):
    lagging = settings(max_lag_ms=1000, on_lag=on_lag, sample=0.25)
    publisher = Publisher(lagging, KEY, None)
    learned = sum(publisher.learns(f"t{i}", 0, 1001) for i in range(4000))
    assert learned == pytest.approx(4000 * share, abs=150 if on_lag == "sample" else 0)
    assert publisher.skipped == 4000 - learned
    assert all(publisher.learns(f"t{i}", 1, 1001) for i in range(100))
    assert Publisher(lagging, KEY, publisher.plain()).skipped == 4000 - learned


def test_without_a_bound_nothing_is_left_out():
    publisher = Publisher(settings(on_lag="skip_oldest"), KEY, None)
    assert publisher.learns("t", 0, 10**13)


class Random:
    """Pure by what it is told to be, but not without a generator."""

    def __init__(self) -> None:
        import random

        self._rng = random.Random(1)

    def learn_one(self, x: dict, y: Any) -> None:
        pass

    def predict_one(self, x: dict) -> bool:
        return self._rng.random() < 2

    def predict_proba_one(self, x: dict) -> dict:
        self._rng.random()
        return {True: 1.0}
