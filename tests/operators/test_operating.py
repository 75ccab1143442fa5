"""What messages do to the models of one lane; a ledger checks every record as it comes."""

import json
import pickle
import random
from collections import Counter
from hashlib import sha256
from typing import Any

import pytest

from operators.items import Item, Operation, control, repeat
from operators.learning import Out
from operators.roles import Roles
from state.artifacts import Manifest, artifact_bytes
from state.memory import MemoryStore
from state.snapshots import environment, pickle_model
from tests.operators.controlled import FM, LR, NB, SRP, TREE, Controlled, make
from tests.operators.flows import Bench, deployment, example, items_of, request, said
from tests.operators.loops import (
    T0,
    Said,
    ask,
    delayed_loop,
    questions_and_answers,
    transactions,
)
from tests.operators.odd_models import Moody

ROWS = transactions("Phishing", 120)
ITEMS = list(items_of(ROWS))


def predicted(bench: Controlled, model: str) -> dict[str, Said]:
    return bench.written.said(model)


def last_prediction(bench: Bench, model: str = "a") -> dict[str, Any]:
    return bench.written.rows("predictions", model)[-1]


def kinds(bench: Bench, model: str = "a") -> list[str]:
    """What each entry is: its kind, or its operation."""
    return [
        (row["op"] or "").partition(" ")[0] if row["kind"] == "control" else row["kind"]
        for row in bench.written.rows("learn_log", model)
    ]


# Rollback


@pytest.mark.parametrize("spec", [LR, SRP, TREE], ids=["LR", "SRP", "tree"])
def test_after_a_rollback_a_model_goes_on_from_that_version(spec: Any) -> None:
    """To each retained version, and equal to a plain copy taught what came after."""
    retain = 6
    bench = Controlled({"a": spec}, retain=retain, every=4)
    bench.handle(*ITEMS[:60])
    for place in range(1, retain + 1):
        target = bench.history()[-place - 1]
        model = bench.ledger.model(target)
        reason, version = bench.do("rollback", version=target)
        assert reason is None
        assert version is not None
        assert version.partition("-")[0] == target.partition("-")[0], "N is the target's again"
        assert version != target
        rows = iter(ROWS[60:])
        for _ in range(3):
            row = next(rows)
            bench.handle(request(f"{row.id} after {place}", T0, row.x))
            got = last_prediction(bench)
            assert said(got) == ask("classification", model, row.x)
            bench.handle(example(f"{row.id} after {place}", T0, row.x, row.y))
            model.learn_one(row.x, row.y)


def test_the_same_examples_again_lead_to_other_versions_and_the_same_answers() -> None:
    bench = Controlled({"a": LR}, retain=50)
    bench.handle(*ITEMS[:40])
    target = bench.history()[-1]

    def again(name: str) -> list[Said]:
        for row in ROWS[90:100]:
            bench.handle(request(f"{row.id} {name}", T0, row.x))
            bench.handle(example(f"{row.id} {name}", T0, row.x, row.y))
        rows = bench.written.rows("predictions")[-10:]
        return [said(row) for row in rows]

    first = again("once")
    versions = bench.history()[-10:]
    bench.do("rollback", version=target)
    assert again("twice") == first
    assert not set(versions) & set(bench.history()[-10:])
    assert [v.partition("-")[0] for v in versions] == (
        [v.partition("-")[0] for v in bench.history()[-10:]]
    )


def test_a_rollback_is_entered_and_acknowledged_with_the_version_it_led_to() -> None:
    bench = Controlled({"a": LR})
    bench.handle(*ITEMS[:40])
    before, target = bench.history()[-1], bench.history()[-4]
    _, version = bench.do("rollback", version=target)
    entry = bench.written.rows("learn_log")[-1]
    assert (entry["parent"], entry["version"], entry["seq"]) == (before, version, 1)
    op, _, fields = entry["op"].partition(" ")
    assert (op, json.loads(fields)) == (
        "rollback",
        {"version": target, "head": bench.ledger.heads[target]},
    )
    [ack] = bench.written.rows("control_acks")
    assert ack == {
        "issuer": "me",
        "seq": 1,
        "op": "rollback",
        "model": "a",
        "accepted": True,
        "reason": None,
        "version": version,
    }


def test_a_rollback_to_the_present_version_and_to_the_very_first() -> None:
    bench = Controlled({"a": LR}, retain=100)
    bench.handle(*ITEMS[:20])
    assert bench.do("rollback", version=bench.history()[-1])[0] is None
    first = bench.history()[0]
    assert bench.do("rollback", version=first)[1].startswith("a@0-")  # type: ignore[union-attr]
    bench.handle(request("unfitted", T0, ROWS[0].x))
    assert said(last_prediction(bench)) == ask("classification", make(LR), ROWS[0].x)
    bench.handle(*ITEMS[20:60])


