"""`riverrun control send`: messages made of options, signed, put where the job reads them."""

import base64
import getpass
import json
import os
import threading
import time
from hashlib import sha256
from pathlib import Path

import pytest

from jobs.control_keys import make_key
from jobs.waiting import wait_until
from state.artifacts import Manifest, write_artifact
from state.signing import CONTROL, SigningKey, TrustedKeys
from tests.jobs.control_folders import LOGISTIC, Outputs, ack, job_file, payload, sent
from tests.patience import PATIENCE_S

VERSION = "a@3-000102030405"
NOW = time.time_ns() // 1_000_000


@pytest.fixture
def send(tmp_path, riverrun):
    """Sends to the job of this folder; keyword arguments are sections of its configuration."""

    def run(*arguments, **sections):
        return riverrun("control", "send", job_file(tmp_path, **sections), *arguments)

    return run


def artifact(path, key=None, pickled=b"not looked at"):
    manifest = Manifest(
        model="c",
        lane=None,
        version="c@3-000102030405",
        n=3,
        head=bytes(range(32)).hex(),
        task="classification",
        origin=LOGISTIC,
        label_type="bool",
        names=[],
        purity="pure",
        environment={},
        sha256=sha256(pickled).hexdigest(),
        created=1,
    )
    write_artifact(path, manifest, pickled, key)
    return path


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["retire", "--model", "b"], {"op": "retire", "model": "b"}),
        (["rollback", "--version", VERSION], {"op": "rollback", "model": "a", "version": VERSION}),
        (
            ["pin", "--version", VERSION, "--model", "b"],
            {"op": "pin", "model": "b", "version": VERSION},
        ),
        (
            ["split", "--weights", "a=99.5, b=0.5"],
            {"op": "split", "model": "a", "weights": {"a": 99.5, "b": 0.5}},
        ),
        (
            ["deploy", "--model", "b", "--from-version", VERSION, "--role", "shadow"],
            {"op": "deploy", "model": "b", "role": "shadow", "from_version": VERSION},
        ),
        (
            ["promote", "--model", "b", "--effective-at", "12", "--expires-at", "1970-01-01T01:00:01+01:00"],
            {"op": "promote", "model": "b", "effective_at": 12, "expires_at": 1000},
        ),
    ],
)  # fmt: skip
def test_options_make_a_payload(send, tmp_path, options, said):
    done = send(*options, "--json")
    assert (done.code, done.err) == (0, "")
    [text] = sent(tmp_path)
    fields = json.loads(text)
    shown = json.loads(done.out)
    assert (fields.pop("issuer"), fields.pop("job")) == (getpass.getuser(), "fraud")
    assert NOW <= fields["seq"] <= time.time_ns() // 1_000_000
    assert (shown["issuer"], shown["seq"]) == (getpass.getuser(), fields.pop("seq"))
    assert Path(shown["position"]).read_text() == text + "\n"
    assert fields == said


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("b.json", '{"class": "river.linear_model.LogisticRegression", "params": {"l2": 1e-05}}'),
        ("b.json", '{"spec": {"class": "river.linear_model.LogisticRegression", "params": {"l2": 1e-05}}}'),
        ("b.toml", 'class = "river.linear_model.LogisticRegression"\nparams = { l2 = 1e-05 }'),
    ],
)  # fmt: skip
def test_a_spec_comes_from_json_or_toml(send, tmp_path, name, content):
    spec = tmp_path / name
    spec.write_text(content)
    done = send("deploy", "--model", "b", "--task", "classification", "--spec", spec)
    assert (done.code, done.err) == (0, "")
    [text] = sent(tmp_path)
    assert json.loads(text)["spec"] == {**LOGISTIC, "params": {"l2": 1e-05}}


