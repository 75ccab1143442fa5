"""Whole jobs with a control stream on a MiniCluster: the conformance set, lanes, failures.

Each is compared with the backtest record for record, with answers written down by hand, and with plain
River.
"""

import base64
import json
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import cloudpickle
import pytest

from jobs.running import run
from operators.control_gate import ControlGate
from state.artifacts import Manifest, artifact_bytes
from state.signing import SigningKey
from state.snapshots import environment, pickle_model
from tests.jobs.controlled_jobs import (
    LR,
    NB,
    TREE,
    answers,
    at,
    audit,
    controlled_job,
    deploy,
    expected,
    loop,
    make,
    message,
    said_of,
    serving,
    signed,
    texts,
    written,
)
from tests.jobs.flows import by_content, classifier, phishing, write
from tests.jobs.test_running import injected  # noqa: F401

pytestmark = pytest.mark.cluster

EVENT_TIME = {"ordering": "event_time"}


def same(config: Any, wanted: dict[str, list[dict]]) -> dict[str, list[dict]]:
    """Assert that the job wrote what the backtest makes; between lanes there is no order."""
    got = written(config)
    for output, rows in wanted.items():
        ordered = output in ("predictions", "evaluations", "learn_log")
        if ordered and config.job.parallelism == 1:
            assert got[output] == rows, output
        else:
            assert by_content(got[output]) == by_content(rows), output
    return got


# The conformance set

KEY, STRANGER = SigningKey.generate(), SigningKey.generate()
COUNT = 200


class Case(NamedTuple):
    """A record of the control stream, and what comes of it.

    `reason` None: accepted. `answers`: how many acks there are; `times`: how often the record comes.
    """

    record: dict[str, Any] | bytes
    reason: str | None = None
    answers: int = 1
    times: int = 1


def nested(depth: int) -> dict[str, Any]:
    spec: dict[str, Any] = NB
    for _ in range(depth):
        spec = {"pipeline": [spec]}
    return spec


def an_artifact() -> tuple[str, str, str, Any]:
    """In Base64, signed; its version, head and model."""
    model = make(LR)
    for number in range(20):
        model.learn_one({"ip_in_url": number % 3, "long_url": number % 2}, number % 4 == 0)
    pickled, head = pickle_model(model), sha256(b"elsewhere").hexdigest()
    version = f"elsewhere@20-{head[:12]}"
    manifest = Manifest(
        model="elsewhere",
        lane=None,
        version=version,
        n=20,
        head=head,
        task="classification",
        origin=LR,
        label_type="bool",
        names=[],
        purity="pure",
        environment=environment(),
        sha256=sha256(pickled).hexdigest(),
        created=0,
    )
    data = artifact_bytes(manifest, pickled, KEY)
    return "base64:" + base64.b64encode(data).decode(), version, head, model


ARTIFACT, ARTIFACT_VERSION, ARTIFACT_HEAD, ARTIFACT_MODEL = an_artifact()


