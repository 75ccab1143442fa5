"""Does predicting change a model?

If it does, a prediction depends on the requests before it, and a version can be rebuilt only if
those requests are known too. Forests and SRP take what they draw from the names of the first request of
all, which is entered in their log (`FIRST`). Random projections and factorisation machines draw
numbers for each name when they first meet it: requests that bring new names are entered (`NAMES`); of a
model that changes in any other way, all of them are (`ALWAYS`).
"""

from collections.abc import Callable, Collection, Iterator
from enum import StrEnum
from typing import Any

from models.rehearsal import Example, examples, wishes_of
from models.tasks import Answer, Features, Task, same

# More than HalfSpaceTrees' window of 250 and a Hoeffding tree's grace period of 200.
COUNT = 300
# Names that come while the model is at work, and the example from which on they are there.
LATE = (("late1", 40), ("late2", 40), ("late3", 150))
# At this example every model is asked what it never learns: a name, and text instead of numbers.
UNLEARNED_AT = 5
UNLEARNED_NAME = "never learned"
UNLEARNED_TEXT = "text"


class Purity(StrEnum):
    """Which requests can change a model."""

    PURE = "pure"  # none
    FIRST = "first"  # the first
    NAMES = "names"  # the first, and those with one of `names_in` never seen before
    ALWAYS = "always"  # any


def names_in(features: Features) -> list[str]:
    """What of a request is new to a model when it first comes: names, and with a text the text too.

    River's factorisation machines and one-hot encoder make a name of each text, `city=Lyon`.

    Examples
    --------
    >>> names_in({"amount": 3.5, "city": "Lyon"})
    ['6:amount', '4:city=Lyon']
    """
    # The length tells a name with an equals sign from a name and its text.
    return [
        f"{len(name)}:{name}={value}" if isinstance(value, str) else f"{len(name)}:{name}"
        for name, value in features.items()
    ]


def changes(purity: Purity, known: Collection[str], features: Features) -> bool:
    """Whether being asked about these features may change a model.

    Parameters
    ----------
    known
        What it has met: `names_in` of all that it was asked and taught; `FIRST`: of the first request.

    Examples
    --------
    >>> changes(Purity.FIRST, set(), {"a": 1}), changes(Purity.FIRST, {"1:a"}, {"b": 1})
    (True, False)
    """
    if purity is Purity.PURE:
        return False
    if purity is Purity.ALWAYS or not known:
        return True
    return purity is Purity.NAMES and any(name not in known for name in names_in(features))


def probe(make_model: Callable[[], Any], task: Task) -> Purity:
    """Find out, with made-up examples, which requests change a model.

    Models that `make_model` makes are asked and taught the same examples, and some are asked more
    in between. If one then says anything else than the others, being asked has changed it. A model
    that does not run on such examples, or says something else without being asked more, is `ALWAYS`.

    Parameters
    ----------
    make_model : callable
        Makes the same model at each call; it is called five times at most.

    Notes
    -----
    300 examples, five models, two more requests an example: about a second for an adaptive random
    forest of ten trees.
    """
    first = make_model()
    rows = examples(wishes_of(first), COUNT, LATE)
    undisturbed = list(_outcomes(first, task, rows, _nothing))
    failures = sum(isinstance(outcome, str) for outcome in undisturbed)
    if 2 * failures > len(undisturbed):
        return Purity.ALWAYS

    def unchanged_by(more: "_More") -> bool:
        again = _outcomes(make_model(), task, rows, more)
        return all(map(same, undisturbed, again))

    if not unchanged_by(_nothing) or not unchanged_by(_known_names):
        return Purity.ALWAYS
    disturbed = list(_outcomes(make_model(), task, rows, _new_names))
    if all(map(same, undisturbed, disturbed)):
        return Purity.PURE
    after_the_first = _outcomes(make_model(), task, rows, _the_first)
    return Purity.FIRST if all(map(same, after_the_first, disturbed)) else Purity.NAMES


# What a model is asked besides: some before the request of an example, some between it and learning.
_More = Callable[[list[Example], int], tuple[list[Features], list[Features]]]


def _nothing(rows: list[Example], index: int) -> tuple[list[Features], list[Features]]:
    return [], []


def _known_names(rows: list[Example], index: int) -> tuple[list[Features], list[Features]]:
    """From the second example on: names seen before, in other orders, some missing, other values."""
    if index == 0:
        return [], []
    x = rows[index - 1].x
    names = list(x)
    between: list[Features] = [
        {name: x[name] for name in names if name != names[index % len(names)]},
        {},
        {name: -1e6 for name in reversed(names[index % len(names) :])},
        {UNLEARNED_NAME: -1.5, **x} if index > UNLEARNED_AT else x,
        _as_text(rows[UNLEARNED_AT].x) if index > UNLEARNED_AT else x,
    ]
    return [dict(reversed(x.items()))], [between[index % len(between)]]


def _as_text(x: Features) -> Features:
    return dict.fromkeys(reversed(x), UNLEARNED_TEXT)


def _the_first(rows: list[Example], index: int) -> tuple[list[Features], list[Features]]:
    """One name, before the first example of all."""
    return ([dict(list(rows[index].x.items())[:1])] if index == 0 else []), []


def _new_names(rows: list[Example], index: int) -> tuple[list[Features], list[Features]]:
    """Names that come later or never, in other orders, and before the first example of all."""
    x = rows[index].x
    ahead = {name: 0.25 for name, _ in reversed(LATE)}
    before: list[Features] = [{f"new{index}": 0.75, **x}]
    if index == 0:
        first, _ = _the_first(rows, index)
        before = [*first, dict(list(x.items())[::-2]), {}, ahead, *before]
    between: list[Features] = [
        {**ahead, f"never{index}": 0.5},
        {**x, **ahead},
        {**x, next(iter(x)): f"text {index}"},
    ]
    return before, [between[index % len(between)]]


def _outcomes(model: Any, task: Task, rows: list[Example], more: _More) -> Iterator[Answer | str]:
    """What the model says of each example, and the names of what it raises instead."""
    ask, teach = task.asker(model), task.teacher(model)

    def attempt(x: Features) -> Answer | str:
        try:
            return ask(dict(x))
        except Exception as error:
            return type(error).__name__

    for index, row in enumerate(rows):
        before, between = more(rows, index)
        for x in before:
            attempt(x)
        yield attempt(row.x)
        if index == UNLEARNED_AT:
            yield attempt({**row.x, UNLEARNED_NAME: 0.5})
            yield attempt(_as_text(row.x))
        for x in between:
            attempt(x)
        try:
            teach(dict(row.x), row.y(task.name), None)
        except Exception as error:
            yield type(error).__name__