def test_labels_keep_the_type_that_the_version_had() -> None:
    """Before its first label a model takes any; one that was rolled back to there does so again."""
    bench = Controlled({"a": NB}, retain=10)
    bench.handle(request("t", T0, {"x": 1.0}), example("t", T0, {"x": 1.0}, True))
    bench.handle(example("u", T0, {"x": 1.0}, "yes"))
    assert bench.reasons() == ["label_type"]
    bench.do("rollback", version=bench.history()[0])
    bench.come_back()
    bench.handle(example("u", T0, {"x": 1.0}, "yes"), example("v", T0, {"x": 1.0}, True))
    assert bench.reasons() == ["label_type"] * 2
    assert bench.written.rows("learn_log")[-1]["label"] == "yes"


# Pin


@pytest.mark.parametrize("spec", [LR, SRP, TREE], ids=["LR", "SRP", "tree"])
@pytest.mark.parametrize("restarting", [False, True])
def test_a_pinned_model_answers_as_it_was_while_it_learns(spec: Any, restarting: bool) -> None:
    free = Controlled({"a": spec}, retain=8, restarting=restarting)
    bench = Controlled({"a": spec}, retain=8, restarting=restarting)
    for each in (free, bench):
        each.handle(*ITEMS[:60])
    version = bench.history()[-5]
    assert bench.do("pin", version=version) == (None, version)
    for each in (free, bench):
        each.handle(*ITEMS[60:160])
    rows = {row.id: row for row in ROWS}
    pinned = bench.written.rows("predictions")[len(free.written.rows("predictions")) - 200 :]
    after = [row for row in pinned if row["version"] == version][-40:]
    assert len(after) == 40
    for row in after:
        # Asked of a copy of its own each time, as being asked may change it.
        assert said(row) == ask("classification", bench.ledger.model(version), rows[row["id"]].x)
    learned = [row["id"] for row in bench.written.rows("learn_log") if row["kind"] == "example"]
    assert learned == free.ids_learned()
    assert bench.do("unpin")[0] is None
    bench.handle(request("free again", T0, ROWS[0].x))
    assert last_prediction(bench)["version"] == bench.history()[-1]


def test_a_pinned_version_that_a_request_would_change_answers_as_it_was_each_time() -> None:
    """A factorisation machine draws what it knows of a new name when it is asked."""
    bench = Controlled({"a": FM}, retain=50)
    bench.handle(*ITEMS[:20])
    before = kinds(bench).count("request")
    version = bench.history()[-3]
    bench.do("pin", version=version)
    said_of: dict[str, list[Said]] = {}
    for number, name in enumerate(("new", "newer", "new", "newest", "newer")):
        features = {**ROWS[0].x, name: 1.0}
        bench.handle(request(f"t{number}", T0, features))
        got = said(last_prediction(bench))
        assert got == ask("classification", bench.ledger.model(version), features)
        said_of.setdefault(name, []).append(got)
    assert {len(set(map(str, each))) for each in said_of.values()} == {1}
    assert kinds(bench).count("request") == before, "a pinned answer changes nothing"


def test_an_evaluation_names_the_pinned_version_that_was_asked() -> None:
    bench = Controlled({"a": LR})
    bench.handle(*ITEMS[:30])
    version = bench.history()[-2]
    bench.do("pin", version=version)
    bench.handle(request("t", T0, ROWS[0].x), example("t", T0, ROWS[0].x, True))
    assert bench.written.rows("evaluations")[-1]["version"] == version


def test_unpin_needs_a_pin() -> None:
    bench = Controlled({"a": LR})
    assert bench.do("unpin") == ("not_applicable", None)
    bench.do("pin", version=bench.history()[-1])
    assert bench.do("unpin")[0] is None
    assert bench.do("unpin") == ("not_applicable", None)


# Freeze


def test_a_frozen_model_predicts_and_learns_no_more_until_it_may() -> None:
    bench = Controlled({"a": LR})
    bench.handle(*ITEMS[:40])
    learned = len(bench.ids_learned())
    assert bench.do("freeze")[0] is None
    assert bench.do("freeze") == ("not_applicable", None)
    frozen = bench.ledger.model(bench.history()[-1])
    for row in ROWS[90:100]:
        bench.handle(request(row.id, T0, row.x), example(row.id, T0, row.x, row.y))
        assert said(last_prediction(bench)) == ask("classification", frozen, row.x)
    assert len(bench.ids_learned()) == learned
    assert bench.reasons() == ["not_applicable", *["model_frozen"] * 10]
    bench.come_back()
    assert bench.do("unfreeze")[0] is None
    assert bench.do("unfreeze") == ("not_applicable", None)
    bench.handle(*ITEMS[200:220])
    assert len(bench.ids_learned()) > learned
    assert kinds(bench).count("freeze") == kinds(bench).count("unfreeze") == 1


