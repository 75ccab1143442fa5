"""What is kept of a model: each of its last versions can be gone back to, and no more lies in state."""

import random
from typing import Any

import pytest

from models.purity import Purity
from tests.operators.controlled import LR, NB, SRP, TREE, Controlled
from tests.operators.flows import items_of, request
from tests.operators.loops import T0, ask, transactions

ROWS = transactions("Phishing", 80)
SPECS = {"LR": LR, "NB": NB, "tree": TREE, "SRP": SRP}


def can_go_back(bench: Controlled, count: int, model: str = "a") -> None:
    """Each of the last `count` versions before the present one is there, and is what it was."""
    live = bench.lane.live[model]
    for version in bench.history(model)[-count - 1 :]:
        found = bench.lane.keeper.find(live, version)
        assert found is not None, version
        copy = bench.lane.keeper.at(live, found)
        assert (copy.version, copy.head.hex()) == (version, bench.ledger.heads[version])
        learned = bench.ids_learned(model)[: copy.n]
        if len(bench.ids_learned(model)) == live.n:  # nothing was undone
            span = [seen and seen.id for seen in (copy.first, copy.last)]
            assert span == ([learned[0], learned[-1]] if learned else [None, None])
        oracle = bench.ledger.model(version)
        for row in ROWS[:3]:
            assert ask("classification", copy.model, row.x) == (
                ask("classification", oracle, row.x)
            )


@pytest.mark.parametrize("every", [1, 3, 7, 1000])
@pytest.mark.parametrize("retain", [0, 1, 2, 5, 20])
def test_the_last_versions_are_there_after_each_entry(retain: int, every: int) -> None:
    bench = Controlled({"a": LR}, retain=retain, every=every)
    for number, item in enumerate(items_of(ROWS[:45])):
        bench.handle(item)
        if number % 5 == 0:
            bench.come_back()
        can_go_back(bench, retain)


@pytest.mark.parametrize("name", SPECS)
def test_versions_of_every_kind_of_model_are_there(name: str) -> None:
    """Requests that change a model lead to versions, too."""
    bench = Controlled({"a": SPECS[name]}, retain=12, every=5)
    rows = [row._replace(x=dict(list(row.x.items())[n % 4 :])) for n, row in enumerate(ROWS[:40])]
    for item in items_of(rows):
        bench.handle(item)
    kinds = {row["kind"] for row in bench.written.rows("learn_log")}
    assert ("request" in kinds) == (name == "SRP")
    can_go_back(bench, 12)
    bench.come_back()
    can_go_back(bench, 12)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("retain", "every"), [(4, 3), (9, 2), (9, 50), (25, 6)])
def test_the_last_versions_are_there_whatever_was_rolled_back(
    seed: int, retain: int, every: int
) -> None:
    """Over one rollback after another, among them to what an earlier one had gone back to."""
    rng = random.Random(seed)
    bench = Controlled({"a": LR}, retain=retain, every=every)
    rollbacks = 0
    for item in items_of(ROWS[:50]):
        bench.handle(item)
        while rng.random() < 0.25:
            back = rng.randrange(min(retain, len(bench.history()) - 1) + 1)
            target = bench.history()[-back - 1]
            reason, version = bench.do("rollback", version=target)
            assert reason is None
            assert version == bench.history()[-1] != target
            rollbacks += 1
        if rng.random() < 0.2:
            bench.come_back()
        can_go_back(bench, retain)
    assert rollbacks > 10


@pytest.mark.parametrize("every", [1, 4, 30])
def test_state_holds_no_more_than_twice_what_is_wanted(every: int) -> None:
    retain = 10
    bench = Controlled({"a": LR}, retain=retain, every=every)
    most = 0
    for item in items_of(ROWS):
        bench.handle(item)
        snapshots, logs = bench.store._snapshots, bench.store._logs
        assert len(snapshots) <= 4
        most = max(most, sum(map(len, logs.values())))
    assert most <= 2 * (retain + every)


def test_versions_further_back_are_gone_in_the_end() -> None:
    bench = Controlled({"a": LR}, retain=3, every=2)
    bench.handle(*items_of(ROWS))
    old = bench.history()[5]
    before = bench.written.rows("learn_log")
    assert bench.do("rollback", version=old) == ("unknown_version", None)
    assert bench.do("pin", version=old) == ("unknown_version", None)
    assert bench.do("deploy", "b", from_version=old) == ("unknown_version", None)
    assert bench.reasons() == ["unknown_version"] * 3
    assert bench.written.rows("learn_log") == before
    assert list(bench.lane.live) == ["a"]


