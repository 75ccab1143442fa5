"""Control messages are read strictly: what is accepted, and why the rest is refused."""

import json
from typing import Any

import pytest

from events.control import FIELDS, ControlMessage, read_control
from events.limits import Limits
from events.messages import Rejected

LR = {"class": "river.linear_model.LogisticRegression"}


def payload(op: str = "freeze", **fields: Any) -> dict[str, Any]:
    return {"job": "j", "issuer": "i", "seq": 1, "op": op, "model": "m", **fields}


def raw(message: dict[str, Any]) -> bytes:
    return json.dumps(message).encode()


def refused(record: bytes | None, limits: Limits | None = None) -> tuple[str, str]:
    found = read_control(record, limits or Limits())
    assert isinstance(found, Rejected)
    assert found.id is None
    return found.reason, found.detail


def accepted(record: bytes) -> ControlMessage:
    found = read_control(record, Limits())
    assert isinstance(found, ControlMessage), found
    return found


# The least that each operation takes, and everything.
LEAST: dict[str, dict[str, Any]] = {
    "deploy": {"task": "classification", "spec": LR},
    "promote": {},
    "rollback": {"version": "m@1-0123456789ab"},
    "pin": {"version": "m@1-0123456789ab"},
    "unpin": {},
    "freeze": {},
    "unfreeze": {},
    "split": {"weights": {"m": 100}},
    "retire": {},
    "publish": {},
}
EVERY_FIELD: dict[str, Any] = {
    "task": "classification",
    "role": "shadow",
    "spec": LR,
    "artifact": "file.rrv",
    "from_version": "m@1-0123456789ab",
    "version": "m@1-0123456789ab",
    "weights": {"m": 100},
}


def test_these_are_all_operations() -> None:
    assert set(LEAST) == set(FIELDS)


@pytest.mark.parametrize("op", LEAST)
def test_an_operation_with_what_it_needs_is_read(op: str) -> None:
    text = raw(payload(op, **LEAST[op]))
    found = accepted(text)
    assert (found.payload.op, found.payload.model, found.payload.seq) == (op, "m", 1)
    assert (found.text, found.key_id, found.signature) == (text, None, None)
    timed = accepted(raw(payload(op, **LEAST[op], effective_at=5, expires_at=6))).payload
    assert (timed.effective_at, timed.expires_at) == (5, 6)


TAKES = {op: set(fields) for op, fields in LEAST.items()} | {"deploy": {"task", "role", "spec"}}


@pytest.mark.parametrize("op", LEAST)
def test_an_operation_takes_no_field_of_another(op: str) -> None:
    for name, value in EVERY_FIELD.items():
        record = raw(payload(op, **{**LEAST[op], name: value}))
        if name in TAKES[op]:
            accepted(record)
        else:
            assert refused(record)[0] == "bad_field"


@pytest.mark.parametrize("op", ["rollback", "pin", "split"])
def test_an_operation_without_what_it_needs_says_so(op: str) -> None:
    [needed] = LEAST[op]
    assert refused(raw(payload(op))) == ("bad_field", f"{op} needs {needed}")


@pytest.mark.parametrize(
    ("fields", "detail"),
    [
        ({}, "deploy needs one of spec, artifact, from_version; it has none"),
        (
            {"task": "classification"},
            "deploy needs one of spec, artifact, from_version; it has none",
        ),
        (
            {"spec": LR, "artifact": "a"},
            "deploy needs one of spec, artifact, from_version; it has spec and artifact",
        ),
        ({"spec": LR}, "deploy of a spec needs task"),
    ],
)
def test_a_deploy_names_one_model(fields: dict[str, Any], detail: str) -> None:
    assert refused(raw(payload("deploy", **fields))) == ("bad_field", detail)


