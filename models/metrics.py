"""River's metrics by name: which fit a task, what each is given, and how its value is written."""

import logging
import math
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from events.messages import Label
from models import allowlist, specs
from models.tasks import TaskName, label_key

logger = logging.getLogger(__name__)

PACKAGE: Final = "river.metrics"

# What is measured where a configuration names no metrics.
DEFAULTS: Final[dict[TaskName, tuple[str, ...]]] = {
    "classification": ("Accuracy", "F1", "ROCAUC", "LogLoss", "CohenKappa", "ConfusionMatrix"),
    "regression": ("MAE", "RMSE", "R2"),
    "anomaly": ("ROCAUC",),
}

MetricSpec = str | dict[str, Any]


class Pair(NamedTuple):
    """What was said of a transaction, and the truth about it.

    Attributes
    ----------
    label
        The truth.
    prediction
        In the type of the labels; None where there was no answer.
    probabilities : dict or None
        Label, as Python has it, -> probability.
    score : float or None
        Of an anomaly detector.
    """

    label: Label
    prediction: Any
    probabilities: dict[Any, float] | None = None
    score: float | None = None


def name_of(spec: MetricSpec) -> str:
    """What a metric is called in records: the name of its class.

    >>> name_of({"class": "river.metrics.FBeta", "params": {"beta": 2}})
    'FBeta'
    """
    path = spec if isinstance(spec, str) else str(spec.get("class", ""))
    return path.rpartition(".")[2]


def make(spec: MetricSpec) -> Any:
    """One of River's metrics, about the label True if it is one of two classes.

    Parameters
    ----------
    spec
        The name of its class, or a spec.

    Raises
    ------
    specs.SpecError
        It is none of River's, or does not take these arguments.
    """
    from river import metrics

    whole: dict[str, Any]
    whole = {"class": f"{PACKAGE}.{spec}"} if isinstance(spec, str) else dict(spec)
    if isinstance(whole.get("params"), dict):
        # With any other than True, River's metrics of two classes count nothing as positive.
        whole["params"] = {key: v for key, v in whole["params"].items() if key != "pos_val"}
    made = specs.part(whole, "metric")
    if not isinstance(made, metrics.base.Metric):
        raise specs.SpecError([f"{name_of(spec)} is no metric"])
    return made


def misfit(spec: MetricSpec, task: TaskName) -> str | None:
    """Why a metric cannot measure models of a task.

    >>> misfit("MAE", "classification")
    'MAE measures regression'
    """
    from river.metrics import base

    metric, name = make(spec), name_of(spec)
    if not isinstance(metric, (base.RegressionMetric, base.ClassificationMetric)):
        return f"{name} measures no predictions"
    if not hasattr(metric, "revert") or not _has_value(metric):
        return f"{name} is no number"
    if isinstance(metric, base.RegressionMetric):
        return None if task == "regression" else f"{name} measures regression"
    if task == "regression":
        return f"{name} measures classification"
    if task == "anomaly" and (metric.requires_labels or not isinstance(metric, base.BinaryMetric)):
        return f"{name} takes predicted labels, and an anomaly detector gives scores"
    return None


def known() -> list[str]:
    """Names of River's metrics."""
    return [name.rpartition(".")[2] for name in allowlist.names() if name.startswith(f"{PACKAGE}.")]


