"""The flow says what a plain River loop says, to the last bit, and its learn log proves it.

Every float is compared after its way through JSON, with `==`.
"""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from river import anomaly, linear_model, metrics, naive_bayes, preprocessing, tree

from models.purity import Purity
from operators.joining import JoinSettings
from tests.operators.flows import Written, deployment, lines, run, said, shuffled
from tests.operators.loops import (
    HOUR,
    MINUTE,
    MODELS,
    T0,
    Known,
    Transaction,
    as_json,
    delayed_loop,
    detector,
    events,
    hat,
    progressive,
    ragged,
    srp,
    transactions,
)

ROOT = Path(__file__).parents[2]
ORDERINGS = ("arrival", "event_time")


def written_of(known: Known, rows: list[Transaction], ordering: str, **settings: Any) -> Written:
    """One merged file in the order of time; under event_time, one that is shuffled."""
    happened = events(rows)
    if ordering == "event_time":
        mixed = shuffled(happened)
        assert mixed != happened
        happened = mixed
    deployed = [deployment(known, **{"learn_on": "label", **settings})]
    return run(lines(happened), deployed, ordered=ordering == "event_time")


def in_json(prediction: Any) -> Any:
    """What River's evaluation hands on, as JSON would have it."""
    return as_json(prediction) if isinstance(prediction, dict) else prediction


# River's own loops


@pytest.mark.parametrize("ordering", ORDERINGS)
@pytest.mark.parametrize("name", MODELS)
def test_predictions_equal_a_river_loop_with_delayed_labels(name: str, ordering: str) -> None:
    known = MODELS[name]
    rows = transactions(known.data, known.count)
    written = written_of(known, rows, ordering)
    assert written.said() == delayed_loop(known.task, known.make(), rows)
    assert not written.rows("dead_letters")


@pytest.mark.parametrize("name", MODELS)
def test_evaluations_equal_iter_progressive_val_score(name: str) -> None:
    known = MODELS[name]
    rows = transactions(known.data, known.count)
    evaluations = written_of(known, rows, "arrival").rows("evaluations")
    asked_for = known.metric()
    labels_only = known.task == "classification" and asked_for.requires_labels
    field = {"classification": 1, "regression": 0, "anomaly": 2}[known.task]
    got = [said(row)[0 if labels_only else field] for row in evaluations]
    assert got == list(map(in_json, progressive(known.make(), rows, asked_for)))


@pytest.mark.parametrize("ordering", ORDERINGS)
@pytest.mark.parametrize(
    "known",
    [
        Known(
            lambda: preprocessing.StandardScaler() | linear_model.LogisticRegression(), "Phishing"
        ),
        Known(hat, "ImageSegments"),
        Known(lambda: srp(naive_bayes.GaussianNB()), "Phishing", count=200, names=True),
    ],
    ids=["LR", "HAT", "SRP"],
)
def test_features_that_are_missing_or_in_another_order_stay_so(known: Known, ordering: str) -> None:
    rows = ragged(transactions(known.data, known.count))
    model = known.make()
    assert written_of(known, rows, ordering).said() == delayed_loop(known.task, model, rows)
    ordered = [row._replace(x=dict(sorted(row.x.items()))) for row in rows]
    if not known.names:
        assert delayed_loop(known.task, known.make(), ordered) != delayed_loop(
            known.task, known.make(), rows
        ), "with this data a flow that sorts would be found out"


def test_weights_reach_the_model() -> None:
    known = Known(
        lambda: preprocessing.StandardScaler() | linear_model.LogisticRegression(), "Phishing"
    )
    rows = [
        row._replace(weight=(None, 0.25, 3.0)[number % 3])
        for number, row in enumerate(transactions(known.data, known.count))
    ]
    unweighted = [row._replace(weight=None) for row in rows]
    expected = delayed_loop(known.task, known.make(), rows)
    assert expected != delayed_loop(known.task, known.make(), unweighted)
    assert written_of(known, rows, "arrival").said() == expected


# Anomalies


ANOMALY = Known(detector, "Phishing", "anomaly")


@pytest.mark.parametrize("ordering", ORDERINGS)
def test_a_detector_that_learns_on_arrival_scores_first(ordering: str) -> None:
    rows = transactions("Phishing", 1250)
    written = written_of(ANOMALY, rows, ordering, learn_on="arrival")
    scores = progressive(detector(), rows, metrics.ROCAUC(), at_once=True)
    assert [row["score"] for row in written.rows("predictions")] == scores
    assert len(set(scores)) > 10
    assert {row["source"] for row in written.rows("learn_log")} == {"arrival"}