@pytest.mark.parametrize("fields", [{"artifact": "a"}, {"from_version": "m@1-0123456789ab"}])
def test_an_artifact_and_a_version_know_their_task(fields: dict[str, Any]) -> None:
    accepted(raw(payload("deploy", **fields)))
    accepted(raw(payload("deploy", **fields, task="regression", role="champion")))


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (None, "no_value"),
        (b"", "empty"),
        (b" \n", "empty"),
        (b"x" * (1 << 20) + b"x", "too_large"),
        (b"\xff\xfe", "not_utf8"),
        (b"{", "not_json"),
        (b'{"job":NaN}', "not_json"),
        (b"[1]", "not_object"),
        (b"null", "not_object"),
        (b"[" * 5000 + b"]" * 5000, "too_deep"),
        (b'{"payload":"{}","key_id":"k"}', "bad_field"),
        (b'{"payload":{},"key_id":"k","signature":"s"}', "bad_field"),
        (b'{"payload":"{}","key_id":"k","signature":"s","more":1}', "unknown_field"),
        (b'{"payload":"","key_id":"k","signature":"s"}', "empty"),
        (b'{"payload":"[]","key_id":"k","signature":"s"}', "not_object"),
        (b'{"payload":"{","key_id":"k","signature":"s"}', "not_json"),
        # What is signed is a payload, not a signed message once more.
        (
            (
                b'{"payload":"{\\"payload\\":\\"{}\\",\\"key_id\\":\\"k\\",\\"signature\\":\\"s\\"}",'
                b'"key_id":"k","signature":"s"}'
            ),
            "unknown_field",
        ),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_what_is_no_message(record: bytes | None, reason: str) -> None:
    found, detail = refused(record)
    assert found == reason
    assert 0 < len(detail) < 200


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("job", 5),
        ("issuer", None),
        ("seq", -1),
        ("seq", 1.0),
        ("seq", True),
        ("seq", "1"),
        ("seq", 2**63),
        ("op", "drop"),
        ("op", ["freeze"]),
        ("model", ""),
        ("model", "a/b"),
        ("model", 'a"b'),
        ("model", "a@1"),
        ("model", "a\n"),
        ("model", "ä"),
        ("effective_at", "now"),
        ("effective_at", None),
        ("effective_at", 1.5),
        ("effective_at", 2**63),
        ("expires_at", -(2**63) - 1),
    ],
)
def test_a_field_of_the_wrong_kind(field: str, value: Any) -> None:
    assert refused(raw(payload(**{field: value})))[0] == "bad_field"


@pytest.mark.parametrize(
    ("op", "field", "value"),
    [
        ("deploy", "task", "guessing"),
        ("deploy", "role", "king"),
        ("deploy", "spec", "river.linear_model.LogisticRegression"),
        ("deploy", "spec", [LR]),
        ("split", "weights", {"m": -1}),
        ("split", "weights", {"m": "100"}),
        ("split", "weights", [100]),
        ("pin", "version", 3),
    ],
)
def test_an_operations_field_of_the_wrong_kind(op: str, field: str, value: Any) -> None:
    assert refused(raw(payload(op, **{**LEAST[op], field: value})))[0] == "bad_field"


def test_a_weight_that_is_no_number_is_no_json() -> None:
    for number in (b"1e999", b"Infinity"):
        record = raw(payload("split", weights={"m": 7})).replace(b": 7", b": " + number)
        assert refused(record)[0] == "not_json"


def test_an_unknown_field_and_a_missing_one() -> None:
    assert refused(raw(payload(why="because")))[0] == "unknown_field"
    for name in payload():
        less = payload()
        del less[name]
        assert refused(raw(less)) == (
            "bad_field",
            f"Object missing required field `{name}`",
        )


def test_the_limit_counts_bytes_of_the_whole_record() -> None:
    record = raw(payload(issuer="ü"))
    assert refused(record, Limits(record_bytes=len(record) - 1))[0] == "too_large"
    assert isinstance(read_control(record, Limits(record_bytes=len(record))), ControlMessage)


@pytest.mark.parametrize("depth", [20, 300, 800, 100_000])
def test_a_spec_of_any_depth_is_read_or_refused(depth: int) -> None:
    spec = b'{"pipeline":[' * depth + b"{}" + b"]}" * depth
    record = raw(payload("deploy", **LEAST["deploy"], role="shadow"))
    deep = record.replace(json.dumps(LR).encode(), spec)
    assert deep != record
    found = read_control(deep, Limits(record_bytes=len(deep)))
    if isinstance(found, Rejected):
        assert found.reason == "too_deep"
    else:
        assert depth <= 800


def test_the_payload_of_a_signed_message_is_its_exact_text() -> None:
    text = '{ "op":"freeze",  "model":"m", "seq":7,"issuer":"é","job":"j" }'
    signed = raw({"payload": text, "key_id": "k", "signature": "s"})
    found = accepted(signed)
    assert found.text == text.encode()
    assert (found.key_id, found.signature, found.payload.seq) == ("k", "s", 7)
