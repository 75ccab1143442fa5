"""TOML tables to msgspec structs, collecting every mistake instead of stopping at the first.

A struct is the schema of its table. A field whose name ends in `_ms` is a duration, written without
the suffix (`retention = "8d"` is `retention_ms`); where such a field may be None, `"never"` is.
"""

import difflib
import json
import math
from collections.abc import Iterable, Mapping
from datetime import date, time
from itertools import repeat
from typing import Any, Final, TypeGuard, TypeVar, get_type_hints

import msgspec
from msgspec import inspect

from jobs import secret_values
from jobs.durations import format_duration, parse_duration

T = TypeVar("T", bound=msgspec.Struct)

NEVER: Final = "never"

_SUFFIX: Final = "_ms"
_SHOWN_CHARACTERS: Final = 60


def key_of(field: str) -> str:
    """The key in the file of a struct's field."""
    return field.removesuffix(_SUFFIX)


def keys_of(*structs: type[msgspec.Struct]) -> list[str]:
    """The keys that a table may have, in order."""
    return list(dict.fromkeys(key_of(f) for struct in structs for f in struct.__struct_fields__))


class Place:
    """Where a mistake is: a section's header and the path of a key in it, `[join] retention`."""

    def __init__(self, header: str, path: str = "") -> None:
        self.header = header
        self.path = path

    def __truediv__(self, key: str) -> "Place":
        shown = key if key.replace("_", "").replace("-", "").isalnum() else json.dumps(key)
        return Place(self.header, f"{self.path}.{shown}" if self.path else shown)

    def __str__(self) -> str:
        return f"{self.header} {self.path}" if self.path else self.header


def numbered(section: str, index: int) -> Place:
    """Where one of several tables of a section stands, counted from 1."""
    return Place(f"[[{section}]] {index + 1}")


def sink_place(output: str, index: int, alone: bool) -> Place:
    """Where a sink stands: in `[predictions]`, or in one of several `[[predictions]]`."""
    return Place(f"[{output}]") if alone else numbered(output, index)


