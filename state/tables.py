"""Large tables in a model, names to numbers, pickled by column.

A linear model keeps a weight for each name, a scaler three numbers. Pickle writes them one by one, 0.35 us
an entry, and holds the stream up for a second with three million names. Here the names go as one text
and the numbers as one array: half the time or less, and plain pickle reads it back with nothing but
Python and River.
"""

import copyreg
import io
import pickle
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from importlib import import_module
from itertools import islice
from typing import Any

_LARGE = 10_000
_BETWEEN = "\n"
_PORTION = 8_192


def dumps(model: Any) -> bytes:
    """`pickle.dumps`, with large tables by column; `pickle.loads` gives back an equal model."""
    written = io.BytesIO()
    pickler = pickle.Pickler(written, protocol=pickle.HIGHEST_PROTOCOL)
    pickler.dispatch_table = {**copyreg.dispatch_table, **reducers()}
    pickler.dump(model)
    return written.getvalue()


def reducers() -> dict[type, Callable[[Any], Any]]:
    """How the large tables of one model are pickled, by their types."""
    return _Tables().reducers()


class _Call:
    """Is pickled as what a call gives."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self._reduced = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self._reduced


class _Tables:
    """The tables of one model; those with the same names share them, as they did in memory."""

    def __init__(self) -> None:
        self._names: dict[str, _Call] = {}

    def reducers(self) -> dict[type, Callable[[Any], Any]]:
        return {
            _vector_dict(): self._reduce_vector,
            defaultdict: self._reduce_defaultdict,
            Counter: self._reduce_counter,
        }

    def _reduce_vector(self, vector: Any) -> Any:
        # River's own: what to call, and the numbers as a dict among the arguments.
        reduced = vector.__reduce__()
        function, (entries, *others), *rest = reduced
        columns = self._columns(entries)
        return reduced if columns is None else (function, (columns, *others), *rest)

    def _reduce_defaultdict(self, table: defaultdict[Any, Any]) -> Any:
        columns = self._columns(table)
        if columns is None:
            return table.__reduce__()
        return defaultdict, (table.default_factory, columns)

    def _reduce_counter(self, table: Counter[Any]) -> Any:
        columns = self._columns(table)
        return table.__reduce__() if columns is None else (Counter, (columns,))

    def _columns(self, table: Mapping[Any, Any]) -> _Call | None:
        """A dict of these entries in their order; None where they are few, or of several kinds."""
        if len(table) < _LARGE:
            return None
        values = _array(table.values())
        if values is None:
            return None
        try:
            text = _BETWEEN.join(table)
        except TypeError:  # not every name is a text
            return None
        if text.count(_BETWEEN) != len(table) - 1:
            return None
        names = self._names.get(text)
        if names is None:
            names = self._names[text] = _Call(str.split, text, _BETWEEN)
        return _Call(dict, _Call(zip, names, values))


def _array(values: Iterable[Any]) -> "array[Any] | None":
    """All values, if they are floats, or integers that fit.

    In portions: looking at a million numbers twice costs twice, unless they are still in the cache.
    """
    made: array[Any] | None = None
    rest = iter(values)
    while portion := list(islice(rest, _PORTION)):
        kinds = set(map(type, portion))
        if made is None:
            made = array("d" if kinds == {float} else "q")
        if kinds != {float if made.typecode == "d" else int}:
            return None
        try:
            made.extend(portion)
        except OverflowError:
            return None
    return made


@cache
def _vector_dict() -> type:
    found: type = import_module("river.utils").VectorDict
    return found
