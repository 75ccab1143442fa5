"""The plain flow around the cores: reading, time, lanes, the end of input."""

import itertools
import json
import random
from typing import Any

import pytest
from river import linear_model, naive_bayes

from models.purity import Purity
from operators.joining import JoinSettings
from operators.plain import PlainFlow, Record
from tests.operators.flows import deployment, lines, run, shuffled
from tests.operators.loops import (
    HOUR,
    MINUTE,
    T0,
    Known,
    delayed_loop,
    events,
    scaled,
    transactions,
)


def logistic() -> Any:
    return scaled(linear_model.LogisticRegression())


LR = Known(logistic, "Phishing")

# label_timeout 10 ms, retention 20 ms; a record may be 2 ms out of order where that matters.
SHORT = JoinSettings(10, 20)
ASSUME = JoinSettings(10, 20, on_timeout="assume", assumed_label=False)


def features(id: str, ts: int, **x: Any) -> bytes:
    return json.dumps({"id": id, "features": x or {"a": 1.0}, "ts": ts}).encode()


def label(id: str, ts: int, y: Any = True) -> bytes:
    return json.dumps({"id": id, "label": y, "ts": ts}).encode()


def source(input: str, partition: str, *raw: bytes) -> list[Record]:
    return [
        Record(input, partition, f"{partition}:{number}", text)
        for number, text in enumerate(raw, 1)
    ]


# Bad records

# Record, with NOW for the time of a neighbour; reason; the id that can be read.
BAD: list[tuple[bytes | None, str, str | None]] = [
    (None, "no_value", None),
    (b"", "empty", None),
    (b"  ", "empty", None),
    (b"{", "not_json", None),
    (b"\xff\xfe", "not_utf8", None),
    (b"[1]", "not_object", None),
    (b'{"id":"x","features":{"a":NaN},"ts":NOW}', "not_finite", "x"),
    (b'{"id":"x","features":{"a":[1]},"ts":NOW}', "bad_field", "x"),
    (b'{"id":"","features":{},"ts":NOW}', "bad_field", None),
    (b'{"id":"x","ts":NOW}', "no_event", "x"),
    (b'{"id":"x","label":true,"ts":NOW,"extra":1}', "unknown_field", "x"),
    (b'{"id":"x","label":true,"ts":NOW.5}', "bad_field", "x"),
    (b'{"id":"x","label":true,"ts":"NOW"}', "bad_field", "x"),
    (b'{"id":"x","label":true,"ts":92233720368547758080}', "bad_field", "x"),
    (b'{"id":"x","label":true,"ts":-1}', "bad_ts", None),
    (b'{"id":"x","features":{},"ts":9000000000000000}', "bad_ts", None),
    (b'{"id":"x","label":"%s","ts":NOW}' % (b"a" * 1_048_576), "too_large", None),
    (b'{"id":"%s","label":true,"ts":NOW}' % (b"a" * 257), "name_too_long", None),
]


@pytest.mark.parametrize("ordering", ["arrival", "event_time"])
@pytest.mark.parametrize("on_timeout", ["drop", "assume"])
def test_bad_records_change_nothing_for_their_neighbours(ordering: str, on_timeout: str) -> None:
    rows = transactions("Phishing", 120)
    join = JoinSettings(HOUR, 24 * HOUR, on_timeout, False if on_timeout == "assume" else None)
    happened = events(rows)
    settings: dict[str, Any] = {"join": join, "ordered": ordering == "event_time"}
    expected = run(lines(happened), [deployment(LR)], **settings).all()

    mixed: list[tuple[bytes | None, str | None, str | None]] = []
    bad = itertools.cycle(BAD)
    for number, event in enumerate(happened):
        mixed += [(raw, None, None) for raw in lines([event])]
        if number % 3 == 0:
            raw, reason, id = next(bad)
            now = str(event["ts"]).encode()
            mixed.append((None if raw is None else raw.replace(b"NOW", now), reason, id))
    records = source("features", "in.jsonl", *(raw for raw, *_ in mixed))  # type: ignore[arg-type]
    got = run(records, [deployment(LR)], **settings).all()

    assert got["predictions"] == expected["predictions"]
    assert got["learn_log"] == expected["learn_log"]
    assert got["evaluations"] == expected["evaluations"]
    wanted = [
        (f"in.jsonl:{number}", reason, id)
        for number, (_, reason, id) in enumerate(mixed, 1)
        if reason is not None
    ]
    letters = [letter for letter in got["dead_letters"] if letter["stage"] == "decode"]
    assert [(row["position"], row["reason"], row["id"]) for row in letters] == wanted
    assert {row[1] for row in wanted} == {reason for _, reason, _ in BAD}
    assert {row["source"] for row in letters} == {"features"}
    assert {row["model"] for row in letters} == {None}


