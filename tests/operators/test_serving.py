"""Predictors' core: the newest version answers, whatever comes while it is being loaded."""

import json
import threading
from typing import Any

import pytest
from river import datasets, ensemble, forest, linear_model, naive_bayes, preprocessing

from events.features import encode_features, input_digest
from jobs.waiting import wait_until
from models.purity import Purity
from operators.items import Request
from operators.live import LiveModel, ModelSettings
from operators.publishing import Publisher
from operators.serving import Serving, ServingSettings
from state.versions import genesis
from tests.operators.test_publishing import KEY, settings
from tests.patience import PATIENCE_S

ROWS = list(datasets.Phishing())


class Learner:
    """Learns Phishing and publishes what it has learned."""

    def __init__(self, model: Any, name: str = "m", purity: Purity = Purity.PURE) -> None:
        self.settings = ModelSettings(name, "classification", "champion", {}, purity)
        self.live = LiveModel(self.settings, None)
        self.live.put(model, 0, 0, genesis({}, name, None))
        self.publisher = Publisher(settings(), KEY, None)
        self.now = 0

    def learn(self, begin: int, end: int) -> None:
        for place in range(begin, end):
            x, y = ROWS[place]
            self.live.teach(x, y, None)
            self.live.n += 1
            self.live.saw(x)
            self.live.at(bytes([self.live.n % 256]) * 32)
            self.publisher.saw(place, encode_features(x))

    def publish(self) -> list[str]:
        self.now += 1
        return self.publisher.publish(self.live, self.now)


def logistic() -> Any:
    return preprocessing.StandardScaler() | linear_model.LogisticRegression()


def serving(*learners: Learner, **more: Any) -> Serving:
    usual = {
        "job": "job",
        "models": [learner.settings for learner in learners],
        "trusted": (KEY.public,),
        "hold_limit": 10,
        "predictions": True,
        "evaluations": True,
        "dead_letters": True,
        "raw_bytes": 1000,
    }
    return Serving(ServingSettings(**{**usual, **more}))


def give(predictor: Serving, records: list[str]) -> None:
    for record in records:
        predictor.take(record)
    while predictor.loader.load_next():
        pass


def asked(place: int) -> Request:
    return Request(f"t{place}", 1000 + place, encode_features(ROWS[place][0]), "features", "f-0-1")


def predictions(predictor: Serving, place: int) -> list[dict[str, Any]]:
    said = predictor.answer(asked(place))
    return [json.loads(text) for address, text in said if address == "predictions"]


def shown(said: dict[Any, float]) -> dict[str, float]:
    return {str(label).lower(): p for label, p in said.items()}


def test_every_answer_is_that_of_the_version_that_it_names():
    learner = Learner(logistic())
    predictor = serving(learner)
    for begin in range(0, 500, 100):
        give(predictor, learner.publish())
        for place in range(begin, begin + 100):
            [row] = predictions(predictor, place)
            assert row["version"] == learner.live.version
            wanted = learner.live.model.predict_proba_one(ROWS[place][0])
            assert row["probabilities"] == shown(wanted)
            assert row["input"] == input_digest(f"t{place}", encode_features(ROWS[place][0]))
            assert (row["id"], row["event_time"], row["serving"]) == (
                f"t{place}",
                1000 + place,
                True,
            )
        learner.learn(begin, begin + 100)


def test_before_there_is_a_version_a_request_is_a_dead_letter_for_that_model_only():
    first, second = Learner(logistic(), "a"), Learner(logistic(), "b")
    predictor = serving(first, second)
    assert not predictor.ready
    give(predictor, first.publish())
    assert not predictor.ready
    out = {address: json.loads(text) for address, text in predictor.answer(asked(0))}
    assert out["predictions"]["model"] == "a"
    letter = out["dead_letters"]
    assert (letter["stage"], letter["reason"], letter["model"]) == ("predict", "no_model", "b")
    assert json.loads(letter["raw"]) == {"id": "t0", "features": ROWS[0][0], "ts": 1000}
    assert [each["version"] is None for each in out["said"]["said"]] == [False, True]
    give(predictor, second.publish())
    assert predictor.ready


def test_versions_that_come_faster_than_they_are_loaded_are_skipped():
    learner = Learner(logistic())
    predictor = serving(learner)
    for begin in range(0, 500, 100):
        learner.learn(begin, begin + 100)
        for record in learner.publish():
            predictor.take(record)
    assert predictor.loader.load_next()
    assert not predictor.loader.load_next()
    assert (predictor.loader.skipped, predictor.swaps) == (4, 1)
    assert predictions(predictor, 0)[0]["version"] == learner.live.version