def test_what_failed_before_an_unfreeze_is_forgotten() -> None:
    moody = deployment(Moody(), "a", max_failures=2, retain=5)
    bench = Bench([moody], MemoryStore())
    number = 0

    def fail(times: int) -> list[str]:
        nonlocal number
        for _ in range(times):
            number += 1
            bench.handle(example(f"t{number}", T0, {"poison": 1}, True))
        return bench.reasons()[-times:]

    assert fail(4) == ["learn_failed"] * 3 + ["model_frozen"]
    bench.handle(message(1, "unfreeze"))
    assert fail(4) == ["learn_failed"] * 3 + ["model_frozen"]


def message(seq: int, op: str, model: str = "a", **fields: Any) -> Item:
    text = {"job": "j", "issuer": "me", "seq": seq, "op": op, "model": model, **fields}
    operation = Operation(seq, 0, json.dumps(text).encode(), None, None, True)
    return control(f"me\0{seq:020d}", operation)


# Who serves


def test_serving_follows_promotions_and_splits() -> None:
    bench = Controlled({"a": LR, "b": NB})

    def asked(id: str) -> str | None:
        bench.handle(request(id, T0, ROWS[0].x))
        return bench.serving(id)

    assert asked("one") == "a"
    assert bench.do("promote", "b")[0] is None
    assert bench.do("promote", "b") == ("not_applicable", None)
    assert asked("two") == "b"
    assert bench.do("split", "a", weights={"a": 30, "b": 70})[0] is None
    for number in range(200):
        id = f"split {number}"
        place = int(sha256(id.encode()).hexdigest()[:16], 16) / 16**16 * 100
        assert asked(id) == ("a" if place < 30 else "b")
    bench.come_back()
    assert bench.do("split", "a", weights={"a": 30, "b": 69})[0] == "bad_split"
    assert {asked(f"still {number}") for number in range(50)} == {"a", "b"}
    assert bench.do("promote", "a")[0] is None
    assert {asked(f"no more {number}") for number in range(50)} == {"a"}
    assert kinds(bench) == ["split", "promote"]
    assert kinds(bench, "b") == ["promote"]


def test_what_a_model_says_does_not_depend_on_who_serves() -> None:
    bench = Controlled({"a": LR, "b": TREE})
    items = iter(ITEMS)
    for op, model, fields in (
        ("promote", "b", {}),
        ("split", "a", {"weights": {"a": 50, "b": 50}}),
        ("promote", "a", {}),
        ("publish", "a", {}),
    ):
        bench.handle(*(next(items) for _ in range(60)))
        bench.do(op, model, **fields)
    assert predicted(bench, "a") == loop(LR, 240)
    assert predicted(bench, "b") == loop(TREE, 240)


def loop(spec: Any, items: int) -> dict[str, Said]:
    """A plain River loop over the first so many items."""
    model, found, left = make(spec), {}, items
    for row, answered in questions_and_answers(ROWS):
        if left == 0:
            break
        left -= 1
        if answered:
            model.learn_one(row.x, row.y)
        else:
            found[row.id] = ask("classification", model, row.x)
    return found


# Deploy and retire


def test_a_deployed_model_predicts_and_learns_from_there_on() -> None:
    bench = Controlled({"a": LR})
    bench.handle(*ITEMS[:100])
    assert bench.do("deploy", "b", spec=TREE) == (None, bench.history("b")[-1])
    bench.handle(*ITEMS[100:])
    assert predicted(bench, "a") == delayed_loop("classification", make(LR), ROWS)
    model, expected = make(TREE), {}
    for number, (row, answered) in enumerate(questions_and_answers(ROWS)):
        if number < 100:
            continue
        if answered:
            model.learn_one(row.x, row.y)
        else:
            expected[row.id] = ask("classification", model, row.x)
    assert predicted(bench, "b") == expected
    assert bench.serving(ROWS[-1].id) == "a"


def test_a_name_that_is_deployed_is_not_deployed_again() -> None:
    bench = Controlled({"a": LR})
    before = bench.history()[-1]
    assert bench.do("deploy", "a", spec=NB) == ("already_deployed", None)
    assert bench.history()[-1] == before
    [letter] = bench.written.rows("dead_letters")
    assert (letter["stage"], letter["model"]) == ("control", "a")
    assert json.loads(letter["raw"])["op"] == "deploy"


