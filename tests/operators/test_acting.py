"""What rules make of alerts and verdicts; every bound is checked by a plain loop over the same records."""

import json
import random
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from events.control import read_control
from events.limits import Limits
from events.messages import Alert, FreshData, Metrics, Rejected, Versus
from operators.acting import Acting, follows
from operators.action_settings import ActionSettings, ModelSpec, Schedule, Trigger

HOUR = 3_600_000
T0 = 1_700_000_000_000
NB: dict[str, Any] = {"class": "river.naive_bayes.GaussianNB"}
TREE: dict[str, Any] = {"class": "river.tree.HoeffdingTreeClassifier"}
SPECS = {"fraud": ModelSpec("classification", NB)}


def settings(*rules: Trigger | Schedule) -> ActionSettings:
    return ActionSettings(
        "j",
        tuple(rule for rule in rules if isinstance(rule, Trigger)),
        tuple(rule for rule in rules if isinstance(rule, Schedule)),
        SPECS,
    )


def alert(time: int = T0, kind: Any = "drift", model: str | None = "fraud", **more: Any) -> str:
    fields = {"role": "champion", "monitor": "m", "on": "error", "detector": "ADWIN", **more}
    made = Alert(f"m/{time}", kind, model, None, "it changed", "t9", time, 0, **fields)
    return msgspec.json.encode(made).decode()


def metrics(
    time: int = T0,
    model: str = "fraud",
    role: str = "champion",
    verdict: Any = None,
    champion: str = "fraud",
) -> str:
    versus = (
        {} if verdict is None else {"versus": Versus(champion, 200, 9, 1, -0.1, -1, 0, verdict)}
    )
    made = Metrics(
        "m", model, role, "all", f"{model}@3-0123456789ab", "t9", time, 200, {}, **versus
    )
    return msgspec.json.encode(made).decode()


def said(acting: Acting, *texts: str) -> list[dict[str, Any]]:
    """Payloads, each of which the gate would read."""
    found = []
    for text in texts:
        for payload in follows(acting, text):
            read = read_control(payload.encode(), Limits())
            assert not isinstance(read, Rejected), read
            found.append(json.loads(payload))
    return found


def test_a_drift_leads_to_a_challenger_fed_from_where_it_began() -> None:
    acting = Acting(settings(Trigger("retrain", "drift", "deploy", expires_after_ms=5 * HOUR)))
    fresh = FreshData("t5", T0 - HOUR, T0, 40)
    assert said(acting, alert(fresh=fresh)) == [
        {
            "job": "j",
            "issuer": "trigger:retrain",
            "seq": T0,
            "op": "deploy",
            "model": "fraud-1",
            "task": "classification",
            "role": "challenger",
            "spec": NB,
            "feed_from": T0 - HOUR,
            "expires_at": T0 + 5 * HOUR,
        }
    ]


def test_what_a_rule_deployed_can_be_deployed_anew() -> None:
    rule = Trigger("retrain", "drift", "deploy", spec=TREE, task="classification", cooldown_ms=1)
    acting = Acting(settings(rule, Trigger("other", "failing", "deploy", deploy_as="{model}.{n}")))
    [first] = said(acting, alert())
    [again] = said(acting, alert(T0 + HOUR, "failing", first["model"]))
    assert (first["model"], again["model"]) == ("fraud-1", "fraud-1.1")
    assert again["spec"] == TREE
    assert "feed_from" not in again


def test_a_model_whose_spec_nobody_knows_is_not_deployed_anew() -> None:
    acting = Acting(settings(Trigger("retrain", "drift", "deploy")))
    assert said(acting, alert(model="of a message")) == []
    # And that counts as nothing done.
    assert len(said(acting, alert(T0 + 1))) == 1


def test_a_rollback_is_to_the_version_before_the_change() -> None:
    acting = Acting(settings(Trigger("back", "drift", "rollback")))
    assert said(acting, alert()) == []
    [payload] = said(acting, alert(T0 + 1, usual_version="fraud@7-0123456789ab"))
    assert (payload["op"], payload["version"]) == ("rollback", "fraud@7-0123456789ab")


def test_only_a_challenger_of_the_champion_is_promoted() -> None:
    acting = Acting(settings(Trigger("win", "better", "promote", model="new-*", cooldown_ms=1)))
    better = {"role": "challenger", "verdict": "better"}
    assert (
        said(
            acting,
            metrics(T0 + 1, "new-1", **better),  # nobody knows yet who is champion
            metrics(T0 + 2),
            metrics(T0 + 3, "old", **better),  # not the rule's
            metrics(T0 + 4, "new-1", role="challenger", verdict="open"),
            metrics(T0 + 5, "new-1", role="challenger", verdict="worse"),
            metrics(T0 + 6, "new-1", **better, champion="former"),
        )
        == []
    )
    [payload] = said(acting, metrics(T0 + 7, "new-1", **better))
    assert (payload["op"], payload["model"]) == ("promote", "new-1")
    # Its answers of before go on being evaluated; it is champion now.
    assert said(acting, metrics(T0 + 8, "new-1"), metrics(T0 + 9, "new-1", **better)) == []


