import math
import pickle
from typing import ClassVar

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from river import (
    active,
    anomaly,
    base,
    cluster,
    compose,
    conf,
    datasets,
    drift,
    dummy,
    ensemble,
    evaluate,
    facto,
    feature_extraction,
    forest,
    imblearn,
    linear_model,
    metrics,
    multiclass,
    multioutput,
    naive_bayes,
    neighbors,
    preprocessing,
    reco,
    rules,
    stats,
    tree,
)

from models import tasks
from models.tasks import (
    TASK_NAMES,
    Answer,
    as_label,
    conforms,
    finite,
    label_key,
    plain,
    same,
    takes_weight,
    task_for,
    type_of,
)

CLASSIFICATION, REGRESSION, ANOMALY = map(task_for, TASK_NAMES)


# Asking: as a plain loop of River


CLASSIFIERS = {
    "LR": preprocessing.StandardScaler() | linear_model.LogisticRegression(),
    "pipeline in a pipeline": compose.Pipeline(
        compose.Discard("empty_server_form_handler"),
        preprocessing.StandardScaler() | linear_model.LogisticRegression(),
    ),
    "PA": linear_model.PAClassifier(),
    "HAT": tree.HoeffdingAdaptiveTreeClassifier(grace_period=50, seed=1),
    "SRP": ensemble.SRPClassifier(naive_bayes.GaussianNB(), n_models=3, seed=1),
    "ARF": forest.ARFClassifier(n_models=3, seed=1),
    "AMF": forest.AMFClassifier(n_estimators=3, seed=1),
    "KNN": neighbors.KNNClassifier(),
    "Softmax": linear_model.SoftmaxRegression(),
    "OneVsRest": multiclass.OneVsRestClassifier(linear_model.LogisticRegression()),
    "no probabilities": multiclass.OneVsOneClassifier(linear_model.LogisticRegression()),
    "predict_one of its own": dummy.NoChangeClassifier(),
    "votes": ensemble.VotingClassifier(
        [linear_model.LogisticRegression(), naive_bayes.GaussianNB()], use_probabilities=False
    ),
    "wrapper": imblearn.RandomUnderSampler(
        naive_bayes.GaussianNB(), desired_dist={False: 0.5, True: 0.5}, seed=1
    ),
    "wrapper of one without probabilities": imblearn.RandomUnderSampler(
        multiclass.OneVsOneClassifier(linear_model.LogisticRegression()),
        desired_dist={False: 0.5, True: 0.5},
        seed=1,
    ),
    "boosting": ensemble.AdaBoostClassifier(linear_model.LogisticRegression(), 3, seed=1),
    "factors": facto.FMClassifier(seed=1),
}


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_classifier_answers_as_in_a_plain_loop(name):
    model, river = CLASSIFIERS[name].clone(), CLASSIFIERS[name].clone()
    ask, teach = CLASSIFICATION.asker(model), CLASSIFICATION.teacher(model)
    for x, y in datasets.Phishing().take(400):
        answer = ask(x)
        assert answer.prediction == river.predict_one(x)
        try:
            assert answer.probabilities == river.predict_proba_one(x)
        except NotImplementedError:
            assert answer.probabilities is None
        assert answer.score is None
        teach(x, y, None)
        river.learn_one(x, y)


@pytest.mark.parametrize("name", ["HAT", "ARF", "Softmax", "OneVsRest", "KNN", "no probabilities"])
def test_so_it_does_with_seven_classes(name):
    model, river = CLASSIFIERS[name].clone(), CLASSIFIERS[name].clone()
    ask, teach = CLASSIFICATION.asker(model), CLASSIFICATION.teacher(model)
    for x, y in datasets.ImageSegments().take(300):
        answer = ask(x)
        assert answer.prediction == river.predict_one(x)
        if answer.probabilities is not None:
            assert list(answer.probabilities.items()) == list(river.predict_proba_one(x).items())
        teach(x, y, None)
        river.learn_one(x, y)