@pytest.mark.parametrize(
    "version",
    [
        "a@0-000000000000",
        "a@7-0123456789ab",
        "nobody@0-000000000000",
        "a/lane@0-000000000000",
        "a@0",
        "",
        "a@0-",
        "\0",
    ],
)
def test_a_version_that_never_was_is_not_found(version: str) -> None:
    bench = Controlled({"a": LR})
    bench.handle(*items_of(ROWS[:10]))
    for op in ("rollback", "pin"):
        assert bench.do(op, version=version) == ("unknown_version", None)


def test_a_version_of_another_model_is_none_of_this_one() -> None:
    bench = Controlled({"a": LR, "b": LR})
    bench.handle(*items_of(ROWS[:10]))
    assert bench.do("rollback", "a", version=bench.history("b")[-1])[0] == "unknown_version"
    assert bench.do("pin", "b", version=bench.history("a")[-1])[0] == "unknown_version"


def test_a_retired_model_leaves_nothing_in_state() -> None:
    bench = Controlled({"a": LR, "b": NB}, retain=5, every=3)
    bench.handle(*items_of(ROWS[:30]))
    bench.do("pin", "b", version=bench.history("b")[-2])
    bench.do("rollback", "b", version=bench.history("b")[-3])
    assert bench.do("retire", "b")[0] is None
    store = bench.store
    assert {name for name, _ in store._snapshots} == {"a"}
    assert {name for (name, _), entries in store._logs.items() if entries} == {"a"}
    assert set(store.models()) == {"a"}
    assert store.failures("b") is None
    bench.do("deploy", "b", spec=NB)
    assert bench.lane.live["b"].pinned is None
    assert bench.do("rollback", "b", version=bench.ledger.history["b"][-5])[0] == "unknown_version"


def test_a_pin_that_ends_or_moves_leaves_nothing_in_state() -> None:
    bench = Controlled({"a": LR})
    bench.handle(*items_of(ROWS[:30]))

    def pinned() -> list[Any]:
        return [key for key in bench.store._snapshots if key[1] < 0]

    assert pinned() == []
    bench.do("pin", version=bench.history()[-2])
    bench.do("pin", version=bench.history()[-5])
    assert len(pinned()) == 1
    bench.do("unpin")
    assert pinned() == []


def test_a_pinned_version_stays_when_it_is_no_longer_retained() -> None:
    bench = Controlled({"a": LR}, retain=2, every=2)
    items = list(items_of(ROWS))
    bench.handle(*items[:40])
    version = bench.history()[-2]
    assert bench.do("pin", version=version) == (None, version)
    bench.handle(*items[40:])
    bench.come_back()
    assert bench.do("rollback", version=version)[0] == "unknown_version"
    bench.handle(request("asked", T0, ROWS[0].x))
    assert bench.written.rows("predictions")[-1]["version"] == version


@pytest.mark.parametrize(("before", "after"), [(0, 6), (6, 0), (6, 2), (2, 6)])
def test_another_number_of_versions_counts_from_the_restart_on(before: int, after: int) -> None:
    bench = Controlled({"a": LR}, retain=before, every=3)
    items = list(items_of(ROWS[:60]))
    bench.handle(*items[:60])
    bench.deployments = Controlled({"a": LR}, retain=after, every=3).deployments
    bench.restart()
    at_restart = len(bench.history())
    for item in items[60:]:
        bench.handle(item)
        can_go_back(bench, min(after, len(bench.history()) - at_restart))
    can_go_back(bench, after)
    if after == 0:
        assert len(bench.store._snapshots) == 1
        assert bench.lane.live["a"].kept == []


def test_a_model_that_is_changed_by_being_asked_has_its_names_at_each_version() -> None:
    """Or a request that changed it then would change it unnoticed now."""
    bench = Controlled({"a": SRP}, retain=50, every=4)
    assert bench.deployments[0].settings.purity is Purity.NAMES
    x = ROWS[0].x
    bench.handle(request("one", T0, x), request("two", T0, {**x, "new": 1.0}))
    bench.do("rollback", version=bench.history()[1])
    bench.handle(request("three", T0, {**x, "new": 1.0}), request("four", T0, x))
    entered = [row["id"] for row in bench.written.rows("learn_log") if row["kind"] == "request"]
    assert entered == ["one", "two", "three"]