@pytest.mark.parametrize("ordering", ORDERINGS)
def test_a_detector_may_learn_from_one_label_only(ordering: str) -> None:
    rows = transactions("Phishing", 1250)
    written = written_of(ANOMALY, rows, ordering, learn_only=False)
    expected = delayed_loop("anomaly", detector(), rows, learns=lambda row: row.y is False)
    assert written.said() == expected
    assert expected != delayed_loop("anomaly", detector(), rows)
    learned = {row["id"] for row in written.rows("learn_log")}
    assert learned == {row.id for row in rows if row.y is False}
    assert len(written.rows("evaluations")) == len(rows), "all labels count in evaluations"


def test_a_filter_decides_and_scores() -> None:
    def make() -> Any:
        return anomaly.QuantileFilter(detector(), q=0.9)

    rows = transactions("Phishing", 600)
    written = written_of(Known(make, "Phishing", "anomaly"), rows, "arrival", learn_on="arrival")
    model = make()
    for row, prediction in zip(rows, written.rows("predictions"), strict=True):
        score = model.score_one(row.x)
        assert (prediction["prediction"], prediction["score"]) == (model.classify(score), score)
        model.learn_one(row.x)


# The order of what arrives


def test_arrival_order_is_the_order_of_the_loop_whatever_the_times_say() -> None:
    known = MODELS["HAT, Phishing"]
    rows = transactions("Phishing", 300)
    mixed = shuffled(events(rows), seed=8)
    model, loop, features, waiting = known.make(), {}, {}, {}
    for event in mixed:
        id = event["id"]
        if "features" in event:
            features[id] = event["features"]
            loop[id] = model.predict_proba_one(features[id])
            if id in waiting:
                model.learn_one(features[id], waiting.pop(id))
        elif id in features:
            model.learn_one(features[id], event["label"])
        else:
            waiting[id] = event["label"]
    got = run(lines(mixed), [deployment(known)]).said()
    assert {id: said.probabilities for id, said in got.items()} == {
        id: as_json(probabilities) for id, probabilities in loop.items()
    }
    assert got != delayed_loop("classification", known.make(), rows)


def test_event_time_does_not_depend_on_how_the_input_was_mixed() -> None:
    known = MODELS["LR, Phishing"]
    happened = events(transactions("Phishing", 300))
    runs = [
        run(lines(mixed), [deployment(known)], ordered=True).all()
        for mixed in (happened, shuffled(happened, seed=1), shuffled(happened, seed=2))
    ]
    assert runs[0]["learn_log"] == runs[1]["learn_log"] == runs[2]["learn_log"]
    assert runs[0] == runs[1] == runs[2]


def test_timeouts_that_assume_a_label_equal_a_loop_that_knows_them() -> None:
    """Labels later than an hour are assumed to be False then, and evaluated when they come."""
    rows = transactions("Phishing", 400)
    join = JoinSettings(HOUR, 24 * HOUR, on_timeout="assume", assumed_label=False)
    known = MODELS["LR, Phishing"]
    happened = events(rows)
    written = run(
        lines(happened), [deployment(known)], join=join, ordered=True, max_out_of_orderness_ms=0
    )
    # At one time a label goes first, then a timeout, then features. Nothing is assumed beyond the
    # last time of the input.
    known_then = [row._replace(y=row.y if row.due <= row.ts + HOUR else False) for row in rows]
    steps: list[tuple[int, int, str, Transaction]] = []
    for row in known_then:
        in_time = row.due <= row.ts + HOUR
        steps.append((row.ts, 2, row.id, row))
        steps.append(
            (max(row.due, row.ts), 0, row.id, row) if in_time else (row.ts + HOUR, 1, row.id, row)
        )
    model, expected, seen = known.make(), {}, set[str]()
    for _, rank, id, row in sorted(steps, key=lambda step: step[:3]):
        if rank == 2:
            expected[id] = as_json(model.predict_proba_one(row.x))
            seen.add(id)
            if row.due == row.ts:
                model.learn_one(row.x, row.y)
        elif row.due != row.ts:
            assert id in seen
            model.learn_one(row.x, row.y)
    assert {id: said.probabilities for id, said in written.said().items()} == expected
    sources = [row["source"] for row in written.rows("evaluations")]
    late = sum(row.due > row.ts + HOUR for row in rows)
    assert late > 50
    assert sources.count("assumed") == sources.count("correction") == late
    assert sources.count("label") == len(rows) - late