def test_delayed_labels_give_what_rivers_own_evaluation_gives():
    def model():
        return preprocessing.StandardScaler() | linear_model.LogisticRegression()

    rows = list(datasets.Phishing().take(300))
    steps = evaluate.iter_progressive_val_score(
        rows, model(), metrics.LogLoss(), delay=7, step=1, yield_predictions=True
    )
    expected = [step["Prediction"] for step in steps]
    live = model()
    ask, teach = CLASSIFICATION.asker(live), CLASSIFICATION.teacher(live)
    # River asks about row i, then teaches the row of seven before; it reports in order of labels.
    said = []
    for index, (x, _) in enumerate(rows):
        if index >= 7:
            teach(*rows[index - 7], None)
        said.append(ask(x).probabilities)
    assert said == expected


class Steps(compose.Pipeline):
    """A pipeline that says the opposite."""

    def predict_one(self, x, **params):
        return not super().predict_one(x, **params)


def test_a_pipeline_of_ones_own_is_asked_with_its_own_predict_one():
    model = Steps(preprocessing.StandardScaler(), naive_bayes.GaussianNB())
    x = {"a": 1.0}
    model.learn_one(x, True)
    assert CLASSIFICATION.predict(model, x) == Answer(False, {True: 1.0}, None)


def test_equal_probabilities_are_decided_as_river_does():
    class Undecided(base.Classifier):
        def learn_one(self, x, y):
            raise AssertionError("never taught")

        def predict_proba_one(self, x):
            return {"b": 0.5, "a": 0.5}

    assert CLASSIFICATION.predict(Undecided(), {}) == Answer("b", {"b": 0.5, "a": 0.5}, None)
    assert Undecided().predict_one({}) == "b"


def test_what_river_answers_before_the_first_label_stays_as_it_is():
    assert CLASSIFICATION.predict(naive_bayes.GaussianNB(), {"a": 1}) == Answer(None, {}, None)
    unfitted = CLASSIFICATION.predict(linear_model.LogisticRegression(), {"a": 1})
    assert unfitted == Answer(False, {False: 0.5, True: 0.5}, None)


REGRESSORS = {
    "LR": preprocessing.StandardScaler() | linear_model.LinearRegression(),
    "PA": linear_model.PARegressor(),
    "tree": tree.HoeffdingTreeRegressor(grace_period=50),
    "ARF": forest.ARFRegressor(n_models=3, seed=1),
    "SRP": ensemble.SRPRegressor(linear_model.LinearRegression(), n_models=3, seed=1),
    "weighted average": ensemble.EWARegressor(
        [linear_model.LinearRegression(), linear_model.PARegressor()]
    ),
    "rules": rules.AMRules(),
    "jackknife": conf.RegressionJackknife(linear_model.LinearRegression()),
    "target scaled": preprocessing.TargetStandardScaler(linear_model.LinearRegression()),
}


@pytest.mark.parametrize("name", REGRESSORS)
def test_a_regressor_answers_as_in_a_plain_loop(name):
    model, river = REGRESSORS[name].clone(), REGRESSORS[name].clone()
    ask, teach = REGRESSION.asker(model), REGRESSION.teacher(model)
    for x, y in datasets.TrumpApproval().take(300):
        answer = ask(x)
        assert answer == Answer(river.predict_one(x), None, None)
        msgspec.json.encode(answer)
        teach(x, y, None)
        river.learn_one(x, y)


DETECTORS = {
    "HST": anomaly.HalfSpaceTrees(n_trees=3, window_size=50, seed=1),
    "scaled HST": preprocessing.MinMaxScaler() | anomaly.HalfSpaceTrees(n_trees=3, seed=1),
    "SVM": anomaly.OneClassSVM(),
    "LODA": anomaly.LODA(seed=1),
}


@pytest.mark.parametrize("name", DETECTORS)
def test_a_detector_scores_as_in_a_plain_loop_and_learns_without_labels(name):
    model, river = DETECTORS[name].clone(), DETECTORS[name].clone()
    ask, teach = ANOMALY.asker(model), ANOMALY.teacher(model)
    for x, y in datasets.Phishing().take(200):
        assert ask(x) == Answer(None, None, river.score_one(x))
        teach(x, y, None)
        river.learn_one(x)


