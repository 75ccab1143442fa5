"""One lane: recovery, failures, evaluations, versions. Items by hand; oracles are plain loops."""

import functools
import json
import logging
import os
import pickle
import random
import subprocess
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from river import facto, linear_model, naive_bayes

from models.purity import Purity
from operators.items import Item, forget
from operators.learning import Out
from operators.live import Deployment, Version
from state import snapshots
from state.memory import MemoryStore
from state.snapshots import StateFormatError, pickle_model
from tests.operators.flows import (
    Bench,
    Written,
    deployment,
    example,
    items_of,
    request,
    said,
    timeless,
)
from tests.operators.loops import (
    MODELS,
    T0,
    Known,
    Said,
    Transaction,
    ask,
    delayed_loop,
    detector,
    hat,
    questions_and_answers,
    scaled,
    teach,
    transactions,
)
from tests.operators.odd_models import Moody, Numbers, Scores, Sure

ROOT = Path(__file__).parents[2]


def logistic() -> Any:
    return scaled(linear_model.LogisticRegression())


LR = Known(logistic, "Phishing")


def handled(deployments: list[Deployment], items: list[Item], **settings: Any) -> Written:
    bench = Bench(deployments, MemoryStore(), **settings)
    bench.handle(*items)
    return bench.written


# Recovery


def with_strangers(rows: list[Transaction], seed: int = 6) -> list[Item]:
    """The stream's items and, in between, requests that get no label and have other features."""
    rng = random.Random(seed)
    found: list[Item] = []
    for number, item in enumerate(items_of(rows)):
        found.append(item)
        if rng.random() < 0.3:
            x = dict(rng.choice(rows).x)
            names = list(x)
            rng.shuffle(names)
            x = {name: x[name] for name in names[: rng.randrange(len(names) + 1)]}
            if rng.random() < 0.3:
                x[f"new{rng.randrange(9)}"] = rng.random()
            found.append(request(f"stranger{number}", T0, x))
    return found


def with_cities(rows: list[Transaction]) -> list[Transaction]:
    """With a text feature: factorisation machines make a name of each text that they meet."""
    return [
        row._replace(x={"city": f"city {number % 40}", **row.x}) for number, row in enumerate(rows)
    ]


def machine() -> Any:
    return facto.FMClassifier(n_factors=2, seed=4)


RECOVERED = {
    **{name: known._replace(count=min(known.count, 60)) for name, known in MODELS.items()},
    "factorisation machine": Known(machine, "Phishing", count=60, names=True),
    "weighted": Known(logistic, "Phishing", count=60),
    "changes whenever it is asked": Known(lambda: Moody(restless=True), "Phishing", count=60),
}


def stream_for(name: str) -> list[Transaction]:
    known = RECOVERED[name]
    rows = transactions(known.data, known.count)
    if name == "factorisation machine":
        return with_cities(rows)
    if name == "weighted":
        return [row._replace(weight=0.5 + number % 3) for number, row in enumerate(rows)]
    return rows


def prepared(name: str, every: int | None) -> tuple[Deployment, list[Item]]:
    known, rows = RECOVERED[name], stream_for(name)
    settings: dict[str, Any] = {"every": every}
    if name == "changes whenever it is asked":
        settings["purity"] = Purity.ALWAYS
    return deployment(known, **settings), with_strangers(rows)


@functools.cache
def undisturbed(name: str) -> dict[str, list[dict[str, Any]]]:
    deployed, items = prepared(name, 1000)
    return handled([deployed], items).all()


@pytest.mark.parametrize("every", [1, 7, 1000, None])
@pytest.mark.parametrize("name", RECOVERED)
def test_a_restart_at_any_item_changes_nothing(name: str, every: int | None) -> None:
    deployed, items = prepared(name, every)
    bench = Bench([deployed], MemoryStore())
    for number, item in enumerate(items):
        if number % 4 == 0:
            bench.store = pickle.loads(pickle.dumps(bench.store))
            bench.restart()
        bench.handle(item)
    assert bench.written.all() == undisturbed(name)


@pytest.mark.parametrize("name", RECOVERED)
def test_undisturbed_is_what_a_plain_loop_says(name: str) -> None:
    known = RECOVERED[name]
    rows = {row.id: row for row in stream_for(name)}
    _, items = prepared(name, None)
    model, expected = known.make(), {}
    for item in items:
        if item[0] == 0:
            features = json.loads(item[3])
            if isinstance(model, Moody):  # asks count
                answer = model.predict_proba_one(features)
                pairs = [(json.dumps(label), p) for label, p in answer.items()]
                expected[item[1]] = Said(max(answer, key=answer.get), pairs)
            else:
                try:
                    expected[item[1]] = ask(known.task, model, features)
                except KeyError:  # a feature that the model selects is missing
                    expected[item[1]] = Said()
        else:
            teach(known.task, model, rows[item[1]])
    got = {row["id"]: said(row) for row in undisturbed(name)["predictions"]}
    assert got == expected


def test_requests_that_change_a_model_are_in_its_log_and_no_others() -> None:
    def entered(name: str) -> list[str]:
        return [row["id"] for row in undisturbed(name)["learn_log"] if row["kind"] == "request"]

    _, items = prepared("SRP of NB, Phishing", None)
    asked = [item[1] for item in items if item[0] == 0]
    seen: set[str] = set()
    new = []
    for _, id, _, features, *_ in (item for item in items if item[0] == 0):
        if not seen.issuperset(json.loads(features)) or not seen:
            new.append(id)
        seen.update(json.loads(features))
    assert entered("SRP of NB, Phishing") == new
    assert 1 < len(new) < 20
    assert entered("changes whenever it is asked") == asked
    assert entered("LR, Phishing") == entered("ARF, Phishing") == []
    assert len(entered("factorisation machine")) >= 40, "each of forty cities is new once"


