"""Sets inside River models, and how they come out of a pickle in the order that they went in.

Floats are added up in some order, so order is part of a model. A few River classes go through a set of
strings: `compose.Select` through the names that it selects, `HoeffdingAdaptiveTreeClassifier` and some
others through the labels that they know. The order of such a set follows from how Python hashes
strings, anew in each process unless PYTHONHASHSEED is set, and from the order in which they were
added; pickle adds them in another. Three labels come back in another order in one case out of seven,
and the restored tree then differs from the live one in the last bit.

So Select is given a dict, which has the order that is written down, and of the labels their pickle
has a sequence that gives the same order again, in every process with the same PYTHONHASHSEED.
"""

import copyreg
import random
import sys
from collections.abc import Iterable, Sequence
from typing import Any

# Where each class is defined, its name, and the set that it iterates over.
_LABEL_SETS = (
    ("river.dummy", "NoChangeClassifier", "classes"),
    ("river.forest.aggregated_mondrian_forest", "AMFClassifier", "_classes"),
    ("river.multiclass.ovo", "OneVsOneClassifier", "classes"),
    ("river.neighbors.knn_classifier", "KNNClassifier", "classes"),
    ("river.tree.hoeffding_adaptive_tree_classifier", "HoeffdingAdaptiveTreeClassifier", "classes"),
)
# In trials a dozen strings needed 2,178 attempts at most, 3 us each.
_ATTEMPTS = 3000


def select_in_order(select: Any, names: Iterable[str]) -> None:
    """Let a `compose.Select` hand its features on in the order of `names`, which are all of them."""
    select.keys = dict.fromkeys(names)


def pickle_in_order() -> None:
    """From now on, pickles and copies of models keep the order of their sets.

    Concerns the classes that are imported by now. The pickles refer to River only.
    """
    # Importing the classes would take seconds; one that is not imported has no instance.
    select = sys.modules.get("river.compose.select")
    if select is not None:
        copyreg.pickle(select.Select, _reduce_select)
    for module_name, class_name, _ in _LABEL_SETS:
        module = sys.modules.get(module_name)
        if module is not None:
            copyreg.pickle(getattr(module, class_name), _reduce_labels)


def _reduce_select(select: Any) -> tuple[Any, ...]:
    return type(select), (), {**vars(select), "keys": dict.fromkeys(select.keys)}


def _reduce_labels(model: Any) -> tuple[Any, ...]:
    name = next(attribute for _, kind, attribute in _LABEL_SETS if kind == type(model).__name__)
    function, args, state, *rest = model.__reduce_ex__(4)
    return function, args, {**state, name: _InOrder(state[name])}, *rest


class _InOrder:
    """Stands for a set in the pickle of what holds it; a plain set comes out."""

    def __init__(self, values: set[Any]) -> None:
        self._values = values

    def __reduce__(self) -> tuple[type, tuple[Sequence[Any]]]:
        return set, (tuple(adding_order(list(self._values))),)


def adding_order(wanted: list[Any]) -> list[Any]:
    """A sequence of adding these values that gives a set with just this order.

    Where two values want the same place in a set's table, the one that came first has it. So this looks
    for the first place that differs, and adds first what should be there. Among more than a dozen
    strings it may find none: then it is `wanted`.
    """
    order = list(wanted)
    rng = random.Random(0)
    for attempt in range(_ATTEMPTS):
        got = list(set(order))
        if got == wanted:
            return order
        if attempt % 3 == 2:  # out of a circle
            order.insert(rng.randrange(len(order)), order.pop(rng.randrange(len(order))))
            continue
        one, other = next(pair for pair in zip(got, wanted, strict=True) if pair[0] != pair[1])
        first, second = sorted((order.index(one), order.index(other)))
        order.insert(first, order.pop(second))
    return wanted