@pytest.mark.parametrize("piped", [False, True])
def test_an_anomaly_filter_also_decides(piped):
    def make():
        last = anomaly.QuantileFilter(anomaly.HalfSpaceTrees(n_trees=3, seed=1), q=0.8)
        return preprocessing.MinMaxScaler() | last if piped else last

    model, river = make(), make()
    classify = tasks.last_step(river).classify
    ask, teach = ANOMALY.asker(model), ANOMALY.teacher(model)
    assert ANOMALY.check_model(model) == []
    decided = set()
    for x, _ in datasets.Phishing().take(600):
        answer, score = ask(x), river.score_one(x)
        assert answer == Answer(classify(score), None, score)
        decided.add(answer.prediction)
        teach(x, None, None)
        river.learn_one(x)
    assert decided == {False, True}


def test_numpy_scalars_come_out_as_pythons_numbers_of_the_same_value():
    for value in (np.float64(0.1), np.float32(0.1), np.int64(3), np.bool_(True)):
        assert plain(value) == value
        assert type(plain(value)) in (float, int, bool)
    assert plain("a") == "a"

    class Numpy(base.Classifier):
        def learn_one(self, x, y):
            raise AssertionError("never taught")

        def predict_proba_one(self, x):
            return {np.int64(1): np.float64(0.25), np.int64(2): np.float32(0.75)}

    answer = CLASSIFICATION.predict(Numpy(), {})
    assert answer == Answer(2, {1: 0.25, 2: 0.75}, None)
    assert msgspec.json.encode(answer) == b'[2,{"1":0.25,"2":0.75},null]'


# Teaching


class Recorder(base.Classifier):
    """Notes the weights that it is taught with."""

    seen: ClassVar[list[float]] = []

    def learn_one(self, x, y, w=1.0):
        Recorder.seen.append(w)

    def predict_proba_one(self, x):
        return {False: 0.5, True: 0.5}


class RegressionRecorder(base.Regressor):
    def learn_one(self, x, y, w=1.0):
        Recorder.seen.append(w)

    def predict_one(self, x):
        return 0.0


def weights_taught(model, weight, times=40):
    Recorder.seen = []
    task = CLASSIFICATION if isinstance(model, base.Classifier) else REGRESSION
    teach = task.teacher(model)
    for number in range(times):
        y = bool(number % 2) if task is CLASSIFICATION else float(number % 7)
        teach({"a": number / times}, y, weight)
    return set(Recorder.seen)


BOTH = {False: 0.5, True: 0.5}
WRAPPERS = [
    preprocessing.StandardScaler() | Recorder(),
    compose.Pipeline(compose.Select("a"), preprocessing.StandardScaler() | Recorder()),
    drift.DriftRetrainingClassifier(Recorder(), train_in_background=False),
    ensemble.ADWINBaggingClassifier(Recorder(), 2, seed=1),
    ensemble.ADWINBoostingClassifier(Recorder(), 2, seed=1),
    ensemble.AdaBoostClassifier(Recorder(), 2, seed=1),
    ensemble.BOLEClassifier(Recorder(), 2, seed=1),
    ensemble.BaggingClassifier(Recorder(), 2, seed=1),
    ensemble.BaggingRegressor(RegressionRecorder(), 2, seed=1),
    ensemble.LeveragingBaggingClassifier(Recorder(), 2, seed=1),
    conf.RegressionJackknife(RegressionRecorder()),
    imblearn.ChebyshevOverSampler(RegressionRecorder()),
    imblearn.ChebyshevUnderSampler(RegressionRecorder(), seed=1),
    imblearn.RandomOverSampler(Recorder(), BOTH, seed=1),
    imblearn.RandomSampler(Recorder(), BOTH, seed=1),
    imblearn.RandomUnderSampler(Recorder(), BOTH, seed=1),
    multiclass.OneVsOneClassifier(Recorder()),
    multiclass.OneVsRestClassifier(Recorder()),
    multiclass.OutputCodeClassifier(Recorder(), code_size=3, seed=1),
    preprocessing.PredClipper(RegressionRecorder(), 0, 1),
]


@pytest.mark.parametrize("model", WRAPPERS, ids=lambda model: str(model).replace(" ", ""))
def test_a_weight_reaches_the_model_inside(model):
    assert takes_weight(model)
    assert weights_taught(model, 2.5) == {2.5}
    assert weights_taught(model, None) == {1.0}
    assert weights_taught(model, 1) == {1.0}