def test_messages_keep_the_order_in_which_they_were_sent(send, tmp_path):
    for seq in (9, 10, 1):
        assert send("freeze", "--model", "a", "--issuer", "a/ß b", "--seq", seq).code == 0
    assert [json.loads(text)["seq"] for text in sent(tmp_path)] == [9, 10, 1]
    # A clock that goes back puts no message before another.
    ahead = tmp_path / "control" / f"{NOW + 10**9:015d}-ops-1-00000000.jsonl"
    ahead.write_text("first\n")
    assert send("freeze", "--model", "a", "--seq", 11).code == 0
    texts = sent(tmp_path)
    assert (texts[-2], json.loads(texts[-1])["seq"]) == ("first", 11)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["fly", "--model", "a"], "no operation 'fly' (known are deploy, "),
        (["promoet", "--model", "a"], 'did you mean "promote"?'),
        (["retire"], "retire of which model? Say so with --model NAME"),
        (["rollback", "--model", "a"], "rollback needs version"),
        (["pin", "--version", "a"], "'a' is not a version: expected NAME@N-HEX"),
        (["split", "--weights", "a=95,b=6"], "they sum to 101, 100 is expected"),
        (["split", "--weights", "a=100,a=0"], "NAME=PERCENT,NAME=PERCENT is expected"),
        (["split", "--weights", "a"], "NAME=PERCENT,NAME=PERCENT is expected"),
        (["promote", "--model", "a", "--version", VERSION], "promote takes no version"),
        (["deploy", "--model", "b"], "deploy needs one of spec, artifact, from_version"),
        (["deploy", "--model", "b", "--from-version", VERSION, "--role", "king"], "Invalid enum value"),
        (["freeze", "--model", "a", "--effective-at", "tomorrow"], "'tomorrow' is no time"),
        (["freeze", "--model", "a", "--effective-at", "2027-01-01T00:00"], "is no time"),
        (["freeze", "--model", "a", "--key", "missing.pem"], "missing.pem holds no signing key"),
        (["freeze", "--model", "a", "--topic", "t"], "leave out --topic"),
        (["deploy", "--artifact", "missing.rrv"], "missing.rrv is not an artifact"),
        (["missing.json"], "missing.json cannot be read: No such file or directory"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused_before_anything_is_sent(send, tmp_path, options, said):
    done = send(*options)
    assert done.code == 1
    assert said in done.err
    assert not (tmp_path / "control").exists()


def test_who_has_no_login_name_has_to_say_who_asks(send, tmp_path, monkeypatch):
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000)
    nobody = send("freeze", "--model", "a")
    assert (nobody.code, "say who asks with --issuer NAME" in nobody.err) == (1, True)
    assert send("freeze", "--model", "a", "--issuer", "ops").code == 0


def test_a_spec_that_no_model_can_be_made_of_is_refused(send, tmp_path):
    spec = tmp_path / "b.json"
    for content, said in [
        ('{"class": "river.linear_model.LogisticRegressio"}', "the nearest is"),
        ("class = 1", "b.json holds no spec"),
    ]:
        spec.write_text(content)
        done = send("deploy", "--model", "b", "--task", "classification", "--spec", spec)
        assert (done.code, said in done.err) == (1, True)
    assert not (tmp_path / "control").exists()


def test_with_a_key_it_is_signed(send, tmp_path):
    made = make_key(tmp_path / "ops.pem", "ops")
    security = {"require_signatures": True, "trusted_keys": [made.entry]}
    message = ("freeze", "--model", "a", "--issuer", "ops")
    refused = send(*message, security=security)
    assert (refused.code, "sign the message with --key FILE" in refused.err) == (1, True)
    assert not (tmp_path / "control").exists()

    done = send(*message, "--key", tmp_path / "ops.pem", security=security)
    assert (done.code, done.err) == (0, "")
    [text] = sent(tmp_path)
    signed = json.loads(text)
    trusted = TrustedKeys([made.entry])
    assert trusted.verify(
        CONTROL, signed["payload"].encode(), signed["key_id"], signed["signature"]
    )
    assert json.loads(signed["payload"])["op"] == "freeze"