def conformance(version: str, other: str) -> list[Case]:
    """All of it; a version of `b` and one of `a`, which are retained when they are wanted."""
    cases: list[Case] = []

    def add(payload: dict[str, Any], reason: str | None = None, **more: Any) -> None:
        cases.append(Case(signed(payload, KEY), reason, **more))

    def raw(record: bytes, reason: str) -> None:
        cases.append(Case(record, reason, answers=0))

    # Who may say what.
    cases.append(Case(message(1, "retire"), "unsigned"))
    cases.append(Case(signed(message(1, "retire"), STRANGER), "unknown_key"))
    bad = signed(message(1, "retire"), KEY)
    cases.append(Case({**bad, "payload": bad["payload"] + " "}, "bad_signature"))
    add({**message(1, "retire"), "job": "another"}, "wrong_job")
    # What is none.
    raw(b"not JSON", "not_json")
    raw(b"\xff\xfe", "not_utf8")
    raw(b"[1]", "not_object")
    raw(b"[" * 100_000 + b"]" * 100_000, "too_large")
    raw(b"[" * 20_000 + b"]" * 20_000, "too_deep")
    raw(json.dumps(message(1, "explode")).encode(), "bad_field")
    raw(json.dumps({**message(1, "retire"), "why": 1}).encode(), "unknown_field")
    # A second model, promoted.
    add(deploy(1, "b", NB, effective_at=at(20)))
    add(deploy(2, "b", LR, effective_at=at(21)), "already_deployed")
    add(message(3, "promote", "b", effective_at=at(30)))
    add(message(4, "promote", "b", effective_at=at(30.5)), "not_applicable")
    add(message(5, "retire", "z", effective_at=at(31)), "unknown_model")
    # A shadow, which takes part in no split, and may be promoted.
    add(deploy(6, "s", TREE, role="shadow", effective_at=at(32)))
    shares = {"a": 50, "s": 50}
    add(message(7, "split", "a", weights=shares, effective_at=at(33)), "bad_split")
    add(message(8, "split", "a", weights={"a": 50, "b": 49}, effective_at=at(34)), "bad_split")
    add(message(9, "split", "a", weights={"a": 50, "b": 50}, effective_at=at(40)))
    add(message(10, "promote", "s", effective_at=at(60)))
    # Retire the one that serves, and another, and again.
    add(message(11, "retire", "s", effective_at=at(80)))
    add(deploy(12, "s", LR, effective_at=at(90)))
    add(message(13, "retire", "s", effective_at=at(100)))
    add(message(14, "retire", "s", effective_at=at(101)), "unknown_model")
    add(deploy(15, "s", NB, effective_at=at(110)))
    add(message(16, "retire", "s", effective_at=at(115)))
    # Specs that are no models.
    for seq, spec in enumerate(
        (
            {"class": "river.tree.HoeffdingTreeClasifier"},
            {"class": "os.system", "args": ["true"]},
            {"class": "river.linear_model.LogisticRegression", "params": {"l2": "much"}},
            {"class": "river.linear_model.LogisticRegression", "params": {"l3": 1}},
            nested(40),
            {"class": "river.linear_model.LogisticRegression", "params": {"l2": "x" * 120_000}},
            {"class": "river.linear_model.LinearRegression"},
        ),
        20,
    ):
        add(deploy(seq, "bad", spec, effective_at=at(116)), "bad_spec")
    add(deploy(28, "bad", nested(250), effective_at=at(116)), "bad_spec")
    # Versions: there, and not there.
    add(message(30, "rollback", "a", version="a@999-000000000000", effective_at=at(117)),
        "unknown_version")  # fmt: skip
    add(message(31, "pin", "a", version=version, effective_at=at(118)), "unknown_version")
    add(message(32, "rollback", "b", version=version, effective_at=at(119)))
    add(message(33, "pin", "b", version=version, effective_at=at(120)))
    add(message(34, "unpin", "b", effective_at=at(125)))
    add(message(35, "unpin", "b", effective_at=at(126)), "not_applicable")
    add(message(36, "deploy", "c", from_version=other, effective_at=at(127)))
    add(message(37, "deploy", "d", from_version="a@1-000000000000", effective_at=at(127)),
        "unknown_version")  # fmt: skip
    add(deploy(38, "d", NB, effective_at=at(128), expires_at=at(140)))
    add(message(39, "freeze", "d", effective_at=at(141)), "unknown_model")
    # Artifacts.
    add(message(40, "deploy", "e", artifact=ARTIFACT, effective_at=at(130)))
    add(message(41, "deploy", "f", artifact=ARTIFACT[:-400], effective_at=at(130)), "bad_artifact")
    # Learning.
    add(message(42, "freeze", "c", effective_at=at(150)))
    add(message(43, "freeze", "c", effective_at=at(151)), "not_applicable")
    add(message(44, "unfreeze", "c", effective_at=at(160)))
    add(message(45, "publish", "c", effective_at=at(161)), "not_applicable")
    # Numbers.
    # The answer comes when it takes effect, and that is not yet.
    add(message(46, "promote", "a", effective_at=at(165)), times=3)
    add(message(46, "promote", "b", effective_at=at(166)), "seq_conflict")
    add(message(19, "promote", "b", effective_at=at(166)), "stale_seq")
    again = deploy(47, "bad", {"class": "os.system"}, effective_at=at(166))
    add(again, "bad_spec", times=2, answers=2)
    # One that was sent late, and takes effect before others.
    add(message(48, "freeze", "b", effective_at=at(10)), "unknown_model")
    add(message(49, "promote", "nobody"), "unknown_model")
    return cases


def conformance_job(folder: Path, cases: list[Case], **job: Any) -> tuple[Any, list[dict]]:
    events = phishing(COUNT, last_delay=40 * 60_000)
    write(folder / "events.jsonl", events)
    write(folder / "control.jsonl", [case.record for case in cases for _ in range(case.times)])
    config = controlled_job(
        folder,
        job={**EVENT_TIME, **job},
        models=[classifier("a")],
        limits={"record_bytes": 150_000},
        security={"trusted_keys": [f"me:{KEY.public}"], "require_signatures": True},
    )
    return config, events


