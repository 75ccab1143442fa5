"""Entries, their records, and the way back from the text of a record."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from events.messages import LearnLogRecord
from state.learnlog import (
    Entry,
    decode_entry,
    encode_entry,
    entry_of_record,
    log_record,
)
from state.versions import advance, genesis, version_name

HEAD = bytes(range(32))

ENTRY = Entry(
    "example", "m", None, 3, "t1", Raw(b'{"b":1,"a":1.0}'), True, 2.5, "label", 1_700_000_000_000
)
TEXT = (
    b'{"kind":"example","model":"m","lane":null,"n":3,"id":"t1","features":{"b":1,"a":1.0},'
    b'"label":true,"weight":2.5,"source":"label","event_time":1700000000000,"op":null,"seq":null}'
)


def test_an_entry_is_the_record_up_to_the_chain() -> None:
    assert encode_entry(ENTRY) == TEXT
    record = log_record(TEXT, "m@2-aaaaaaaaaaaa", "m@3-000102030405", HEAD)
    assert record == TEXT[:-1].decode() + (
        ',"parent":"m@2-aaaaaaaaaaaa","version":"m@3-000102030405",'
        '"head":"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"}'
    )
    assert entry_of_record(record) == TEXT


def test_a_record_has_the_fields_that_formats_promise_in_their_order() -> None:
    record = log_record(TEXT, "a", "b", HEAD)
    *fields, erased = LearnLogRecord.__struct_fields__
    assert list(json.loads(record)) == fields
    assert erased == "erased"


@pytest.mark.parametrize(
    "entry",
    [
        Entry("control", "m", "l", 0, op="deploy"),
        Entry("environment", "m", None, 7, op='{"python":"3.11.7"}'),
        Entry("request", "m", None, 7, "t", Raw(b"{}"), event_time=-1),
        Entry("example", "m", None, 8, "t", Raw(b"{}"), source="arrival", event_time=0),
    ],
)
def test_fields_that_a_kind_lacks_are_null(entry: Entry) -> None:
    given = json.loads(encode_entry(entry))
    assert list(given) == list(Entry.__struct_fields__)
    assert given["kind"] == entry.kind
    assert given["features"] == ({} if entry.kind in ("request", "example") else None)
    again = decode_entry(encode_entry(entry))
    assert encode_entry(again) == encode_entry(entry)
    assert (again.kind, again.n, again.op, again.lane) == (
        entry.kind,
        entry.n,
        entry.op,
        entry.lane,
    )


def test_an_entry_read_back_has_its_features_as_they_were_written() -> None:
    # Floats and big integers that another JSON writer would put in another way, in this order.
    features = b'{"z":1e-7,"a":1.0,"i":123456789012345678901234567890,"s":"\\u0000,\\"parent\\":"}'
    entry = decode_entry(encode_entry(Entry("example", "m", None, 1, "t", Raw(features))))
    assert bytes(entry.features) == features


VALUES = st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.text(max_size=9)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=20) | st.sampled_from(
    ['","parent":"', ',"parent":', '"', "\\", '","version":"x","head":"00"}']
)


@given(TEXTS, st.dictionaries(TEXTS, VALUES, max_size=3), VALUES, st.none() | TEXTS)
def test_the_entry_is_found_in_any_record(
    id: str, features: dict[str, Any], label: Any, lane: str | None
) -> None:
    raw = Raw(json.dumps(features, ensure_ascii=False).encode())
    entry = encode_entry(Entry("example", "m", lane, 1, id, raw, label, op=id))
    head = advance(genesis({"parent": id}, "m", lane), entry)
    record = log_record(
        entry, version_name("m", lane, 0, HEAD), version_name("m", lane, 1, head), head
    )
    assert entry_of_record(record) == entry
    assert json.loads(record)["head"] == head.hex()
    assert "\n" not in record