def test_a_dead_letter_of_the_join_says_which_record_it_was() -> None:
    records = [features("a", T0), features("a", T0 + 1), label("b", T0)]
    letters = run(records, [deployment(LR)], join=SHORT).rows("dead_letters")
    assert [(row["stage"], row["reason"], row["position"], row["id"]) for row in letters] == [
        ("join", "duplicate_features", "in.jsonl:2", "a"),
        ("join", "orphan_label", "in.jsonl:3", "b"),
    ]
    assert [row["raw"] for row in letters] == [records[1].decode(), records[2].decode()]


# Time


def test_time_passes_with_the_slowest_input() -> None:
    """What is assumed at T0 + 10 is learned once both inputs are beyond it."""
    ahead = source(
        "features", "f", features("a", T0), features("b", T0 + 100), features("c", T0 + 200)
    )
    behind = source("labels", "l", label("x", T0 + 11), label("x", T0 + 12), label("x", T0 + 13))

    def learned(records: list[Record]) -> list[str]:
        written = run(
            records,
            [deployment(LR)],
            join=ASSUME,
            inputs=("features", "labels"),
            max_out_of_orderness_ms=2,
        )
        return [f"{row['event_time'] - T0}@{row['n']}" for row in written.rows("learn_log")]

    def versions(records: list[Record]) -> list[int]:
        """How much was learned when each transaction was predicted."""
        written = run(
            records,
            [deployment(LR)],
            join=ASSUME,
            inputs=("features", "labels"),
            max_out_of_orderness_ms=2,
        )
        return [int(row["version"][2:].split("-")[0]) for row in written.rows("predictions")]

    a, b, c = ahead
    eleven, twelve, thirteen = behind
    assert versions([a, eleven, twelve, b, c]) == [0, 0, 0], "labels may still come for T0 + 10"
    assert versions([a, eleven, twelve, b, thirteen, c]) == [0, 0, 1]
    assert versions([a, b, thirteen, c]) == [0, 0, 1]
    # The end passes the highest time of all: a and b are assumed, c is not.
    assert learned([a, eleven, twelve, b, c]) == ["0@1", "100@2"]


def test_the_end_assumes_nothing_later_than_the_highest_time_seen() -> None:
    records = [features("a", T0), features("b", T0 + 3), features("c", T0 + 13)]
    flows: list[PlainFlow] = []
    for ordered in (False, True):
        written = run(
            records, [deployment(LR)], join=ASSUME, ordered=ordered, keep=flows.append,
            max_out_of_orderness_ms=2,
        )  # fmt: skip
        assert [row["id"] for row in written.rows("learn_log")] == ["a", "b"]
    assert [flow.counts["unlabelled"] for flow in flows] == [1, 1]
    assert [flow.counts["timeouts"] for flow in flows] == [2, 2]


