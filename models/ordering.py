"""The order in which `compose.Select` hands features on.

Floats are added up in the order of the features, so order is part of a model. River keeps the names
that Select selects in a set, and a set's order depends on how Python hashes strings (anew in each
process, unless PYTHONHASHSEED is set) and changes when the set is pickled and read again: with three
names in one case out of six, with a hundred in two out of three. A dict in its place has the order
that is written down, and River reads it just the same.
"""

import copyreg
from collections.abc import Iterable
from functools import cache
from typing import Any


def select_in_order(select: Any, names: Iterable[str]) -> None:
    """Let a `compose.Select` hand its features on in the order of `names`, which are all of them."""
    select.keys = dict.fromkeys(names)


@cache
def pickle_in_order() -> None:
    """From now on, pickles of any `compose.Select` keep the order that it has in this process."""
    from river import compose

    copyreg.pickle(compose.Select, _reduce)


def _reduce(select: Any) -> tuple[type, tuple[()], dict[str, Any]]:
    # Of River's own names only, so that whoever reads the pickle needs none of our modules.
    return type(select), (), {**vars(select), "keys": dict.fromkeys(select.keys)}
