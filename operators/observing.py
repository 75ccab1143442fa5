"""What models tell the monitor, as JSON texts keyed by what is monitored: a model in a role, or the features.

`id` is that key; the transaction stands under `transaction`.
"""

from typing import Any, Final, NamedTuple, cast

import msgspec
from msgspec import Raw, Struct

from events.messages import Source
from models import tasks
from models.metrics import Pair
from models.specs import label_of
from models.tasks import LabelType, TaskName, label_key
from operators.items import Example
from operators.roles import Role

BEFORE_ALL_TIME: Final = -(1 << 63)

# No model's name is empty.
FEATURES_KEY: Final = "/"


class Said(NamedTuple):
    """An answer that another is compared with."""

    model: str
    prediction: Any


class Predicted(Struct, tag="predicted", frozen=True):
    """A model was asked about a transaction; `value` is what drift of predictions is looked for in."""

    id: str
    transaction: str
    time: int
    version: str
    task: TaskName
    value: float | None


class Evaluated(Struct, tag="evaluated", frozen=True):
    """The truth about a transaction came for what was said of it.

    Attributes
    ----------
    replaces
        The label that the transaction was evaluated with before; `source` is then `correction`.
    replaces_assumed
        Whether that was assumed only.
    champion
        What the champion said of the same transaction; None where that is this model, or was not asked.
    """

    id: str
    transaction: str
    time: int
    version: str
    task: TaskName
    prediction: Any
    probabilities: dict[str, float] | None
    score: float | None
    label: Any
    label_time: int
    source: Source
    late: bool
    leaked: bool
    replaces: Any = None
    replaces_assumed: bool = False
    champion: Said | None = None

    def pair(self, label: Any) -> Pair:
        """What was said, with a truth, as metrics take it."""
        probabilities: dict[Any, float] | None = self.probabilities
        if probabilities is not None and not isinstance(label, str):
            probabilities = {label_of(key): value for key, value in probabilities.items()}
        return Pair(label, self.prediction, probabilities, self.score)


class Features(Struct, tag="features", frozen=True):
    """A transaction arrived, with these features."""

    id: str
    transaction: str
    time: int
    features: Raw


class Retired(Struct, tag="retired", frozen=True):
    """The model is no more."""

    id: str


Observation = Predicted | Evaluated | Features | Retired

_EXAMPLE_FIELDS: Final = Example._fields.index("replaces")

_read = msgspec.json.Decoder(Observation).decode


class Truth(NamedTuple):
    """How a label counts: `source` and what it replaces, see `Evaluated`."""

    source: Source
    replaces: Any
    replaces_assumed: bool


def truth(labelled: Example, label_type: LabelType | None) -> Truth:
    """How a label counts for a model with labels of this type.

    One that replaces a label which the model could not be evaluated with is its first.
    """
    # Items in the state of an earlier release end before these.
    replaces, assumed = cast("tuple[Any, bool]", labelled[_EXAMPLE_FIELDS:] or (None, False))
    source = cast("Source", labelled.source)  # what is learned at arrival has no label
    if source == "correction" and not conforms(replaces, label_type):
        return Truth("label", None, False)
    return Truth(source, replaces, assumed)


def conforms(label: Any, label_type: LabelType | None) -> bool:
    """Whether a model with labels of this type can be evaluated with it."""
    return label is not None and (label_type is None or tasks.conforms(label, label_type))


def key_of(model: str, role: Role) -> str:
    """What a model in a role is monitored under."""
    return f"{model}/{role}"


def model_and_role(key: str) -> tuple[str, str]:
    """What `key_of` was made of.

    >>> model_and_role("fraud/champion")
    ('fraud', 'champion')
    """
    model, _, role = key.rpartition("/")
    return model, role


_TWO_CLASSES: Final = frozenset({"false", "true", "0", "1"})


_LARGEST: Final = 1e100


def as_number(value: Any) -> float | None:
    """What a detector can take; None for what is no number, or too large for its square to be one.

    >>> as_number(True), as_number(10**400), as_number("a")
    (1.0, None, None)
    """
    if not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if abs(number) <= _LARGEST else None


def value(
    task: TaskName, prediction: Any, probabilities: dict[str, float] | None, score: float | None
) -> float | None:
    """What drift of predictions is looked for in.

    The number predicted, the anomaly score, or the probability of true (or 1); where there are labels
    besides false and true (or 0 and 1), that of the label predicted.

    >>> value("classification", False, {"false": 0.75, "true": 0.25}, None)
    0.25
    >>> value("classification", 1, {"0": 0.5, "1": 0.125, "2": 0.375}, None)
    0.125
    """
    if task == "anomaly":
        return score
    if task == "regression":
        return as_number(prediction)
    if not probabilities or prediction is None:
        return None
    if _TWO_CLASSES.issuperset(probabilities):
        return probabilities.get("true", probabilities.get("1", 0.0))
    return probabilities.get(label_key(prediction))


def write(observation: Observation) -> str:
    """As it travels."""
    return msgspec.json.encode(observation).decode()


def read(text: str | bytes) -> Observation:
    """What travelled."""
    return _read(text)