def test_what_cannot_be_loaded_leaves_the_version_before_it():
    learner = Learner(logistic())
    predictor = serving(learner)
    give(predictor, learner.publish())
    before = learner.live.version
    learner.learn(0, 10)
    publisher = learner.publisher
    publisher._pieces = lambda live: ([b"no pickle"], False)  # type: ignore[method-assign]
    give(predictor, learner.publish())
    assert predictor.loader.failed == 1
    assert predictions(predictor, 0)[0]["version"] == before


def test_a_version_stays_what_it_is_though_being_asked_changes_the_model():
    model = ensemble.SRPClassifier(naive_bayes.GaussianNB(), n_models=3, subspace_size=0.5, seed=1)
    learner = Learner(model, purity=Purity.NAMES)
    predictor = serving(learner)
    give(predictor, learner.publish())
    for place in range(3):
        # Untaught, SRP says nothing, but keeps the names of whoever asks first.
        assert predictions(predictor, place)[0]["probabilities"] == {}
    learner.learn(0, 300)
    give(predictor, learner.publish())
    other = {"new": 1.0, **dict(reversed(ROWS[5][0].items()))}
    predictor.answer(Request("o", 1, encode_features(other), None, None))
    for place in range(200):
        [row] = predictions(predictor, place)
        assert row["probabilities"] == shown(model.predict_proba_one(ROWS[place][0]))


@pytest.mark.parametrize("purity", [Purity.FIRST, Purity.NAMES])
def test_what_the_first_request_would_draw_changes_no_version(purity):
    model = forest.ARFClassifier(n_models=3, seed=1)
    learner = Learner(model, purity=purity)
    predictor = serving(learner)
    give(predictor, learner.publish())
    strange = Request("o", 1, encode_features({"other": 1.0}), None, None)
    for _ in range(3):
        [text] = [text for address, text in predictor.answer(strange) if address == "predictions"]
        assert json.loads(text)["probabilities"] == {}
    learner.learn(0, 200)
    give(predictor, learner.publish())
    predictor.answer(strange)
    for place in range(100):
        [row] = predictions(predictor, place)
        assert row["probabilities"] == shown(model.predict_proba_one(ROWS[place][0]))
    # Its bytes are kept only where a request may change it.
    assert bool(predictor.current["m"]._pieces) == (purity is Purity.NAMES)


def test_a_model_that_raises_answers_with_an_error_and_a_dead_letter():
    learner = Learner(Broken())
    predictor = serving(learner)
    give(predictor, learner.publish())
    out = {address: json.loads(text) for address, text in predictor.answer(asked(0))}
    assert out["predictions"]["error"] == "ValueError: not today"
    assert out["predictions"]["prediction"] is None
    assert out["dead_letters"]["reason"] == "predict_failed"


def test_requests_are_answered_while_versions_come_and_go():
    learner = Learner(forest.ARFClassifier(n_models=3, seed=1))
    predictor = serving(learner)
    wanted: dict[str, dict[str, float]] = {}
    predictor.loader.start()
    answers: list[dict[str, Any]] = []
    stop = threading.Event()
    try:
        for begin in range(0, 1200, 40):
            learner.learn(begin, begin + 40)
            wanted[learner.live.version] = learner.live.model.predict_proba_one(ROWS[7][0])
            for record in learner.publish():
                predictor.take(record)
            if begin == 0:
                wait_until(lambda: predictor.ready, "a version", timeout_s=PATIENCE_S)
            answers += [row for _ in range(20) for row in predictions(predictor, 7)]
        last = learner.live.version
        wait_until(
            lambda: predictions(predictor, 7)[0]["version"] == last, "the last one", timeout_s=30
        )
    finally:
        stop.set()
        predictor.loader.close()
    assert len({row["version"] for row in answers}) > 3
    for row in answers:
        assert "error" not in row
        assert row["probabilities"] == shown(wanted[row["version"]])


@pytest.mark.parametrize("output", ["predictions", "evaluations", "dead_letters"])
def test_an_output_that_nobody_reads_is_not_written(output):
    learner = Learner(Broken())
    predictor = serving(learner, **{output: False})
    give(predictor, learner.publish())
    addresses = [address for address, _ in predictor.answer(asked(0))]
    left = {"predictions": "predictions", "evaluations": "said", "dead_letters": "dead_letters"}
    del left[output]
    assert sorted(addresses) == sorted(left.values())


class Broken:
    """A model that cannot answer."""

    def learn_one(self, x: dict, y: Any) -> None:
        pass

    def predict_one(self, x: dict) -> bool:
        raise ValueError("not today")

    def predict_proba_one(self, x: dict) -> dict:
        raise ValueError("not today")
