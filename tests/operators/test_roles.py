"""Which model answers: roles, splits, and what is left of them after each operation."""

import json
import random
from collections import Counter
from hashlib import sha256
from typing import Any

import msgspec
import pytest

from events.messages import ControlPayload
from operators.roles import Role, Roles


def payload(op: str, model: str, **fields: Any) -> ControlPayload:
    given = {"job": "j", "issuer": "i", "seq": 1, "op": op, "model": model, **fields}
    return msgspec.convert(given, ControlPayload)


def roles(**given: Role) -> Roles:
    """As a configuration has them."""
    found = Roles()
    found.follow(given)
    return found


def refusal(found: Roles, op: str, model: str, **fields: Any) -> str | None:
    refused = found.refusal(payload(op, model, **fields))
    return None if refused is None else refused.reason


# Splits

IDS = [f"transaction {number}" for number in range(20_000)]


def share(id: str, weights: dict[str, float]) -> str:
    """By the words of the documentation: the digest's first 16 hex digits as a share of 100."""
    place = int(sha256(id.encode()).hexdigest()[:16], 16) / 16**16 * 100
    for name, weight in weights.items():
        if place < weight:
            return name
        place -= weight
    raise AssertionError("weights sum to 100")


@pytest.mark.parametrize(
    "weights",
    [
        {"a": 95, "b": 5},
        {"b": 5, "a": 95},
        {"a": 50.0, "b": 25.5, "c": 24.5},
        {"a": 0, "b": 100},
        {"a": 33.3, "b": 33.3, "c": 33.4},
    ],
    ids=str,
)
def test_a_split_gives_each_model_its_share_of_the_ids(weights: dict[str, float]) -> None:
    found = roles(a="champion", b="challenger", c="challenger")
    split = payload("split", "a", weights=weights)
    assert found.refusal(split) is None
    found.apply(split)
    got = {id: found.serving(id) for id in IDS}
    assert got == {id: share(id, weights) for id in IDS}
    counts = Counter(got.values())
    for name, weight in weights.items():
        # Six standard deviations of a binomial.
        assert abs(counts[name] - len(IDS) * weight / 100) <= 6 * (len(IDS) * 0.25) ** 0.5


def test_a_transaction_stays_with_its_model_whatever_happens_between() -> None:
    found = roles(a="champion", b="challenger")
    found.apply(payload("split", "a", weights={"a": 90, "b": 10}))
    before = [found.serving(id) for id in IDS]
    found.apply(payload("deploy", "c"))
    found = Roles.of_plain(json.loads(json.dumps(found.plain())))
    assert [found.serving(id) for id in IDS] == before
    found.apply(payload("split", "b", weights={"a": 80, "b": 20}))
    moved = [(old, found.serving(id)) for id, old in zip(IDS, before, strict=True)]
    assert set(moved) == {("a", "a"), ("a", "b"), ("b", "b")}, "a growing share takes none away"


def test_without_a_split_the_champion_answers_all() -> None:
    assert {roles(a="challenger", b="champion").serving(id) for id in IDS} == {"b"}
    assert {roles(a="challenger").serving(id) for id in IDS[:5]} == {None}
    assert Roles().serving("t1") is None


@pytest.mark.parametrize(
    ("weights", "reason"),
    [
        ({}, "bad_split"),
        ({"a": 100.001}, "bad_split"),
        ({"a": 60, "b": 39.9}, "bad_split"),
        ({"a": 50, "d": 50}, "bad_split"),
        ({"a": 50, "nobody": 50}, "unknown_model"),
        ({"a": 100}, None),
        ({"a": 99.9999999, "b": 0.0000001}, None),
        ({"b": 100}, None),
    ],
    ids=str,
)
def test_a_split_is_of_models_that_may_answer_and_sums_to_100(
    weights: dict[str, float], reason: str | None
) -> None:
    found = roles(a="champion", b="challenger", d="shadow")
    assert refusal(found, "split", "a", weights=weights) == reason


# Operations


@pytest.mark.parametrize(
    "op",
    ["promote", "rollback", "pin", "unpin", "freeze", "unfreeze", "split", "retire", "publish"],
)
def test_an_operation_is_about_a_model_that_is_deployed(op: str) -> None:
    fields: dict[str, Any] = {"weights": {"a": 100}} if op == "split" else {}
    found = roles(a="champion")
    assert refusal(found, op, "b", **fields) == "unknown_model"
    detail = found.refusal(payload(op, "b", **fields))
    assert detail is not None
    assert detail.detail == "b is not deployed; there are a"
    assert refusal(found, op, "a", **fields) == ("not_applicable" if op == "promote" else None)


