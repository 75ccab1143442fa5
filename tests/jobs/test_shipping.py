"""What travels with a job means the same where two copies of it are."""

import importlib
import pkgutil

import pytest
from msgspec import Struct

from jobs.shipping import PACKAGES

MODULES = [
    f"{package}.{found.name}"
    for package in PACKAGES
    for found in pkgutil.iter_modules(importlib.import_module(package).__path__)
]


@pytest.mark.parametrize("name", MODULES)
def test_no_struct_has_annotations_as_text(name: str) -> None:
    """msgspec would look them up late, in whatever copy of the module is there by then."""
    module = importlib.import_module(name)
    structs = [
        each
        for each in vars(module).values()
        if isinstance(each, type) and issubclass(each, Struct) and each.__module__ == name
    ]
    as_text = [
        f"{struct.__name__}.{field}"
        for struct in structs
        for field, kind in struct.__annotations__.items()
        if isinstance(kind, str)
    ]
    assert as_text == []


def test_there_are_structs_to_look_at() -> None:
    assert "operators.live" in MODULES and len(MODULES) > 40