@pytest.mark.parametrize("name", ["SRP of NB, Phishing", "changes whenever it is asked"])
def test_the_version_of_a_prediction_is_the_one_before_its_request(name: str) -> None:
    written = undisturbed(name)
    parents = {row["id"]: row["parent"] for row in written["learn_log"] if row["kind"] == "request"}
    versions = {row["id"]: row["version"] for row in written["predictions"]}
    assert parents == {id: versions[id] for id in parents}
    evaluated = {row["id"]: row["version"] for row in written["evaluations"]}
    assert evaluated == {id: versions[id] for id in evaluated}
    assert parents and evaluated


def test_a_first_request_without_features_is_entered_too() -> None:
    """SRP draws its subspaces from the names of the first request, be they none."""
    bench = Bench([deployment(MODELS["SRP of NB, Phishing"])], MemoryStore())
    bench.handle(request("a", T0, {}))
    [entry] = bench.written.rows("learn_log")
    assert (entry["kind"], entry["features"], entry["id"]) == ("request", {}, "a")


def test_another_process_goes_on_with_the_same_floats(tmp_path: Path) -> None:
    """With the same PYTHONHASHSEED, as models that go through sets of strings need."""
    file = tmp_path / "models.pickle"
    file.write_bytes(pickle.dumps([(*prepared(name, 7), 70) for name in RECOVERED]))

    def answer(command: str) -> list[dict[str, list[Any]]]:
        process = subprocess.run(
            [sys.executable, "-m", "tests.operators.resume", command, str(file)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "1"},
            capture_output=True,
            text=True,
            check=True,
        )
        return json.loads(process.stdout)

    for name, whole, rest in zip(RECOVERED, answer("begin"), answer("resume"), strict=True):
        for output, rows in rest.items():
            assert rows == whole[output][len(whole[output]) - len(rows) :], name
        # 40 of 60 transactions at least are asked before item 70, or taught after it.
        assert len(rest["learn_log"]) > 10
        assert len(rest["predictions"]) > 10


def plain(value: Any) -> bool:
    if type(value) in (dict, list, tuple):
        inner = [*value, *value.values()] if type(value) is dict else value
        return all(map(plain, inner))
    return type(value) in (str, bytes, int, float, bool, type(None))


def test_state_holds_plain_values_only() -> None:
    class Watched(MemoryStore):
        def __init__(self) -> None:
            super().__init__()
            self.put: list[Any] = []

        def put_model(self, name: str, meta: dict[str, Any]) -> None:
            self.put.append(meta)
            super().put_model(name, meta)

        def put_failures(self, name: str, failures: Any) -> None:
            self.put.append(failures)
            super().put_failures(name, failures)

        def put_snapshot(
            self, name: str, chunks: list[bytes], replaced: int, generation: int = 0
        ) -> None:
            self.put.append(chunks)
            super().put_snapshot(name, chunks, replaced, generation)

        def append(self, name: str, entry: bytes, slot: int = 0) -> None:
            self.put.append(entry)
            super().append(name, entry, slot)

        def put_record(self, record: dict[str, Any]) -> None:
            self.put.append(record)
            super().put_record(record)

        def put_predictions(self, id: str, said: list[tuple[Any, ...]]) -> None:
            self.put.append(said)
            super().put_predictions(id, said)

    store = Watched()
    several = MODELS["SRP of NB, ImageSegments"], scaled(naive_bayes.GaussianNB())
    names = "srp", "scaled"
    deployed = [
        deployment(model, name, every=7) for model, name in zip(several, names, strict=True)
    ]
    bench = Bench(deployed, store)
    bench.handle(*items_of(transactions("ImageSegments", 30)))
    bench.handle(request("p", T0, {"a": 1}), example("p", T0, {"a": "text"}, "sky"))
    assert bench.reasons("scaled") == ["learn_failed"]
    assert all(map(plain, store.put))
    assert {type(value) for value in store.put} == {dict, tuple, list, bytes}


def test_a_snapshot_that_cannot_be_read_names_both_environments() -> None:
    store = MemoryStore()
    bench = Bench([deployment(LR)], store)
    bench.handle(*items_of(transactions("Phishing", 20)))
    meta = store.models()["m"]
    store.put_model("m", {**meta, "environment": {"python": "2.7.18", "river": "0.1"}})
    store.put_snapshot("m", [b"\x80\x05garbage"], 1)
    with pytest.raises(StateFormatError) as error:
        bench.restart()
    assert "python 2.7.18, river 0.1" in str(error.value)
    assert f"river {snapshots.environment()['river']}" in str(error.value)


def test_a_large_model_goes_to_state_in_chunks_and_comes_back() -> None:
    wide = {f"feature number {number}": 0.5 for number in range(30_000)}
    store = MemoryStore()
    bench = Bench([deployment(LR, every=1)], store)
    bench.handle(request("a", T0, wide), example("a", T0, wide, True))
    chunks = store.models()["m"]["chunks"]
    assert chunks > 1
    assert [len(chunk) for chunk in store.snapshot("m", chunks)][:-1] == [1 << 20] * (chunks - 1)
    bench.restart()
    bench.handle(request("b", T0, wide))
    model = logistic()
    model.learn_one(wide, True)
    assert said(bench.written.rows("predictions")[-1]) == ask("classification", model, wide)


# Learning that fails


def moody(restless: bool = False, **settings: Any) -> Deployment:
    purity = Purity.ALWAYS if restless else Purity.PURE
    return deployment(Moody(restless), purity=purity, **settings)