def test_the_chain_begins_anew_when_a_name_is_deployed_again() -> None:
    bench = Controlled({"a": LR, "b": NB})
    bench.handle(*ITEMS[:30])
    first = bench.history("b")[0]
    assert bench.do("retire", "b") == (None, bench.ledger.history["b"][-1])
    bench.handle(*ITEMS[30:40])
    assert bench.do("deploy", "b", spec=NB)[0] is None
    assert bench.history("b")[0] == first, "of the same spec it is the same beginning"
    assert bench.history("b")[1] != bench.ledger.history["b"][1]
    bench.handle(*ITEMS[40:60])
    assert bench.do("retire", "b")[0] is None
    assert bench.do("retire", "b") == ("unknown_model", None)
    assert bench.do("deploy", "b", spec=LR)[0] is None
    bench.handle(*ITEMS[60:80])
    assert predicted(bench, "a") == loop(LR, 80)


def test_the_former_champion_serves_when_the_champion_retires() -> None:
    bench = Controlled({"a": LR, "b": NB, "c": TREE})
    bench.do("promote", "b")
    bench.do("promote", "c")
    for retired, serves in (("c", "b"), ("b", "a")):
        assert bench.do("retire", retired)[0] is None
        bench.handle(request(f"after {retired}", T0, ROWS[0].x))
        assert bench.serving(f"after {retired}") == serves


@pytest.mark.parametrize("spec", [LR, SRP], ids=["LR", "SRP"])
def test_a_model_starts_from_a_version_of_another(spec: Any) -> None:
    """And is from then on what that version's copy would be, under a chain of its own."""
    bench = Controlled({"a": spec}, retain=20)
    bench.handle(*ITEMS[:80])
    source = bench.history()[-7]
    model = bench.ledger.model(source)
    assert bench.do("deploy", "b", from_version=source)[0] is None
    assert bench.history("b")[0].startswith("b@" + source.partition("@")[2].partition("-")[0])
    for row in ROWS[90:110]:
        bench.handle(request(f"{row.id}!", T0, row.x), example(f"{row.id}!", T0, row.x, row.y))
        assert said(last_prediction(bench, "b")) == ask("classification", model, row.x)
        model.learn_one(row.x, row.y)
    # And again from that, under a third name; the second may go.
    assert bench.do("deploy", "c", from_version=bench.history("b")[-3])[0] is None
    bench.do("retire", "b")
    # They know the names and the labels that were known there.
    bench.handle(example("t", T0, ROWS[0].x, "a text"))
    assert bench.reasons("c") == ["label_type"]
    assert "request" not in kinds(bench, "b")
    bench.come_back()
    bench.handle(request("last", T0, ROWS[0].x))


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"from_version": "a@0-000000000000"}, "unknown_version"),
        ({"from_version": "b@0-000000000000"}, "unknown_version"),
        ({"from_version": "no version"}, "unknown_version"),
        ({"from_version": "a/lane@0-000000000000"}, "unknown_version"),
    ],
)
def test_a_version_that_is_not_there_is_not_started_from(
    fields: dict[str, Any], reason: str
) -> None:
    bench = Controlled({"a": LR})
    bench.handle(*ITEMS[:10])
    assert bench.do("deploy", "b", **fields) == (reason, None)
    # The name is free, as before.
    assert bench.do("deploy", "b", spec=NB)[0] is None


def test_a_version_is_started_from_for_its_own_task_only() -> None:
    bench = Controlled({"a": LR})
    version = bench.history()[-1]
    assert bench.do("deploy", "b", from_version=version, task="regression") == (
        "not_applicable",
        None,
    )
    assert bench.do("deploy", "b", from_version=version, task="classification")[0] is None


def artifact(model: Any, name: str, n: int, **more: Any) -> tuple[bytes, str, str]:
    """A file, its version and its head."""
    head = sha256(name.encode()).hexdigest()
    pickled = pickle_model(model)
    version = f"{name}@{n}-{head[:12]}"
    manifest = Manifest(
        **{
            "model": name,
            "lane": None,
            "version": version,
            "n": n,
            "head": head,
            "task": "classification",
            "origin": {"pickle": "of an artifact"},
            "label_type": "bool",
            "names": [],
            "purity": "pure",
            "environment": environment(),
            "sha256": sha256(pickled).hexdigest(),
            "created": 0,
            **more,
        }
    )
    return artifact_bytes(manifest, pickled), version, head


