"""Made-up examples to try a model with before any real one is there.

The same at every call and on every machine. A model that names its features (`compose.Select`, the
`by` of an aggregate, the `on` of a bag of words) finds them among those of each example.
"""

import inspect
import random
from collections.abc import Iterator
from typing import Any, NamedTuple

from river import base

from models.tasks import Features, Label, TaskName

# Constructor parameters that hold names of features.
_NAMING = frozenset(
    ("by", "categories", "imputers", "keys", "limits", "mapping", "nominal_attributes", "on")
)
# Constructor parameters whose keys are the labels to come.
_LABELLING = frozenset(("class_weight", "desired_dist"))
_WORDS = ("amber", "birch", "cedar", "delta", "ember", "flint", "grove", "heath")


class Wishes(NamedTuple):
    """What a model wants of its examples, as far as its parameters tell.

    Attributes
    ----------
    groups : list of str
        Features with few values, to group by.
    labels : list of label
        The labels that it is set up for; empty if it takes any.
    """

    numbers: list[str]
    groups: list[str]
    texts: list[str]
    labels: list[Label]


class Example(NamedTuple):
    """Features and the label for each kind of task; anomaly detection ignores it."""

    x: Features
    label: Label
    target: float

    def y(self, task: TaskName) -> Label:
        """The label that this task learns."""
        return self.target if task == "regression" else self.label


def wishes_of(model: Any) -> Wishes:
    """What the parameters of a model and of its parts say about its examples."""
    wishes = Wishes([], [], [], [])
    seen: set[int] = set()
    pending = [model]
    while pending:
        part = pending.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        if isinstance(part, dict):
            pending.extend(part.values())
        elif isinstance(part, (list, tuple, set, frozenset)):
            pending.extend(part)
        elif isinstance(part, (base.Base, base.Ensemble)):
            for name in inspect.signature(type(part)).parameters:
                value = getattr(part, name, None)
                pending.append(value)
                _note(wishes, part, name, value)
    return wishes


def _note(wishes: Wishes, part: Any, name: str, value: Any) -> None:
    if name in _LABELLING and isinstance(value, dict):
        wishes.labels.extend(value)
    if name not in _NAMING:
        return
    text = name == "on" and not any(kind.__name__ == "Agg" for kind in type(part).__mro__)
    among = wishes.texts if text else wishes.groups if name == "by" else wishes.numbers
    among.extend(found for found in _names_in(value) if found not in among)


def _names_in(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, tuple, set, frozenset, dict)):
        for entry in sorted(value, key=str) if isinstance(value, (set, frozenset)) else value:
            # imputers are pairs of a name and a statistic
            yield from _names_in(entry[0] if isinstance(entry, tuple) else entry)


def examples(
    wishes: Wishes,
    count: int,
    late: tuple[tuple[str, int], ...] = (),
    numbers_as_text: bool = False,
) -> list[Example]:
    """`count` examples, whose labels can be learned from their features.

    Parameters
    ----------
    late : pairs of str and int
        More features, and the example from which on they are there.
    numbers_as_text : bool
        Give every feature that the model names as text.
    """
    rng = random.Random(20_240_229)
    numbers = list(dict.fromkeys([*wishes.numbers, "a", "b", "c", "d", "e"]))
    texts = list(wishes.texts)
    if numbers_as_text:
        texts += wishes.numbers + wishes.groups
    labels: list[Label] = wishes.labels if len(wishes.labels) > 1 else [False, True]
    result = []
    for index in range(count):
        hidden = rng.random()
        x: Features = {name: (hidden + rng.random()) / 2 for name in numbers}
        x["n"] = int(4 * hidden)
        x |= {name: rng.randrange(3) for name in wishes.groups}
        x |= {name: rng.random() for name, begin in late if index >= begin}
        x |= {name: _text(rng, hidden) for name in texts}
        target = 10 * hidden + rng.random()
        place = int(hidden * len(labels))
        if rng.random() < 0.1:
            place = rng.randrange(len(labels))
        result.append(Example(x, labels[place], target))
    return result


def _text(rng: random.Random, hidden: float) -> str:
    half = len(_WORDS) // 2
    words = _WORDS[half:] if hidden > 0.5 else _WORDS[:half]
    return " ".join(rng.choice(words) for _ in range(3))
