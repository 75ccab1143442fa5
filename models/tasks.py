"""How to ask a River object and how to teach it: classification, regression, anomaly.

An answer holds, bit for bit, what River says in a plain loop of the same calls. Numbers of numpy
come out as Python's, which have the same value and can be written as JSON.
"""

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Literal, NamedTuple, get_args

import msgspec
from river import base

from models.ordering import pickle_in_order

TaskName = Literal["classification", "regression", "anomaly"]
LabelType = Literal["bool", "int", "str", "number"]
Label = bool | int | float | str
Features = dict[str, Any]


class Answer(NamedTuple):
    """What a model says of one request.

    Attributes
    ----------
    prediction : label, number or None
        Classification: a label, None if the model knows none yet. Regression: a number. Anomaly: None,
        or what an AnomalyFilter decides (True is an anomaly).
    probabilities : dict or None
        Classification: label -> probability, in River's order; None if the model has none.
    score : float or None
        Anomaly: the higher, the stranger.
    """

    prediction: Any
    probabilities: dict[Any, float] | None
    score: float | None


Asker = Callable[[Features], Answer]
Teacher = Callable[[Features, Any, float | None], None]

# Half the time of Answer(...), on the path of every request.
_new: Callable[..., Any] = tuple.__new__


class Task(ABC):
    """What a model is for; `asker` and `teacher` bind a live model once, for many calls."""

    name: ClassVar[TaskName]

    @abstractmethod
    def check_model(self, model: Any) -> list[str]:
        """Why this River object does not fit the task, a sentence each; empty if it does."""

    @abstractmethod
    def asker(self, model: Any) -> Asker:
        """A function from features to this model's answer; it raises what River raises."""

    def teacher(self, model: Any) -> Teacher:
        """A function that teaches this model an example: features, label and weight.

        A weight of None or 1 is none at all. Any other raises `ValueError` if the model takes no
        weights, before anything is learned; `takes_weight` tells beforehand. Otherwise the function
        raises what River raises, and the model may have learned half of the example.
        """
        pickle_in_order()
        learn = model.learn_one
        weighted = takes_weight(model)

        def teach(x: Features, y: Any, weight: float | None = None) -> None:
            if weight is None or weight == 1:
                learn(x, y)
            elif weighted:
                learn(x, y, w=weight)
            else:
                raise ValueError(f"{model} takes no weights, the label has weight {weight}")

        return teach

    def predict(self, model: Any, x: Features) -> Answer:
        """One answer; for many, keep `asker(model)`."""
        return self.asker(model)(x)

    def learn(self, model: Any, x: Features, y: Any, weight: float | None = None) -> None:
        """Learn one example; for many, keep `teacher(model)`."""
        self.teacher(model)(x, y, weight)


class Classification(Task):
    """Labels of two or more classes, with probabilities where the model has them."""

    name = "classification"

    def check_model(self, model: Any) -> list[str]:
        if not isinstance(model, base.Classifier):
            return [_misfit(model, "a classifier", self.name)]
        from river.active.base import ActiveLearningClassifier

        if isinstance(last_step(model), ActiveLearningClassifier):
            return [
                f"{_called(last_step(model))} answers with pairs; give the classifier inside it"
            ]
        return _misplaced_steps(model)

    def asker(self, model: Any) -> Asker:
        pickle_in_order()
        last = last_step(model)
        if type(last).predict_proba_one is base.Classifier.predict_proba_one:
            return _labels_only(model)
        if _derives_prediction(model):
            return _probabilities_only(model)
        return _both(model)


def _labels_only(model: Any) -> Asker:
    predict_one = model.predict_one

    def ask(x: Features) -> Answer:
        return Answer(plain(predict_one(x)), None, None)

    return ask


def _probabilities_only(model: Any) -> Asker:
    """For a model whose predict_one is base.Classifier's: asked once, and concluded as there."""
    predict_proba_one = model.predict_proba_one

    def ask(x: Features) -> Answer:
        said = predict_proba_one(x)
        for p in said.values():
            if type(p) is not float:
                said = {plain(label): plain(p) for label, p in said.items()}
                break
        answer: Answer = _new(Answer, (max(said, key=said.get) if said else None, said, None))
        return answer

    return ask


def _both(model: Any) -> Asker:
    predict_one, predict_proba_one = model.predict_one, model.predict_proba_one

    def ask(x: Features) -> Answer:
        prediction = plain(predict_one(x))
        try:
            said = predict_proba_one(x)
        except NotImplementedError:  # a wrapper around a classifier without probabilities
            return Answer(prediction, None, None)
        return Answer(prediction, {plain(label): plain(p) for label, p in said.items()}, None)

    return ask


class Regression(Task):
    """Labels that are numbers."""

    name = "regression"

    def check_model(self, model: Any) -> list[str]:
        if isinstance(model, base.MultiTargetRegressor) or not isinstance(model, base.Regressor):
            return [_misfit(model, "a regressor", self.name)]
        return _misplaced_steps(model)

    def asker(self, model: Any) -> Asker:
        pickle_in_order()
        predict_one = model.predict_one

        def ask(x: Features) -> Answer:
            prediction = predict_one(x)
            if type(prediction) is not float:
                prediction = plain(prediction)
            answer: Answer = _new(Answer, (prediction, None, None))
            return answer

        return ask


