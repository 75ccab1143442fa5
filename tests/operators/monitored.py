"""What monitors say, and plain loops to compare it with. Only River's own objects measure here."""

import json
import math
from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Struct
from river import metrics, stats

from events.decode import Decoder
from events.limits import Limits, TimeRange
from models.metrics import Pair
from models.tasks import TaskName
from operators import observing
from operators.joining import JoinSettings
from operators.learning import Out
from operators.live import Deployment
from operators.monitor_settings import MonitorSettings
from operators.monitors import Monitors
from operators.observing import Evaluated, Observation, Predicted
from operators.plain import FlowSettings, PlainFlow, Record
from tests.operators.flows import timeless

KEY = "m/champion"
FOREVER = 10**15


class Heard:
    """Records of monitors in the order in which they came, without what the clock put there."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, dict[str, Any]]] = []

    def tell(self, told: str, record: Struct) -> None:
        self.rows.append((told, timeless(json.loads(msgspec.json.encode(record)))))

    def of(self, told: str, **wanted: Any) -> list[dict[str, Any]]:
        """Of one output those that have these values."""
        return [
            row
            for output, row in self.rows
            if output == told and all(row.get(key) == value for key, value in wanted.items())
        ]

    @property
    def metrics(self) -> list[dict[str, Any]]:
        return self.of("metrics")

    @property
    def alerts(self) -> list[dict[str, Any]]:
        return self.of("alerts")


def heard(
    observations: Iterable[Observation],
    *settings: MonitorSettings,
    key: str = KEY,
    retention_ms: int = FOREVER,
    ends: bool = True,
) -> Heard:
    """What monitors say of what stands under one key."""
    found = Heard()
    monitors = Monitors(settings, retention_ms, key, found.tell)
    for seen in observations:
        monitors.observe(travelled(seen))
    if ends:
        monitors.tell()
    return found


def travelled(seen: Observation) -> Observation:
    """As it is after its way from the model to the monitor."""
    return observing.read(observing.write(seen))


def predicted(number: int, time: int | None = None, task: TaskName = "classification", **more: Any):
    """A model was asked about a transaction."""
    fields = {"version": "m@0-0", "value": None, **more}
    return Predicted(KEY, f"t{number}", number if time is None else time, task=task, **fields)


def evaluated(
    number: int,
    label: Any,
    prediction: Any = True,
    time: int | None = None,
    task: TaskName = "classification",
    **more: Any,
) -> Evaluated:
    """The truth came."""
    at = number if time is None else time
    fields = {
        "version": "m@0-0",
        "probabilities": None,
        "score": None,
        "label_time": at,
        "source": "label",
        "late": False,
        "leaked": False,
        **more,
    }
    return Evaluated(KEY, f"t{number}", at, task=task, prediction=prediction, label=label, **fields)


# The whole flow


def watched_flow(
    lines: Iterable[bytes],
    deployments: list[Deployment],
    monitors: tuple[MonitorSettings, ...],
    join: JoinSettings,
    **settings: Any,
) -> list[tuple[str, dict[str, Any]]]:
    """Every record that a backtest writes, of whatever output, in the order in which they came."""
    found: list[tuple[str, dict[str, Any]]] = []
    flow = PlainFlow(
        FlowSettings(join, TimeRange(0, 10**15), 0, monitors=monitors, **settings),
        Decoder(Limits()),
        deployments,
        Out(
            observations=True,
            features_observed=any(monitor.looks_at_features for monitor in monitors),
        ),
        lambda output, text: found.append((output, timeless(json.loads(text)))),
    )
    for number, raw in enumerate(lines, 1):
        flow.record(Record("features", "in", f"in:{number}", raw))
    flow.end()
    return found


# Oracles


class Fed:
    """One of River's metrics, given what `river.evaluate` gives it; it starts anew when it is empty."""

    def __init__(self, make: Any, positive: Any = None) -> None:
        self._make = make
        self._positive = positive
        self.metric = make()
        self.n = 0

    def given(self, pair: Pair) -> Any:
        metric = self.metric
        if isinstance(metric, metrics.base.RegressionMetric):
            return pair.prediction
        if pair.score is not None:
            return pair.score
        two_classes = isinstance(metric, metrics.base.BinaryMetric)
        if two_classes and self._positive is None and pair.label not in (False, True):
            return None
        return pair.prediction if metric.requires_labels else pair.probabilities or None

    def update(self, pair: Pair) -> None:
        said = self.given(pair)
        if said is not None:
            self.metric.update(pair.label, said)
            self.n += 1

    def revert(self, pair: Pair) -> None:
        said = self.given(pair)
        if said is None:
            return
        self.n -= 1
        if self.n and isinstance(self.metric, metrics.RMSLE):
            # River's own takes back what it was given, not the logarithms that it counted.
            metrics.RMSE.revert(self.metric, math.log(pair.label + 1), math.log(said + 1))
        elif self.n:
            self.metric.revert(pair.label, said)
        else:
            self.metric = self._make()

    def get(self) -> Any:
        if not self.n:
            return None
        if isinstance(self.metric, metrics.ConfusionMatrix):
            return shown(self.metric)
        return float(self.metric.get())


def shown(matrix: Any) -> dict[str, dict[str, int]]:
    """A confusion matrix, as JSON has it."""
    found: dict[str, dict[str, int]] = {}
    for truth, row in matrix.data.items():
        for said, count in row.items():
            if count:
                found.setdefault(key(truth), {})[key(said)] = int(count)
    return found


def key(label: Any) -> str:
    return label if isinstance(label, str) else json.dumps(label)


