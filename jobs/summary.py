"""What a run came to, from its file outputs: River's metrics per model, label delays, dead letters."""

import math
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np
from msgspec import Struct
from rich.console import Console
from rich.table import Table
from river import metrics

from connectors.files import read_parts
from events.messages import Evaluation, Label
from jobs.durations import readable_duration
from jobs.settings import OUTPUTS, Config, FileSink, ModelConfig


class ModelSummary(Struct, frozen=True):
    """One model; what comes from an output that is not written to files is None.

    Attributes
    ----------
    predictions, learned : int or None
        Transactions predicted, examples learned.
    labelled, assumed : int or None
        Transactions evaluated by a label of theirs, and by an assumed one.
    without_label : float or None
        Share of the predicted transactions that are neither.
    delay_median_ms, delay_p95_ms : int or None
        How long after their transactions labels came.
    scored : int
        Transactions that the metrics are of: those evaluated, save where the model said nothing yet.
    metrics : dict
        Name -> value, None where the truth has one class only; a transaction counts once, with its
        newest label.
    version : str or None
        The last one; None with lanes.
    lanes : int or None
        How many there are; None without `lane_by`.
    """

    name: str
    task: str
    role: str
    predictions: int | None
    learned: int | None
    labelled: int | None
    assumed: int | None
    without_label: float | None
    delay_median_ms: int | None
    delay_p95_ms: int | None
    scored: int
    metrics: dict[str, float | None]
    version: str | None
    lanes: int | None


class Summary(Struct, frozen=True):
    """A run.

    Attributes
    ----------
    dead_letters : dict or None
        Reason -> how many; None where they are not written to files.
    outputs : dict
        Output -> its folder.
    """

    job: str
    models: list[ModelSummary]
    dead_letters: dict[str, int] | None
    outputs: dict[str, str]


def summarize(config: Config) -> Summary:
    """Read the file outputs of a job, finished parts only.

    Scores and delays are held as 8 bytes each, nothing else grows with the number of records.
    """
    folders = dict(_folders(config))
    tallies = {model.name: _Tally(model) for model in config.models}
    if "predictions" in folders:
        _count_predictions(folders["predictions"], tallies)
    if "learn_log" in folders:
        _count_learned(folders["learn_log"], tallies)
    if "evaluations" in folders:
        for evaluation in newest_evaluations(folders["evaluations"]):
            if (tally := tallies.get(evaluation.model)) is not None:
                tally.evaluated(evaluation)
    lanes = config.job.lane_by is not None
    return Summary(
        config.job.name,
        [tally.summary(folders, lanes) for tally in tallies.values()],
        _dead_letters(folders["dead_letters"]) if "dead_letters" in folders else None,
        {output: str(folder) for output, folder in folders.items()},
    )


def _folders(config: Config) -> Iterator[tuple[str, Path]]:
    """The first folder of each output that has one."""
    for output in OUTPUTS:
        for sink in config.sinks(output):
            if isinstance(sink, FileSink):
                yield output, Path(sink.path)
                break


# Reading


class _Said(Struct):
    model: str
    lane: str | None
    version: str
    reemit: bool = False


class _Learned(Struct):
    model: str
    lane: str | None
    kind: str
    version: str


class _Refused(Struct):
    reason: str


def _count_predictions(folder: Path, tallies: dict[str, "_Tally"]) -> None:
    decode = msgspec.json.Decoder(_Said).decode
    for said in map(decode, read_parts(folder)):
        if (tally := tallies.get(said.model)) is not None:
            tally.predictions += not said.reemit
            tally.at(said.lane, said.version)


def _count_learned(folder: Path, tallies: dict[str, "_Tally"]) -> None:
    decode = msgspec.json.Decoder(_Learned).decode
    for learned in map(decode, read_parts(folder)):
        if (tally := tallies.get(learned.model)) is not None:
            tally.learned += learned.kind == "example"
            tally.at(learned.lane, learned.version)


def newest_evaluations(folder: Path) -> Iterator[Evaluation]:
    """The newest evaluation of each transaction by each model; earlier ones were corrected."""
    decode = msgspec.json.Decoder(Evaluation).decode
    newest: dict[tuple[Any, ...], int] = {}
    for number, line in enumerate(read_parts(folder)):
        # Quotes inside a JSON string are escaped, so only the field itself looks like this.
        if '"source":"correction"' in line:
            newest[_transaction(decode(line))] = number
    for number, evaluation in enumerate(map(decode, read_parts(folder))):
        if not newest or newest.get(_transaction(evaluation), number) == number:
            yield evaluation