def offered(id: str, x: dict[str, Any], y: Any = True) -> list[Item]:
    return [request(id, T0, x), example(id, T0, x, y)]


@pytest.mark.parametrize("every", [1, 3, 1000])
@pytest.mark.parametrize("restless", [False, True])
def test_what_a_failed_learn_has_changed_is_undone(restless: bool, every: int) -> None:
    bench = Bench([moody(restless, every=every, max_failures=50)], MemoryStore())
    model = Moody(restless)
    for number in range(40):
        bad = {"poison": number} if number % 3 == 0 else {}
        asked = request(f"{number}", T0, {"a": 1, **bad})
        bench.handle(asked)
        assert said(bench.written.rows("predictions")[-1]).probabilities == [
            (json.dumps(label), p) for label, p in model.predict_proba_one({}).items()
        ]
        bench.handle(example(f"{number}", T0, {"a": 1, **bad}, number % 2 == 0))
        if not bad:
            model.learn_one({}, number % 2 == 0)
    assert bench.reasons() == ["learn_failed"] * 14
    assert model.learned == 26 == bench.lane.live["m"].n
    assert bench.ids("learn_log", "m").count("3") == (1 if restless else 0)


def test_river_models_that_fail_half_way_are_put_back() -> None:
    """A scaler counts the numbers before it meets a text, and then raises."""
    rows = transactions("Phishing", 200)
    items: list[Item] = []
    for number, item in enumerate(items_of(rows)):
        if number % 20 == 10:
            items.append(example("bad", T0, {**rows[number % 200].x, "zzz": "a text"}, True))
        items.append(item)
    bench = Bench([deployment(LR, every=30, max_failures=100)], MemoryStore())
    bench.handle(*items)
    assert bench.reasons() == ["learn_failed"] * 20
    assert bench.written.said() == delayed_loop("classification", logistic(), rows)

    model = logistic()
    with pytest.raises(TypeError):
        model.learn_one({**rows[0].x, "zzz": "a text"}, True)
    assert model["StandardScaler"].counts["zzz"] == 1, "so there was something to undo"


def test_a_learn_failure_says_what_and_where_and_can_be_sent_again() -> None:
    bench = Bench([moody()], MemoryStore())
    x = {"b": 1, "a": 2.5, "poison": "é"}
    bench.handle(request("t1", T0, x), example("t1", T0, x, True, T0 + 5, weight=None))
    bench.handle(example("t2", T0, {"a": 1}, True, weight=2.0))
    one, two = bench.written.rows("dead_letters")
    assert one == {
        "stage": "learn",
        "source": "labels",
        "position": "in:t1",
        "id": "t1",
        "model": "m",
        "reason": "learn_failed",
        "detail": "ArithmeticError: poisoned by é",
        "raw": '{"id":"t1","features":{"b":1,"a":2.5,"poison":"é"},"label":true,"ts":1700000000000}',
    }
    assert two["reason"] == "learn_failed"
    assert "takes no weights" in two["detail"]
    assert json.loads(two["raw"]) == {
        "id": "t2",
        "features": {"a": 1},
        "label": True,
        "ts": T0,
        "weight": 2.0,
    }
    letter = json.loads(bench.written.texts["dead_letters"][0])
    assert letter["at"] > T0
    assert bench.stats.dead_letters["learn_failed"] == 2


def test_a_dead_letter_is_cut_where_the_limits_say() -> None:
    bench = Bench([moody()], MemoryStore(), raw_bytes=20)
    bench.handle(*offered("t1", {"poison": 1}))
    [letter] = bench.written.rows("dead_letters")
    assert letter["raw"] == '{"id":"t1","features'


def outcomes_of(bench: Bench, pattern: str, restart: bool) -> str:
    """`f` a failing example, `g` a good one -> what became of each: learned, failed, frozen."""
    found = ""
    for number, kind in enumerate(pattern):
        if restart:
            bench.restart()
        before = len(bench.reasons())
        bench.handle(*offered(f"{number}", {"poison": 1} if kind == "f" else {"a": 1}))
        reasons = bench.reasons()[before:]
        found += {(): "l", ("learn_failed",): "f", ("model_frozen",): "z"}[tuple(reasons)]
    return found


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize(
    ("pattern", "became"),
    [
        ("ffgg", "ffll"),
        ("fffg", "fffz"),
        ("fgfgfg", "flflfz"),  # three among the last five
        ("fgfggfg", "flfllfl"),  # the first is the sixth from behind
        ("ffgggffg", "fflllffl"),
        ("ffgggfffgf", "fflllfffzz"),
    ],
)
def test_more_than_max_failures_in_the_window_freeze(
    pattern: str, became: str, restart: bool
) -> None:
    bench = Bench([moody(max_failures=2, failure_window=5)], MemoryStore())
    assert outcomes_of(bench, pattern, restart) == became


def test_the_window_is_the_last_examples_whatever_their_pattern() -> None:
    rng = random.Random(12)
    for _ in range(40):
        most, window = rng.randrange(3), rng.randrange(3, 8)
        pattern = "".join(rng.choice("fggg") for _ in range(25))
        expected = ""
        for number in range(len(pattern)):
            recent = pattern[max(0, number + 1 - window) : number + 1]
            expected += "f" if pattern[number] == "f" else "l"
            if recent.count("f") > most:
                break
        expected = expected.ljust(len(pattern), "z")
        settings = {"max_failures": most, "failure_window": window, "every": 4}
        bench = Bench([moody(**settings)], MemoryStore())
        assert outcomes_of(bench, pattern, restart=False) == expected, (pattern, most, window)
        bench = Bench([moody(**settings)], MemoryStore())
        assert outcomes_of(bench, pattern, restart=True) == expected, (pattern, most, window)