def test_an_alert_about_features_is_about_the_champion() -> None:
    acting = Acting(settings(Trigger("stop", "data_quality", "freeze", feature="amount")))
    about = {"kind": "data_quality", "model": None, "role": msgspec.UNSET, "feature": "amount"}
    assert said(acting, alert(**about)) == []
    [payload] = said(acting, metrics(T0 + 1), alert(T0 + 2, **about))
    assert (payload["op"], payload["model"]) == ("freeze", "fraud")


def test_each_condition_of_a_trigger_narrows_it() -> None:
    exact = {"model": "fraud", "monitor": "m", "detector": "ADWIN"}
    for key, other in [("model", "x*"), ("monitor", "n"), ("detector", "DDM"), ("feature", "f")]:
        assert said(Acting(settings(Trigger("t", "drift", "freeze", **exact))), alert())
        narrowed = Trigger("t", "drift", "freeze", **{**exact, key: other})
        assert not said(Acting(settings(narrowed)), alert())
    assert not said(Acting(settings(Trigger("t", "drift", "freeze"))), alert(role="shadow"))
    assert said(
        Acting(settings(Trigger("t", "drift", "freeze", role="shadow"))), alert(role="shadow")
    )


def test_a_schedule_acts_once_in_each_span_that_has_a_record() -> None:
    acting = Acting(settings(Schedule("nightly", 24 * HOUR, "publish", "fraud")))
    midnight = T0 // (24 * HOUR) * 24 * HOUR
    hours = [3, 23, 24, 25, 23, 47, 99]
    acted = [hour for hour in hours if said(acting, metrics(midnight + hour * HOUR))]
    assert acted == [24, 99]


@given(
    steps=st.lists(st.integers(0, 30 * HOUR), max_size=60),
    cooldown=st.integers(1, 100 * HOUR),
    at_most=st.integers(1, 5),
    cut=st.integers(0, 60),
)
def test_a_rule_never_acts_more_often_than_it_may(
    steps: list[int], cooldown: int, at_most: int, cut: int
) -> None:
    period = 200 * HOUR
    rule = Trigger("t", "drift", "freeze", cooldown_ms=cooldown, at_most=at_most, period_ms=period)
    acting = Acting(settings(rule))
    time, wanted, got = T0, [], []
    for place, step in enumerate(steps):
        time += step
        last = wanted[-at_most:]
        if not wanted or (
            time - wanted[-1] >= cooldown and not (len(last) == at_most and time - last[0] < period)
        ):
            wanted.append(time)
        if place == cut:
            acting = Acting(settings(rule), json.loads(json.dumps(acting.kept())))
        got += [payload["seq"] for payload in said(acting, alert(time))]
    assert len(got) == len(wanted)
    assert got == sorted(set(got)), "seq rises"
    assert all(seq >= time for seq, time in zip(got, wanted, strict=True))


def test_records_in_any_order_are_read() -> None:
    rng = random.Random(3)
    acting = Acting(
        settings(
            Trigger("a", "drift", "deploy", cooldown_ms=1),
            Trigger("b", "better", "promote", cooldown_ms=1),
            Schedule("c", HOUR, "deploy", "fraud"),
        )
    )
    seqs: dict[str, list[int]] = {}
    for _ in range(300):
        time = T0 + rng.randrange(100 * HOUR)
        model = rng.choice(["fraud", "fraud-1"])
        text = rng.choice(
            [alert(time, model=model), metrics(time, model, "challenger", "better"), metrics(time)]
        )
        for payload in said(acting, text):
            seqs.setdefault(payload["issuer"], []).append(payload["seq"])
    assert seqs.keys() == {"trigger:a", "trigger:b", "schedule:c"}
    assert all(numbers == sorted(set(numbers)) for numbers in seqs.values())


def test_records_of_other_kinds_lead_to_nothing() -> None:
    acting = Acting(settings(Trigger("a", "drift", "deploy")))
    quality = (
        '{"monitor":"m","clock":1,"n":3,"of_reference":9,"missing":{"\\"scope\\":\\"all\\"":1}}'
    )
    window = metrics().replace('"scope":"all"', '"scope":"window"')
    assert said(acting, quality, window) == []