# The learn log, replayed


def genesis_head(spec: Any, model: str, lane: str | None) -> bytes:
    genesis = {"lane": lane, "model": model, "spec": spec}
    text = json.dumps(genesis, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
    return sha256(text.encode()).digest()


class Replayer:
    """Rebuilds every version from the text of the learn log, with River and hashlib alone."""

    def __init__(self, make: Callable[[], Any], task: str, spec: Any, model: str) -> None:
        self._make, self._task, self._spec, self._model = make, task, spec, model
        self._lanes: dict[str | None, tuple[bytes, int, Any]] = {}
        self._open: dict[str, list[dict[str, Any]]] = {}
        self.checked = 0

    def check(self, log: list[str], predictions: list[dict[str, Any]]) -> None:
        """Recompute every prediction at the version that it names."""
        for prediction in predictions:
            self._open.setdefault(prediction["version"], []).append(prediction)
        for lane in dict.fromkeys(prediction["lane"] for prediction in predictions):
            head, model = genesis_head(self._spec, self._model, lane), self._make()
            self._lanes[lane] = head, 0, model
            self._check_predictions(self._name(lane, 0, head), model)
        for text in log:
            self._follow(text)
        assert not self._open, "predictions of versions that the log does not lead to"

    def _name(self, lane: str | None, n: int, head: bytes) -> str:
        place = self._model if lane is None else f"{self._model}/{quote(lane, safe='')}"
        return f"{place}@{n}-{head.hex()[:12]}"

    def _follow(self, text: str) -> None:
        entry, _, chain = text.rpartition(',"parent":')
        step = json.loads(entry + "}")
        chained = json.loads('{"parent":' + chain)
        head, n, model = self._lanes[step["lane"]]
        assert chained["parent"] == self._name(step["lane"], n, head)
        n += step["kind"] == "example"
        assert step["n"] == n
        if step["kind"] == "request":
            model.predict_proba_one(step["features"])
        elif self._task == "anomaly":
            model.learn_one(step["features"])
        elif step["weight"] is None:
            model.learn_one(step["features"], step["label"])
        else:
            model.learn_one(step["features"], step["label"], w=step["weight"])
        head = sha256(head + sha256((entry + "}").encode()).digest()).digest()
        assert (chained["version"], chained["head"]) == (
            self._name(step["lane"], n, head),
            head.hex(),
        )
        self._lanes[step["lane"]] = head, n, model
        self._check_predictions(chained["version"], model)

    def _check_predictions(self, version: str, model: Any) -> None:
        for prediction in self._open.pop(version, ()):
            x = prediction["x"]
            if self._task == "anomaly":
                assert model.score_one(x) == prediction["score"]
            elif self._task == "regression":
                assert model.predict_one(x) == prediction["prediction"]
            else:
                assert as_json(model.predict_proba_one(x)) == list(
                    prediction["probabilities"].items()
                )
            self.checked += 1


def lr() -> Any:
    return preprocessing.StandardScaler() | linear_model.LogisticRegression()


REPLAYED = {
    "LR": (Known(lr, "Phishing"), {}),
    "HAT, several labels": (Known(hat, "ImageSegments"), {}),
    "regression": (Known(tree.HoeffdingTreeRegressor, "TrumpApproval", "regression"), {}),
    "anomaly": (Known(detector, "Phishing", "anomaly"), {"learn_on": "arrival"}),
    "anomaly, one label": (Known(detector, "Phishing", "anomaly"), {"learn_only": False}),
    "SRP": (Known(lambda: srp(naive_bayes.GaussianNB()), "Phishing", count=150, names=True), {}),
    "emitted again": (Known(lr, "Phishing"), {"reemit": True}),
    "learns if unsure": (Known(lr, "Phishing"), {"margin_below": 0.3}),
}


@pytest.mark.parametrize("name", REPLAYED)
def test_every_prediction_follows_from_the_text_of_the_learn_log(name: str) -> None:
    known, settings = REPLAYED[name]
    rows = ragged(transactions(known.data, known.count))
    weighted = known.task == "classification" and name != "SRP" and "HAT" not in name
    if weighted:
        rows = [row._replace(weight=2.5 if n % 5 == 0 else None) for n, row in enumerate(rows)]
    written = written_of(known, rows, "event_time", origin={"class": name}, **settings)
    features = {row.id: row.x for row in rows}
    predictions = [{**row, "x": features[row["id"]]} for row in written.rows("predictions")]
    replayer = Replayer(known.make, known.task, {"class": name}, "m")
    replayer.check(written.texts["learn_log"], predictions)
    assert replayer.checked == len(predictions) >= len(rows)


def test_every_lane_has_a_chain_of_its_own() -> None:
    rows = [
        row._replace(x={**row.x, "shop": ("a/b", "ü 7", "100%")[number % 3]})
        for number, row in enumerate(transactions("Phishing", 300))
    ]
    # A one-hot encoder takes the text, as the pipeline of a shop would.
    known = Known(lambda: preprocessing.OneHotEncoder() | naive_bayes.BernoulliNB(), "Phishing")
    written = run(
        lines(events(rows)),
        [deployment(known, purity=Purity.NAMES)],
        lane_by="shop",
        live_lanes=1,
    )
    features = {row.id: row.x for row in rows}
    predictions = [{**row, "x": features[row["id"]]} for row in written.rows("predictions")]
    assert {row["version"].split("@")[0] for row in predictions} == {
        "m/a%2Fb",
        "m/%C3%BC%207",
        "m/100%25",
    }
    replayer = Replayer(known.make, known.task, {"made": "by hand"}, "m")
    replayer.check(written.texts["learn_log"], predictions)
    assert replayer.checked == 300


def test_srp_is_exact_though_requests_without_label_bring_other_names() -> None:
    """Its subspaces are drawn from the names of the first request, labelled or not."""
    rows = transactions("Phishing", 150)
    stranger = {"id": "stranger", "features": {"z": 1.0, "y": 2.0, "x": 0.5}, "ts": T0 - MINUTE}
    known = Known(lambda: srp(naive_bayes.GaussianNB()), "Phishing", names=True)
    written = run(lines([stranger, *events(rows)]), [deployment(known)])
    model = known.make()
    model.predict_proba_one(stranger["features"])
    expected = delayed_loop(known.task, model, rows)
    got = written.said()
    got.pop("stranger")
    assert got == expected
    assert expected != delayed_loop(known.task, known.make(), rows), "the stranger matters"
    first = written.rows("learn_log")[0]
    assert (first["kind"], first["id"], first["n"]) == ("request", "stranger", 0)


# docs/versions.md


def checked_by_the_docs(folder: Path, specs: dict[str, Any], log: list[str]) -> str:
    """What the program in the docs says of a log."""
    text = (ROOT / "docs/versions.md").read_text()
    [program] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (folder / "specs.json").write_text(json.dumps(specs))
    (folder / "log.jsonl").write_text("".join(record + "\n" for record in log))
    ran = subprocess.run(
        [sys.executable, "-I", "-c", program, folder / "specs.json", folder / "log.jsonl"],
        capture_output=True,
        text=True,
        check=False,
    )
    return ran.stdout.strip() or ran.stderr.strip()


def test_the_program_in_the_docs_checks_a_log(tmp_path: Path) -> None:
    rows = [
        row._replace(x={**row.x, "shop": ("a/b", "ü")[number % 2]})
        for number, row in enumerate(transactions("Phishing", 20))
    ]
    specs = {"m": {"class": "x", "params": {"b": 0.5, "a": None}}, "n": {"made": "by hand"}}
    known = Known(lambda: preprocessing.OneHotEncoder() | naive_bayes.BernoulliNB(), "Phishing")
    deployed = [
        deployment(known, origin=specs["m"], purity=Purity.ALWAYS),
        deployment(known, "n", "shadow", origin=specs["n"]),
    ]
    log = run(lines(events(rows)), deployed, lane_by="shop").texts["learn_log"]
    assert len(log) == 20 + 20 + 20
    assert checked_by_the_docs(tmp_path, specs, log) == "60 entries, 4 chains: all follow"

    not_the_parent = "its parent is not the version before it"
    not_the_entry = "the head does not follow from the entry"
    changed = log[30].replace('"https":', '"http":')
    for tampered, complaint in (
        ([*log[:30], changed, *log[31:]], f"line 31: {not_the_entry}"),
        ([*log[:5], *log[6:]], not_the_parent),
        ([*log, log[-1]], f"line 61: {not_the_parent}"),
    ):
        assert changed not in log
        assert complaint in checked_by_the_docs(tmp_path, specs, tampered)
    other = {**specs, "n": {"made": "by nobody"}}
    assert not_the_parent in checked_by_the_docs(tmp_path, other, log)
