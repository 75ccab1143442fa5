"""Keys, times and verdicts of records, taken in Java; the oracle is Python's own JSON decoder."""

import json
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from connectors import java_code
from tests.connectors.sources import BAD_TS, FINE, NO_TS, TOO_LARGE, Record, scattered

pytestmark = pytest.mark.cluster

HOUR_MS = 3_600_000
# Kafka's timestamp of the record: a long whose bytes are not all alike.
PRODUCED = 0x0123_4567_89AB_CDEF


@pytest.fixture(scope="module")
def envelope(flink: None) -> Callable[..., Record]:
    from pyflink.datastream import StreamExecutionEnvironment

    java_code.attach(StreamExecutionEnvironment.get_execution_environment())

    def wrap(
        raw: bytes | None, *, min_ts: int = 0, limit: int = 10_000, keep: int = 100, number: int = 7
    ) -> Record:
        java = java_code.new("Envelope", "features", min_ts, HOUR_MS, limit, keep, "none")
        row = java.row(b"topic-0-", number, raw, 0, len(raw or b""), PRODUCED)
        return Record.of(row.getField(0), row.getField(1), PRODUCED)

    return wrap


class KeyAndTime(msgspec.Struct):
    """As strict about the two as the job's own decoder, which judges the rest."""

    id: str = ""
    ts: int | None = None


ORACLE = msgspec.json.Decoder(KeyAndTime)


def check(record: Record, raw: bytes) -> None:
    """What msgspec accepts has msgspec's key and time."""
    try:
        decoded = ORACLE.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return
    if decoded.id:
        assert record.key == decoded.id
    else:
        assert record.key == scattered(raw)
    in_range = decoded.ts is not None and -(2**63) <= decoded.ts < 2**63
    assert record.ts == (decoded.ts if in_range else 0)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["id", "ts", "", "x"]), inner),
    max_leaves=8,
)
names = st.sampled_from(["id", "ts", "features", "label"]) | st.text(max_size=3)
members = st.lists(
    st.tuples(names, st.text(max_size=4) | st.integers(-(2**65), 2**65) | json_values), max_size=6
)
blanks = st.text(" \n\r\t", max_size=2)


@st.composite
def escaped(draw: st.DrawFn, text: str) -> str:
    """A JSON string in which any character may stand as an escape."""
    plain = json.dumps(text, ensure_ascii=draw(st.booleans()))
    if not text or not draw(st.booleans()):
        return plain
    units = text.encode("utf-16-be", "surrogatepass").hex()
    return '"' + "".join(f"\\u{units[i : i + 4]}" for i in range(0, len(units), 4)) + '"'


@st.composite
def objects(draw: st.DrawFn) -> bytes:
    """JSON objects as any encoder may write them, names that come twice included."""

    def blank() -> str:
        return draw(blanks)

    fields = [
        f"{blank()}{draw(escaped(name))}{blank()}:{blank()}"
        + (draw(escaped(value)) if isinstance(value, str) else json.dumps(value))
        + blank()
        for name, value in draw(members)
    ]
    text = f"{blank()}{{{','.join(fields) or blank()}}}{blank()}"
    return text.encode("utf-8", "surrogatepass")


@settings(max_examples=300, deadline=None)
@given(raw=objects())
@example(raw=b'{"id":"a","ts":1,"id":"b","ts":2}')
@example(raw=b'{"\\u0069\\u0064":"a","t\\u0073":9}')
@example(raw=b'{"features":{"id":"no","ts":3},"id":"yes"}')
@example(raw=b'{"id":"\\ud83d\\ude00 \\u00e9 \xc3\xa9 \\n\\/\\\\\\"","ts":-0}')
@example(raw=b'{"id":"a\\u0000b"}')
@example(raw=b'{"id":"a","ts":9223372036854775807}')
@example(raw=b'{"id":"a","ts":-9223372036854775808}')
@example(raw=b'{"id":"a","ts":9223372036854775808}')
@example(raw=b'{"id":"a","ts":-9223372036854775809}')
@example(raw=b'{"id":"a","ts":92233720368547758070}')
@example(raw=b'{"id":"\\\\","x":"\\\\\\"","ts":5}')
def test_the_key_and_time_of_json_are_those_that_python_decodes(
    envelope: Callable[..., Record], raw: bytes
) -> None:
    check(envelope(raw, min_ts=-(2**62)), raw)