def version_of(rows: list[dict], model: str, n: int) -> str:
    """The version that a model had after `n` examples."""
    [found] = [
        row["version"]
        for row in rows
        if row["model"] == model and row["n"] == n and row["kind"] == "example"
    ]
    return found


class Conformance(NamedTuple):
    """The set, the folder that its inputs lie in, and what the backtest makes of them."""

    cases: list[Case]
    folder: Path
    expected: dict[str, list[dict]]


@pytest.fixture(scope="module")
def conformed(tmp_path_factory: pytest.TempPathFactory) -> Conformance:
    """Versions are known from a run without the messages that name them."""
    nowhere = conformance("b@1-000000000000", "a@1-000000000000")
    config, _ = conformance_job(tmp_path_factory.mktemp("first"), nowhere)
    log = expected(config)["learn_log"]
    cases = conformance(version_of(log, "b", 30), version_of(log, "a", 60))
    folder = tmp_path_factory.mktemp("conformance")
    config, _ = conformance_job(folder, cases)
    return Conformance(cases, folder, expected(config))


@pytest.mark.parametrize("parallelism", [1, 2])
def test_the_conformance_set(conformed: Conformance, parallelism: int) -> None:
    cases = conformed.cases
    config, events = conformance_job(conformed.folder, cases, parallelism=parallelism)
    assert run(config, start="fresh", overwrite=True)
    got = same(config, conformed.expected)

    # By hand: one answer for each that is signed or could be, dead letters for all that were refused.
    payloads = [json.loads(c.record["payload"]) if isinstance(c.record, dict)
                and "payload" in c.record else c.record for c in cases]  # fmt: skip
    wanted = [
        (payload["seq"], case.reason)
        for payload, case in zip(payloads, cases, strict=True)
        for _ in range(case.answers)
    ]
    assert answers(got["control_acks"]) == sorted(wanted, key=lambda a: (a[0], a[1] or ""))
    reasons = [letter["reason"] for letter in got["dead_letters"] if letter["stage"] == "control"]
    assert sorted(reasons) == sorted(case.reason for case in cases if case.reason is not None)
    assert got["alerts"] == []

    # Nothing that was refused has touched a model: each is what River makes of its own time.
    predictions = got["predictions"]
    assert said_of(predictions, "a") == loop(make(LR), events)
    b = said_of(predictions, "b")
    alone = loop(make(NB), events, at(20))
    assert {id: b[id] for id in list(b)[:90]} == {id: alone[id] for id in list(alone)[:90]}
    own = [row for row in predictions if row["model"] == "s"]
    for begin, end, spec in ((32, 80, TREE), (90, 100, LR), (110, 115, NB)):
        part = [row for row in own if at(begin) <= row["event_time"] < at(end)]
        assert said_of(part, "s") == loop(make(spec), events, at(begin), at(end))
    assert len(own) == 48 + 10 + 5
    assert said_of(predictions, "d") == loop(make(NB), events, at(128), at(140))
    audit(
        texts(config, "predictions"),
        texts(config, "learn_log"),
        events,
        {"a": LR},
        [(ARTIFACT_VERSION, ARTIFACT_HEAD, ARTIFACT_MODEL)],
    )

    # Who serves, when.
    served = serving(predictions)
    numbers = {f"t{number}": number for number in range(COUNT)}
    assert set(served) == set(numbers)
    for id, number in numbers.items():
        share = int(sha256(id.encode()).hexdigest()[:16], 16) / 16**16 * 100
        wanted_model = (
            "a" if number < 30
            else "b" if number < 40
            else ("a" if share < 50 else "b") if number < 60
            else "s" if number < 80
            else "b" if number < 165
            else "a"
        )  # fmt: skip
        assert served[id] == wanted_model, id
    frozen = [row for row in got["learn_log"] if row["model"] == "c" and row["kind"] == "example"]
    times = {e["id"]: e["ts"] for e in events if "label" in e}
    assert not any(at(150) <= times[row["id"]] < at(160) for row in frozen)
    assert any(times[row["id"]] >= at(160) for row in frozen)