def test_a_frozen_model_goes_on_predicting_and_its_log_says_so() -> None:
    bench = Bench([moody(max_failures=0)], MemoryStore())
    bench.handle(*offered("a", {"a": 1}), *offered("b", {"poison": 1}))
    frozen = bench.lane.live["m"].version
    bench.restart()
    bench.handle(*offered("c", {"a": 1}), *offered("d", {"poison": 1}))
    assert bench.reasons() == ["learn_failed", "model_frozen", "model_frozen"]
    learned, freeze = bench.written.rows("learn_log")
    assert (learned["kind"], learned["id"], learned["n"]) == ("example", "a", 1)
    assert (freeze["kind"], freeze["op"], freeze["n"]) == ("control", "freeze", 1)
    assert freeze["parent"] == learned["version"]
    assert freeze["version"] == frozen
    model = Moody()
    model.learn_one({}, True)
    *_, c, d = bench.written.rows("predictions")
    for row in (c, d):
        assert row["version"] == frozen
        assert row["probabilities"]["true"] == model.predict_proba_one({})[True]
    assert bench.ids("evaluations") == ["a", "b", "c", "d"]


def test_half_poison_does_not_stall() -> None:
    """After the freeze nothing is rebuilt: at most one rebuild more than `max_failures`."""
    bench = Bench([moody(max_failures=10, failure_window=1000)], MemoryStore())
    rng = random.Random(2)
    for number in range(2000):
        bench.handle(*offered(f"{number}", {"poison": 1} if rng.random() < 0.5 else {"a": 1}))
    assert bench.stats.rebuilds == 11
    assert bench.reasons().count("learn_failed") == 11
    assert bench.stats.examples + len(bench.reasons()) == 2000
    assert len(bench.written.rows("predictions")) == 2000


def test_rebuilds_do_not_replay_the_same_entries_again_and_again() -> None:
    bench = Bench([moody(max_failures=999, every=100_000)], MemoryStore())
    for number in range(50):
        bench.handle(*offered(f"good{number}", {"a": 1}))
    bench.handle(*offered("bad1", {"poison": 1}))
    assert list(bench.store.log("m")) == []
    bench.handle(*offered("bad2", {"poison": 1}))
    assert bench.stats.rebuilds == 2
    assert bench.stats.snapshots == 2, "one at the start, one after the first rebuild"


def test_one_model_failing_leaves_the_others_as_if_alone() -> None:
    rows = transactions("Phishing", 120)

    def items() -> Iterator[Item]:
        for number, item in enumerate(items_of(rows)):
            if number % 5 == 0:
                yield from offered(f"p{number}", {"break": 1, "poison": 1, **rows[0].x})
            yield item

    others = [deployment(LR, "lr", "champion"), deployment(hat(), "hat", "shadow")]
    together = handled(
        [moody(name="moody", role="challenger", max_failures=3), *others], [*items()]
    )
    for single in others:
        alone = handled([single], [*items()])
        name = single.settings.name
        for output in ("predictions", "evaluations", "learn_log", "dead_letters"):
            assert together.rows(output, name) == alone.rows(output, name)
        assert alone.rows("learn_log", name)
    assert together.rows("dead_letters", "moody")


# Predicting that fails


def test_a_prediction_that_fails_is_still_one_record() -> None:
    bench = Bench([moody()], MemoryStore())
    bench.handle(request("t1", T0, {"break": "x"}), example("t1", T0, {"break": "x"}, True, T0 + 9))
    [prediction] = bench.written.rows("predictions")
    [letter] = bench.written.rows("dead_letters")
    [evaluation] = bench.written.rows("evaluations")
    assert prediction["prediction"] is None
    assert prediction["probabilities"] is None
    assert prediction["error"] == "LookupError: broken by x"
    assert "score" not in prediction
    assert letter == {
        "stage": "predict",
        "source": "features",
        "position": "in:t1",
        "id": "t1",
        "model": "m",
        "reason": "predict_failed",
        "detail": "LookupError: broken by x",
        "raw": '{"id":"t1","features":{"break":"x"},"ts":1700000000000}',
    }
    assert (evaluation["prediction"], evaluation["probabilities"]) == (None, None)
    assert bench.lane.live["m"].n == 1, "it can be learned all the same"


@pytest.mark.parametrize(
    ("model", "task", "x", "field"),
    [
        (Moody(), "classification", {"nan": 1}, "probabilities"),
        (Moody(), "classification", {"inf": 1}, "probabilities"),
        (Numbers(), "regression", {"say": "nan"}, "prediction"),
        (Numbers(), "regression", {"say": "-inf"}, "prediction"),
        (Scores(), "anomaly", {"say": "inf"}, "score"),
    ],
)
def test_what_is_no_number_is_no_answer(
    model: Any, task: str, x: dict[str, Any], field: str
) -> None:
    written = handled([deployment(model, task=task)], [request("t1", T0, x)])
    [prediction] = written.rows("predictions")
    [letter] = written.rows("dead_letters")
    assert prediction["prediction"] is None
    assert prediction[field] is None
    assert prediction["error"].startswith("the model answered ")
    assert (letter["reason"], letter["stage"]) == ("prediction_not_finite", "predict")