def test_a_key_that_the_job_does_not_trust_is_told_of(send, tmp_path):
    made = make_key(tmp_path / "ops.pem", "ops")
    signed = ("freeze", "--model", "a", "--key", tmp_path / "ops.pem", "--issuer")
    unknown = send(*signed, "ops")
    assert unknown.code == 0
    assert f"warning: the key {made.key_id} is not among [security] trusted_keys" in unknown.err
    other = send(*signed, "eve", security={"trusted_keys": [made.entry]})
    assert f"warning: the key {made.key_id} signs for 'ops', not for 'eve'" in other.err
    own = send(*signed, "eve", security={"signing_key_file": str(tmp_path / "ops.pem")})
    assert (own.code, own.err) == (0, "")


def test_a_payload_is_sent_to_the_byte_and_a_signed_message_as_it_is(send, tmp_path, riverrun):
    text = json.dumps(payload(1), indent=1)
    file, key = tmp_path / "payload.json", tmp_path / "ops.pem"
    file.write_text(text)
    made = make_key(key)
    security = {"trusted_keys": [made.entry]}
    assert send(file, "--key", key, security=security).code == 0
    [record] = sent(tmp_path)
    assert json.loads(record)["payload"] == text

    signed = riverrun("control", "sign", file, "--key", key)
    assert signed.out == record + "\n"
    (tmp_path / "signed.json").write_text(signed.out)
    assert send(tmp_path / "signed.json", security=security).code == 0
    assert sent(tmp_path) == [record, record]
    assert send(file).code == 0
    assert json.loads(sent(tmp_path)[-1]) == payload(1)
    assert len(sent(tmp_path)) == 3
    twice = send(tmp_path / "signed.json", "--key", key, security=security)
    assert (twice.code, "signed already" in twice.err) == (1, True)


def test_a_payload_says_it_all(send, tmp_path):
    file = tmp_path / "payload.json"
    file.write_text(json.dumps({**payload(1), "job": "clicks"}))
    other = send(file)
    assert (other.code, "is for job 'clicks'; this one is 'fraud'" in other.err) == (1, True)
    file.write_text(json.dumps(payload(1)))
    both = send(file, "--model", "b")
    assert (both.code, "leave out the options of operations" in both.err) == (2, True)
    assert not (tmp_path / "control").exists()


def test_an_artifact_travels_inside_the_message_where_it_fits(send, tmp_path):
    key = SigningKey.generate()
    file = artifact(tmp_path / "c.rrv", key)
    security = {"trusted_keys": [key.public]}
    done = send("deploy", "--artifact", file, "--role", "shadow", security=security)
    assert (done.code, done.err) == (0, "")
    [text] = sent(tmp_path)
    fields = json.loads(text)
    kind, _, content = fields["artifact"].partition(":")
    assert (kind, base64.b64decode(content)) == ("base64", file.read_bytes())
    assert (fields["model"], fields["task"]) == ("c", "classification")

    assert send("deploy", "--artifact", file, "--by-path", security=security).err == ""
    assert json.loads(sent(tmp_path)[-1])["artifact"] == str(file)
    done = send(
        "deploy", "--artifact", file, security=security, limits={"record_bytes": len(text) - 20}
    )
    assert "does not fit into [limits] record_bytes" in done.err
    assert json.loads(sent(tmp_path)[-1])["artifact"] == str(file)
    send("deploy", "--artifact", "s3://models/c.rrv", "--model", "c")
    assert json.loads(sent(tmp_path)[-1])["artifact"] == "s3://models/c.rrv"


def test_an_artifact_that_no_trusted_key_has_signed_is_told_of(send, tmp_path):
    file = artifact(tmp_path / "c.rrv")
    done = send("deploy", "--artifact", file)
    assert done.code == 0
    assert "warning: the job takes artifacts that a trusted key has signed: " in done.err
    assert "is not signed" in done.err


