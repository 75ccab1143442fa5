"""`[[monitor]]`: what is measured, and which changes are looked for."""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from events.messages import Label
from models.metrics import MetricSpec

Positive = Annotated[int, Meta(ge=1)]
MonitorName = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9_.-]+$",
        extra={"expected": "a name of letters, digits and _ . -"},
    ),
]
Detector = Literal["ADWIN", "KSWIN", "PageHinkley", "DDM", "EDDM", "FHDDM", "HDDMA", "HDDMW"]


class DriftSettings(Struct, frozen=True):
    """One detector.

    Attributes
    ----------
    detector : str
        The name of its class in `river.drift` or `river.drift.binary`.
    quiet : int
        See `operators.drifts.Drift`.
    """

    on: Literal["error", "prediction", "feature"]
    detector: Detector
    feature: str | None = None
    params: dict[str, Any] = {}
    quiet: Positive = 200


class QualitySettings(Struct, frozen=True):
    """`reference`: transactions that make it; `share` of those since the last record that is alarming."""

    reference: Positive = 1000
    share: Annotated[float, Meta(ge=0, lt=1, extra={"expected": "a number from 0 below 1"})] = 0.05


class MonitorSettings(Struct, frozen=True):
    """One `[[monitor]]`; docs/monitoring.md explains every key.

    Attributes
    ----------
    models : tuple of str
        Empty: all.
    metrics : tuple
        Empty: those of `models.metrics.DEFAULTS`.
    window, every : int
        Evaluations of the window; observations from one record to the next.
    threshold : float
        The rate of anomaly scores above it is measured.
    """

    name: MonitorName
    models: tuple[str, ...] = ()
    metrics: tuple[MetricSpec, ...] = ()
    positive: Label | None = None
    window: Positive = 1000
    event_window_ms: Annotated[int, Meta(ge=1000)] = 3_600_000
    every: Positive = 1000
    threshold: float = 0.5
    confidence: Annotated[
        float, Meta(gt=0, lt=1, extra={"expected": "a number between 0 and 1"})
    ] = 0.95
    drift: tuple[DriftSettings, ...] = ()
    data_quality: QualitySettings | None = None

    def watches(self, model: str) -> bool:
        """Whether this monitor is about a model."""
        return not self.models or model in self.models

    @property
    def looks_at_features(self) -> bool:
        """Whether it wants the features of every transaction."""
        return self.data_quality is not None or any(d.on == "feature" for d in self.drift)