def test_every_wrapper_said_to_pass_weights_on_is_tried_here():
    tried = {type(model).__name__ for model in WRAPPERS} - {"Pipeline"}
    assert tried == tasks._PASS_WEIGHT_ON


def test_a_weight_is_rivers_w():
    model, river = linear_model.LogisticRegression(), linear_model.LogisticRegression()
    teach = CLASSIFICATION.teacher(model)
    for number, (x, y) in enumerate(datasets.Phishing().take(50)):
        teach(x, y, 1.0 + number % 3)
        river.learn_one(x, y, w=1.0 + number % 3)
        assert model.predict_proba_one(x) == river.predict_proba_one(x)


@pytest.mark.parametrize(
    "model",
    [
        naive_bayes.GaussianNB(),
        linear_model.PAClassifier(),
        forest.ARFClassifier(seed=1),  # takes **kwargs and drops them
        ensemble.SRPClassifier(Recorder(), seed=1),
        preprocessing.StandardScaler() | neighbors.KNNClassifier(),
        ensemble.BaggingClassifier(naive_bayes.GaussianNB(), seed=1),
        ensemble.StackingClassifier([Recorder(), Recorder()], Recorder()),
        imblearn.HardSamplingClassifier(Recorder(), size=5, p=0.5, seed=1),  # passes some on
    ],
    ids=str,
)
def test_a_weight_that_a_model_does_not_take_is_an_error_before_anything_is_learned(model):
    assert not takes_weight(model)
    before = pickle.dumps(model)
    with pytest.raises(ValueError, match="takes no weights"):
        CLASSIFICATION.learn(model, {"a": 1.0}, True, 2.0)
    assert pickle.dumps(model) == before
    CLASSIFICATION.learn(model, {"a": 1.0}, True, 1.0)
    CLASSIFICATION.learn(model, {"a": 1.0}, False)


def test_anomaly_detection_takes_no_weights():
    with pytest.raises(ValueError, match="takes no weights"):
        ANOMALY.learn(anomaly.HalfSpaceTrees(seed=1), {"a": 1.0}, None, 2.0)


# Which model for which task


@pytest.mark.parametrize("model", CLASSIFIERS.values(), ids=CLASSIFIERS)
def test_classifiers_are_for_classification_only(model):
    assert CLASSIFICATION.check_model(model) == []
    assert REGRESSION.check_model(model)
    assert ANOMALY.check_model(model)


@pytest.mark.parametrize("model", REGRESSORS.values(), ids=REGRESSORS)
def test_regressors_are_for_regression_only(model):
    assert REGRESSION.check_model(model) == []
    assert CLASSIFICATION.check_model(model)
    assert ANOMALY.check_model(model)


@pytest.mark.parametrize("model", DETECTORS.values(), ids=DETECTORS)
def test_detectors_are_for_anomaly_detection_only(model):
    assert ANOMALY.check_model(model) == []
    assert CLASSIFICATION.check_model(model)
    assert REGRESSION.check_model(model)