@pytest.mark.parametrize("every", [1, 1000])
@pytest.mark.parametrize("restart", [False, True])
def test_a_failed_request_of_a_model_that_asking_changes_never_happened(
    every: int, restart: bool
) -> None:
    """It raised half way, so it is undone; one that ended in NaN has happened, and is entered."""
    bench = Bench([moody(restless=True, every=every)], MemoryStore())
    model = Moody(restless=True)
    for number, x in enumerate(
        ({"a": 1}, {"break": 1}, {"nan": 1}, {"a": 1}, {"break": 2}, {"a": 1})
    ):
        if restart:
            bench.restart()
        bench.handle(request(f"{number}", T0, x))
        if "break" not in x:
            answer = model.predict_proba_one(x)
        if "a" in x:
            last = bench.written.rows("predictions")[-1]
            assert last["probabilities"] == {"true": answer[True], "false": answer[False]}
    assert bench.ids("learn_log") == ["0", "2", "3", "5"]
    assert bench.reasons() == ["predict_failed", "prediction_not_finite", "predict_failed"]


# Labels


def labels_through(given: list[Any], **settings: Any) -> Bench:
    bench = Bench([deployment(naive_bayes.GaussianNB(), **settings)], MemoryStore())
    for number, label in enumerate(given):
        bench.restart()
        bench.handle(*offered(f"{number}", {"a": number}, label))
    return bench


@pytest.mark.parametrize(
    ("labels", "refused"),
    [
        ([True, 1, False, 0, "true", 1.0], [1, 3, 4, 5]),
        ([1, True, 2, 2.5, "1"], [1, 3, 4]),
        (["a", True, "b", 1], [1, 3]),
        ([0.5, 1, True, "1", 2.0], [2, 3]),
    ],
)
def test_the_first_label_fixes_the_type_of_all(labels: list[Any], refused: list[int]) -> None:
    bench = labels_through(labels)
    letters = bench.written.rows("dead_letters")
    assert [int(letter["id"]) for letter in letters] == refused
    assert {letter["reason"] for letter in letters} == {"label_type"}
    assert {letter["stage"] for letter in letters} == {"learn"}
    good = [f"{number}" for number in range(len(labels)) if number not in refused]
    assert bench.ids("learn_log") == bench.ids("evaluations") == good
    assert bench.stats.rebuilds == 0


def test_a_configured_type_refuses_even_the_first_label() -> None:
    bench = labels_through([1, True, "a", 2], labels="bool")
    assert bench.ids("learn_log") == ["1"]
    assert bench.reasons() == ["label_type"] * 3
    detail = bench.written.rows("dead_letters")[0]["detail"]
    assert detail == "1 is not bool, the type of the labels before it"


def test_a_type_configured_later_holds_from_then_on() -> None:
    store = MemoryStore()
    Bench([deployment(naive_bayes.GaussianNB())], store).handle(request("a", T0, {"a": 1}))
    bench = Bench([deployment(naive_bayes.GaussianNB(), labels="str")], store)
    bench.handle(example("a", T0, {"a": 1}, True))
    assert bench.reasons() == ["label_type"]


@pytest.mark.parametrize(
    ("labels", "keys", "prediction"),
    [
        ([True, False], ["true", "false"], True),
        ([3, 1], ["3", "1"], 3),
        (["true", "3"], ["true", "3"], "true"),
        ([0.5, 2.5], ["0.5", "2.5"], 0.5),
    ],
)
def test_labels_are_keys_of_json(labels: list[Any], keys: list[str], prediction: Any) -> None:
    bench = Bench([deployment(naive_bayes.GaussianNB())], MemoryStore())
    for number in range(8):
        label = labels[number % 2]
        x = {"a": 10.0 * (number % 2) + number / 10}
        bench.handle(*offered(f"{number}", x, label))
    bench.handle(request("last", T0, {"a": 0.1}))
    row = bench.written.rows("predictions")[-1]
    assert list(row["probabilities"]) == keys
    assert json.dumps(row["prediction"]) == json.dumps(prediction)


def test_a_binary_model_answers_in_the_type_that_the_labels_have() -> None:
    """LogisticRegression says False and True whatever it learned from."""
    bench = Bench([deployment(LR)], MemoryStore())
    bench.handle(*offered("a", {"a": 1.0}, 1), *offered("b", {"a": -1.0}, 0))
    bench.handle(request("c", T0, {"a": 1.0}))
    first, _, last = bench.written.rows("predictions")
    assert list(first["probabilities"]) == ["false", "true"], "no label is known yet"
    assert list(last["probabilities"]) == ["0", "1"]
    assert json.dumps(last["prediction"]) == "1"


# Which examples are learned


def test_only_what_is_wrong_or_unsure_is_learned() -> None:
    said_by_features = {
        "sure and right": ({"a": 0.75, "b": 0.25}, "a", False),  # 0.5 apart is not closer than 0.5
        "right, a little unsure": ({"a": 0.7421875, "b": 0.2578125}, "a", True),
        "sure and wrong": ({"a": 0.9, "b": 0.1}, "b", True),
        "of three, the two highest count": ({"a": 0.6, "b": 0.3, "c": 0.1}, "a", True),
        "the only label": ({"a": 0.5}, "a", False),
        "no answer": ({}, "a", True),
    }
    bench = Bench([deployment(Sure(), margin_below=0.5, labels="str")], MemoryStore())
    for id, (x, y, _) in said_by_features.items():
        bench.handle(*offered(id, x, y))
    learned = [id for id, (*_, learns) in said_by_features.items() if learns]
    assert bench.ids("learn_log") == learned
    assert bench.ids("evaluations") == list(said_by_features), "all are evaluated"
    assert bench.stats.skipped == 2
    assert not bench.reasons()


