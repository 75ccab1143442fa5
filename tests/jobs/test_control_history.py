"""`riverrun control list` and `log`: what became of messages, from files as the job writes them."""

import json

import pytest

from jobs.control_messages import sign
from state.signing import SigningKey
from tests.jobs.control_folders import Outputs, ack, job_file, payload

SPEC = {"class": "river.linear_model.LogisticRegression"}


def deploy(seq, model, **fields):
    return payload(seq, "deploy", model, task="classification", spec=SPEC, **fields)


@pytest.fixture
def outputs(tmp_path):
    job_file(tmp_path)
    return Outputs(tmp_path)


@pytest.fixture
def listed(tmp_path, riverrun):
    def run():
        done = riverrun("control", "list", tmp_path / "job.toml", "--json")
        assert done.code == 0, done.err
        return json.loads(done.out)

    return run


def send(folder, *messages):
    """Into the input, one file each."""
    control = folder / "control"
    control.mkdir(exist_ok=True)
    for message in messages:
        text = message if isinstance(message, str) else json.dumps(message)
        name = f"{len(list(control.iterdir())):015d}-ops-0-0.jsonl"
        (control / name).write_text(text + "\n")


def decide(outputs, *messages):
    """As the gate and the lane accept them."""
    for message in messages:
        outputs.write("control_log", {**message, "effective_at": message["seq"]})
        outputs.write("control_acks", ack(message))


def roles(listed):
    return {each["model"]: each["role"] for each in listed["models"]}


def test_without_messages_there_is_what_is_configured(tmp_path, listed):
    job_file(tmp_path)
    (tmp_path / "control").mkdir()
    nothing = dict.fromkeys(("weight", "op", "issuer", "seq", "at", "version"))
    assert listed() == {
        "models": [{"model": "a", "role": "champion", **nothing}],
        "pending": [],
    }


def test_each_model_is_listed_with_its_role_and_last_operation(tmp_path, outputs, listed, riverrun):
    (tmp_path / "control").mkdir()
    decide(
        outputs,
        deploy(1, "b", role="shadow"),
        deploy(2, "c"),
        deploy(3, "d", role="champion"),
        payload(4, "promote", "c"),
        payload(5, "retire", "d"),
        payload(6, "split", "a", weights={"a": 95, "c": 5}),
        payload(7, "freeze", "b"),
    )
    outputs.write("control_acks", ack(payload(8, "promote", "nobody"), "unknown_model"))
    found = listed()
    assert roles(found) == {"a": "challenger", "b": "shadow", "c": "champion"}
    assert [(m["op"], m["seq"], m["at"], m["weight"]) for m in found["models"]] == [
        ("split", 6, 6, 95),
        ("freeze", 7, 7, None),
        ("promote", 4, 4, 5),
    ]
    shown = riverrun("control", "list", tmp_path / "job.toml")
    assert shown.out.splitlines() == [
        "a challenger 95 %: split ops 6",
        "b shadow: freeze ops 7",
        "c champion 5 %: promote ops 4",
    ]


def test_what_passed_the_gate_counts_only_once_it_is_accepted(tmp_path, outputs, listed):
    (tmp_path / "control").mkdir()
    decide(outputs, deploy(1, "b"))
    rollback = payload(2, "rollback", "b", version="b@9-000000000000")
    outputs.write("control_log", rollback, payload(3, "promote", "b"))
    outputs.write("control_acks", ack(rollback, "unknown_version"))
    found = listed()
    assert roles(found) == {"a": "champion", "b": "challenger"}
    assert [model["op"] for model in found["models"]] == [None, "deploy"]


def test_messages_without_an_answer_are_pending(tmp_path, outputs, riverrun, listed):
    key = SigningKey.generate()
    answered, waiting, signed = payload(1), payload(2, "promote", "b"), payload(3, "unpin")
    other_job = {**payload(4), "job": "clicks"}
    send(
        tmp_path,
        answered,
        waiting,
        sign(json.dumps(signed), key),
        other_job,
        "not json",
        payload(5, "retire", "b"),
    )
    decide(outputs, answered)
    refused = str(tmp_path / "control" / "000000000000005-ops-0-0.jsonl:1")
    outputs.write(
        "dead_letters",
        {
            "stage": "control",
            "source": "control",
            "position": refused,
            "id": None,
            "model": "b",
            "reason": "unsigned",
            "detail": "",
            "raw": None,
            "at": 1,
        },
    )
    place = str(tmp_path / "control" / "{:015d}-ops-0-0.jsonl:1")
    assert listed()["pending"] == [
        {"issuer": "ops", "seq": 2, "op": "promote", "model": "b", "position": place.format(1)},
        {"issuer": "ops", "seq": 3, "op": "unpin", "model": "a", "position": place.format(2)},
    ]
    shown = riverrun("control", "list", tmp_path / "job.toml")
    assert shown.out.splitlines()[1:] == [
        f"no answer yet: promote b ops 2 {place.format(1)}",
        f"no answer yet: unpin a ops 3 {place.format(2)}",
    ]


def test_the_log_has_every_decision_once_and_in_order(tmp_path, outputs, riverrun):
    key = SigningKey.generate()
    first, second = deploy(1, "b"), {**payload(7, "promote", "b"), "issuer": "me"}
    effective = [{**message, "effective_at": 9} for message in (first, second)]
    outputs.write("control_log", sign(json.dumps(effective[0]), key), effective[1])
    # An output that is written at least once, and a number that was used again.
    outputs.write("control_log", effective[1])
    outputs.write(
        "control_acks",
        ack(second, at=1_700_000_000_002, version="b@3-000102030405"),
        ack(first, at=1_700_000_000_001),
        ack(second, at=1_700_000_000_002, version="b@3-000102030405"),
        ack(payload(1, "retire", "b"), "seq_conflict", at=1_700_000_000_003),
    )
    outputs.write("control_log", payload(9, "freeze", "b"))
    shown = riverrun("control", "log", tmp_path / "job.toml")
    assert (shown.code, shown.out.splitlines()) == (
        0,
        [
            "2023-11-14 22:13:20.001+00:00 ops 1 deploy b: accepted",
            "2023-11-14 22:13:20.002+00:00 me 7 promote b: accepted b@3-000102030405",
            "2023-11-14 22:13:20.003+00:00 ops 1 retire b: refused seq_conflict",
            "no answer yet ops 9 freeze b: passed",
        ],
    )
    rows = [
        json.loads(line)
        for line in riverrun(
            "control", "log", tmp_path / "job.toml", "--issuer", "ops", "--json"
        ).out.splitlines()
    ]
    assert [row["message"] for row in rows] == [effective[0], None, payload(9, "freeze", "b")]
    assert rows[1] == {
        **ack(payload(1, "retire", "b"), "seq_conflict", at=1_700_000_000_003),
        "message": None,
    }
    none = riverrun("control", "log", tmp_path / "job.toml", "--model", "a")
    assert (none.code, none.out) == (0, "")


def test_an_output_that_is_not_configured_is_named(tmp_path, riverrun):
    (tmp_path / "control").mkdir()
    path = job_file(tmp_path, control_log=None)
    assert riverrun("control", "log", path).code == 0
    missing = riverrun("control", "list", path)
    assert (missing.code, "has no [control_log]" in missing.err) == (1, True)
    path = job_file(tmp_path, control_acks=None)
    for command in ("list", "log"):
        missing = riverrun("control", command, path)
        assert (missing.code, "has no [control_acks]" in missing.err) == (1, True)
