"""The gate: one verdict and one ack for each message, whoever sends it however often."""

import base64
import json
import pickle
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from events.control import read_control
from events.limits import Limits
from events.messages import Rejected
from operators.items import REPEAT, Origin
from operators.live import ModelSettings
from operators.scratch import Scratch, TrialLimits
from state.artifacts import Manifest, artifact_bytes
from state.signing import CONTROL, VERSION, SigningKey, TrustedKeys
from state.snapshots import environment, pickle_model
from tests.operators.gates import NOW, SCALED_LR, GateBench, key_file, payload, signed, text
from tests.operators.loops import hat

KEYS = [SigningKey.generate() for _ in range(3)]
OPS, ANYBODY, STRANGER = KEYS
TRUSTED = (f"ops:{OPS.public}", ANYBODY.public)


def bench(**given: Any) -> GateBench:
    return GateBench(**given)


# One verdict, one ack


def test_an_accepted_message_goes_to_the_model_which_answers() -> None:
    gate = bench()
    gate.say(payload(1, "freeze"))
    assert gate.told.order == ["send", "log"]
    [(lane, operation)] = gate.told.operations()
    assert lane is None
    assert (operation.number, operation.time, operation.acks) == (1, 0, True)
    assert json.loads(operation.text) == payload(1, "freeze")
    assert json.loads(gate.told.logged[0]) == {**payload(1, "freeze"), "effective_at": NOW}


def test_with_lanes_the_gate_answers_itself() -> None:
    gate = bench(laned=True)
    gate.say(payload(1, "freeze"))
    [(lane, operation)] = gate.told.operations()
    assert (lane, operation.acks) == (None, False)
    [ack] = map(json.loads, gate.told.acks)
    del ack["at"]
    assert ack == {
        "issuer": "me",
        "seq": 1,
        "op": "freeze",
        "model": "a",
        "accepted": True,
        "reason": None,
        "version": None,
    }