@pytest.mark.parametrize("name", ["b", "elsewhere"])
def test_a_model_starts_from_an_artifact(name: str) -> None:
    """Under the name that it had its chain goes on, under another one begins."""
    model = make(LR)
    for row in ROWS[:50]:
        model.learn_one(row.x, row.y)
    data, version, head = artifact(model, name, 50)
    bench = Controlled({"a": NB})
    bench.ledger.know(version, head, model)
    reason, led_to = bench.do("deploy", "b", artifact="b.rrv", artifact_bytes=data)
    assert reason is None
    assert led_to is not None
    assert led_to.startswith("b@50-")
    assert (bench.history("b")[0] == version) == (name == "b")
    for row in ROWS[50:70]:
        bench.handle(request(row.id, T0, row.x), example(row.id, T0, row.x, row.y))
        assert said(last_prediction(bench, "b")) == ask("classification", model, row.x)
        model.learn_one(row.x, row.y)
    bench.handle(example("t", T0, ROWS[0].x, "a text"))
    assert bench.reasons().count("label_type") == 2, "both know by now what labels are"


def test_an_artifact_of_another_environment_says_so_in_the_chain() -> None:
    other = {**environment(), "river": "0.1.0"}
    data, version, head = artifact(make(LR), "b", 3, environment=other)
    bench = Controlled({"a": NB})
    bench.ledger.know(version, head, make(LR))
    assert bench.do("deploy", "b", artifact="b.rrv", artifact_bytes=data)[0] is None
    assert kinds(bench, "b") == ["deploy", "environment"]


def test_what_a_message_deploys_is_not_what_the_configuration_has_under_its_name() -> None:
    """Its settings are for another model: of a restart nothing is to be seen."""
    whole, halves = (
        Controlled({"a": LR, "b": NB}, restarting=restarting, labels="bool", max_failures=1)
        for restarting in (False, True)
    )
    for bench in (whole, halves):
        bench._settings["labels"] = None
        bench._settings["max_failures"] = 30
        bench.handle(*ITEMS[:20])
        bench.do("retire", "b")
        bench.do("deploy", "b", spec=TREE)
        for number in range(20):
            bench.handle(example(f"n{number}", T0, {"x": 1.0}, "a text"))
        for number in range(5):
            bench.handle(example(f"n{number}", T0, {"x": "no number"}, "a text"))
    assert whole.written.all() == halves.written.all()
    assert [row["label"] for row in whole.written.rows("learn_log", "b")][-1] == "a text"


# Publish


def test_publish_needs_somewhere_to_publish_to() -> None:
    bench = Controlled({"a": LR})
    assert bench.do("publish") == ("not_applicable", None)
    assert bench.written.rows("learn_log") == []


# Messages that come again


def test_an_ack_is_given_again_to_the_letter_for_the_last_hundred() -> None:
    bench = Controlled({"a": LR})
    for _ in range(60):
        bench.do("freeze")
        bench.do("unfreeze")
    acks = list(bench.written.texts["control_acks"])
    entries = bench.written.rows("learn_log")
    bench.come_back()
    for seq in (20, 21, 120):
        bench.handle(repeat("any", "me", seq))
    bench.handle(repeat("any", "somebody else", 120))
    assert bench.written.texts["control_acks"][120:] == [acks[20], acks[119]]
    assert bench.written.rows("learn_log") == entries


# Without a model


def without_a_model(**settings: Any) -> Controlled:
    return Controlled({}, **settings)


@pytest.mark.parametrize("restarting", [False, True])
def test_what_comes_before_a_model_is_answered_in_its_order_when_there_is_one(
    restarting: bool,
) -> None:
    bench = without_a_model(hold_limit=500, restarting=restarting)
    bench.handle(*ITEMS[:120])
    assert bench.written.rows("predictions") == bench.written.rows("dead_letters") == []
    assert bench.stats.held == 120 or restarting
    assert bench.do("deploy", "b", spec=LR)[0] is None
    assert len(bench.written.rows("predictions")) > 50
    bench.handle(*ITEMS[120:])
    assert predicted(bench, "b") == delayed_loop("classification", make(LR), ROWS)
    assert bench.serving(ROWS[0].id) == "b", "the first is champion"
    assert not bench.lane.holding
    assert bench.store._held == {}


def test_beyond_the_limit_requests_and_labels_are_dead_letters() -> None:
    bench = without_a_model(hold_limit=10)
    bench.handle(*ITEMS[:40])
    letters = bench.written.rows("dead_letters")
    assert {row["reason"] for row in letters} == {"no_model"}
    assert {row["stage"] for row in letters} == {"predict", "learn"}
    assert len(letters) == 30
    assert [json.loads(row["raw"])["id"] for row in letters] == [item[1] for item in ITEMS[10:40]]
    bench.do("deploy", "b", spec=LR)
    assert bench.ids("predictions") == [item[1] for item in ITEMS[:10] if item[0] == 0]


def test_without_holding_all_are_dead_letters() -> None:
    bench = without_a_model(hold_limit=0)
    bench.handle(*ITEMS[:12])
    assert bench.reasons() == ["no_model"] * 12