def test_the_control_log_of_a_run_gives_the_same_run(
    tmp_path: Path, conformed: Conformance
) -> None:
    """A backfill reads it as its control stream."""
    first = conformed.expected
    write(tmp_path / "events.jsonl", (conformed.folder / "events.jsonl").read_bytes().splitlines())
    write(tmp_path / "control.jsonl", first["control_log"])
    config = controlled_job(
        tmp_path,
        job=EVENT_TIME,
        models=[classifier("a")],
        limits={"record_bytes": 150_000},
        security={"trusted_keys": [KEY.public]},
    )
    backfill = expected(config)
    assert backfill["control_log"] == first["control_log"]
    for output in ("predictions", "learn_log", "evaluations"):
        assert backfill[output] == first[output]
        assert first[output]


# Shadow and champion


def test_shadow_and_champion_are_what_each_is_alone(tmp_path: Path) -> None:
    events = phishing()
    write(tmp_path / "events.jsonl", events)
    write(
        tmp_path / "control.jsonl",
        [
            deploy(1, "shadow", TREE, role="shadow"),
            message(2, "promote", "shadow", effective_at=at(700)),
        ],
    )
    config = controlled_job(tmp_path, job=EVENT_TIME, models=[classifier("a")])
    assert run(config)
    got = same(config, expected(config))
    assert len(got["predictions"]) == 2 * 1250
    assert said_of(got["predictions"], "a") == loop(make(LR), events)
    assert said_of(got["predictions"], "shadow") == loop(make(TREE), events)
    champions = [row["model"] for row in got["predictions"] if row["serving"]]
    assert champions == ["a"] * 700 + ["shadow"] * 550


# With little else


def test_a_job_of_control_messages_only(tmp_path: Path) -> None:
    write(tmp_path / "events.jsonl", [])
    write(tmp_path / "control.jsonl", [deploy(1, "b", NB), message(2, "promote", "b")])
    config = controlled_job(tmp_path, job=EVENT_TIME, models=[classifier("a")])
    assert run(config)
    got = same(config, expected(config))
    assert answers(got["control_acks"]) == [(1, None), (2, None)]
    assert got["predictions"] == got["dead_letters"] == []


def test_a_job_of_events_only(tmp_path: Path) -> None:
    events = phishing(100)
    write(tmp_path / "events.jsonl", events)
    write(tmp_path / "control.jsonl", [])
    config = controlled_job(tmp_path, job=EVENT_TIME, models=[classifier("a")])
    assert run(config)
    got = same(config, expected(config))
    assert said_of(got["predictions"], "a") == loop(make(LR), events)
    assert got["control_acks"] == got["control_log"] == []


def test_events_before_any_model_wait_and_messages_stand_among_the_events(tmp_path: Path) -> None:
    """One input for both, in turns; after the last model has gone events wait for another."""
    events = phishing(120, last_delay=40 * 60_000)
    messages = [
        deploy(1, "b", NB, effective_at=at(30)),
        deploy(2, "c", LR, effective_at=at(50)),
        message(3, "retire", "b", effective_at=at(60)),
        message(4, "retire", "c", effective_at=at(70)),
        deploy(5, "b", TREE, effective_at=at(90)),
        message(6, "retire", "b", effective_at=at(110)),
        # Event time has passed it when it comes.
        message(7, "promote", "b", effective_at=at(5)),
    ]
    timed = [(m.get("effective_at") - 20 * 60_000, 0, m) for m in messages[:6]]
    timed += [(event["ts"], 1, event) for event in events] + [(at(119), 2, messages[6])]
    write(tmp_path / "in.jsonl", [each for *_, each in sorted(timed, key=lambda t: t[:2])])
    source = {"path": "in.jsonl"}
    config = controlled_job(
        tmp_path,
        job=EVENT_TIME,
        models=[],
        inputs={"features": source, "control": source},
    )
    assert run(config)
    got = same(config, expected(config))
    assert answers(got["control_acks"])[:6] == [(seq, None) for seq in range(1, 7)]
    assert answers(got["control_acks"])[6:] == [(7, "too_late")]
    # What waited is asked and taught as if the model had been there from where the waiting began.
    assert said_of(got["predictions"], "c") == loop(make(LR), events, at(50), at(70))
    trees = loop(make(TREE), events, at(70), at(110))
    assert said_of([r for r in got["predictions"] if r["event_time"] >= at(70)], "b") == trees
    bayes = loop(make(NB), events, 0, at(60))
    assert said_of([r for r in got["predictions"] if r["event_time"] < at(60)], "b") == bayes
    # Nobody came for the last ten.
    unanswered = {e["id"] for e in events if "features" in e and e["ts"] >= at(110)}
    lost = [row for row in got["dead_letters"] if row["reason"] == "no_model"]
    assert {row["id"] for row in lost if row["stage"] == "predict"} == unanswered
    assert len(unanswered) == 10


