"""Every public record as a msgspec struct, and what an input record means.

Times are integers, milliseconds since the epoch. docs/formats.md is made from this module.
"""

from typing import Annotated, Any, Literal, NamedTuple

from msgspec import UNSET, Meta, Struct, UnsetType

from events.reasons import Reason, Stage

FeatureValue = bool | int | float | str
Label = bool | int | float | str
Source = Literal["label", "assumed", "correction"]

TransactionId = Annotated[str, Meta(min_length=1)]
# Java and Flink hold times in 64 bits.
Time = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
# An integer stays one while JSON is read, so that none is rounded unnoticed.
Weight = Annotated[int, Meta(gt=0)] | Annotated[float, Meta(gt=0)]


class FeatureEvent(Struct, frozen=True, forbid_unknown_fields=True):
    """A transaction to predict; a null feature is a missing one."""

    id: TransactionId
    features: dict[str, bool | int | float | str | None]
    ts: Time


class LabelEvent(Struct, frozen=True, forbid_unknown_fields=True):
    """The truth about a transaction; `weight` (> 0) multiplies its influence where the model takes one."""

    id: TransactionId
    label: bool | int | float | str
    ts: Time
    weight: Weight | None = None


class LabelledEvent(Struct, frozen=True, forbid_unknown_fields=True):
    """Features and their label in one record."""

    id: TransactionId
    features: dict[str, bool | int | float | str | None]
    label: bool | int | float | str
    ts: Time
    weight: Weight | None = None


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
    probabilities: dict[str, float] | None | UnsetType = UNSET
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
    probabilities: dict[str, float] | None | UnsetType = UNSET
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


class LearnLogRecord(Struct, frozen=True):
    """One step of a model, in the order in which they happened.

    The entry that is hashed is the record's JSON text without `parent`, `version` and `head`, see
    `state/learnlog.py`.
    """

    kind: Literal["example", "control", "environment", "request"]
    model: str
    lane: str | None
    n: int
    id: str | None
    features: dict[str, bool | int | float | str] | None
    label: bool | int | float | str | None
    weight: float | None
    source: Literal["label", "assumed", "correction", "arrival"] | None
    event_time: int | None
    op: str | None
    seq: int | None
    parent: str
    version: str
    head: str


class ControlPayload(Struct, frozen=True, forbid_unknown_fields=True):
    """An operation on the models of a job; a field that its operation does not take is refused."""

    job: str
    issuer: str
    seq: Annotated[int, Meta(ge=0)]
    op: Literal[
        "deploy",
        "promote",
        "rollback",
        "pin",
        "unpin",
        "freeze",
        "unfreeze",
        "split",
        "retire",
        "publish",
    ]
    model: str
    task: Literal["classification", "regression", "anomaly"] | UnsetType = UNSET
    role: Literal["champion", "challenger", "shadow"] | UnsetType = UNSET
    spec: dict[str, Any] | UnsetType = UNSET
    artifact: str | UnsetType = UNSET
    from_version: str | UnsetType = UNSET
    version: str | UnsetType = UNSET
    weights: dict[str, Annotated[float, Meta(ge=0)]] | UnsetType = UNSET
    effective_at: Time | UnsetType = UNSET
    expires_at: Time | UnsetType = UNSET


class SignedControl(Struct, frozen=True, forbid_unknown_fields=True):
    """A control payload under a signature: `payload` is its exact JSON text."""

    payload: str
    key_id: str
    signature: str


class ControlAck(Struct, frozen=True):
    """The one answer to a control payload; `version` is null with lanes."""

    issuer: str
    seq: int
    op: str
    model: str
    accepted: bool
    reason: str | None
    version: str | None
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