@pytest.mark.parametrize("on_timeout", ["drop", "assume"])
@pytest.mark.parametrize("ordered", [False, True])
def test_in_event_time_order_a_record_may_be_so_far_behind_its_own_partition(
    on_timeout: str, ordered: bool
) -> None:
    join = ASSUME if on_timeout == "assume" else SHORT
    one = features("a", T0 + 5), features("b", T0 + 3), features("c", T0 + 2)
    records = [*source("features", "one", *one), *source("features", "two", features("d", T0 + 2))]
    written = run(records, [deployment(LR)], join=join, ordered=ordered, max_out_of_orderness_ms=2)
    letters = written.rows("dead_letters")
    if ordered:
        assert [row["id"] for row in written.rows("predictions")] == ["d", "b", "a"]
        [letter] = letters
        assert (letter["reason"], letter["position"]) == ("out_of_order", "one:3")
        assert letter["raw"] == one[2].decode()
    else:
        assert [row["id"] for row in written.rows("predictions")] == ["a", "b", "c", "d"]
        assert not letters


def test_in_one_millisecond_labels_go_before_timeouts_and_those_before_features() -> None:
    records = [
        features("f", T0 + 10, a=5.0),
        label("e", T0 + 10, True),
        features("e", T0 + 9, a=1.0),
        features("a", T0, a=2.0),
    ]
    written = run(records, [deployment(LR)], join=ASSUME, ordered=True, max_out_of_orderness_ms=10)
    assert [(row["id"], row["source"]) for row in written.rows("learn_log")] == [
        ("e", "label"),
        ("a", "assumed"),
    ]
    said = {row["id"]: row["version"].split("-")[0] for row in written.rows("predictions")}
    assert said == {"a": "m@0", "e": "m@0", "f": "m@2"}


def test_of_one_time_ids_decide_and_then_bytes() -> None:
    records = [
        features("b", T0, a=1.0),
        features("a", T0, z=2.0),
        features("a", T0, a=3.0),
        label("b", T0, True),
        label("a", T0, False),
    ]
    written = run(records, [deployment(LR)], ordered=True)
    assert [row["id"] for row in written.rows("predictions")] == ["a", "b"]
    assert [row["id"] for row in written.rows("learn_log")] == ["a", "b"]
    assert written.rows("learn_log")[0]["features"] == {"a": 3.0}
    [refused] = written.rows("dead_letters")
    assert (refused["reason"], refused["position"]) == ("duplicate_features", "in.jsonl:2")


# The end


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("corrections", ["ignore", "learn"])
@pytest.mark.parametrize("on_timeout", ["drop", "assume"])
def test_nothing_is_left_at_the_end(ordered: bool, corrections: str, on_timeout: str) -> None:
    """Neither transactions nor predictions, whatever became of the labels."""
    rng = random.Random(5)
    rows = transactions("Phishing", 200)
    some = [event for event in events(rows) if "features" in event or rng.random() < 0.6]
    some += [
        {**event, "label": not event["label"], "ts": event["ts"] + MINUTE}
        for event in some
        if "label" in event and rng.random() < 0.3
    ]
    join = JoinSettings(
        HOUR, 2 * HOUR, on_timeout, False if on_timeout == "assume" else None, "learn", corrections
    )  # type: ignore[arg-type]
    flows: list[PlainFlow] = []
    run(
        lines(shuffled(some)), [deployment(LR)], join=join, ordered=ordered, lane_by="ip_in_url",
        keep=flows.append,
    )  # fmt: skip
    [flow] = flows
    stores = vars(flow)["_stores"]
    assert set(stores) == {"0", "1"}
    for store in stores.values():
        assert vars(store)["_predictions"] == {}
        assert store.models()["m"]["n"] >= 0
    assert all(held is None for held in vars(flow)["_held"].values())
    assert flow.stats.unmatched == 0
    assert flow.stats.evaluations > 50


def test_a_label_without_features_is_handed_back() -> None:
    written = run([label("a", T0)], [deployment(LR)])
    [letter] = written.rows("dead_letters")
    assert (letter["reason"], letter["id"], letter["position"]) == (
        "orphan_label",
        "a",
        "in.jsonl:1",
    )