@pytest.mark.parametrize("without", [{"without_model": "dead_letter"}, {"hold_limit": 7}])
def test_events_without_a_model_are_dead_letters_by_a_setting(
    tmp_path: Path, without: dict[str, Any]
) -> None:
    events = phishing(60, last_delay=10 * 60_000)
    write(tmp_path / "events.jsonl", events)
    write(tmp_path / "control.jsonl", [deploy(1, "b", NB, effective_at=at(30))])
    config = controlled_job(tmp_path, job={**EVENT_TIME, **without}, models=[])
    got = expected(config)
    before = [event for event in events if event["ts"] < at(30)]
    kept = before[: without.get("hold_limit", 0)]
    lost = [row["id"] for row in got["dead_letters"] if row["reason"] == "no_model"]
    assert lost == [event["id"] for event in before[len(kept) :]]
    asked = [e["id"] for e in kept if "features" in e]
    assert [row["id"] for row in got["predictions"]] == (
        asked + [f"t{number}" for number in range(30, 60)]
    )


@pytest.mark.parametrize("mode", ["thread", "process"])
def test_in_arrival_order_all_is_answered_when_a_model_comes(tmp_path: Path, mode: str) -> None:
    """Whenever the message arrives: what came before it waits."""
    events = phishing(150)
    write(tmp_path / "events.jsonl", events)
    write(tmp_path / "control.jsonl", [deploy(1, "b", LR), message(1, "freeze", "b")])
    config = controlled_job(tmp_path, job={"execution": mode}, models=[])
    assert run(config)
    got = written(config)
    assert said_of(got["predictions"], "b") == loop(make(LR), events)
    assert answers(got["control_acks"]) == [(1, None), (1, "seq_conflict")]
    assert {row["reason"] for row in got["dead_letters"]} == {"seq_conflict"}
    audit(texts(config, "predictions"), texts(config, "learn_log"), events, {})


# Lanes


def shop_of(id: str) -> str:
    return f"shop {int(id[1:]) % 7}/ä"


@pytest.mark.parametrize("parallelism", [1, 2])
def test_with_lanes_every_lane_does_what_is_said(tmp_path: Path, parallelism: int) -> None:
    """Those that come later, too; few of them are in memory at a time."""
    events = phishing(280, last_delay=40 * 60_000)
    for event in events:
        if "features" in event:
            event["features"]["shop"] = shop_of(event["id"])
    # Two shops begin late.
    late = {shop_of("t5"), shop_of("t6")}
    shops = {event["id"]: shop_of(event["id"]) for event in events}
    events = [e for e in events if shops[e["id"]] not in late or int(e["id"][1:]) >= 150]
    write(tmp_path / "events.jsonl", events)
    spec = {"pipeline": [{"class": "river.compose.Discard", "args": ["shop"]}, *LR["pipeline"]]}
    lone_nb = {"pipeline": [{"class": "river.compose.Discard", "args": ["shop"]}, NB]}
    messages = [
        deploy(1, "b", lone_nb, effective_at=at(60)),
        message(2, "promote", "b", effective_at=at(100)),
        deploy(3, "bad", {"class": "os.system"}, effective_at=at(100)),
        message(4, "freeze", "a", effective_at=at(120)),
        message(5, "unfreeze", "a", effective_at=at(180)),
        message(6, "rollback", "a", version="a/nowhere@3-000000000000", effective_at=at(190)),
        message(7, "rollback", "a", version="a@3-000000000000", effective_at=at(190)),
        message(8, "retire", "b", effective_at=at(220)),
        message(9, "freeze", "b", effective_at=at(230)),
        deploy(10, "b", lone_nb, effective_at=at(240), role="champion"),
    ]
    write(tmp_path / "control.jsonl", messages)
    config = controlled_job(
        tmp_path,
        job={**EVENT_TIME, "lane_by": "shop", "live_lanes": 2, "parallelism": parallelism},
        models=[classifier("a", spec)],
    )
    assert run(config)
    got = same(config, expected(config))
    assert answers(got["control_acks"]) == [
        (1, None),
        (2, None),
        (3, "bad_spec"),
        (4, None),
        (5, None),
        (6, "unknown_version"),
        (7, "unknown_version"),
        (8, None),
        (9, "unknown_model"),
        (10, None),
    ]
    assert {ack["version"] for ack in got["control_acks"]} == {None}
    plain_events = [
        {**e, "features": {k: v for k, v in e["features"].items() if k != "shop"}}
        if "features" in e
        else e
        for e in events
    ]
    for shop in set(shops.values()):
        own = [event for event in plain_events if shops[event["id"]] == shop]
        rows = [row for row in got["predictions"] if row["lane"] == shop]
        while_thawed = [e for e in own if "features" in e or not at(120) <= e["ts"] < at(180)]
        assert said_of(rows, "a") == loop(make(LR), while_thawed), shop
        first = [row for row in rows if row["event_time"] < at(230)]
        assert said_of(first, "b") == loop(make(NB), own, at(60), at(220)), shop
        second = [row for row in rows if row["event_time"] >= at(230)]
        assert said_of(second, "b") == loop(make(NB), own, at(240)), shop
        for row in rows:
            number = int(row["id"][1:])
            champion = "b" if 100 <= number < 220 or number >= 240 else "a"
            assert row["serving"] == (row["model"] == champion)