def test_a_name_is_deployed_once_at_a_time() -> None:
    found = roles(a="champion")
    assert refusal(found, "deploy", "a") == "already_deployed"
    assert refusal(found, "deploy", "b") is None
    found.apply(payload("deploy", "b"))
    assert refusal(found, "deploy", "b") == "already_deployed"
    found.apply(payload("retire", "b"))
    assert refusal(found, "deploy", "b") is None
    assert refusal(found, "retire", "b") == "unknown_model"


def test_a_deploy_without_a_role_is_a_challenger_or_the_first_champion() -> None:
    found = Roles()
    for name in "ab":
        found.apply(payload("deploy", name))
    found.apply(payload("deploy", "c", role="shadow"))
    assert found.roles == {"a": "champion", "b": "challenger", "c": "shadow"}


def test_a_deployed_champion_takes_the_others_place_and_answers_all() -> None:
    found = roles(a="champion", b="challenger")
    found.apply(payload("split", "a", weights={"a": 50, "b": 50}))
    found.apply(payload("deploy", "c", role="champion"))
    assert found.roles == {"a": "challenger", "b": "challenger", "c": "champion"}
    assert {found.serving(id) for id in IDS[:100]} == {"c"}
    found.apply(payload("retire", "c"))
    assert found.champion == "a"


def test_promote_makes_one_champion_of_any_role_and_ends_a_split() -> None:
    found = roles(a="champion", b="challenger", c="shadow")
    found.apply(payload("split", "a", weights={"a": 50, "b": 50}))
    for name in "cba":
        found.apply(payload("promote", name))
        assert found.champion == name
        assert list(found.roles.values()).count("champion") == 1
        assert found.serving("any") == name
    assert found.roles == {"a": "champion", "b": "challenger", "c": "challenger"}


def test_retiring_the_champion_brings_back_the_one_before_until_there_is_none() -> None:
    found = roles(a="champion", b="challenger", c="challenger")
    found.apply(payload("promote", "b"))
    found.apply(payload("promote", "c"))
    # The last but one goes, and is not waited for.
    found.apply(payload("retire", "b"))
    assert found.champion == "c"
    found.apply(payload("retire", "c"))
    assert (found.champion, found.roles) == ("a", {"a": "champion"})
    found.apply(payload("retire", "a"))
    assert (found.champion, found.roles) == (None, {})
    assert found.retired == ["b", "c", "a"]


def test_retiring_a_model_of_the_split_ends_it_and_another_does_not() -> None:
    found = roles(a="champion", b="challenger", c="shadow")
    weights = {"a": 50.0, "b": 50.0}
    found.apply(payload("split", "a", weights=weights))
    found.apply(payload("retire", "c"))
    assert found.split == weights
    found.apply(payload("retire", "b"))
    assert found.split is None


def test_nobody_is_champion_where_none_was_before() -> None:
    """A challenger that was never champion is not made one by a retirement."""
    found = roles(a="champion", b="challenger")
    found.apply(payload("retire", "a"))
    assert found.roles == {"b": "challenger"}
    assert found.serving("t") is None


@pytest.mark.parametrize(
    "op",
    [
        ("rollback", {"version": "a@0-0123456789ab"}),
        ("pin", {"version": "a@0-0123456789ab"}),
        ("unpin", {}),
        ("freeze", {}),
        ("unfreeze", {}),
        ("publish", {}),
    ],
)
def test_what_concerns_the_model_alone_changes_no_role(op: tuple[str, dict[str, Any]]) -> None:
    found = roles(a="champion", b="challenger")
    before = found.plain()
    found.apply(payload(op[0], "a", **op[1]))
    assert found.plain() == before


# Suspension


def test_a_suspended_champion_gives_way_to_the_one_before() -> None:
    found = roles(a="champion", b="challenger")
    assert found.suspend("a") is None, "nobody can answer instead"
    assert found.champion == "a"
    found.apply(payload("promote", "b"))
    assert found.suspend("b") == "a"
    assert found.roles == {"a": "champion", "b": "challenger"}
    assert found.suspended == ["b"]


def test_a_suspended_models_share_goes_to_the_champion_until_it_is_cleared() -> None:
    found = roles(a="champion", b="challenger", c="challenger")
    weights = {"a": 20, "b": 40, "c": 40}
    found.apply(payload("split", "a", weights=weights))
    assert found.suspend("b") == "a"
    wanted = {id: "a" if share(id, weights) == "b" else share(id, weights) for id in IDS[:500]}
    assert {id: found.serving(id) for id in wanted} == wanted
    found.apply(payload("unfreeze", "b"))
    assert found.suspended == []
    assert {found.serving(id) for id in IDS[:500]} == {"a", "b", "c"}