@pytest.mark.parametrize("labels", [(False, True), (0, 1)])
def test_a_passive_aggressive_loop_says_the_same(labels: tuple[Any, Any]) -> None:
    rows = [row._replace(y=labels[row.y]) for row in transactions("Phishing", 400)]
    model, expected, learned = logistic(), {}, []
    for row, answered in questions_and_answers(rows):
        probabilities = model.predict_proba_one(row.x)
        if not answered:
            expected[row.id] = list(probabilities.values())
            continue
        wrong = max(probabilities, key=probabilities.get) != row.y
        if wrong or abs(probabilities[True] - probabilities[False]) < 0.4:
            model.learn_one(row.x, row.y)
            learned.append(row.id)
    bench = Bench([deployment(LR, margin_below=0.4)], MemoryStore())
    bench.handle(*items_of(rows))
    got = {
        row["id"]: list(row["probabilities"].values()) for row in bench.written.rows("predictions")
    }
    assert got == expected
    assert bench.ids("learn_log") == learned
    assert 50 < len(learned) < 350
    assert bench.lane.live["m"].n == len(learned)


def test_a_fresh_prediction_after_learning_is_marked() -> None:
    rows = transactions("Phishing", 200)
    bench = Bench([deployment(LR, reemit=True)], MemoryStore())
    bench.handle(*items_of(rows))
    model, expected = logistic(), []
    for row, answered in questions_and_answers(rows):
        if answered:
            teach("classification", model, row)
        expected.append((row.id, answered, ask("classification", model, row.x)))
    got = bench.written.rows("predictions")
    assert [(row["id"], row.get("reemit", False), said(row)) for row in got] == expected
    first, again = [row for row in got if row["id"] == rows[0].id]
    assert (
        first["input"]
        == again["input"]
        == sha256(
            rows[0].id.encode() + b"\0" + json.dumps(rows[0].x, separators=(",", ":")).encode()
        ).hexdigest()
    )
    learned = {row["id"]: row["version"] for row in bench.written.rows("learn_log")}
    assert {row["id"]: row["version"] for row in got if "reemit" in row} == learned
    assert len(bench.written.rows("evaluations")) == len(rows), "the first prediction is evaluated"
    assert bench.written.rows("evaluations")[0]["version"] == first["version"]


def test_what_is_not_learned_is_not_emitted_again() -> None:
    bench = Bench([deployment(Sure(), margin_below=0.5, reemit=True)], MemoryStore())
    bench.handle(*offered("sure", {"a": 1.0}, "a"), *offered("unsure", {"a": 0.5, "b": 0.4}, "a"))
    bench.handle(example("unsure", T0, None, "a", source="correction"))
    rows = [(row["id"], "reemit" in row) for row in bench.written.rows("predictions")]
    assert rows == [("sure", False), ("unsure", False), ("unsure", True)]


def test_learning_on_arrival_takes_no_label() -> None:
    bench = Bench([deployment(detector(), task="anomaly", learn_on="arrival")], MemoryStore())
    for number in range(60):
        bench.handle(*offered(f"{number}", {"a": number % 7 / 7}, number % 2 == 0))
    log = bench.written.rows("learn_log")
    assert [row["id"] for row in log] == [f"{number}" for number in range(60)]
    assert {(row["label"], row["source"]) for row in log} == {(None, "arrival")}
    assert len(bench.written.rows("evaluations")) == 60


# Several models


def test_the_champion_serves() -> None:
    deployed = [
        deployment(LR, "a", "challenger"),
        deployment(LR, "b", "champion"),
        deployment(LR, "c", "shadow"),
    ]
    written = handled(deployed, list(items_of(transactions("Phishing", 30))))
    rows = written.rows("predictions")
    assert [row["model"] for row in rows[:3]] == ["a", "b", "c"]
    assert all(row["serving"] == (row["model"] == "b") for row in rows)
    assert written.said("a") == written.said("b") == written.said("c")
    heads = {model: written.rows("learn_log", model)[-1]["head"] for model in "abc"}
    assert len(set(heads.values())) == 3, "a model's name is part of its genesis"


def test_models_keep_their_order_whatever_state_does() -> None:
    class Shuffled(MemoryStore):
        def models(self) -> dict[str, dict[str, Any]]:
            return dict(reversed(super().models().items()))

    deployed = [deployment(LR, name, "champion" if name == "b" else "shadow") for name in "bac"]
    bench = Bench(deployed, Shuffled())
    bench.restart()
    bench.handle(request("t", T0, {"a": 1.0}))
    assert [row["model"] for row in bench.written.rows("predictions")] == ["b", "a", "c"]


# Evaluations


def test_what_was_said_is_evaluated_however_long_ago() -> None:
    rows = transactions("Phishing", 150)
    bench = Bench([deployment(LR), deployment(hat(), "hat", "challenger")], MemoryStore())
    bench.handle(*items_of(rows))
    for model in ("m", "hat"):
        predictions = {row["id"]: row for row in bench.written.rows("predictions", model)}
        evaluations = bench.written.rows("evaluations", model)
        assert len(evaluations) == len(rows)
        truth = {row.id: row for row in rows}
        for row in evaluations:
            prediction, true = predictions[row["id"]], truth[row["id"]]
            assert row == {
                **{
                    key: prediction[key] for key in ("id", "model", "lane", "version", "prediction")
                },
                "probabilities": prediction["probabilities"],
                "event_time": true.ts,
                "label": true.y,
                "label_time": true.due,
                "delay_ms": true.due - true.ts,
                "source": "label",
                "late": False,
                "leaked": False,
            }
    assert bench.stats.evaluations == 2 * len(rows)
    assert vars(bench.store)["_predictions"] == {}, "nothing is kept that was evaluated last"