def test_what_waits_in_lanes_is_answered_when_a_model_comes_be_it_after_their_last_event(
    tmp_path: Path,
) -> None:
    """All that is there when the input ends has been said before that."""
    events = phishing(60, last_delay=10 * 60_000)
    for event in events:
        if "features" in event:
            # One shop has the first half, the other the second.
            event["features"]["shop"] = f"shop {int(event['id'][1:]) // 30}"
    write(tmp_path / "events.jsonl", events)
    spec = {"pipeline": [{"class": "river.compose.Discard", "args": ["shop"]}, NB]}
    write(tmp_path / "control.jsonl", [deploy(1, "b", spec, effective_at=at(50))])
    config = controlled_job(tmp_path, job={**EVENT_TIME, "lane_by": "shop"}, models=[])
    assert run(config)
    got = same(config, expected(config))
    assert {row["id"] for row in got["predictions"]} == {f"t{number}" for number in range(60)}
    assert got["dead_letters"] == []


# Failures


class FailingGate(ControlGate):
    """Raises once, while the third message that is read is being judged."""

    def fail_once(self, flag: str) -> "FailingGate":
        self._flag, self._seen = flag, 0
        return self

    def process_element(self, value: Any, ctx: Any) -> Any:
        told = super().process_element(value, ctx)
        self._seen += 1
        if self._seen == 3 and not Path(self._flag).exists():
            Path(self._flag).touch()
            raise RuntimeError("injected")
        return told


def test_a_job_that_failed_in_the_gate_and_in_the_model_ends_as_one_that_never_did(
    tmp_path: Path,
    injected: Any,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from jobs import online_learning

    events = phishing(500, last_delay=40 * 60_000)
    write(tmp_path / "events.jsonl", events)
    # The control stream is held up by nobody but itself, so its messages are among the events.
    messages = [
        deploy(1, "b", NB, effective_at=at(100)),
        message(2, "promote", "b", effective_at=at(150)),
        deploy(3, "bad", {"class": "os.system"}, effective_at=at(160)),
        message(4, "split", "a", weights={"a": 50, "b": 50}, effective_at=at(200)),
        message(5, "freeze", "a", effective_at=at(250)),
        message(6, "unfreeze", "a", effective_at=at(300)),
        message(7, "promote", "a", effective_at=at(350)),
        message(8, "retire", "b", effective_at=at(450)),
    ]
    write(tmp_path / "control.jsonl", messages)
    config = controlled_job(
        tmp_path, job={**EVENT_TIME, "checkpoint_interval": "50ms"}, models=[classifier("a")]
    )
    flags = injected(300, 501)
    flag = flags / "gate"
    module = sys.modules[__name__]
    cloudpickle.register_pickle_by_value(module)
    monkeypatch.setattr(
        online_learning, "ControlGate", lambda *given: FailingGate(*given).fail_once(str(flag))
    )
    try:
        assert run(config)
    finally:
        cloudpickle.unregister_pickle_by_value(module)
    assert len(list(flags.iterdir())) == 3
    got = same(config, expected(config))
    assert answers(got["control_acks"]) == [
        (seq, "bad_spec" if seq == 3 else None) for seq in range(1, 9)
    ]
    audit(texts(config, "predictions"), texts(config, "learn_log"), events, {"a": LR})
