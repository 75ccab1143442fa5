"""Writes what `tomllib` reads; the standard library has no writer."""

import json
import re
from collections.abc import Mapping
from typing import Any, Final

_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")


def dump_toml(document: Mapping[str, Mapping[str, Any] | list[Mapping[str, Any]]]) -> str:
    """A document of tables and arrays of tables; whatever lies deeper is written in line.

    >>> print(dump_toml({"job": {"name": "fraud"}, "models": [{"name": "a", "spec": {"x": [1.0]}}]}))
    [job]
    name = "fraud"
    <BLANKLINE>
    [[models]]
    name = "a"
    spec = { x = [1.0] }
    <BLANKLINE>
    """
    blocks = []
    for name, content in document.items():
        tables, header = (
            (content, f"[[{_key(name)}]]")
            if isinstance(content, list)
            else ([content], f"[{_key(name)}]")
        )
        blocks += ["\n".join([header, *_members(table)]) + "\n" for table in tables]
    return "\n".join(blocks)


def toml_value(value: Any) -> str:
    """A value on one line."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            # TOML escapes as JSON does, and one character more.
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case int() | float():
            return repr(value)
        case Mapping():
            return f"{{ {', '.join(_members(value))} }}" if value else "{}"
        case list() | tuple():
            return f"[{', '.join(map(toml_value, value))}]"
        case _:
            raise TypeError(f"TOML has no {type(value).__name__}")


def _members(table: Mapping[str, Any]) -> list[str]:
    return [f"{_key(name)} = {toml_value(value)}" for name, value in table.items()]


def _key(name: str) -> str:
    return name if _BARE_KEY.fullmatch(name) else toml_value(name)