def test_corrections_assumed_and_late_labels_are_marked() -> None:
    bench = Bench([deployment(LR)], MemoryStore())
    x = {"a": 1.0}
    bench.handle(
        request("t", T0, x),
        example("t", T0, x, False, T0 + 10, source="assumed", last=False),
        example("t", T0, None, False, T0 + 12, source="correction", last=False),
        example("t", T0, x, True, T0 + 50, source="correction", late=True, last=False),
    )
    assert bench.store.predictions("t") is not None
    bench.handle(forget("t"))
    assert bench.store.predictions("t") is None
    fields = ("label", "source", "late", "delay_ms", "version")
    genesis = bench.written.rows("predictions")[0]["version"]
    assert [tuple(row[field] for field in fields) for row in bench.written.rows("evaluations")] == [
        (False, "assumed", False, 10, genesis),
        (False, "correction", False, 12, genesis),
        (True, "correction", True, 50, genesis),
    ]
    log = [(row["label"], row["source"], row["n"]) for row in bench.written.rows("learn_log")]
    assert log == [(False, "assumed", 1), (True, "correction", 2)]


def test_nothing_is_kept_where_nothing_is_evaluated() -> None:
    bench = Bench([deployment(LR)], MemoryStore(), out=Out(evaluations=False))
    bench.handle(request("t", T0, {"a": 1.0}))
    assert bench.store.predictions("t") is None
    bench.handle(example("t", T0, {"a": 1.0}, True), forget("t"))
    assert not bench.written.rows("evaluations")
    assert bench.stats.unmatched == 0
    assert bench.lane.live["m"].n == 1


def test_a_label_whose_prediction_is_gone_is_learned_and_counted() -> None:
    bench = Bench([deployment(LR)], MemoryStore())
    bench.handle(example("t", T0, {"a": 1.0}, True))
    assert not bench.written.rows("evaluations")
    assert bench.stats.unmatched == 1
    assert bench.lane.live["m"].n == 1


def test_outputs_that_are_not_written_change_nothing_else() -> None:
    items = list(items_of(transactions("Phishing", 60)))
    everything = handled([deployment(LR)], items)
    for output in ("predictions", "evaluations", "learn_log"):
        less = handled([deployment(LR)], items, out=Out(**{output: False}))
        assert not less.rows(output)
        for other in {"predictions", "evaluations", "learn_log"} - {output}:
            assert less.rows(other) == everything.rows(other)


# Versions


def chain(genesis: dict[str, Any], log: list[str]) -> list[str]:
    """Heads by the rule of docs/versions.md."""
    text = json.dumps(genesis, separators=(",", ":"), sort_keys=True)
    head = sha256(text.encode()).digest()
    heads = [head.hex()]
    for record in log:
        entry = record[: record.rindex(',"parent":')] + "}"
        head = sha256(head + sha256(entry.encode()).digest()).digest()
        heads.append(head.hex())
    return heads


def test_a_version_is_named_by_its_examples_and_its_head() -> None:
    rows = transactions("Phishing", 25)
    bench = Bench(
        [deployment(LR, origin={"class": "x", "params": {"b": 1, "a": None}})], MemoryStore()
    )
    bench.handle(*items_of(rows))
    genesis = {"lane": None, "model": "m", "spec": {"class": "x", "params": {"b": 1, "a": None}}}
    heads = chain(genesis, bench.written.texts["learn_log"])
    log = bench.written.rows("learn_log")
    assert [row["head"] for row in log] == heads[1:]
    assert [row["version"] for row in log] == [
        f"m@{n}-{head[:12]}" for n, head in enumerate(heads) if n > 0
    ]
    assert [row["parent"] for row in log] == [
        f"m@{n}-{head[:12]}" for n, head in enumerate(heads[:-1])
    ]
    assert bench.written.rows("predictions")[0]["version"] == f"m@0-{heads[0][:12]}"
    assert bench.lane.live["m"].head.hex() == heads[-1]


def test_the_log_says_what_was_learned() -> None:
    bench = Bench([deployment(LR)], MemoryStore(), lane="shop 1")
    x = {"b": 1, "a": 0.1}
    bench.handle(request("t", T0, x), example("t", T0, x, True, T0 + 7, weight=2.5, late=True))
    [text] = bench.written.texts["learn_log"]
    assert text.startswith(
        '{"kind":"example","model":"m","lane":"shop 1","n":1,"id":"t","features":{"b":1,"a":0.1},'
        '"label":true,"weight":2.5,"source":"label","event_time":1700000000000,"op":null,"seq":null,'
        '"parent":"m/shop%201@0-'
    )


# State and configuration


def learned_some(store: MemoryStore, deployed: list[Deployment] | None = None) -> Bench:
    bench = Bench(deployed or [deployment(LR)], store)
    bench.handle(*items_of(transactions("Phishing", 40)))
    return bench