def _transaction(evaluation: Evaluation) -> tuple[Any, ...]:
    return evaluation.model, evaluation.lane, evaluation.id, evaluation.event_time


def _dead_letters(folder: Path) -> dict[str, int]:
    decode = msgspec.json.Decoder(_Refused).decode
    return dict(Counter(decode(line).reason for line in read_parts(folder)).most_common())


# Counting


class _Scores(Protocol):
    """Metrics of one task."""

    def update(self, evaluation: Evaluation) -> bool:
        """Count an evaluation; False if the model said nothing."""

    def get(self) -> dict[str, float | None]:
        """Name -> value."""


class _Tally:
    """What is counted of one model."""

    def __init__(self, model: ModelConfig) -> None:
        self._model = model
        self._scores = _SCORES[model.task](model)
        self._delays = array("q")
        self._lanes: set[str | None] = set()
        self._version: str | None = None
        self.predictions = self.learned = self._assumed = self._scored = 0

    def at(self, lane: str | None, version: str) -> None:
        self._lanes.add(lane)
        self._version = version

    def evaluated(self, evaluation: Evaluation) -> None:
        if evaluation.source == "assumed":
            self._assumed += 1
        else:
            self._delays.append(evaluation.delay_ms)
        if not evaluation.leaked:
            self._scored += self._scores.update(evaluation)

    def summary(self, folders: dict[str, Path], lanes: bool) -> ModelSummary:
        predictions = self.predictions if "predictions" in folders else None
        labelled = assumed = without_label = None
        if "evaluations" in folders:
            labelled, assumed = len(self._delays), self._assumed
            if predictions:
                without_label = (predictions - labelled - assumed) / predictions
        return ModelSummary(
            name=self._model.name,
            task=self._model.task,
            role=self._model.role,
            predictions=predictions,
            learned=self.learned if "learn_log" in folders else None,
            labelled=labelled,
            assumed=assumed,
            without_label=without_label,
            delay_median_ms=_quantile(self._delays, 0.5),
            delay_p95_ms=_quantile(self._delays, 0.95),
            scored=self._scored,
            metrics=self._scores.get() if self._scored else {},
            version=None if lanes else self._version,
            lanes=len(self._lanes) if lanes else None,
        )


def _quantile(values: "array[int]", share: float) -> int | None:
    """The least value that this share of them does not exceed."""
    if not values:
        return None
    return int(np.sort(values)[math.ceil(share * len(values)) - 1])


# Metrics


class RocAuc:
    """The exact area under the ROC curve.

    River's `ROCAUC` looks at ten thresholds between 0 and 1, which is far off where nearly all scores
    lie close to one another, as those of rare frauds do; its `RollingROCAUC` is not exact for ties.
    """

    def __init__(self) -> None:
        self._scores = {True: array("d"), False: array("d")}

    def update(self, positive: bool, score: float) -> None:
        self._scores[positive].append(score)

    def get(self) -> float | None:
        """The share of pairs, one positive, one not, whose scores tell which is which; ties half."""
        positive, negative = (np.sort(self._scores[kind]) for kind in (True, False))
        if not len(positive) or not len(negative):
            return None
        below = np.searchsorted(negative, positive, "left").sum()
        up_to = np.searchsorted(negative, positive, "right").sum()
        return float((int(below) + int(up_to)) / 2 / (len(positive) * len(negative)))


class _Classification:
    """Accuracy and F1 of what was predicted, log loss and ROC AUC of the probabilities."""

    def __init__(self, model: ModelConfig) -> None:
        self._confusion = metrics.ConfusionMatrix()
        self._log_loss = metrics.LogLoss()
        self._cross_entropy = metrics.CrossEntropy()
        self._roc_auc = RocAuc()
        self._has_probabilities = False

    def update(self, evaluation: Evaluation) -> bool:
        label, probabilities = evaluation.label, _by_label(evaluation)
        # As River does: a tree that has seen no label says None and {}, which is no mistake.
        if probabilities:
            self._has_probabilities = True
            self._cross_entropy.update(label, probabilities)
            if label in (False, True):
                self._log_loss.update(label, probabilities)
                self._roc_auc.update(bool(label), probabilities.get(True, 0.0))
        if evaluation.prediction is None:
            return False
        self._confusion.update(label, evaluation.prediction)
        return True

    def get(self) -> dict[str, float | None]:
        found: dict[str, float | None] = {"accuracy": metrics.Accuracy(self._confusion).get()}
        binary = set(self._confusion.classes) <= {False, True}
        if binary:
            found["f1"] = metrics.F1(self._confusion, pos_val=True).get()
        else:
            found["macro_f1"] = metrics.MacroF1(self._confusion).get()
        if self._has_probabilities:
            if binary:
                found["roc_auc"] = self._roc_auc.get()
            found["log_loss"] = (self._log_loss if binary else self._cross_entropy).get()
        return found