class Measured:
    """Metrics over some evaluations, each given what River's own evaluation gives it.

    Of a classifier, a metric that River marks `requires_labels` gets the prediction, another the
    probabilities; of an anomaly detector, the score. No answer is counted by none (`None` and `{}` in
    River's progressive validation). Metrics of two classes take true for the positive one, and count
    evaluations whose label is false or true, 0 or 1; with `positive`, they count all, and that label is
    the positive one.

    A metric that raises has no value from then on, which is logged; the others go on.

    Parameters
    ----------
    positive
        The label that metrics of two classes are about; a metric's own `pos_val` wins.
    of
        Whose metrics they are, for the log.
    logged
        Names of metrics whose failure is in the log; more are added.

    Examples
    --------
    >>> measured = Measured(["Accuracy", "F1"])
    >>> measured.update(Pair(True, True, {True: 0.8, False: 0.2}))
    >>> measured.values()
    {'Accuracy': 1.0, 'F1': 1.0}
    """

    def __init__(
        self,
        wanted: Sequence[MetricSpec],
        positive: Label | None = None,
        of: str = "",
        logged: set[str] | None = None,
    ) -> None:
        self._counted = {name_of(spec): _counted(spec, positive) for spec in wanted}
        self._of = of
        self._logged = set() if logged is None else logged

    def blank(self) -> "Measured":
        """The same metrics, of no evaluation."""
        new = Measured((), None, self._of, self._logged)
        new._counted = {name: counted.blank() for name, counted in self._counted.items()}
        return new

    def update(self, pair: Pair) -> None:
        """One more evaluation."""
        for name, counted in self._counted.items():
            if not counted.failed:
                try:
                    counted.update(pair)
                except Exception as error:  # whatever River raises of what a stream brings
                    self._fail(name, counted, error)

    def revert(self, pair: Pair) -> None:
        """As if that evaluation had not been."""
        for name, counted in self._counted.items():
            if not counted.failed:
                try:
                    counted.revert(pair)
                except Exception as error:
                    self._fail(name, counted, error)

    def values(self) -> dict[str, Any]:
        """Name -> value; null of what has counted nothing, has failed, or is no finite number."""
        found = {}
        for name, counted in self._counted.items():
            try:
                found[name] = counted.value()
            except ArithmeticError:  # not defined yet
                found[name] = None
            except Exception as error:
                self._fail(name, counted, error)
                found[name] = None
        return found

    def _fail(self, name: str, counted: "Counted", error: Exception) -> None:
        counted.failed = True
        if name not in self._logged:
            self._logged.add(name)
            logger.warning("%s: metric %s has no value from here on: %r", self._of, name, error)


class Counted:
    """A metric, what it is given, and how many evaluations it has counted."""

    def __init__(self, metric: Any, positive: Label | None) -> None:
        from river.metrics import RMSLE, base

        self.metric = metric
        self.n = 0
        self.failed = False
        self._regression = isinstance(metric, base.RegressionMetric)
        self._binary = isinstance(metric, base.BinaryMetric)
        self._labels = not self._regression and metric.requires_labels
        self._positive = positive if self._binary else None
        self._of_logs = isinstance(metric, RMSLE)

    def blank(self) -> "Counted":
        """The same, of no evaluation."""
        new = Counted.__new__(Counted)
        new.__dict__.update(self.__dict__)
        new.metric, new.n, new.failed = self.metric.clone(), 0, False
        return new

    def update(self, pair: Pair) -> None:
        """Count it, where it has an answer."""
        truth, said = self._given(pair)
        if said is not None:
            self.metric.update(truth, said)
            self.n += 1

    def revert(self, pair: Pair) -> None:
        """The last one to go leaves a new metric: some of River's cannot go back to nothing."""
        truth, said = self._given(pair)
        if said is None:
            return
        self.n -= 1
        if not self.n:
            self.metric = self.metric.clone()
            return
        if self._of_logs:
            # River's own takes back what it was given, not the logarithms that it counted.
            truth, said = math.log(truth + 1), math.log(said + 1)
        self.metric.revert(truth, said)

    def value(self) -> Any:
        """As JSON has it."""
        return value_of(self.metric) if self.n and not self.failed else None

    def _given(self, pair: Pair) -> tuple[Any, Any]:
        """Truth and answer as the metric takes them; None for an answer that it does not count."""
        label, prediction, probabilities, score = pair
        if self._regression:
            return label, prediction if isinstance(label, (int, float)) else None
        if self._positive is not None:
            return label == self._positive, self._about_positive(pair)
        if self._binary and label not in (False, True):
            return label, None
        if score is not None:
            return label, score
        return label, prediction if self._labels else probabilities or None

    def _about_positive(self, pair: Pair) -> Any:
        """River's metrics look up the probability of True, whatever they take for positive."""
        if pair.score is not None:
            return pair.score
        if self._labels:
            return None if pair.prediction is None else pair.prediction == self._positive
        return pair.probabilities.get(self._positive, 0.0) if pair.probabilities else None


def _counted(spec: MetricSpec, positive: Label | None) -> Counted:
    params = {} if isinstance(spec, str) else spec.get("params", {})
    return Counted(make(spec), params.get("pos_val", positive))


def _has_value(metric: Any) -> bool:
    try:
        value_of(metric)
    except NotImplementedError:  # a report, a text
        return False
    except Exception:  # not defined of nothing
        return True
    return True


def value_of(metric: Any) -> Any:
    """A metric's value as JSON has it; a confusion matrix as truth -> predicted -> count."""
    from river.metrics import ConfusionMatrix

    if isinstance(metric, ConfusionMatrix):
        return {
            label_key(truth): {label_key(said): int(count) for said, count in row.items() if count}
            for truth, row in metric.data.items()
            if any(row.values())
        }
    value = metric.get()
    if isinstance(value, complex) or not math.isfinite(value):
        return None
    return float(value)  # some are numpy's