class Delays:
    """How long truths took, by River's statistics."""

    def __init__(self) -> None:
        self.stats = {
            "mean": stats.Mean(),
            "p50": stats.Quantile(0.5),
            "p90": stats.Quantile(0.9),
            "p99": stats.Quantile(0.99),
            "max": stats.Max(),
        }
        self.n = 0

    def update(self, delay: int) -> None:
        self.n += 1
        for stat in self.stats.values():
            stat.update(delay)

    def get(self) -> dict[str, float | None]:
        return {name: float(stat.get()) if self.n else None for name, stat in self.stats.items()}


class Restated:
    """What a monitor of one model should know, restated from the job's own outputs, in order.

    A transaction's label is replaced by a correction, and an assumed one by the truth.
    """

    def __init__(
        self, settings: MonitorSettings, task: TaskName, makes: dict[str, Any], retention_ms: int
    ) -> None:
        self._settings = settings
        self._task = task
        self._makes = makes
        self._retention_ms = retention_ms
        self._positive = settings.positive
        self.all = self._scope()
        self.spans: dict[int, dict[str, Any]] = {}
        self.window: list[tuple[str, Pair]] = []
        self.in_window = self._fed()
        self.delays = Delays()
        self.labels: dict[str, tuple[Any, str]] = {}
        self.clock = -(1 << 63)

    def _fed(self) -> dict[str, Fed]:
        return {name: Fed(make, self._positive) for name, make in self._makes.items()}

    def _scope(self) -> dict[str, Any]:
        names = ("predicted", "labelled", "assumed", "late", "corrected", "leaked", "n", "above")
        return {"fed": self._fed(), **dict.fromkeys(names, 0)}

    def _scopes(self, time: int) -> list[dict[str, Any]]:
        """All, and the span of event time, unless nothing of it can come any more."""
        begin = time // self._settings.event_window_ms * self._settings.event_window_ms
        if begin not in self.spans:
            if self.is_over(begin):
                return [self.all]
            self.spans[begin] = self._scope()
        return [self.all, self.spans[begin]]

    def is_over(self, begin: int) -> bool:
        return begin + self._settings.event_window_ms + self._retention_ms <= self.clock

    def prediction(self, row: dict[str, Any]) -> None:
        self.labels.pop(row["id"], None)  # an id that comes again after its retention
        for scope in self._scopes(row["event_time"]):
            scope["predicted"] += 1
            if self._task == "anomaly":
                scope["above"] += row["score"] > self._settings.threshold
        self.clock = max(self.clock, row["event_time"])

    def evaluation(self, row: dict[str, Any]) -> None:
        id, label, source = row["id"], row["label"], row["source"]
        before, before_source = self.labels.get(id, (None, None))
        corrects = source == "correction"
        assert corrects == (before is not None), row
        pair = pair_of(row, label)
        for scope in self._scopes(row["event_time"]):
            scope["late"] += row["late"]
            scope["corrected"] += corrects
            if source == "assumed":
                scope["assumed"] += 1
            elif not corrects:
                scope["labelled"] += 1
            elif before_source == "assumed":
                scope["assumed"] -= 1
                scope["labelled"] += 1
            for fed in scope["fed"].values():
                if corrects:
                    fed.revert(pair_of(row, before))
                fed.update(pair)
            scope["n"] += not corrects
        self._in_window(id, pair, corrects)
        if source == "label" or before_source == "assumed":
            self.delays.update(row["label_time"] - row["event_time"])
        self.labels[id] = label, source
        self.clock = max(self.clock, row["event_time"], row["label_time"])

    def _in_window(self, id: str, pair: Pair, corrects: bool) -> None:
        if corrects:
            places = [place for place, (other, _) in enumerate(self.window) if other == id]
            if places:
                for fed in self.in_window.values():
                    fed.revert(self.window[places[-1]][1])
                    fed.update(pair)
                self.window[places[-1]] = id, pair
            return
        if len(self.window) == self._settings.window:
            _, gone = self.window.pop(0)
            for fed in self.in_window.values():
                fed.revert(gone)
        for fed in self.in_window.values():
            fed.update(pair)
        self.window.append((id, pair))

    def check(self, row: dict[str, Any]) -> None:
        """A record of the monitor is what this knows."""
        assert row["clock"] == self.clock
        if row["scope"] == "window":
            assert row["n"] == len(self.window)
            assert row["metrics"] == {name: fed.get() for name, fed in self.in_window.items()}
            return
        scope = self.all if row["scope"] == "all" else self.spans[row["begin"]]
        if row["scope"] == "all":
            assert row["delay_ms"] == self.delays.get()
        else:
            assert row["end"] == row["begin"] + self._settings.event_window_ms
            assert row["closed"] == self.is_over(row["begin"])
            if row["closed"]:
                del self.spans[row["begin"]]
        assert row["metrics"] == {name: fed.get() for name, fed in scope["fed"].items()}
        for name in ("predicted", "labelled", "assumed", "late", "corrected", "leaked", "n"):
            assert row[name] == scope[name], name
        unlabelled = 1 - scope["labelled"] / scope["predicted"] if scope["predicted"] else None
        assert row["unlabelled"] == unlabelled
        if self._task == "anomaly":
            rate = scope["above"] / scope["predicted"] if scope["predicted"] else None
            assert row["rate"] == rate
        else:
            assert "rate" not in row


def pair_of(row: dict[str, Any], label: Any) -> Pair:
    """What an evaluation says, with a label; the keys of its probabilities as labels."""
    probabilities = row.get("probabilities")
    if probabilities is not None and not isinstance(label, str):
        probabilities = {json.loads(name): p for name, p in probabilities.items()}
    return Pair(label, row["prediction"], probabilities, row.get("score"))