def _by_label(evaluation: Evaluation) -> dict[Any, float]:
    """The probabilities with labels for keys again."""
    said = evaluation.probabilities
    if not isinstance(said, dict):
        return {}
    if isinstance(evaluation.label, str):
        return dict(said)
    return {_label(key): p for key, p in said.items()}


@cache
def _label(key: str) -> Any:
    return msgspec.json.decode(key)


class _Regression:
    def __init__(self, model: ModelConfig) -> None:
        self._metrics = {"mae": metrics.MAE(), "rmse": metrics.RMSE(), "r2": metrics.R2()}

    def update(self, evaluation: Evaluation) -> bool:
        if evaluation.prediction is None:
            return False
        for metric in self._metrics.values():
            metric.update(evaluation.label, evaluation.prediction)
        return True

    def get(self) -> dict[str, float | None]:
        return {name: metric.get() for name, metric in self._metrics.items()}


class _Anomaly:
    """How well the scores tell the anomalies from the rest.

    An anomaly is what `learn_only` is not; without it, what is labelled true or 1.
    """

    def __init__(self, model: ModelConfig) -> None:
        self._normal = model.learn_only
        self._roc_auc = RocAuc()

    def update(self, evaluation: Evaluation) -> bool:
        positive = self._is_anomaly(evaluation.label)
        if positive is None or not isinstance(evaluation.score, float):
            return False
        self._roc_auc.update(positive, evaluation.score)
        return True

    def _is_anomaly(self, label: Label) -> bool | None:
        if self._normal is not None:
            return label != self._normal
        return bool(label) if label in (False, True) else None

    def get(self) -> dict[str, float | None]:
        return {"roc_auc": self._roc_auc.get()}


_SCORES: dict[str, Callable[[ModelConfig], _Scores]] = {
    "classification": _Classification,
    "regression": _Regression,
    "anomaly": _Anomaly,
}


# Printing

_SHARES = {
    "accuracy": "accuracy",
    "f1": "F1",
    "macro_f1": "macro F1",
    "roc_auc": "ROC AUC",
}
_NUMBERS = {"log_loss": "log loss", "mae": "MAE", "rmse": "RMSE", "r2": "R2"}


def print_summary(summary: Summary, console: Console) -> None:
    """Print a table with a column for each model, dead letters, and where the outputs lie."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 3, 0, 0))
    table.add_column(summary.job, no_wrap=True)
    for model in summary.models:
        table.add_column(model.name, overflow="fold")
    columns = [_rows(model) for model in summary.models]
    names = dict.fromkeys(name for column in columns for name in column)
    for name in names:
        table.add_row(name, *(column.get(name, "") for column in columns))
    console.print(table, soft_wrap=False)
    console.print()
    if summary.dead_letters is not None:
        counts = (f"{count:,} {reason}" for reason, count in summary.dead_letters.items())
        console.print(f"dead letters: {', '.join(counts) or 'none'}")
    for output, folder in summary.outputs.items():
        console.print(f"{output.replace('_', ' '):<14} {_from_here(folder)}")


def _from_here(folder: str) -> str:
    """A path as short as one can type it here."""
    here = Path.cwd()
    return str(Path(folder).relative_to(here)) if Path(folder).is_relative_to(here) else folder


def _rows(model: ModelSummary) -> dict[str, str]:
    rows = {"task": model.task, "role": model.role}
    for name, count in (
        ("predictions", model.predictions),
        ("learned", model.learned),
        ("labelled", model.labelled),
        ("label assumed", model.assumed or None),
        ("lanes", model.lanes),
    ):
        if count is not None:
            rows[name] = f"{count:,}"
    if model.without_label is not None:
        rows["without label"] = f"{model.without_label:.2%}"
    if model.delay_median_ms is not None and model.delay_p95_ms is not None:
        rows["label delay"] = (
            f"{readable_duration(model.delay_median_ms)} (p95 {readable_duration(model.delay_p95_ms)})"
        )
    for key, value in model.metrics.items():
        shown = "-" if value is None else f"{value:.2%}" if key in _SHARES else f"{value:.6g}"
        rows[_SHARES.get(key) or _NUMBERS[key]] = shown
    if model.version is not None:
        rows["last version"] = model.version
    return rows