class Mistakes:
    """What is wrong with a configuration, a line each."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._places: set[str] = set()

    def add(self, place: Place, problem: str) -> None:
        """Note `problem`, the rest of a sentence that begins with the place."""
        self._places.add(str(place))
        self.lines.append(" ".join(f"{place} {problem}".split()))

    def none_at(self, *places: Place) -> bool:
        """Whether these can be compared: no mistake was found at any of them."""
        return self._places.isdisjoint(map(str, places))


class Reader:
    """Reads tables, noting mistakes in `mistakes`.

    Parameters
    ----------
    homes : mapping
        Key -> the header of the section where it belongs, to put a misplaced key right.
    """

    def __init__(self, mistakes: Mistakes, homes: Mapping[str, str]) -> None:
        self.mistakes = mistakes
        self._homes = homes

    def struct(self, cls: type[T], table: Any, place: Place, also: Iterable[str] = ()) -> T:
        """The struct that a table describes; a value that is wrong is replaced by its default.

        A required one without a default becomes None: look at `mistakes` before using the result.

        Parameters
        ----------
        also : iterable of str
            Keys to pass over, for the caller reads them.
        """
        if not isinstance(table, dict):
            self.mistakes.add(place, f"is {shown(table)}; a table is expected")
            table = None
        values: dict[str, Any] = {}
        hints = get_type_hints(cls, include_extras=True)
        info = inspect.type_info(cls)
        assert isinstance(info, inspect.StructType)
        for field in info.fields:
            key = key_of(field.name)
            if table is not None and key in table:
                found = self._value(table[key], field, hints[field.name], place / key)
                if found is not _WRONG:
                    values[field.name] = found
                    continue
            elif table is not None and field.required:
                self.mistakes.add(place / key, f"is missing; {_expected(field)} is expected")
            if field.required:
                values[field.name] = None
        if table is not None:
            self.unknown(table, [*keys_of(cls), *also], place)
        return cls(**values)

    def unknown(self, table: Mapping[str, Any], known: list[str], place: Place) -> None:
        """Note every key of a table that is none of the known ones."""
        for key in table:
            if key not in known:
                self.mistakes.add(
                    place / key, f"is no key of this section; {self._advice(key, known)}"
                )

    def _advice(self, key: str, known: list[str]) -> str:
        if key in self._homes:
            return f"it belongs in {self._homes[key]}"
        return nearest(key, known)

    def _value(self, value: Any, field: inspect.Field, hint: Any, place: Place) -> Any:
        kind, nullable = _plain(field.type)
        before = len(self.mistakes.lines)
        if isinstance(kind, inspect.StructType):
            result: Any = self.struct(kind.cls, value, place)
        elif field.name.endswith(_SUFFIX):
            result = self._duration(value, nullable, _expected(field), hint, place)
        elif _is_typed(kind) and isinstance(value, dict):
            result = value
            for key, item in value.items():
                self._convert({key: item}, item, _words(kind.value_type), hint, place / key)
        elif _has_structs(kind) and isinstance(value, list):
            inner = kind.item_type.cls
            places = [place / str(index) for index in range(len(value))]
            result = tuple(map(self.struct, repeat(inner), value, places))
        elif isinstance(kind, inspect.VarTupleType) and isinstance(value, list):
            result = tuple(value)
            for index, item in enumerate(value):
                self._convert([item], item, _words(kind.item_type), hint, place / str(index))
        else:
            result = self._convert(value, value, _expected(field), hint, place)
        return result if len(self.mistakes.lines) == before else _WRONG

    def _duration(
        self, value: Any, nullable: bool, expected: str, hint: Any, place: Place
    ) -> int | None:
        if nullable and value == NEVER:
            return None
        try:
            ms: Any = parse_duration(value) if isinstance(value, str) else None
        except ValueError:
            ms = None
        return self._convert("none" if ms is None else ms, value, expected, hint, place)

    def _convert(self, value: Any, written: Any, expected: str, hint: Any, place: Place) -> Any:
        try:
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(value)
            return msgspec.convert(value, hint)
        except ValueError:  # msgspec's own is one
            seen = secret_values.MASK if _is_secret(place) else shown(written)
            self.mistakes.add(place, f"is {seen}; {expected} is expected")
            return None


def _is_typed(kind: inspect.Type) -> TypeGuard[inspect.DictType]:
    """A table whose values all have a type."""
    return isinstance(kind, inspect.DictType) and not isinstance(kind.value_type, inspect.AnyType)


def _has_structs(kind: inspect.Type) -> TypeGuard[Any]:
    """An array of tables."""
    return isinstance(kind, inspect.VarTupleType) and isinstance(kind.item_type, inspect.StructType)


def _is_secret(place: Place) -> bool:
    if place.path.startswith("headers."):
        return True
    return place.path.startswith("properties.") and secret_values.is_secret(place.path)


_WRONG: Final = object()


def nearest(word: str, known: Iterable[str]) -> str:
    """Advice for a word that is none of the known ones.

    >>> nearest("retenton", ["retention", "label_timeout"])
    'did you mean "retention"?'
    """
    known = list(known)
    near = difflib.get_close_matches(word, known, n=1)
    return f'did you mean "{near[0]}"?' if near else f"known are {', '.join(known)}"


def either(values: Iterable[str]) -> str:
    """Strings of which one is expected.

    >>> either(["file", "kafka", "webhook"])
    '"file", "kafka" or "webhook"'
    """
    return _or([shown(value) for value in values])


def shown(value: Any) -> str:
    """A value of a TOML file in few words."""
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "an array"
    if isinstance(value, date | time):
        return str(value)
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"


def _plain(kind: inspect.Type) -> tuple[inspect.Type, bool]:
    """The type without its wrappings, and whether it may be None."""
    if isinstance(kind, inspect.Metadata):
        return _plain(kind.type)
    if isinstance(kind, inspect.UnionType):
        others = [_plain(other)[0] for other in kind.types if not _is_none(other)]
        if len(others) == 1:
            return others[0], True
    return kind, False


def _is_none(kind: inspect.Type) -> bool:
    return isinstance(kind, inspect.NoneType)


def _expected(field: inspect.Field) -> str:
    """What may stand in a field, in words."""
    if field.name.endswith(_SUFFIX):
        kind, nullable = _plain(field.type)
        assert isinstance(kind, inspect.IntType)
        bound = f' of at least "{format_duration(kind.ge)}"' if kind.ge else ""
        never = f' or "{NEVER}"' if nullable else ""
        return f'a duration like "250ms", "5s", "15m", "1h", "7d" or "2w"{bound}{never}'
    return _words(field.type)


def _words(kind: inspect.Type) -> str:
    match kind:
        case inspect.Metadata(extra={"expected": str(words)}):
            return words
        case inspect.Metadata():
            return _words(kind.type)
        case inspect.UnionType():
            return _or([_words(other) for other in kind.types if not _is_none(other)])
        case inspect.LiteralType():
            return _or([shown(value) for value in kind.values])
        case inspect.BoolType():
            return "true or false"
        case inspect.IntType():
            return f"a whole number{_bounds(kind)}"
        case inspect.FloatType():
            return f"a number{_bounds(kind)}"
        case inspect.StrType():
            return "a string that is not empty" if kind.min_length else "a string"
        case inspect.StructType():
            return "a table"
        case inspect.ListType() | inspect.VarTupleType():
            return f"an array, each {_words(kind.item_type)},"
        case inspect.DictType() if isinstance(kind.value_type, inspect.AnyType):
            return "a table"
        case inspect.DictType():
            return f"a table, each value {_words(kind.value_type)},"
        case _:
            raise TypeError(f"no words for {kind}")


def _bounds(kind: inspect.IntType | inspect.FloatType) -> str:
    if kind.ge is not None and kind.le is not None:
        return f" from {kind.ge} to {kind.le}"
    return f" of at least {kind.ge}" if kind.ge is not None else ""


def _or(words: list[str]) -> str:
    *others, last = words
    return f"{', '.join(others)} or {last}" if others else last