@pytest.mark.parametrize(
    ("task", "model", "problem"),
    [
        (
            "classification",
            linear_model.LinearRegression(),
            "LinearRegression is a regressor; classification needs a classifier",
        ),
        (
            "classification",
            preprocessing.StandardScaler() | compose.Prefixer("x"),
            "the pipeline ends in Prefixer, a transformer; classification needs a classifier",
        ),
        (
            "classification",
            multioutput.ClassifierChain(linear_model.LogisticRegression()),
            (
                "ClassifierChain is a classifier of several labels; "
                "classification needs a classifier"
            ),
        ),
        (
            "classification",
            active.EntropySampler(linear_model.LogisticRegression()),
            "EntropySampler answers with pairs; give the classifier inside it",
        ),
        (
            "classification",
            linear_model.LogisticRegression() | linear_model.LogisticRegression(),
            "LogisticRegression is not the last step of its pipeline, but transforms no features",
        ),
        (
            "classification",
            object(),
            "object is no River estimator; classification needs a classifier",
        ),
        (
            "classification",
            cluster.KMeans(seed=1),
            ("KMeans is a clusterer; classification needs a classifier"),
        ),
        (
            "regression",
            tree.ISOUPTreeRegressor(),
            "ISOUPTreeRegressor is a regressor of several targets; regression needs a regressor",
        ),
        (
            "regression",
            reco.BiasedMF(seed=1),
            "BiasedMF is an estimator of another kind; regression needs a regressor",
        ),
        (
            "anomaly",
            anomaly.GaussianScorer(),
            "GaussianScorer scores labels, so it has nothing to say before they come",
        ),
        (
            "anomaly",
            anomaly.QuantileFilter(anomaly.GaussianScorer(), q=0.9),
            "GaussianScorer scores labels, so it has nothing to say before they come",
        ),
        (
            "anomaly",
            feature_extraction.TargetAgg("card", stats.Mean()) | anomaly.HalfSpaceTrees(seed=1),
            "TargetAgg learns from labels, and anomaly detection has none",
        ),
        (
            "anomaly",
            linear_model.LogisticRegression(),
            "LogisticRegression is a classifier; anomaly needs an anomaly detector",
        ),
    ],
)
def test_a_model_for_another_task_is_refused_with_what_it_is(task, model, problem):
    assert task_for(task).check_model(model) == [problem]


def test_an_anomaly_filter_may_stand_before_a_classifier():
    model = (
        preprocessing.MinMaxScaler()
        | anomaly.QuantileFilter(anomaly.HalfSpaceTrees(seed=1), q=0.9)
        | linear_model.LogisticRegression()
    )
    assert CLASSIFICATION.check_model(model) == []


def test_a_task_is_known_by_its_name():
    assert [task_for(name).name for name in TASK_NAMES] == list(TASK_NAMES)
    with pytest.raises(ValueError, match="unknown task 'clustering'; there are classification,"):
        task_for("clustering")


# Labels


labels = st.booleans() | st.integers() | st.floats() | st.text()
TYPES = ("bool", "int", "str", "number")


@given(labels)
def test_every_label_has_one_type_and_conforms_to_it(label):
    assert conforms(label, type_of(label))
    fitting = [label_type for label_type in TYPES if conforms(label, label_type)]
    assert fitting == (["int", "number"] if type_of(label) == "int" else [type_of(label)])


@given(labels, st.sampled_from(TYPES))
def test_a_label_of_the_type_stays_what_it_is(label, label_type):
    if conforms(label, label_type):
        converted = as_label(label, label_type)
        assert type(converted) is type(label)
        assert same(converted, label)


@pytest.mark.parametrize(
    ("value", "label_type", "expected"),
    [
        (True, "int", 1),
        (False, "int", 0),
        (1, "bool", True),
        (0, "bool", False),
        (1.0, "bool", True),
        (True, "number", 1.0),
        (True, "bool", True),
        (2, "bool", 2),
        (0.25, "bool", 0.25),
        (0.25, "int", 0.25),
        (3, "number", 3),
        (True, "str", True),
        (None, "bool", None),
        (None, "int", None),
        ("a", "bool", "a"),
    ],
)
def test_answers_are_converted_to_the_type_of_the_labels(value, label_type, expected):
    converted = as_label(value, label_type)
    assert converted == expected
    assert type(converted) is type(expected)


@given(
    st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False)
)
def test_the_key_of_a_label_that_is_no_text_is_its_json(label):
    key = label_key(label)
    assert msgspec.json.decode(key) == label
    assert key == msgspec.json.encode(label).decode()


@given(st.text())
def test_the_key_of_a_text_is_the_text(label):
    assert label_key(label) == label


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (Answer(None, None, None), True),
        (Answer(None, {}, None), True),
        (Answer("a", {"a": 1.0}, None), True),
        (Answer(10**400, None, None), True),
        (Answer(math.nan, None, None), False),
        (Answer(-math.inf, None, None), False),
        (Answer(None, None, math.inf), False),
        (Answer(None, None, 0), True),
        (Answer(True, {True: math.nan, False: 0.5}, None), False),
    ],
)
def test_an_answer_is_finite_if_every_number_in_it_is(answer, expected):
    assert finite(answer) is expected