class Anomaly(Task):
    """A score for each request; learning takes no label."""

    name = "anomaly"

    def check_model(self, model: Any) -> list[str]:
        last = last_step(model)
        detector = last.anomaly_detector if isinstance(last, base.AnomalyFilter) else last
        if isinstance(detector, base.SupervisedAnomalyDetector):
            return [f"{_called(detector)} scores labels, so it has nothing to say before they come"]
        if not isinstance(detector, base.AnomalyDetector):
            return [_misfit(model, "an anomaly detector", self.name)]
        return _misplaced_steps(model) + [
            f"{_called(step)} learns from labels, and anomaly detection has none"
            for step in (*_steps(model), *_steps(detector))
            if step is not last and step._supervised
        ]

    def asker(self, model: Any) -> Asker:
        pickle_in_order()
        score_one = model.score_one
        last = last_step(model)
        if isinstance(last, base.AnomalyFilter):
            classify = last.classify

            def ask(x: Features) -> Answer:
                score = plain(score_one(x))
                return Answer(plain(classify(score)), None, score)

        else:

            def ask(x: Features) -> Answer:
                score = score_one(x)
                if type(score) is not float:
                    score = plain(score)
                answer: Answer = _new(Answer, (None, None, score))
                return answer

        return ask

    def teacher(self, model: Any) -> Teacher:
        pickle_in_order()
        learn = model.learn_one

        def teach(x: Features, y: Any, weight: float | None = None) -> None:
            if weight is not None and weight != 1:
                raise ValueError(f"{model} takes no weights, the label has weight {weight}")
            learn(x)

        return teach


_TASKS: dict[str, Task] = {task.name: task for task in (Classification(), Regression(), Anomaly())}
TASK_NAMES: tuple[TaskName, ...] = get_args(TaskName)


def task_for(name: str) -> Task:
    """The task of this name.

    Raises
    ------
    ValueError
        If there is none.
    """
    if name not in _TASKS:
        raise ValueError(f"unknown task {name!r}; there are {', '.join(_TASKS)}")
    return _TASKS[name]


# What a model is


def last_step(model: Any) -> Any:
    """The model itself, or the last step of the pipeline that it is."""
    while hasattr(model, "_last_step"):
        model = model._last_step
    return model


def _steps(model: Any) -> Iterator[Any]:
    """The steps of a pipeline, those of pipelines inside it in their places."""
    if not hasattr(model, "_last_step"):
        yield model
        return
    for step in model.steps.values():
        yield from _steps(step)


def _derives_prediction(model: Any) -> bool:
    """Whether predict_one concludes from predict_proba_one as base.Classifier does."""
    while hasattr(model, "_last_step"):
        from river import compose

        if type(model).predict_one is not compose.Pipeline.predict_one:
            return False
        model = model._last_step
    return type(model).predict_one is base.Classifier.predict_one


_PASS_WEIGHT_ON = frozenset(
    # Wrappers whose learn_one(x, y, **kwargs) hands `w` to each learn_one of the wrapped models.
    # ARF, SRP and others take **kwargs and drop them.
    (
        "ADWINBaggingClassifier",
        "ADWINBoostingClassifier",
        "AdaBoostClassifier",
        "BOLEClassifier",
        "BaggingClassifier",
        "BaggingRegressor",
        "ChebyshevOverSampler",
        "ChebyshevUnderSampler",
        "DriftRetrainingClassifier",
        "LeveragingBaggingClassifier",
        "OneVsOneClassifier",
        "OneVsRestClassifier",
        "OutputCodeClassifier",
        "PredClipper",
        "RandomOverSampler",
        "RandomSampler",
        "RandomUnderSampler",
        "RegressionJackknife",
    )
)


def takes_weight(model: Any) -> bool:
    """Whether a label's weight reaches what learns.

    River calls it `w`. A pipeline hands it to the steps that take one and drops it silently where
    none does; so do some ensembles. A model of one's own takes weights if its `learn_one` has a
    parameter `w`.
    """
    model = last_step(model)
    kind = type(model)
    learn_one = getattr(kind, "learn_one", None)
    if learn_one is None:  # a wrapper can be given anything
        return False
    if "w" in inspect.signature(learn_one).parameters:
        return True
    if kind.__module__.startswith("river.") and kind.__name__ in _PASS_WEIGHT_ON:
        return takes_weight(model._wrapped_model)
    return False


_KINDS = (
    # The first that fits names it.
    ("MultiTargetRegressor", "a regressor of several targets"),
    ("MultiLabelClassifier", "a classifier of several labels"),
    ("Classifier", "a classifier"),
    ("Regressor", "a regressor"),
    ("AnomalyDetector", "an anomaly detector"),
    ("SupervisedAnomalyDetector", "a supervised anomaly detector"),
    ("AnomalyFilter", "an anomaly filter"),
    ("Clusterer", "a clusterer"),
    ("BaseTransformer", "a transformer"),
    ("Estimator", "an estimator of another kind"),
)


