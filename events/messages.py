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
# Of those a message may name, as far as any clock or watermark goes before the input ends.
Moment = Annotated[int, Meta(ge=0, lt=2**62)]
# Versions are named after their models, and those names stand in texts that escape nothing. To Python
# alone `$` matches before a line's end, too.
ModelName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]+$(?!\n)")]
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
    erased: str | UnsetType = UNSET


class ControlPayload(Struct, frozen=True, forbid_unknown_fields=True):
    """An operation on the models of a job; a field that its operation does not take is refused."""

    job: str
    issuer: str
    seq: Annotated[int, Meta(ge=0, le=2**63 - 1)]
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
    model: ModelName
    task: Literal["classification", "regression", "anomaly"] | UnsetType = UNSET
    role: Literal["champion", "challenger", "shadow"] | UnsetType = UNSET
    spec: dict[str, Any] | UnsetType = UNSET
    artifact: str | UnsetType = UNSET
    from_version: str | UnsetType = UNSET
    version: str | UnsetType = UNSET
    weights: dict[str, Annotated[float, Meta(ge=0)]] | UnsetType = UNSET
    feed_from: Moment | UnsetType = UNSET
    effective_at: Moment | UnsetType = UNSET
    expires_at: Moment | UnsetType = UNSET


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


class ArtifactPart(Struct, frozen=True):
    """Some bytes of the artifact (`.rrv`) of a version that `publish` asked for, `data` in Base64.

    `id` is `VERSION/NUMBER`, the record's key; all parts behind one another are the file.
    """

    id: str
    version: str
    created: int
    part: int
    parts: int
    data: str


class FreshData(Struct, frozen=True):
    """The data since a change, as far as it is known: what to learn anew from.

    Attributes
    ----------
    id : str
        The first transaction of it.
    event_time, until : int
        Times of its first and of its last transaction.
    count : int
        How many values there were.
    """

    id: str
    event_time: int
    until: int
    count: int


class Alert(Struct, frozen=True):
    """Something that a person should look at.

    Attributes
    ----------
    alert : str
        Its own id: an alert that is delivered again has the same.
    on, detector : str
        What a drift was found in, and by which of River's detectors.
    before, after : float
        The mean of what was looked at, before and after the change; of data quality the share of
        transactions, in the reference and now.
    usual_version : str
        The version that predicted last before the change.
    """

    alert: str
    kind: Literal["suspended", "failing", "drift", "data_quality", "recovered"]
    model: str | None
    lane: str | None
    detail: str
    id: str | None
    event_time: int | None
    at: int
    monitor: str | UnsetType = UNSET
    role: str | UnsetType = UNSET
    on: Literal["error", "prediction", "feature"] | UnsetType = UNSET
    feature: str | UnsetType = UNSET
    detector: str | UnsetType = UNSET
    before: float | UnsetType = UNSET
    after: float | UnsetType = UNSET
    fresh: FreshData | UnsetType = UNSET
    usual_version: str | UnsetType = UNSET


class Delays(Struct, frozen=True):
    """How long true labels took, in ms; quantiles are estimates (River's `stats.Quantile`, P2)."""

    mean: float | None
    p50: float | None
    p90: float | None
    p99: float | None
    max: float | None


class Versus(Struct, frozen=True):
    """A model beside the champion, on the same transactions.

    Attributes
    ----------
    n : int
        Transactions that both have answered.
    wins, losses : int
        Where this model's loss was smaller, and where it was larger: wrong or not (classification),
        absolute error (regression).
    difference : float
        Mean of this model's loss less the champion's: below 0, this model is better.
    low, high : float or None
        An interval for it that holds at every time it is looked at; None before 100 transactions.
    verdict : str
        `better` or `worse` where the whole interval lies on one side of 0.
    """

    model: str
    n: int
    wins: int
    losses: int
    difference: float
    low: float | None
    high: float | None
    verdict: Literal["better", "worse", "open"]


