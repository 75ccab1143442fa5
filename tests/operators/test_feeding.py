"""A model that is deployed with `feed_from` first learns what is retained since then."""

from typing import Any

import pytest

from tests.operators.controlled import LR, NB, SRP, TREE, Controlled, make
from tests.operators.flows import items_of, request, said
from tests.operators.loops import T0, ask, transactions

ROWS = transactions("Phishing", 90)
ITEMS = list(items_of(ROWS))


def learned(bench: Controlled, model: str = "a") -> list[dict[str, Any]]:
    rows = bench.written.rows("learn_log", model)
    return [row for row in rows if row["kind"] == "example"]


@pytest.mark.parametrize("restarting", [False, True])
@pytest.mark.parametrize("every", [1, 7, 1000])
@pytest.mark.parametrize("spec", [LR, NB, TREE, SRP], ids=["LR", "NB", "tree", "SRP"])
def test_it_is_a_plain_model_taught_the_champions_examples_since_then(
    spec: Any, every: int, restarting: bool
) -> None:
    bench = Controlled({"a": TREE}, retain=1000, every=every, restarting=restarting)
    bench.handle(*ITEMS[:120])
    before = learned(bench)
    since = before[len(before) // 2]["event_time"]
    reason, version = bench.do("deploy", "b", spec=spec, task="classification", feed_from=since)
    fed = [row for row in before if row["event_time"] >= since]
    assert 0 < len(fed) < len(before)
    assert reason is None
    assert version is not None
    assert version.startswith(f"b@{len(fed)}-")
    assert [row["id"] for row in learned(bench, "b")] == [row["id"] for row in fed]

    model = make(spec)
    for row in fed:
        model.learn_one(row["features"], row["label"])
    row = ROWS[-1]
    bench.handle(request("asked", T0, row.x))
    answer = bench.written.rows("predictions", "b")[-1]
    assert said(answer) == ask("classification", model, row.x)
    # Not evaluated: it was never asked about them.
    assert not bench.written.rows("evaluations", "b")


def test_no_more_is_learned_than_is_retained() -> None:
    bench = Controlled({"a": NB}, retain=20, every=5)
    bench.handle(*ITEMS)
    bench.do("deploy", "b", spec=NB, task="classification", feed_from=0)
    retained, fed = learned(bench), learned(bench, "b")
    assert 20 <= len(fed) < len(retained)
    assert [row["id"] for row in fed] == [row["id"] for row in retained][-len(fed) :]


def test_what_came_before_is_not_learned() -> None:
    bench = Controlled({"a": NB}, retain=1000)
    bench.handle(*ITEMS[:60])
    bench.do("deploy", "b", spec=NB, task="classification", feed_from=10**15)
    assert not learned(bench, "b")