def _misfit(model: Any, wanted: str, task: str) -> str:
    last = last_step(model)
    kind = next((words for name, words in _KINDS if isinstance(last, getattr(base, name))), None)
    what = "no River estimator" if kind is None else kind
    if last is model:
        return f"{_called(last)} is {what}; {task} needs {wanted}"
    return f"the pipeline ends in {_called(last)}, {what}; {task} needs {wanted}"


def _misplaced_steps(model: Any) -> list[str]:
    *before, _ = _steps(model)
    return [
        f"{_called(step)} is not the last step of its pipeline, but transforms no features"
        for step in before
        if not isinstance(step, (base.BaseTransformer, base.AnomalyFilter))
    ]


def _called(model: Any) -> str:
    return type(model).__name__


# What a label is


def type_of(label: Label) -> LabelType:
    """The type of the labels of which this is one.

    Examples
    --------
    >>> type_of(True), type_of(1), type_of(1.0), type_of("fraud")
    ('bool', 'int', 'number', 'str')
    """
    if isinstance(label, bool):
        return "bool"
    if isinstance(label, int):
        return "int"
    return "str" if isinstance(label, str) else "number"


def usual_labels(task: str) -> LabelType | None:
    """The type of a task's labels where nobody says; None where the first label does.

    A number may be written as an integer: of a regression's labels the first says nothing about the
    next.
    """
    return "number" if task == "regression" else None


def conforms(label: Label, label_type: LabelType) -> bool:
    """Whether a label is of this type; `number` takes integers too.

    Examples
    --------
    >>> conforms(1, "number"), conforms(1, "int"), conforms(True, "int"), conforms(1.0, "int")
    (True, True, False, False)
    """
    found = type_of(label)
    return found == label_type or (label_type == "number" and found == "int")


def as_label(value: Any, label_type: LabelType) -> Any:
    """What a model answers, in the type that labels have.

    Binary models answer False and True whatever they learned from, and Python's 1 and True are one
    key of a dict. Where nothing corresponds (None before the first label, a regressor's 0.3) the
    value stays what it is.

    Examples
    --------
    >>> as_label(True, "int"), as_label(1, "bool"), as_label(True, "number"), as_label(None, "int")
    (1, True, 1.0, None)
    >>> as_label(0.3, "int"), as_label(2, "bool"), as_label("a", "bool"), as_label(True, "str")
    (0.3, 2, 'a', True)
    """
    if label_type == "bool":
        return value == 1 if isinstance(value, (int, float)) and value in (0, 1) else value
    if isinstance(value, bool):
        return (
            int(value) if label_type == "int" else float(value) if label_type == "number" else value
        )
    return value


def in_label_type(answer: Answer, label_type: LabelType | None) -> tuple[Any, Any, Any]:
    """Prediction, probabilities and score as they are written: in the type that labels have.

    Examples
    --------
    >>> in_label_type(Answer(True, {False: 0.25, True: 0.75}, None), "int")
    (1, {'0': 0.25, '1': 0.75}, None)
    """
    prediction, probabilities, score = answer
    if label_type is not None:
        prediction = as_label(prediction, label_type)
    if probabilities is None:
        return prediction, None, score
    if label_type == "bool" and _BOOLEANS.issuperset(probabilities):
        # The same in a third of the time; 0 and 1 are found there, too.
        return prediction, {_KEYS[label]: p for label, p in probabilities.items()}, score
    keyed = {
        label_key(label if label_type is None else as_label(label, label_type)): p
        for label, p in probabilities.items()
    }
    return prediction, keyed, score


_BOOLEANS = frozenset({False, True})
_KEYS: dict[Any, str] = {False: "false", True: "true"}


def label_key(value: Any) -> str:
    """A label as the key of a JSON object: a string as it is, any other as its JSON text.

    Examples
    --------
    >>> label_key("a"), label_key(True), label_key(3), label_key(0.5), label_key(None)
    ('a', 'true', '3', '0.5', 'null')
    """
    if isinstance(value, str):
        return value
    if value is True:
        return "true"
    if value is False:
        return "false"
    return msgspec.json.encode(value).decode()


def plain(value: Any) -> Any:
    """A numpy scalar as Python's number of the same value, anything else as it is."""
    # numpy's float64 is a float, yet msgspec does not write it.
    return value.item() if type(value).__module__ == "numpy" else value


def finite(answer: Answer) -> bool:
    """Whether an answer can be written as JSON: no NaN, no infinity.

    Examples
    --------
    >>> finite(Answer(True, {True: 1.0}, None)), finite(Answer(None, None, float("nan")))
    (True, False)
    """
    prediction, probabilities, score = answer
    if isinstance(prediction, float) and not math.isfinite(prediction):
        return False
    if score is not None and not math.isfinite(score):
        return False
    return probabilities is None or all(map(math.isfinite, probabilities.values()))


def same(one: Any, other: Any) -> bool:
    """Whether two answers say the same, to the last bit; a NaN says the same as a NaN."""
    return one == other or repr(one) == repr(other)