@settings(max_examples=200, deadline=None)
@given(raw=objects(), at=st.integers(0, 10**6), put=st.binary(max_size=3), out=st.integers(0, 3))
def test_damaged_records_keep_their_bytes_and_mean_what_python_says_they_mean(
    envelope: Callable[..., Record], raw: bytes, at: int, put: bytes, out: int
) -> None:
    cut = at % (len(raw) + 1)
    damaged = raw[:cut] + put + raw[cut + out :]
    record = envelope(damaged, min_ts=-(2**62))
    assert record.raw == damaged
    check(record, damaged)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b" ",
        b"null",
        b'"id"',
        b"[]",
        b"{",
        b'{"id"',
        b'{"id":',
        b'{"id":"a',
        b'{"id":"a\\',
        b'{"id":"a"',
        b'{"id":"a"} {',
        b'{"id":"a",}',
        b'{"ts":1}',
        b'{"id":""}',
        b'{"id":1}',
        b'{"id":null}',
        b'{"id":{"id":"a"}}',
        b'{"id":["a"]}',
        b'{"id":"a","id":2}',
        b'{"id":"\\ud800"}',
        b'{"id":"\\udc00\\ud800"}',
        b'{"id":"\\udc00"}',
        b'{"id":"\\ud800x"}',
        b'{"id":"\\u00"}',
        b'{"id":"\\x"}',
        b'{"id":"\xed\xa0\x80"}',
        b'{"id":"\xff"}',
        b'\xef\xbb\xbf{"id":"a"}',
        b"\x00",
        b"[" * 9000,
        b'{"a":' * 1800,
    ],
)
def test_a_record_without_an_id_is_keyed_by_its_bytes(
    envelope: Callable[..., Record], raw: bytes
) -> None:
    assert envelope(raw).key == scattered(raw)


def test_a_record_without_a_value_is_keyed_by_its_position(envelope: Callable[..., Record]) -> None:
    assert envelope(None, number=42) == Record(
        scattered(b"topic-0-42"), NO_TS, 0, "features", "topic-0-42", None
    )


@pytest.mark.parametrize("ts", [b"1.0", b"1e3", b"-0.0", b"01", b"-", b'"1"', b"true", b"null"])
def test_what_is_no_integer_is_no_time(envelope: Callable[..., Record], ts: bytes) -> None:
    record = envelope(b'{"id":"a","ts":%b}' % ts)
    assert (record.key, record.verdict, record.ts) == ("a", NO_TS, 0)


def test_of_two_times_only_the_last_counts(envelope: Callable[..., Record]) -> None:
    record = envelope(b'{"id":"a","ts":5,"ts":"five"}')
    assert (record.verdict, record.ts) == (NO_TS, 0)


def test_a_time_before_min_ts_is_out_of_range(envelope: Callable[..., Record]) -> None:
    assert envelope(b'{"id":"a","ts":1000}', min_ts=1000).verdict == FINE
    assert envelope(b'{"id":"a","ts":999}', min_ts=1000)[1:3] == (BAD_TS, 999)


def test_a_time_too_far_in_the_future_is_out_of_range(envelope: Callable[..., Record]) -> None:
    now = time.time_ns() // 1_000_000
    minute = 60_000
    near, far = now + HOUR_MS - minute, now + HOUR_MS + minute
    assert envelope(b'{"id":"a","ts":%d}' % near).verdict == FINE
    assert envelope(b'{"id":"a","ts":%d}' % far)[1:3] == (BAD_TS, far)
    assert envelope(b'{"id":"a","ts":%d}' % (2**63 - 1)).verdict == BAD_TS


def test_of_a_record_larger_than_the_limit_the_first_bytes_are_kept(
    envelope: Callable[..., Record],
) -> None:
    raw = b'{"id":"a","ts":5}'
    assert envelope(raw, limit=len(raw)).verdict == FINE
    assert envelope(raw, limit=len(raw) - 1, keep=4) == Record(
        scattered(raw[:4]), TOO_LARGE, 0, "features", "topic-0-7", raw[:4]
    )


@pytest.mark.parametrize("number", [0, 9, 10, 99, 2**63 - 1])
def test_the_position_has_every_digit(envelope: Callable[..., Record], number: int) -> None:
    assert envelope(b"x", number=number).position == f"topic-0-{number}"


def test_malformed_records_spread_over_the_subtasks(envelope: Callable[..., Any]) -> None:
    from pyflink.java_gateway import get_gateway

    jvm = get_gateway().jvm
    assignment = jvm.org.apache.flink.runtime.state.KeyGroupRangeAssignment
    subtasks = [0] * 4
    for i in range(400):
        key = jvm.org.apache.flink.types.Row(1)
        key.setField(0, envelope(b"broken record %d" % i).key)
        subtasks[assignment.assignKeyToParallelOperator(key, 128, 4)] += 1
    assert min(subtasks) > 50