class Metrics(Struct, frozen=True):
    """What a monitor knows of a model in a role.

    Attributes
    ----------
    scope : str
        `all`: since the monitor began. `window`: the last evaluations. `event_time`: the transactions
        of a span of event time, from `begin` until before `end`, in ms.
    clock : int
        The highest time, of transactions and labels, seen so far.
    predicted, labelled, assumed : int
        Transactions predicted; with a true label; with an assumed one only.
    late, corrected, leaked : int
        Of the labels: those that came late, those that replaced another, and those that the version
        had already learned, which metrics leave out.
    unlabelled : float or None
        Share of the predictions without a true label.
    n : int
        Evaluations that the metrics are of.
    metrics : dict
        Name of River's metric -> value; null where there is none yet.
    rate : float or None
        Of anomaly scores: the share above the monitor's threshold.
    closed : bool
        `event_time`: nothing more can come.
    """

    monitor: str
    model: str
    role: str
    scope: Literal["all", "window", "event_time"]
    version: str | None
    id: str | None
    clock: int
    n: int
    metrics: dict[str, Any]
    begin: int | UnsetType = UNSET
    end: int | UnsetType = UNSET
    closed: bool | UnsetType = UNSET
    predicted: int | UnsetType = UNSET
    labelled: int | UnsetType = UNSET
    assumed: int | UnsetType = UNSET
    late: int | UnsetType = UNSET
    corrected: int | UnsetType = UNSET
    leaked: int | UnsetType = UNSET
    unlabelled: float | None | UnsetType = UNSET
    rate: float | None | UnsetType = UNSET
    delay_ms: Delays | UnsetType = UNSET
    versus: Versus | UnsetType = UNSET


class DataQuality(Struct, frozen=True):
    """What was odd about the features of the last transactions, by what the first ones had.

    Attributes
    ----------
    n : int
        Transactions that are counted; `of_reference` made the reference.
    missing, new, out_of_range, other_type : dict
        Name of a feature -> transactions where it was missing, though the reference always had it; was
        never seen there; lay outside its range there; had another type. The hundred most frequent of
        each.
    """

    monitor: str
    clock: int
    n: int
    of_reference: int
    missing: dict[str, int]
    new: dict[str, int]
    out_of_range: dict[str, int]
    other_type: dict[str, int]


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
    id: str | None = None


class QueuedRecord(Struct, frozen=True):
    """What the join tells the learner in published mode, in order; `label` is null in a `request`.

    `example`: a label; features are null where there is only something to evaluate. `request`: for
    models that learn when a transaction arrives. `forget`: no label can come any more.
    """

    kind: Literal["example", "request", "forget"]
    id: str
    time: int | None = None
    features: dict[str, bool | int | float | str] | None = None
    label: bool | int | float | str | None = None
    weight: float | None = None
    label_time: int | None = None
    source: Source | None = None
    late: bool = False
    last: bool = False
    input: str | None = None
    position: str | None = None
    replaces: bool | int | float | str | None = None
    replaces_assumed: bool = False


class PublishedVersion(Struct, frozen=True):
    """A version that can be asked: its manifest under a signature; its parts follow.

    Attributes
    ----------
    id : str
        `MODEL/SLOT`, the record's key; a model has two slots, written in turn.
    manifest : str
        Exact JSON text of a `PublishedManifest`.
    """

    id: str
    manifest: str
    key_id: str
    signature: str


class PublishedManifest(Struct, frozen=True):
    """What is signed of a published version; times in ms since the epoch.

    Attributes
    ----------
    n : int
        Examples in this state.
    created : int
        Rises with every version that a model's learner publishes.
    learned_to : int
        Offset in the learn queue of the last record that this version knows; -1 before the first.
    view : bool
        Whether only what predicting needs was published.
    pieces : list of int
        Bytes of each pickle, in order.
    parts : list of str
        SHA-256 of each part, in hex; the parts hold the pieces, one behind the other, compressed (RFC
        1950).
    """

    job: str
    model: str
    version: str
    head: str
    n: int
    created: int
    learned_to: int
    view: bool
    label_type: Literal["bool", "int", "str", "number"] | None
    names: list[str]
    environment: dict[str, str]
    pieces: list[int]
    parts: list[str]


class PublishedPart(Struct, frozen=True):
    """Some bytes of a published version, `data` in Base64; `id` is `MODEL/SLOT/NUMBER`, the record's key."""

    id: str
    version: str
    created: int
    data: str