def test_what_is_held_when_the_input_ends_is_a_dead_letter() -> None:
    bench = without_a_model(hold_limit=100)
    bench.handle(*ITEMS[:12])
    bench.come_back()
    bench.lane.end_of_input()
    assert bench.reasons() == ["no_model"] * 12
    assert bench.store._held == {}
    bench.do("deploy", "b", spec=LR)
    assert bench.written.rows("predictions") == []


@pytest.mark.parametrize("restarting", [False, True])
def test_after_the_last_model_has_gone_what_comes_waits_for_another(restarting: bool) -> None:
    bench = Controlled({"a": NB}, hold_limit=500, restarting=restarting)
    bench.handle(*ITEMS[:50])
    assert bench.do("retire")[0] is None
    bench.handle(*ITEMS[50:90])
    asked = len(bench.written.rows("predictions"))
    bench.do("deploy", "a", spec=LR)
    bench.handle(*ITEMS[90:100])
    rows = bench.written.rows("predictions")[asked:]
    assert [row["id"] for row in rows] == [item[1] for item in ITEMS[50:100] if item[0] == 0]
    assert {row["serving"] for row in rows} == {True}


# Expiry


@pytest.mark.parametrize("restarting", [False, True])
def test_a_model_retires_when_a_request_of_its_last_time_comes(restarting: bool) -> None:
    bench = Controlled({"a": LR}, restarting=restarting)
    until = ROWS[60].ts
    bench.do("deploy", "b", spec=NB, role="champion", expires_at=until)
    bench.handle(*ITEMS)
    asked = [row["id"] for row in bench.written.rows("predictions", "b")]
    assert asked == [row.id for row in ROWS if row.ts < until]
    serving = {
        row["id"]: row["model"] for row in bench.written.rows("predictions") if row["serving"]
    }
    assert serving == {row.id: "b" if row.ts < until else "a" for row in ROWS}
    retired = bench.written.rows("learn_log", "b")[-1]
    assert (retired["op"], retired["seq"]) == ("retire", None)
    assert predicted(bench, "a") == delayed_loop("classification", make(LR), ROWS)


def test_a_message_of_a_later_time_finds_an_expired_model_gone() -> None:
    """By event time, whether or not a request has come."""
    bench = Controlled({"a": LR})
    bench.do("deploy", "b", spec=NB, expires_at=100, time=10)
    assert bench.do("freeze", "b", time=99)[0] is None
    assert bench.do("freeze", "b", time=100) == ("unknown_model", None)
    assert bench.do("deploy", "b", spec=LR, time=101)[0] is None


def test_the_request_at_which_the_last_model_expires_waits_for_the_next() -> None:
    bench = without_a_model(hold_limit=50)
    bench.handle(*ITEMS[:10])
    bench.do("deploy", "a", spec=NB, expires_at=ROWS[3].ts)
    held = bench.ids("predictions")
    assert held == [row.id for row in ROWS[:3]]
    bench.do("deploy", "b", spec=LR)
    assert bench.ids("predictions", "b") == [item[1] for item in ITEMS[:10] if item[0] == 0][3:]
    assert bench.store._held == {}


# Taken out of serving


def moody_bench(*names: str, out: Out | None = None, **settings: Any) -> Bench:
    """Models that obey their features; the first is champion."""
    given = {"max_failures": 3, "failure_window": 20, **settings}
    deployed = [
        deployment(Moody(), name, "challenger" if place else "champion", **given)
        for place, name in enumerate(names)
    ]
    return Bench(deployed, MemoryStore(), out=out)


def ask_often(bench: Bench, count: int, first: int = 0, feature: str = "break") -> list[str]:
    """Ask so many transactions of which none can be answered; who was to answer each."""
    served = []
    for number in range(first, first + count):
        bench.handle(request(f"t{number}", T0 + number, {feature: 1}))
        [server] = {
            row["model"]
            for row in bench.written.rows("predictions")
            if row["id"] == f"t{number}" and row["serving"]
        }
        served.append(server)
    return served


def alerts(bench: Bench) -> list[tuple[str, str]]:
    return [(row["kind"], row["model"]) for row in bench.written.rows("alerts")]


@pytest.mark.parametrize("feature", ["break", "nan", "inf"])
@pytest.mark.parametrize("restarting", [False, True])
def test_a_champion_that_keeps_failing_gives_way_to_the_former_one(
    feature: str, restarting: bool
) -> None:
    bench = moody_bench("a", "b")
    bench.handle(message(1, "promote", "b"))
    served = []
    for number in range(6):
        served += ask_often(bench, 1, number, feature)
        if restarting:
            bench.store = pickle.loads(pickle.dumps(bench.store))
            bench.restart()
    # Four are more than three; then a fails as well, and there is no one else.
    assert served == ["b"] * 4 + ["a"] * 2
    assert alerts(bench)[0] == ("suspended", "b")
    [alert] = bench.written.rows("alerts")[:1]
    assert (alert["id"], alert["event_time"], alert["lane"]) == ("t3", T0 + 3, None)
    assert alert["detail"].endswith("; a serves")
    [entry] = [row for row in bench.written.rows("learn_log", "b") if "suspend" in row["op"]]
    assert entry["seq"] is None
    assert set(json.loads(entry["op"].partition(" ")[2])) == {"reason"}
    assert bench.stats.suspensions == 1