def test_another_environment_is_entered_once(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()
    bench = learned_some(store)
    before = bench.written.rows("learn_log")[-1]
    bench.restart()
    assert bench.written.rows("learn_log")[-1] == before, "the same environment is no entry"
    now = {**snapshots.environment(), "numpy": "99.0"}
    monkeypatch.setattr(snapshots, "environment", lambda: now)
    bench.restart()
    bench.restart()
    *_, last, entry = bench.written.rows("learn_log")
    assert last == before
    assert (entry["kind"], entry["n"], entry["parent"]) == ("environment", 40, before["version"])
    assert json.loads(entry["op"]) == now
    assert entry["head"] != before["head"]
    bench.handle(request("t", T0, {"a": 1.0}))
    assert bench.written.rows("predictions")[-1]["version"] == entry["version"]


def test_a_spec_that_changed_is_not_used(caplog: pytest.LogCaptureFixture) -> None:
    store = MemoryStore()
    one = learned_some(store)
    expected = one.lane.live["m"].version
    other = deployment(
        hat(), origin={"other": 1}, task="anomaly", purity=Purity.ALWAYS, reemit=True
    )
    with caplog.at_level(logging.WARNING):
        two = Bench([other], store)
    assert "model 'm' has another spec in state; state wins" in caplog.text
    live = two.lane.live["m"]
    assert live.version == expected
    assert live.settings.origin == {"made": "by hand"}
    assert (live.settings.task, live.settings.purity) == ("classification", Purity.PURE)
    assert live.settings.reemit, "how it is used follows the configuration"
    two.handle(request("t", T0, {"a": 1.0}))
    one.handle(request("t", T0, {"a": 1.0}))
    assert timeless(two.written.rows("predictions")[-1]) == one.written.rows("predictions")[-1]


def test_a_name_that_is_missing_goes_on_and_one_that_is_new_is_deployed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = MemoryStore()
    one = learned_some(store)
    with caplog.at_level(logging.WARNING):
        bench = Bench([deployment(LR, "new", labels="bool")], store)
    assert "model 'm' is in state but not configured; it goes on" in caplog.text
    [entry] = bench.written.rows("learn_log")
    assert (entry["kind"], entry["op"], entry["model"], entry["n"]) == (
        "control",
        'deploy {"task":"classification","role":"champion","origin":{"made":"by hand"},"since":null}',
        "new",
        0,
    )
    genesis = {"lane": None, "model": "new", "spec": {"made": "by hand"}}
    assert entry["head"] == chain(genesis, bench.written.texts["learn_log"])[1]
    bench.restart()
    assert len(bench.written.rows("learn_log")) == 1, "it is deployed once"
    bench.handle(*offered("t", {"a": 1.0}))
    first, second = bench.written.rows("predictions")
    assert (first["model"], first["serving"], first["version"]) == ("new", True, entry["version"])
    assert (second["model"], second["serving"]) == ("m", False), "one champion"
    assert second["version"] == one.lane.live["m"].version
    assert bench.lane.live["m"].n == 41


def test_how_often_a_model_may_fail_follows_the_configuration() -> None:
    store = MemoryStore()
    bench = Bench([moody(max_failures=5)], store)
    bench.handle(*offered("a", {"poison": 1}), *offered("b", {"poison": 1}))
    assert not bench.lane.live["m"].frozen
    bench = Bench([moody(max_failures=2)], store)
    bench.handle(*offered("c", {"poison": 1}))
    assert bench.lane.live["m"].frozen


# Starting from a version


def version_of(bench: Bench, **changes: Any) -> Version:
    live = bench.lane.live["m"]
    return Version(
        "m", live.lane, live.n, live.head, live.label_type, frozenset(live.names),
        snapshots.environment(),
    )._replace(**changes)  # fmt: skip


SAVED = {"LR": LR, "SRP": MODELS["SRP of NB, Phishing"]}


@pytest.mark.parametrize("name", SAVED)
def test_a_version_goes_on_under_its_own_name(name: str) -> None:
    known = SAVED[name]
    items = list(items_of(transactions("Phishing", 80)))
    whole = Bench([deployment(known)], MemoryStore())
    whole.handle(*items)
    first = Bench([deployment(known)], MemoryStore())
    first.handle(*items[:70])
    settings = deployment(known).settings
    saved = Deployment(settings, pickle_model(first.lane.live["m"].model), version_of(first))
    second = Bench([saved], MemoryStore())
    second.handle(*items[70:])
    for output in ("predictions", "learn_log"):
        assert first.written.rows(output) + second.written.rows(output) == whole.written.rows(
            output
        )


def test_under_another_name_or_lane_a_version_begins_a_chain() -> None:
    first = learned_some(MemoryStore())
    pickled = pickle_model(first.lane.live["m"].model)
    head = first.lane.live["m"].head.hex()
    for name, lane in (("other", None), ("m", "shop")):
        deployed = Deployment(deployment(LR, name).settings, pickled, version_of(first))
        bench = Bench([deployed], MemoryStore(), lane=lane)
        bench.handle(request("t", T0, {"a": 1.0}))
        genesis = {"lane": lane, "model": name, "spec": {"head": head}}
        [expected] = chain(genesis, [])
        place = name if lane is None else f"{name}/{lane}"
        [row] = bench.written.rows("predictions")
        assert row["version"] == f"{place}@40-{expected[:12]}"
        first.handle(request("t", T0, {"a": 1.0}))
        assert said(row) == said(first.written.rows("predictions")[-1])
        assert bench.lane.live[name].label_type == "bool"


def test_a_version_made_elsewhere_enters_its_environment() -> None:
    first = learned_some(MemoryStore())
    since = version_of(first, environment={**snapshots.environment(), "machine": "pdp11"})
    deployed = Deployment(deployment(LR).settings, pickle_model(logistic()), since)
    bench = Bench([deployed], MemoryStore())
    [entry] = bench.written.rows("learn_log")
    assert entry["kind"] == "environment"
    assert entry["parent"] == first.lane.live["m"].version
    bench.restart()
    assert len(bench.written.rows("learn_log")) == 1


# Metrics


def test_totals_are_counted() -> None:
    bench = Bench([deployment(LR, every=10)], MemoryStore())
    bench.handle(*items_of(transactions("Phishing", 35)))
    stats = bench.stats
    assert (stats.predictions, stats.examples, stats.evaluations) == (35, 35, 35)
    assert stats.snapshots == 1 + 3, "one at the deployment"
    assert stats.predicting.mean() > 0
    assert stats.learning.mean() > 0
    assert stats.label_delay_ms > 0
    assert sum(stats.dead_letters.values()) == 0
