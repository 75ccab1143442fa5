"""Python's own TOML reader is the oracle."""

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.toml_text import dump_toml

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)
TABLES = st.dictionaries(TEXTS, VALUES, max_size=3)


@given(st.dictionaries(TEXTS, TABLES | st.lists(TABLES, min_size=1, max_size=2), max_size=3))
def test_what_is_written_is_read_back(document: dict[str, Any]) -> None:
    assert repr(tomllib.loads(dump_toml(document))) == repr(document)


def test_toml_has_no_null() -> None:
    with pytest.raises(TypeError, match="NoneType"):
        dump_toml({"a": {"b": None}})
