"""Metrics of a model over the examples that it learns, each asked before it is learned."""

from typing import Any

from river import metrics

from jobs.summary import RocAuc
from models.tasks import Answer, Label, LabelType, TaskName, as_label


class Prequential:
    """River's metrics, for one task.

    Examples
    --------
    >>> measured = Prequential("regression")
    >>> measured.update(2.0, Answer(1.5, None, None), "number")
    >>> measured.get()
    {'mae': 0.5, 'rmse': 0.5}
    """

    def __init__(self, task: TaskName) -> None:
        self._task = task
        self._means: dict[str, Any] = {}
        if task == "classification":
            self._means = {"accuracy": metrics.Accuracy(), "log_loss": metrics.CrossEntropy()}
        elif task == "regression":
            self._means = {"mae": metrics.MAE(), "rmse": metrics.RMSE()}
        self._counted: set[str] = set()
        self._roc_auc = RocAuc()

    def update(self, label: Label | None, answer: Answer, label_type: LabelType | None) -> None:
        """Count what was said before `label` was learned; a model that said nothing is not counted."""
        if label is None:
            return
        prediction, probabilities, score = answer
        if label_type is not None:
            prediction = as_label(prediction, label_type)
        binary = label in (False, True)
        if self._task == "regression" and prediction is not None:
            self._count("mae", label, prediction)
            self._count("rmse", label, prediction)
        elif self._task == "anomaly" and binary and score is not None:
            self._roc_auc.update(bool(label), score)
        elif self._task == "classification":
            if prediction is not None:
                self._count("accuracy", label, prediction)
            if probabilities:
                self._count("log_loss", label, probabilities)
            if probabilities and binary:
                self._roc_auc.update(bool(label), probabilities.get(True, 0.0))

    def _count(self, name: str, label: Label, said: Any) -> None:
        self._counted.add(name)
        self._means[name].update(label, said)

    def get(self) -> dict[str, float]:
        """Name -> value, of what could be measured."""
        found = {name: float(m.get()) for name, m in self._means.items() if name in self._counted}
        roc_auc = self._roc_auc.get()
        return found if roc_auc is None else {**found, "roc_auc": roc_auc}