def test_a_message_that_is_too_large_is_told_of_before_it_is_sent(send, tmp_path):
    file = tmp_path / "payload.json"
    file.write_text(json.dumps(payload(1), separators=(",", ":")))
    size = len(file.read_bytes())
    assert send(file, limits={"record_bytes": size}).err == ""
    done = send(file, limits={"record_bytes": size - 1})
    assert done.code == 0
    assert f"the message has {size} bytes, and the job refuses more than {size - 1}" in done.err


def test_messages_go_to_a_file_only_where_the_job_has_yet_to_read_it(send, tmp_path):
    file = tmp_path / "control.jsonl"
    file.write_text("no line end")
    source = {"connector": "file", "path": "control.jsonl"}
    assert send("freeze", "--model", "a", "--seq", 1, control=source).code == 0
    assert send("freeze", "--model", "a", "--seq", 2, control=source).code == 0
    first, *others = file.read_text().splitlines()
    assert (first, [json.loads(text)["seq"] for text in others]) == ("no line end", [1, 2])
    assert file.read_text().endswith("}\n")
    watched = send("freeze", "--model", "a", control={**source, "watch": True})
    assert (watched.code, "make the path of [control] a folder" in watched.err) == (1, True)


def test_where_there_is_no_place_for_messages_it_says_so(send):
    none = send("freeze", "--model", "a", control=None)
    assert (none.code, "has no [control]" in none.err) == (1, True)
    missing = send("freeze", "--model", "a", control={"connector": "file", "path": "missing"})
    assert (missing.code, "no file or folder" in missing.err) == (1, True)
    remote = send(
        "freeze", "--model", "a", control={"connector": "file", "path": "s3://bucket/control"}
    )
    assert (remote.code, "`riverrun control sign` prints the message" in remote.err) == (1, True)
    answers = send("freeze", "--model", "a", "--wait", control_acks=None)
    assert (answers.code, "has no [control_acks]" in answers.err) == (1, True)


# Waiting for the answer: a thread answers as the job does.


class Answering:
    """Answers every message in the control folder, once it has been there."""

    def __init__(self, folder, reason=None, **fields):
        self._folder, self._reason, self._fields = folder, reason, fields
        self._thread = threading.Thread(target=self._run)
        self.error = None

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._thread.join()
        assert self.error is None, self.error

    def _run(self):
        try:
            found = wait_until(lambda: sent(self._folder), "a message", timeout_s=PATIENCE_S)
            answer = ack(json.loads(found[0]), self._reason, **self._fields)
            Outputs(self._folder).write("control_acks", ack(payload(1)), answer, ack(payload(2)))
        except BaseException as error:
            self.error = error


def test_the_answer_is_waited_for_and_printed(send, tmp_path):
    with Answering(tmp_path, version=VERSION):
        done = send("freeze", "--model", "a", "--wait", "--timeout", "30s")
    assert (done.code, done.out) == (0, f"accepted: freeze a {VERSION}\n")


def test_a_refusal_is_exit_code_1(send, tmp_path):
    with Answering(tmp_path, "unknown_model"):
        done = send("promote", "--model", "b", "--wait", "--timeout", "30s", "--json")
    assert done.code == 1
    answer = json.loads(done.out)
    assert (answer["op"], answer["accepted"], answer["reason"]) == (
        "promote",
        False,
        "unknown_model",
    )


def test_of_a_number_that_was_used_before_only_a_new_answer_counts(send, tmp_path):
    before = payload(7, model="b")
    Outputs(tmp_path).write("control_acks", ack(before))
    done = send(
        "freeze", "--model", "a", "--issuer", "ops", "--seq", 7, "--wait", "--timeout", "1s"
    )
    assert done.code == 1
    assert "no answer came within 1 s: does job 'fraud' run?" in done.err


def test_a_timeout_that_is_no_duration_is_wrong_usage(send, tmp_path):
    done = send("freeze", "--model", "a", "--wait", "--timeout", "soon")
    assert (done.code, "a duration like 30s is expected" in done.err) == (2, True)
    assert not (tmp_path / "control").exists()
