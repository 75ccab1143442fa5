"""Every public record as a msgspec struct, and what an input record means.

Times are integers, milliseconds since the epoch. docs/formats.md is made from this module.
"""

from typing import Any, Literal, NamedTuple

from msgspec import UNSET, Struct, UnsetType

from events.reasons import Reason, Stage

FeatureValue = bool | int | float | str
Label = bool | int | float | str
Source = Literal["label", "assumed", "correction"]


class FeatureEvent(Struct, frozen=True, forbid_unknown_fields=True):
    """A transaction to predict; a null feature is a missing one."""

    id: str
    features: dict[str, bool | int | float | str | None]
    ts: int


class LabelEvent(Struct, frozen=True, forbid_unknown_fields=True):
    """The truth about a transaction; `weight` (> 0) multiplies its influence where the model takes one."""

    id: str
    label: bool | int | float | str
    ts: int
    weight: float | None = None


class LabelledEvent(Struct, frozen=True, forbid_unknown_fields=True):
    """Features and their label in one record."""

    id: str
    features: dict[str, bool | int | float | str | None]
    label: bool | int | float | str
    ts: int
    weight: float | None = None


class Prediction(Struct, frozen=True):
    """What a model said of a transaction; `input` is SHA-256 of id, NUL and the features' compact JSON."""

    id: str
    model: str
    lane: str | None
    version: str
    serving: bool
    prediction: Any
    event_time: int
    predicted_at: int
    input: str
    probabilities: dict[str, float] | UnsetType = UNSET
    score: float | None | UnsetType = UNSET
    error: str | UnsetType = UNSET
    reemit: bool | UnsetType = UNSET


class Evaluation(Struct, frozen=True):
    """A prediction that was made, with the truth that came for it."""

    id: str
    model: str
    lane: str | None
    version: str
    prediction: Any
    label: Any
    event_time: int
    label_time: int
    delay_ms: int
    source: Source
    late: bool
    leaked: bool
    probabilities: dict[str, float] | UnsetType = UNSET
    score: float | None | UnsetType = UNSET


class DeadLetter(Struct, frozen=True):
    """A record that was refused, with where it came from and why.

    `raw` is its text, cut at `[limits] raw_bytes`; base64 behind `base64:` where it is not UTF-8.
    """

    stage: Stage
    source: str | None
    position: str | None
    id: str | None
    model: str | None
    reason: Reason
    detail: str
    raw: str | None
    at: int


class Event(NamedTuple):
    """What an input record means: features to predict, a label to learn, or both.

    `features` holds what the model is given: nulls left out, schema applied, order as received.
    """

    id: str
    ts: int
    features: dict[str, FeatureValue] | None
    label: Label | None
    weight: float | None


class Rejected(NamedTuple):
    """Why an input record means nothing; `id` where it could be read."""

    reason: Reason
    detail: str
    id: str | None