def test_totals_are_counted() -> None:
    flows: list[PlainFlow] = []
    records = [
        features("a", T0), features("a", T0), label("a", T0 + 1), label("a", T0 + 2), b"{",
        features("b", T0 + 1), features("c", T0 + 60),
    ]  # fmt: skip
    run(records, [deployment(LR)], join=SHORT, max_out_of_orderness_ms=0, keep=flows.append)
    [flow] = flows
    assert flow.records == 7
    assert flow.counts == {"duplicates": 2, "timeouts": 1, "unlabelled": 1, "corrections": 0}
    assert flow.stats.dead_letters["not_json"] == 1
    assert (flow.stats.predictions, flow.stats.examples, flow.stats.evaluations) == (3, 1, 1)


# Lanes


def in_shops(count: int, shops: int, data: str = "Phishing") -> list[Any]:
    rng = random.Random(9)
    return [
        row._replace(x={**row.x, "shop": rng.randrange(shops)}) for row in transactions(data, count)
    ]


@pytest.mark.parametrize("live_lanes", [1, 3])
def test_lanes_that_are_not_alive_go_on_as_if_they_had_been(live_lanes: int) -> None:
    records = lines(events(in_shops(300, 12)))
    deployed = [
        deployment(LR, every=5),
        deployment(naive_bayes.GaussianNB(), "nb", "shadow", purity=Purity.ALWAYS),
    ]
    wide = run(records, deployed, lane_by="shop", live_lanes=1000).all()
    narrow = run(records, deployed, lane_by="shop", live_lanes=live_lanes).all()
    assert narrow == wide
    assert len({row["lane"] for row in wide["learn_log"]}) == 12


def test_each_lane_is_a_loop_of_its_own() -> None:
    rows = in_shops(400, 3)
    written = run(lines(events(rows)), [deployment(LR)], lane_by="shop", live_lanes=2)
    expected = {}
    for shop in range(3):
        of_shop = [row for row in rows if row.x["shop"] == shop]
        expected |= delayed_loop("classification", logistic(), of_shop)
    assert written.said() == expected


def test_a_lane_is_the_json_of_its_feature_and_is_percent_encoded_in_versions() -> None:
    given = ["a/b@1-c", "ü", True, 3, 3.5, "3", "true", "", "%2F"]
    records = [features(f"{number}", T0 + number, shop=shop) for number, shop in enumerate(given)]
    written = run(records, [deployment(naive_bayes.GaussianNB())], lane_by="shop")
    rows = written.rows("predictions")
    assert [row["lane"] for row in rows] == [
        "a/b@1-c",
        "ü",
        "true",
        "3",
        "3.5",
        "3",
        "true",
        "",
        "%2F",
    ]
    assert [row["version"].rpartition("@")[0] for row in rows] == [
        "m/a%2Fb%401-c",
        "m/%C3%BC",
        "m/true",
        "m/3",
        "m/3.5",
        "m/3",
        "m/true",
        "m/",
        "m/%252F",
    ]


def test_features_without_their_lane_are_refused() -> None:
    records = [features("a", T0, shop=1), features("b", T0, a=1), features("c", T0, shop=None)]
    written = run(records, [deployment(LR)], lane_by="shop")
    assert list(written.said()) == ["a"]
    assert [(row["id"], row["reason"]) for row in written.rows("dead_letters")] == [
        ("b", "missing_lane"),
        ("c", "missing_lane"),
    ]


def test_one_lane_freezing_leaves_the_others_learning() -> None:
    records = []
    for number in range(6):
        records.append(
            features(f"{number}", T0 + number, shop=number % 2, a="text" if number % 2 else 1.0)
        )
        records.append(label(f"{number}", T0 + number))
    written = run(records, [deployment(LR, max_failures=0)], lane_by="shop", live_lanes=1)
    reasons = [
        (row["id"], row["reason"])
        for row in written.rows("dead_letters")
        if row["stage"] == "learn"
    ]
    assert reasons == [("1", "learn_failed"), ("3", "model_frozen"), ("5", "model_frozen")]
    learned = [
        (row["id"], row["lane"]) for row in written.rows("learn_log") if row["kind"] == "example"
    ]
    assert learned == [("0", "0"), ("2", "0"), ("4", "0")]