def test_a_refused_message_gets_an_ack_and_a_dead_letter_and_goes_nowhere() -> None:
    gate = bench(laned=True)
    gate.say(payload(7, "freeze", "b"))
    assert gate.told.order == ["letter", "ack"]
    assert gate.told.answers() == [(7, False, "unknown_model")]
    [letter] = map(json.loads, gate.told.letters)
    del letter["at"]
    assert letter == {
        "stage": "control",
        "source": "control",
        "position": "c:1",
        "id": None,
        "model": "b",
        "reason": "unknown_model",
        "detail": "b is not deployed; there are a",
        "raw": text(payload(7, "freeze", "b")),
    }


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (None, "no_value"),
        (b"", "empty"),
        (b"{", "not_json"),
        (b"[]", "not_object"),
        (b"\xff", "not_utf8"),
        (b"x" * 2000, "too_large"),
        (b"{}", "bad_field"),
        (text({**payload(1, "freeze"), "more": 1}).encode(), "unknown_field"),
        (text(payload(1, "drop")).encode(), "bad_field"),
        (b"[" * 900, "not_json"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_what_is_no_message_is_a_dead_letter_only(raw: bytes | None, reason: str) -> None:
    """Whom to answer is not known."""
    gate = bench(limits=Limits(record_bytes=1000))
    before = gate.gate.plain()
    gate.say(raw)
    assert gate.told.order == ["letter"]
    assert gate.told.reasons() == [reason]
    assert gate.gate.plain() == before


# Whose messages count

SIGNED_CASES = {
    "unsigned": (text(payload(1, "freeze")).encode(), "unsigned"),
    "a stranger's": (signed(payload(1, "freeze"), STRANGER), "unknown_key"),
    "for another issuer": (signed(payload(1, "freeze"), OPS), "wrong_issuer"),
    "its issuer's": (signed({**payload(1, "freeze"), "issuer": "ops"}, OPS), None),
    "of a key for all": (signed(payload(1, "freeze"), ANYBODY), None),
    "for another job": (signed({**payload(1, "freeze"), "job": "k"}, ANYBODY), "wrong_job"),
}


def changed(message: bytes, **fields: Any) -> bytes:
    return json.dumps({**json.loads(message), **fields}).encode()


@pytest.mark.parametrize("case", SIGNED_CASES)
def test_where_signatures_are_required(case: str) -> None:
    message, reason = SIGNED_CASES[case]
    gate = bench(trusted_keys=TRUSTED, require_signatures=True)
    before = gate.gate.plain()
    gate.say(message)
    if reason is None:
        assert gate.told.order == ["send", "log"]
    else:
        assert gate.told.reasons() == [reason]
        assert gate.told.answers() == [(1, False, reason)]
        assert gate.gate.plain() == before, "who it is from is not known: no trace"


def test_a_signature_is_over_the_exact_text_and_for_this_purpose() -> None:
    good = signed(payload(1, "freeze"), ANYBODY)
    exact = json.loads(good)["payload"]
    bad = [
        changed(good, payload=exact.replace('"freeze"', '"retire"')),
        changed(good, payload=exact + " "),
        changed(good, key_id=OPS.key_id),
        changed(good, signature=ANYBODY.sign(VERSION, exact.encode())),
        changed(good, signature="no Base64"),
        changed(good, signature=""),
    ]
    gate = bench(trusted_keys=TRUSTED)
    before = gate.gate.plain()
    gate.say(*bad)
    assert gate.told.reasons() == ["bad_signature"] * len(bad)
    assert gate.gate.plain() == before
    gate.say(good)
    assert gate.told.sent() == [1]


def test_where_signatures_are_not_required_one_that_is_there_must_be_right() -> None:
    gate = bench(trusted_keys=TRUSTED)
    gate.say(
        text(payload(1, "freeze")).encode(),
        signed(payload(2, "freeze"), STRANGER),
        changed(signed(payload(3, "freeze"), ANYBODY), signature="AAAA"),
        signed(payload(4, "freeze"), OPS),
    )
    assert gate.told.sent() == [1]
    assert gate.told.reasons() == ["unknown_key", "bad_signature", "wrong_issuer"]


def test_the_jobs_own_key_counts_as_trusted(tmp_path: Path) -> None:
    own = SigningKey.generate()
    gate = bench(require_signatures=True, signing_key_file=key_file(tmp_path, own))
    gate.say(signed(payload(1, "freeze"), own), signed(payload(2, "freeze"), ANYBODY))
    assert gate.told.sent() == [1]
    assert gate.told.reasons() == ["unknown_key"]


def test_who_is_not_authentic_uses_up_nobodys_number() -> None:
    gate = bench(trusted_keys=TRUSTED, require_signatures=True)
    gate.say(signed(payload(5, "freeze"), STRANGER), text(payload(9, "retire")).encode())
    gate.say(signed(payload(5, "freeze"), ANYBODY))
    assert gate.told.sent() == [5]


# Numbers: the rules once more, by themselves


class Sent(NamedTuple):
    """A message of a script; `signer` is a place in KEYS, or None."""

    issuer: str
    seq: int
    model: str
    signer: int | None
    forged: bool
    job: str

    def raw(self) -> bytes:
        exact = {
            "job": self.job,
            "issuer": self.issuer,
            "seq": self.seq,
            "op": "freeze",
            "model": self.model,
        }
        if self.signer is None:
            return text(exact).encode()
        whole = signed(exact, KEYS[self.signer])
        return changed(whole, signature="AAAA") if self.forged else whole


class Rules:
    """What docs/control.md says of signatures and numbers, in a few lines; model `a` is deployed."""

    def __init__(self, required: bool, laned: bool) -> None:
        self._required = required
        self._laned = laned
        self._answers: dict[tuple[str, int], tuple[str, str | None]] = {}
        self._last: dict[str, int] = {}

    def verdict(self, sent: Sent) -> str:
        """`accepted`, `again: <first verdict>`, or the reason."""
        if sent.signer is None and self._required:
            return "unsigned"
        if sent.signer is not None:
            if KEYS[sent.signer] is STRANGER:
                return "unknown_key"
            if sent.forged:
                return "bad_signature"
            if KEYS[sent.signer] is OPS and sent.issuer != "ops":
                return "wrong_issuer"
        if sent.job != "j":
            return "wrong_job"
        number = sent.issuer, sent.seq
        if number in self._answers:
            model, first = self._answers[number]
            return f"again: {first}" if model == sent.model else "seq_conflict"
        if sent.seq <= self._last.get(sent.issuer, -1):
            return "stale_seq"
        # Without lanes the model's operator knows which models there are.
        found = "unknown_model" if sent.model != "a" and self._laned else "accepted"
        self._answers[number] = sent.model, found
        self._last[sent.issuer] = sent.seq
        return found


MESSAGES = st.builds(
    Sent,
    issuer=st.sampled_from(["ops", "me"]),
    seq=st.integers(0, 6),
    model=st.sampled_from(["a", "b"]),
    signer=st.sampled_from([None, 0, 1, 1, 2]),
    forged=st.sampled_from([False, False, False, True]),
    job=st.sampled_from(["j", "j", "j", "k"]),
)


@settings(max_examples=300, deadline=None)
@given(
    script=st.lists(st.tuples(MESSAGES, st.booleans()), max_size=25),
    required=st.booleans(),
    laned=st.booleans(),
    ordered=st.booleans(),
)
def test_any_script_gets_the_verdicts_that_the_rules_say(
    script: list[tuple[Sent, bool]], required: bool, laned: bool, ordered: bool
) -> None:
    """With a restart after any of its messages."""
    gate = bench(trusted_keys=TRUSTED, require_signatures=required, laned=laned, ordered=ordered)
    rules = Rules(required, laned)
    first_acks: dict[tuple[str, int], str] = {}
    accepted = 0
    for sent, restart in script:
        told = gate.told
        counts = len(told.items), len(told.acks), len(told.logged), len(told.letters)
        before = gate.gate.plain()
        gate.say(sent.raw())
        items = told.items[counts[0] :]
        acks = told.acks[counts[1] :]
        logged, letters = told.logged[counts[2] :], told.reasons()[counts[3] :]
        wanted = rules.verdict(sent)
        number = sent.issuer, sent.seq
        if wanted == "accepted":
            accepted += 1
            assert [item[2] for _, item in items] == [accepted]
            assert (len(logged), letters, len(acks)) == (1, [], int(laned))
        elif wanted.startswith("again: "):
            assert (logged, letters) == ([], [])
            if number in first_acks:
                assert (acks, items) == ([first_acks[number]], []), "to the letter"
            else:
                # The lane has said it, and says it again.
                assert (acks, len(items)) == ([], 1)
                assert items[0][1][0] == REPEAT
                assert items[0][1][2:] == number
        else:
            assert (items, logged, letters) == ([], [], [wanted])
            [ack] = map(json.loads, acks)
            assert (ack["accepted"], ack["reason"]) == (False, wanted)
            if wanted != "unknown_model":
                assert gate.gate.plain()["issuers"].get(sent.issuer, {}).get("recent", {}) == (
                    before["issuers"].get(sent.issuer, {}).get("recent", {})
                )
        if wanted in ("accepted", "unknown_model") and acks:
            first_acks[number] = acks[0]
        if restart:
            gate.restart()


def test_only_the_last_hundred_of_an_issuer_are_remembered() -> None:
    """An older one that comes again is stale, and is done no second time."""
    gate = bench(laned=True)
    gate.say(*(payload(seq, "freeze") for seq in range(150)))
    gate.say(payload(49, "freeze"), payload(50, "freeze"), payload(50, "unfreeze"))
    assert gate.told.answers()[150:] == [
        (49, False, "stale_seq"),
        (50, True, None),
        (50, False, "seq_conflict"),
    ]
    assert gate.told.sent() == list(range(150))
    assert len(pickle.dumps(gate.gate.plain())) < 100_000


def test_numbers_may_have_gaps_and_each_issuer_has_its_own() -> None:
    gate = bench()
    gate.say(
        payload(0, "freeze"),
        payload(2**63 - 1, "freeze"),
        {**payload(5, "freeze"), "issuer": "other"},
        payload(2**63 - 1, "unfreeze"),
        payload(7, "freeze"),
    )
    assert gate.told.sent() == [0, 2**63 - 1, 5]
    assert gate.told.reasons() == ["seq_conflict", "stale_seq"]


def test_a_refused_message_uses_up_its_number() -> None:
    gate = bench(laned=True)
    gate.say(payload(3, "freeze", "b"), payload(3, "freeze", "b"), payload(3, "freeze"))
    assert gate.told.answers() == [
        (3, False, "unknown_model"),
        (3, False, "unknown_model"),
        (3, False, "seq_conflict"),
    ]
    assert gate.told.acks[0] == gate.told.acks[1]
    assert gate.told.reasons() == ["unknown_model", "seq_conflict"], "once for what came twice"


# Time


def test_by_the_clock_a_message_waits_for_its_time() -> None:
    gate = bench()
    gate.say(
        payload(1, "freeze", effective_at=NOW + 200),
        payload(2, "unfreeze", effective_at=NOW + 100),
        payload(3, "publish", effective_at=NOW - 5),
        payload(4, "promote", effective_at=NOW + 200),
    )
    assert gate.told.sent() == [3]
    assert gate.gate.due(NOW) == NOW + 100
    gate.restart()
    assert gate.gate.due(NOW + 99) == NOW + 100
    assert gate.told.sent() == [3]
    assert gate.gate.due(NOW + 100) == NOW + 200
    assert gate.told.sent() == [3, 2]
    assert gate.gate.due(NOW + 5000) is None
    assert gate.told.sent() == [3, 2, 1, 4]
    times = [json.loads(line)["effective_at"] for line in gate.told.logged]
    assert times == [NOW + 200, NOW + 100, NOW, NOW + 200], "what has passed takes effect now"


def test_by_event_time_a_message_has_its_place_and_one_behind_it_is_too_late() -> None:
    gate = bench(ordered=True)
    gate.now = 1000
    gate.say(
        payload(1, "freeze", effective_at=1000),
        payload(2, "freeze", effective_at=1001),
        payload(3, "unfreeze"),
        payload(4, "freeze", effective_at=5000),
    )
    assert gate.told.answers() == [(1, False, "too_late")]
    assert [operation.time for _, operation in gate.told.operations()] == [1001, 1001, 5000]
    assert [json.loads(line)["effective_at"] for line in gate.told.logged] == [1001, 1001, 5000]
    ids = [item[1] for _, item in gate.told.items]
    assert ids == sorted(ids), "of one time they keep their order"


def test_nothing_takes_effect_before_the_first_time_that_an_event_may_have() -> None:
    gate = bench(ordered=True, min_ts=500)
    gate.now = -(1 << 63)
    gate.say(payload(1, "freeze"), payload(2, "freeze", effective_at=3), payload(3, "freeze"))
    assert [operation.time for _, operation in gate.told.operations()] == [500] * 3


@pytest.mark.parametrize("ordered", [False, True])
def test_a_message_that_has_expired_is_refused(ordered: bool) -> None:
    gate = bench(ordered=ordered)
    gate.now = 1000
    now = 1000 if ordered else NOW
    gate.say(payload(1, "freeze", expires_at=now), payload(2, "freeze", expires_at=now + 1))
    assert gate.told.answers() == [(1, False, "expired")]
    assert gate.told.sent() == [2]


# Lanes

VERSION_OF_A_LANE = "a/shop%207@3-0123456789ab"


def test_a_version_of_a_lane_goes_to_that_lane_which_answers() -> None:
    gate = bench(laned=True)
    gate.say(payload(1, "rollback", version=VERSION_OF_A_LANE))
    gate.say(payload(2, "pin", version=VERSION_OF_A_LANE), payload(3, "unpin"))
    found = [(lane, operation.acks) for lane, operation in gate.told.operations()]
    assert found == [("shop 7", True), ("shop 7", True), (None, False)]
    assert gate.told.answers() == [(3, True, None)]
    gate.say(payload(2, "pin", version=VERSION_OF_A_LANE))
    assert gate.told.items[-1] == ("shop 7", (REPEAT, "me\0" + "2".zfill(20), "me", 2))


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (payload(1, "rollback", version="a@3-0123456789ab"), "unknown_version"),
        (payload(1, "pin", version="nonsense"), "unknown_version"),
        (payload(1, "deploy", "b", from_version=VERSION_OF_A_LANE), "not_applicable"),
        (payload(1, "deploy", "b", artifact="file.rrv"), "not_applicable"),
        (payload(1, "promote"), "not_applicable"),
        (payload(1, "split", weights={"a": 99}), "bad_split"),
        (payload(1, "split", weights={"b": 100}), "unknown_model"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_what_cannot_be_for_all_lanes(message: dict[str, Any], reason: str) -> None:
    gate = bench(laned=True)
    gate.say(message)
    assert gate.told.answers() == [(1, False, reason)]
    assert gate.told.items == []


def test_with_lanes_a_message_is_judged_as_things_are_when_it_takes_effect() -> None:
    """Whatever order they come in: lanes do them in the order of their times."""
    gate = bench(laned=True, ordered=True, filed={"a": "champion", "b": "challenger"})
    gate.now = 0
    gate.say(
        payload(1, "retire", "b", effective_at=300),
        payload(2, "promote", "b", effective_at=100),
        payload(3, "promote", "a", effective_at=50),
        payload(4, "promote", "a", effective_at=200),
        payload(5, "freeze", "b", effective_at=301),
        payload(6, "freeze", "b", effective_at=299),
    )
    gate.restart()
    gate.now = 150
    gate.say(payload(7, "promote", "b"), payload(8, "promote", "b", effective_at=201))
    gate.now = 400
    gate.say(payload(9, "freeze", "b"))
    assert gate.told.answers() == [
        (1, True, None),
        (2, True, None),
        (3, False, "not_applicable"),
        (4, True, None),
        (5, False, "unknown_model"),
        (6, True, None),
        (7, False, "not_applicable"),
        (8, True, None),
        (9, False, "unknown_model"),
    ]


def test_with_lanes_a_name_is_free_again_when_its_model_has_expired() -> None:
    gate = bench(scratch=Scratch(TrialLimits()), laned=True, ordered=True, models=deploy_settings())
    gate.now = 0
    deploy = {"task": "classification", "spec": SCALED_LR}
    gate.say(
        payload(1, "deploy", "b", **deploy, effective_at=10, expires_at=100),
        payload(2, "freeze", "b", effective_at=100),
        payload(3, "freeze", "b", effective_at=99),
    )
    assert gate.told.answers() == [(1, True, None), (2, False, "unknown_model"), (3, True, None)]


# Trials, by the real thing


def deploy_settings() -> dict[str, Any]:
    return {"max_failures": 3, "failure_window": 50, "retain": 7}


def deploy(seq: int, spec: Any, model: str = "b", **fields: Any) -> dict[str, Any]:
    return payload(seq, "deploy", model, **{"task": "classification", "spec": spec, **fields})


def nested(depth: int) -> dict[str, Any]:
    spec: dict[str, Any] = SCALED_LR
    for _ in range(depth):
        spec = {"pipeline": [spec]}
    return spec


BAD_SPECS: dict[str, tuple[Any, str]] = {
    "unknown class": ({"class": "river.tree.HoeffdingTreeClasifier"}, "HoeffdingTreeClassifier"),
    "off the allowlist": ({"class": "os.system", "args": ["true"]}, "os.system"),
    "no estimator": ({"class": "river.datasets.Phishing"}, "river.datasets.Phishing"),
    "unknown parameter": (
        {"class": "river.linear_model.LogisticRegression", "params": {"l3": 1.0}},
        "l3",
    ),
    "wrong type": (
        {"class": "river.linear_model.LogisticRegression", "params": {"l2": "much"}},
        "",
    ),
    "too deep": (nested(40), "nested deeper than 16"),
    "empty": ({}, ""),
    "too many nodes": ({"pipeline": [SCALED_LR] * 2000}, ""),
    "too large": (
        {"class": "river.linear_model.LogisticRegression", "params": {"l2": "x" * 200_000}},
        "",
    ),
    "for another task": ({"class": "river.linear_model.LinearRegression"}, "classif"),
    "no number of trees": (
        {"class": "river.forest.ARFClassifier", "params": {"n_models": "ten"}},
        "",
    ),
}


@pytest.fixture(scope="module")
def scratch() -> Iterator[Scratch]:
    yield Scratch(TrialLimits(seconds=20))


@pytest.mark.parametrize("case", BAD_SPECS)
def test_a_spec_that_is_no_model_is_refused(scratch: Scratch, case: str) -> None:
    spec, said = BAD_SPECS[case]
    gate = bench(scratch=scratch, models=deploy_settings())
    gate.say(deploy(1, spec), payload(2, "freeze"))
    assert gate.told.answers() == [(1, False, "bad_spec")]
    [letter] = map(json.loads, gate.told.letters)
    assert said in letter["detail"]
    assert gate.told.sent() == [2], "and the next message is judged"


def test_a_spec_that_is_one_is_deployed_with_what_it_says_and_the_jobs_settings(
    scratch: Scratch,
) -> None:
    gate = bench(scratch=scratch, models=deploy_settings())
    subspaces = {
        "class": "river.ensemble.SRPClassifier",
        "params": {"model": {"class": "river.naive_bayes.GaussianNB"}, "n_models": 2},
    }
    gate.say(deploy(1, SCALED_LR, role="shadow"), deploy(2, subspaces, "c"))
    gate.say(deploy(3, {"class": "river.anomaly.HalfSpaceTrees"}, "d", task="anomaly"))
    assert gate.told.letters == []
    found = [
        msgspec.json.decode(operation.settings or b"", type=ModelSettings)
        for _, operation in gate.told.operations()
    ]
    assert [(s.name, s.task, s.role, s.purity.value, s.learn_on) for s in found] == [
        ("b", "classification", "shadow", "pure", "label"),
        ("c", "classification", "challenger", "first", "label"),
        ("d", "anomaly", "challenger", "pure", "arrival"),
    ]
    assert {(s.max_failures, s.failure_window, s.retain) for s in found} == {(3, 50, 7)}
    assert found[0].origin == SCALED_LR
    assert isinstance(found[1].origin["params"]["seed"], int), "every seed is filled in"


def test_a_message_behind_a_trial_waits_and_the_trial_is_not_in_state(scratch: Scratch) -> None:
    gate = bench(scratch=scratch)
    before = gate.gate.plain()
    raw = text(deploy(1, SCALED_LR)).encode()
    assert not gate.gate.judge(Origin("control", "c:1", raw), NOW, NOW)
    assert gate.told.order == []
    assert {**gate.gate.plain(), "issuers": {}} == {**before, "issuers": {}}
    gate.gate.close()
    gate.restart()
    gate.say(deploy(1, SCALED_LR))
    assert gate.told.sent() == [1]


def artifact(key: SigningKey | None, **more: Any) -> bytes:
    pickled = pickle_model(hat())
    head = sha256(b"somewhere").hexdigest()
    manifest = Manifest(
        **{
            "model": "elsewhere",
            "lane": None,
            "version": f"elsewhere@0-{head[:12]}",
            "n": 0,
            "head": head,
            "task": "classification",
            "origin": {"pickle": sha256(pickled).hexdigest()},
            "label_type": "bool",
            "names": [],
            "purity": "pure",
            "environment": environment(),
            "sha256": sha256(pickled).hexdigest(),
            "created": NOW,
            **more,
        }
    )
    return artifact_bytes(manifest, pickled, key)


def in_base64(data: bytes) -> str:
    return "base64:" + base64.b64encode(data).decode()


def test_an_artifact_of_a_trusted_key_is_deployed(scratch: Scratch, tmp_path: Path) -> None:
    data = artifact(ANYBODY)
    (tmp_path / "file.rrv").write_bytes(data)
    gate = bench(scratch=scratch, trusted_keys=TRUSTED)
    named = (in_base64(data), str(tmp_path / "file.rrv"), f"file://{tmp_path}/file.rrv")
    for seq, where in enumerate(named):
        gate.say(payload(seq, "deploy", f"m{seq}", artifact=where))
    assert gate.told.letters == []
    for _, operation in gate.told.operations():
        found = msgspec.json.decode(operation.settings or b"", type=ModelSettings)
        assert (found.task, found.labels, operation.artifact) == ("classification", "bool", data)


def test_a_regression_that_is_deployed_takes_any_number(scratch: Scratch) -> None:
    gate = bench(scratch=scratch)
    spec = {"class": "river.linear_model.LinearRegression"}
    gate.say(payload(1, "deploy", "b", spec=spec, task="regression"))
    gate.say(payload(2, "deploy", "c", spec=SCALED_LR, task="classification"))
    assert gate.told.letters == []
    settings = [
        msgspec.json.decode(operation.settings or b"", type=ModelSettings)
        for _, operation in gate.told.operations()
    ]
    assert [found.labels for found in settings] == ["number", None]


def test_an_artifact_that_is_not_trusted_is_not_even_unpickled(
    scratch: Scratch, tmp_path: Path
) -> None:
    flag = tmp_path / "unpickled"

    class Trap:
        def __reduce__(self) -> Any:
            return Path.touch, (flag,)

    trap = pickle.dumps(Trap())
    digest = sha256(trap).hexdigest()

    def trapped(key: SigningKey | None) -> bytes:
        manifest = msgspec.json.decode(
            json.dumps(
                {
                    "model": "t", "lane": None, "version": "t@0-000000000000", "n": 0,
                    "head": "00" * 32, "task": "classification", "origin": {"pickle": digest},
                    "label_type": None, "names": [], "purity": "pure",
                    "environment": environment(), "sha256": digest, "created": NOW,
                }
            ),
            type=Manifest,
        )  # fmt: skip
        return artifact_bytes(manifest, trap, key)

    good = artifact(ANYBODY)
    bad = {
        "unsigned": in_base64(trapped(None)),
        "a stranger's": in_base64(trapped(STRANGER)),
        "no Base64": "base64:***",
        "no archive": in_base64(b"PK nothing"),
        "cut": in_base64(good[: len(good) // 2]),
        "no file": str(tmp_path / "nowhere.rrv"),
        "a folder": str(tmp_path),
        "no path": "\0",
    }
    gate = bench(scratch=scratch, trusted_keys=TRUSTED)
    for seq, where in enumerate(bad.values()):
        gate.say(payload(seq, "deploy", "b", artifact=where))
    assert gate.told.reasons() == ["bad_artifact"] * len(bad)
    assert not flag.exists()
    gate.say(payload(90, "deploy", "b", artifact=in_base64(good), task="regression"))
    assert gate.told.answers()[-1] == (90, False, "bad_artifact"), "its task is another"


# The control log


def test_the_control_log_is_a_control_stream_itself(tmp_path: Path) -> None:
    own = SigningKey.generate()
    settings: dict[str, Any] = {
        "require_signatures": True,
        "signing_key_file": key_file(tmp_path, own),
        "ordered": True,
        "filed": {"a": "champion", "b": "challenger"},
    }
    live = bench(trusted_keys=TRUSTED, **settings)
    live.now = 1000
    live.say(
        signed(payload(1, "freeze"), ANYBODY),
        signed(payload(2, "freeze"), STRANGER),
        signed(payload(3, "promote", "b", effective_at=4000), ANYBODY),
        signed(payload(4, "freeze", effective_at=1000), ANYBODY),
    )
    live.now = 2000
    live.say(signed(payload(5, "unfreeze"), ANYBODY))
    trusted = TrustedKeys([own.public])
    for line in live.told.logged:
        found = read_control(line.encode(), Limits())
        assert not isinstance(found, Rejected)
        assert trusted.verify(CONTROL, found.text, found.key_id or "", found.signature or "")
    again = bench(**settings)
    again.now = -(1 << 63)
    again.say(*(line.encode() for line in live.told.logged))
    timed = [[o.time for _, o in each.told.operations()] for each in (live, again)]
    assert timed == [[1001, 4000, 2001]] * 2
    assert again.told.sent() == live.told.sent() == [1, 3, 5]
    assert again.told.letters == []