def test_one_that_is_suspended_itself_stands_in_for_nobody() -> None:
    found = roles(a="champion", b="challenger", c="challenger")
    found.apply(payload("promote", "b"))
    found.apply(payload("promote", "c"))
    found.apply(payload("split", "c", weights={"b": 50, "c": 50}))
    assert found.suspend("b") == "c"
    assert found.suspend("c") == "a"
    assert found.roles == {"a": "champion", "b": "challenger", "c": "challenger"}


def test_without_a_champion_nobody_is_suspended() -> None:
    found = roles(a="challenger", b="challenger")
    found.apply(payload("split", "a", weights={"a": 50, "b": 50}))
    assert found.suspend("a") is None
    assert found.suspended == []
    assert found.serving(IDS[0]) in ("a", "b")


def test_promotion_and_retirement_clear_a_suspension() -> None:
    for op in ("promote", "retire"):
        found = roles(a="champion", b="challenger")
        found.apply(payload("promote", "b"))
        found.suspend("b")
        found.apply(payload(op, "b"))
        assert found.suspended == []


# The configuration


def test_the_configuration_is_followed_where_it_has_changed() -> None:
    found = roles(a="champion", b="challenger")
    found.apply(payload("promote", "b"))
    assert found.follow({"a": "champion", "b": "challenger"}) == []
    assert found.champion == "b", "a message has the last word"
    assert found.follow({"a": "champion", "b": "shadow", "c": "challenger"}) == ["c"]
    assert found.roles == {"c": "challenger", "a": "challenger", "b": "shadow"}


@pytest.mark.parametrize("filed", [("a", "b"), ("b", "a")])
def test_a_new_champion_in_the_configuration_follows_the_old_one(filed: tuple[str, str]) -> None:
    """In whatever order they stand there."""
    found = roles(a="champion", b="challenger")
    found.apply(payload("split", "a", weights={"a": 50, "b": 50}))
    swapped: dict[str, Role] = {"a": "challenger", "b": "champion"}
    assert found.follow({name: swapped[name] for name in filed}) == []
    assert (found.champion, found.former, found.split) == ("b", ["a"], None)


def test_what_was_retired_by_a_message_stays_retired() -> None:
    found = roles(a="champion", b="challenger")
    found.apply(payload("retire", "b"))
    assert found.follow({"a": "champion", "b": "challenger"}) == []
    assert found.roles == {"a": "champion"}
    found.apply(payload("deploy", "b", role="shadow"))
    assert found.follow({"a": "champion", "b": "challenger"}) == []
    assert found.roles["b"] == "shadow"


def test_a_shadow_by_the_configuration_takes_part_in_no_split() -> None:
    found = roles(a="champion", b="challenger")
    found.apply(payload("split", "a", weights={"a": 50, "b": 50}))
    found.follow({"a": "champion", "b": "shadow"})
    assert {found.serving(id) for id in IDS[:100]} == {"a"}


# State


def test_after_every_operation_of_a_long_script_state_has_all_of_it() -> None:
    rng = random.Random(5)
    live = roles(a="champion", b="challenger", c="shadow")
    names = "abcdef"
    done = Counter[str]()
    for _ in range(3000):
        restored = Roles.of_plain(json.loads(json.dumps(live.plain())))
        name = rng.choice(names)
        op = rng.choice(("deploy", "deploy", "promote", "retire", "split", "unfreeze", "suspend"))
        fields: dict[str, Any] = {}
        if op == "split":
            other = rng.choice(names)
            fields = {"weights": {name: 30, other: 70} if other != name else {name: 100}}
        if op == "deploy" and rng.random() < 0.5:
            fields = {"role": rng.choice(("champion", "challenger", "shadow")), "expires_at": 9}
        for each in (live, restored):
            if op == "suspend":
                if name in each.roles and name not in each.suspended:
                    done[op] += each.suspend(name) is not None
            elif each.refusal(payload(op, name, **fields)) is None:
                each.apply(payload(op, name, **fields))
                done[op] += 1
        assert restored == live
        assert [restored.serving(id) for id in IDS[:9]] == [live.serving(id) for id in IDS[:9]]
        # What always holds.
        assert list(live.roles.values()).count("champion") <= 1
        assert set(live.former) | set(live.suspended) | set(live.expires) <= set(live.roles)
        assert len(live.former) == len(set(live.former))
        assert len(live.suspended) == len(set(live.suspended))
        assert live.champion not in {*live.former, *live.suspended}
        assert all(live.roles.get(name, "shadow") != "shadow" for name in live.split or ())
        assert not set(live.retired) & set(live.roles)
    assert len(done) == 6
    assert min(done.values()) > 50