def test_a_champion_without_a_former_one_stays_with_an_alert() -> None:
    """Each time that its failures are too many again."""
    bench = moody_bench("a", "b")
    assert set(ask_often(bench, 9)) == {"a"}
    assert alerts(bench) == [("failing", "a")] * 2
    assert {row["detail"].partition("; ")[2] for row in bench.written.rows("alerts")} == {
        "no other can serve"
    }
    assert bench.written.rows("learn_log") == []


def test_a_challengers_failures_are_nobodys_business_until_it_serves() -> None:
    bench = moody_bench("a", "b")
    bench.handle(message(1, "promote", "b"), message(2, "promote", "a"))
    ask_often(bench, 3)
    assert alerts(bench) == []
    # b has failed as often as a, but nobody waits for it.
    ask_often(bench, 1, 3)
    assert alerts(bench) == [("suspended", "a")]


def test_in_a_split_the_champion_takes_over_a_failing_models_share() -> None:
    bench = moody_bench("a", "b")
    bench.handle(message(1, "split", "a", weights={"a": 0, "b": 100}))
    assert ask_often(bench, 12) == ["b"] * 4 + ["a"] * 8
    assert alerts(bench).count(("suspended", "b")) == 1, "it is out, and told of once"
    bench.handle(message(2, "unfreeze", "b"))
    assert ask_often(bench, 2, 12) == ["b"] * 2


def test_promote_and_unfreeze_let_a_suspended_model_serve_again() -> None:
    bench = moody_bench("a", "b")
    bench.handle(message(1, "promote", "b"))
    ask_often(bench, 4)
    assert bench.lane.roles.suspended == ["b"]
    bench.handle(message(2, "promote", "b"))
    assert bench.lane.roles.suspended == []
    assert ask_often(bench, 5, 4) == ["b"] * 4 + ["a"]


def test_failures_count_within_a_window_of_what_is_learned() -> None:
    """Three at most among the last twenty: one every ten examples is no reason."""
    bench = moody_bench("a", "b")
    bench.handle(message(1, "promote", "b"))
    for number in range(8):
        ask_often(bench, 1, number)
        learned = (example(f"l{number} {n}", T0, {"x": 1}, True) for n in range(10))
        bench.handle(*learned)
    assert alerts(bench) == []


def test_a_model_that_takes_too_long_cannot_answer_either() -> None:
    """The limit is so small that River's own work exceeds it."""
    slow = deployment(make(TREE), "b", "champion", max_predict_ms=1e-6, max_failures=3)
    bench = Bench([slow, deployment(make(LR), "a", "challenger")], MemoryStore())
    bench.handle(message(1, "promote", "a"), message(2, "promote", "b"))
    rows = ROWS[:5]
    for row in rows:
        bench.handle(request(row.id, row.ts, row.x))
    served = [row["model"] for row in bench.written.rows("predictions") if row["serving"]]
    assert served == ["b"] * 4 + ["a"]
    assert "ms; a serves" in bench.written.rows("alerts")[0]["detail"]
    assert all("error" not in row for row in bench.written.rows("predictions")), "it has answered"


def test_suspension_needs_no_alerts_to_be_written() -> None:
    bench = moody_bench("a", "b", out=Out(alerts=False))
    bench.handle(message(1, "promote", "b"))
    assert ask_often(bench, 5) == ["b"] * 4 + ["a"]
    assert alerts(bench) == []


# All of it


OFTEN = [
    *("deploy", "rollback", "promote", "unpin", "unfreeze", "split") * 2,
    *("pin", "pin", "freeze", "retire", "publish"),
]


