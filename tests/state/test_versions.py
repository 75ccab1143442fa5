"""Heads worked out with hashlib alone; names by hand."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from state.versions import VersionName, advance, genesis, parse_version, version_name


def test_genesis_is_the_hash_of_what_a_model_begins_with() -> None:
    text = '{"lane":"ü","model":"m","spec":{"class":"a.B","params":{"x":1,"y":[2.5,null]}}}'
    spec = {"params": {"y": [2.5, None], "x": 1}, "class": "a.B"}
    assert genesis(spec, "m", "ü") == sha256(text.encode()).digest()


def test_genesis_differs_by_model_lane_and_origin() -> None:
    heads = {
        genesis({"a": 1}, "m", None),
        genesis({"a": 1}, "n", None),
        genesis({"a": 1}, "m", "null"),
        genesis({"a": 1}, "m", ""),
        genesis({"a": 1.0}, "m", None),
        genesis({"a": True}, "m", None),
    }
    assert len(heads) == 6


def test_a_head_holds_the_one_before_and_the_entry() -> None:
    head = bytes(range(32))
    assert advance(head, b"entry") == sha256(head + sha256(b"entry").digest()).digest()
    # (head -c 32 /dev/zero; printf '' | sha256sum | cut -d' ' -f1 | xxd -r -p) | sha256sum
    expected = "1c9ecec90e28d2461650418635878a5c91e49f47586ecf75f2b0cbb94e897112"
    assert advance(bytes(32), b"").hex() == expected


@pytest.mark.parametrize(
    ("lane", "n", "name"),
    [
        (None, 0, "fraud.v2@0-000102030405"),
        (None, 1_000_000, "fraud.v2@1000000-000102030405"),
        ("", 3, "fraud.v2/@3-000102030405"),
        ("shop 7/b", 3, "fraud.v2/shop%207%2Fb@3-000102030405"),
        ("é@1-000102030405", 3, "fraud.v2/%C3%A9%401-000102030405@3-000102030405"),
        ("%2F", 3, "fraud.v2/%252F@3-000102030405"),
        ('"\\\n', 3, "fraud.v2/%22%5C%0A@3-000102030405"),
    ],
)
def test_a_name_shows_model_lane_examples_and_twelve_digits(
    lane: str | None, n: int, name: str
) -> None:
    assert version_name("fraud.v2", lane, n, bytes(range(32))) == name
    assert parse_version(name) == VersionName("fraud.v2", lane, n, "000102030405")


@given(
    st.from_regex(r"[A-Za-z0-9_.-]+", fullmatch=True),
    st.none() | st.text(st.characters(codec="utf-8")),
    st.integers(0, 10**12),
    st.binary(min_size=32, max_size=32),
)
def test_every_name_can_be_taken_apart(model: str, lane: str | None, n: int, head: bytes) -> None:
    name = version_name(model, lane, n, head)
    assert name.isascii() and name.isprintable()
    assert parse_version(name) == (model, lane, n, head.hex()[:12])


@pytest.mark.parametrize(
    "name",
    [
        "",
        "m",
        "m@1",
        "m@-000000000000",
        "m@x-000000000000",
        "m@1-00",
        "1-000000000000",
        "m@1-0000000000000",
    ],
)
def test_what_is_no_version_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is not a version: expected NAME@N-HEX"):
        parse_version(name)