class Script:
    """Random messages among the items of a stream, and what is to become of each."""

    def __init__(self, bench: Controlled, seed: int, retain: int) -> None:
        self._bench = bench
        self._rng = random.Random(seed)
        self._retain = retain
        self._roles = Roles()
        self._roles.follow({"a": "champion", "b": "challenger"})
        self._frozen: set[str] = set()
        self._pinned: set[str] = set()
        self.outcomes = Counter[tuple[str, str | None]]()
        self.served: list[tuple[str, str | None]] = []

    def play(self, items: list[Item]) -> None:
        for item in items:
            self._bench.handle(item)
            if item[0] == 0:
                self.served.append((item[1], self._roles.serving(item[1])))
            while self._rng.random() < 0.4:
                self._message()

    def _message(self) -> None:
        rng, bench, roles = self._rng, self._bench, self._roles
        name, op = rng.choice("abcd"), rng.choice(OFTEN)
        undone = {"unpin": self._pinned, "unfreeze": self._frozen}.get(op)
        if undone and rng.random() < 0.7:
            name = rng.choice(sorted(undone))
        fields: dict[str, Any] = {}
        live = name in roles.roles
        reason = None if live else "unknown_model"
        if op == "deploy":
            reason = "already_deployed" if live else None
            fields = {"spec": rng.choice((LR, NB, TREE, SRP))}
            if roles.roles and rng.random() < 0.4:
                fields = {"from_version": self._version(rng.choice(list(roles.roles)))}
            if rng.random() < 0.5:
                fields["role"] = rng.choice(("champion", "challenger", "shadow"))
        elif op in ("rollback", "pin"):
            fields = {"version": self._version(name) if live else f"{name}@0-0123456789ab"}
            if rng.random() < 0.2:
                fields = {"version": f"{name}@3-0123456789ab"}
                reason = reason or "unknown_version"
        elif op == "split":
            shares = {each: 25 for each in rng.sample("abcd", 4)}
            if rng.random() < 0.7:
                may = [each for each, role in roles.roles.items() if role != "shadow"]
                shares = {each: 100 / len(may) for each in may}
            fields = {"weights": shares}
            if reason is None and not set(shares) <= set(roles.roles):
                reason = "unknown_model"
                # Whichever comes first in the message.
                if "shadow" in [roles.roles.get(each) for each in shares]:
                    return
            elif reason is None and (
                not shares or "shadow" in [roles.roles[each] for each in shares]
            ):
                reason = "bad_split"
        elif live and (
            (op == "promote" and roles.roles[name] == "champion")
            or (op == "unpin" and name not in self._pinned)
            or (op == "freeze" and name in self._frozen)
            or (op == "unfreeze" and name not in self._frozen)
            or op == "publish"
        ):
            reason = "not_applicable"
        entries = len(bench.written.texts["learn_log"])
        got, version = bench.do(op, name, **fields)
        assert got == reason, (op, name, fields)
        self.outcomes[op, reason] += 1
        if reason is not None:
            assert version is None
            assert len(bench.written.texts["learn_log"]) == entries
            return
        self._applied(op, name, fields)
        if op not in ("pin", "retire"):
            assert version == bench.history(name)[-1]

    def _version(self, name: str) -> str:
        """One of those that are retained in any case."""
        versions = self._bench.history(name)
        return self._rng.choice(versions[-self._retain - 1 :])

    def _applied(self, op: str, name: str, fields: dict[str, Any]) -> None:
        if op == "deploy":
            self._roles.deploy(name, fields.get("role"))
        elif op == "retire":
            self._roles.retire(name)
            self._frozen.discard(name)
            self._pinned.discard(name)
        elif op == "promote":
            self._roles.promote(name)
        elif op == "split":
            self._roles.split = fields["weights"]
        elif op in ("freeze", "pin"):
            (self._frozen if op == "freeze" else self._pinned).add(name)
        elif op in ("unfreeze", "unpin"):
            (self._frozen if op == "unfreeze" else self._pinned).discard(name)


@pytest.mark.parametrize(("retain", "every"), [(3, 2), (8, 5), (8, 40), (40, 3)])
@pytest.mark.parametrize("seed", range(3))
def test_a_restart_anywhere_in_a_long_script_changes_nothing(
    seed: int, retain: int, every: int
) -> None:
    """Messages of all kinds, good and bad; one run goes through, the other comes back after each item.

    Of both the ledger checks every record: chains, and each prediction against plain River.
    """
    written = []
    for restarting in (False, True):
        bench = Controlled(
            {"a": LR, "b": SRP},
            retain=retain,
            every=every,
            restarting=restarting,
            hold_limit=1000,
        )
        script = Script(bench, seed, retain)
        script.play(ITEMS)
        predictions = bench.written.rows("predictions")
        assert bench.ledger.predicted == len(predictions) > 150
        held = {id for id, _ in script.served} - {row["id"] for row in predictions}
        serving = {row["id"]: row["model"] for row in predictions if row["serving"]}
        if not held:
            assert serving == {id: name for id, name in script.served if name is not None}
        written.append(bench.written.all())
        accepted = {op for op, reason in script.outcomes if reason is None}
        assert accepted == {
            "deploy", "promote", "rollback", "pin", "unpin", "freeze", "unfreeze", "split", "retire",
        }  # fmt: skip
        assert len(script.outcomes) > 15
    assert written[0] == written[1]
