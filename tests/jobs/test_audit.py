"""Audits of backtests, of jobs made by hand, and of files in which a single value was changed."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from functools import cache
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from river import datasets, linear_model, naive_bayes, preprocessing

from connectors.files import read_parts
from jobs import audit as auditing
from jobs import cli
from jobs.audit import Audit, Problem, Verdict, sources
from jobs.backtest import backtest
from jobs.checking import warnings
from jobs.config import Config, load_config, read_config
from jobs.errors import Failure
from state.snapshots import environment, pickle_model
from tests.jobs import flows
from tests.jobs.by_hand import HandMade, changed, config_of, told
from tests.jobs.flows import LOGISTIC, classifier, write
from tests.operators.loops import Transaction, events, ragged, srp, transactions

EXAMPLES = Path(__file__).parents[2] / "examples"
NB = {"class": "river.naive_bayes.GaussianNB"}
SRP = {
    "class": "river.ensemble.SRPClassifier",
    "params": {"model": NB, "n_models": 3, "subspace_size": 3, "seed": 5},
}
FFM = {"class": "river.facto.FFMClassifier", "params": {"n_factors": 3, "seed": 1}}
PROJECTION = {
    "pipeline": [
        {"class": "river.preprocessing.GaussianRandomProjector", "params": {"seed": 4}},
        {"class": "river.linear_model.LogisticRegression"},
    ]
}
TREES = {"class": "river.anomaly.HalfSpaceTrees", "params": {"n_trees": 5, "seed": 9}}
MODEL = classifier("m")
MODELS = [MODEL, classifier("s", SRP)]


def logistic() -> Any:
    return preprocessing.StandardScaler() | linear_model.LogisticRegression()


def rows(count: int, begin: int = 0) -> list[tuple[str, dict[str, Any], bool]]:
    data = list(datasets.Phishing().take(begin + count))[begin:]
    return [(f"t{begin + place}", x, y) for place, (x, y) in enumerate(data)]


def audit(config: Config, **options: Any) -> Audit:
    """By two processes, each of which judges a part, what one says."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(auditing, "_WORTH_TWO", 0)
        by_two = auditing.audit(config, **options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(auditing.meanwhile, "possible", lambda: False)
        by_one = auditing.audit(config, **options)
    # Of several chains what the first part has stands first.
    assert in_order(by_two) == in_order(by_one)
    return by_one


def in_order(found: Audit) -> Audit:
    return msgspec.structs.replace(found, problems=sorted(found.problems, key=repr))


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def verdicts(found: Audit) -> dict[str, int]:
    return {str(verdict): count for verdict, count in found.verdicts.items()}


def only(found: Audit) -> Problem:
    [problem] = found.problems
    return problem


def ran(folder: Path, happened: Iterable[dict[str, Any]], **job: Any) -> Config:
    """A backtest over these events."""
    write(folder / "events.jsonl", happened)
    job.setdefault("models", [MODEL])
    inputs = {"features": {"path": "events.jsonl", **job.pop("schema", {})}}
    config = flows.job(folder, inputs=inputs, **job)
    backtest(config)
    return config


# Whole runs


@pytest.mark.parametrize("name", sorted(path.parent.name for path in EXAMPLES.glob("*/job.toml")))
def test_a_run_of_an_example_has_no_difference(tmp_path: Path, name: str) -> None:
    for file in ("job.toml", "make_input.py"):
        shutil.copy(EXAMPLES / name / file, tmp_path)
    environ = {**os.environ, "PYTHONPATH": str(EXAMPLES.parent)}
    command = [sys.executable, str(tmp_path / "make_input.py")]
    subprocess.run(command, env=environ, check=True, timeout=120)
    for file in (tmp_path / "input").iterdir():
        file.write_text("".join(file.read_text().splitlines(keepends=True)[:3000]))
    config = load_config(tmp_path / "job.toml")
    backtest(config)
    found = audit(config)
    made = sum(1 for _ in read_parts(tmp_path / "out/predictions"))
    assert (found.sound, verdicts(found)) == (True, {"equal": made})
    assert found.entries == sum(1 for _ in read_parts(tmp_path / "out/learn_log"))


CASES: dict[str, tuple[list[Transaction], dict[str, Any]]] = {
    "models that requests change": (
        ragged(transactions("Phishing", 120)),
        {
            "models": [
                classifier("m", SRP),
                classifier("p", PROJECTION),
                classifier("f", {"class": "river.forest.ARFClassifier", "params": {"seed": 2}}),
                classifier("a", FFM),
            ]
        },
    ),
    "two of them, and one that learns at once": (
        transactions("Phishing", 150),
        {
            "models": [
                classifier("m", SRP),
                classifier("b"),
                classifier("c", TREES, task="anomaly", learn_on="arrival"),
            ]
        },
    ),
    "predictions made anew": (
        transactions("Phishing", 120),
        {"models": [classifier("m", reemit=True)]},
    ),
    "learned where unsure": (
        transactions("Phishing", 200),
        {"models": [classifier("m", learn_if={"margin_below": 0.4})]},
    ),
    "lanes": (transactions("Phishing", 200), {"job": {"lane_by": "https"}}),
    "by event time": (transactions("Phishing", 150), {"job": {"ordering": "event_time"}}),
    "a schema that drops": (
        transactions("Phishing", 100),
        {"schema": {"schema": {"is_popular": "number", "long_url": "number", "unknown": "drop"}}},
    ),
    "labels that are numbers": (
        [row._replace(y=int(row.y)) for row in transactions("Phishing", 100)],
        {"models": [classifier("m"), classifier("n", labels="number")]},
    ),
    "weights": (
        [
            row._replace(weight=[None, 1.0, 2.5][place % 3])
            for place, row in enumerate(transactions("Phishing", 100))
        ],
        {},
    ),
    "classes": (transactions("ImageSegments", 150), {"models": [classifier("m", NB)]}),
}


@pytest.mark.parametrize("case", CASES)
def test_a_run_has_no_difference(tmp_path: Path, case: str) -> None:
    happened, job = CASES[case]
    config = ran(tmp_path, events(happened), **job)
    found = audit(config)
    assert found.problems == []
    made = lines(tmp_path / "out/predictions/part-0-0.jsonl")
    assert verdicts(found) == {"equal": len(made)}
    assert len(made) >= len(happened)


def test_what_failed_fails_again(tmp_path: Path) -> None:
    """Texts where numbers were: some predictions are errors, some examples are not learned."""
    poisoned = [
        row._replace(x={**row.x, "https": "yes"}) if place % 2 else row
        for place, row in enumerate(transactions("Phishing", 100))
    ]
    model = classifier(max_failures=999, failure_window=1000)
    config = ran(tmp_path, events(poisoned), models=[model])
    made = lines(tmp_path / "out/predictions/part-0-0.jsonl")
    failed = next(place for place, row in enumerate(made) if "error" in row)
    assert verdicts(audit(config)) == {"equal": 100}

    path = tmp_path / "out/predictions/part-0-0.jsonl"
    changed(path, failed, lambda row: row.pop("error"))
    problem = only(audit(config))
    assert problem.verdict is Verdict.DIFFERENT
    assert problem.detail.startswith('error: nothing, and it says "TypeError: unsupported')


def test_refused_and_repeated_records_need_no_prediction(tmp_path: Path) -> None:
    happened: list[Any] = list(events(transactions("Phishing", 30)))
    first = next(event for event in happened if "features" in event)
    happened += [
        first,
        {**first, "features": {"other": 1}},
        {"id": "old", "features": {}, "ts": 1_700_000_000},
        {"id": "bad", "features": {"a": {}}, "ts": first["ts"]},
        {"features": {}, "ts": first["ts"]},
    ]
    config = ran(tmp_path, happened)
    assert verdicts(audit(config)) == {"equal": 30}


def test_an_id_may_come_again_behind_its_retention(tmp_path: Path) -> None:
    day = 86_400_000
    happened = [
        event
        for begin in (0, 30 * day)
        for event in (
            {"id": "a", "features": {"x": 1.0 + begin}, "ts": flows.T0 + begin},
            {"id": "a", "label": begin > 0, "ts": flows.T0 + begin + 1},
        )
    ]
    config = ran(tmp_path, happened, join={"label_timeout": "1d", "retention": "2d"})
    assert verdicts(audit(config)) == {"equal": 2}


def test_whitespace_escapes_and_nulls_are_not_part_of_what_was_predicted_on(tmp_path: Path) -> None:
    text = '{ "id": "\\u00e9", "features" :{"b": 1, "a":null, "c": 1e1 }, "ts":1700000000000}'
    (tmp_path / "events.jsonl").write_text(text + "\n\n" + text.replace("\\u00e9", "f") + "\r\n")
    config = flows.job(tmp_path, inputs={"features": {"path": "events.jsonl"}}, models=[MODEL])
    backtest(config)
    assert verdicts(audit(config)) == {"equal": 2}


# Made by hand: what control messages do


def test_a_rollback_gives_other_names_and_both_are_explained(tmp_path: Path) -> None:
    job = HandMade()
    chain = job.chain("m", LOGISTIC, logistic())
    told(job, [chain], rows(20))
    target = chain.keep()
    told(job, [chain], rows(20, 20))
    learned = [json.loads(line)["version"] for line in job.learn_log]
    chain.rollback(target)
    assert chain.n == 20
    for id, x, y in rows(20, 20):
        job.send(f"again-{id}", x)
        chain.ask(f"again-{id}", x)
        chain.learn(f"again-{id}", x, y)
    again = [json.loads(line)["version"] for line in job.learn_log[41:]]
    assert not set(learned) & set(again)
    assert len({version.split("-")[0] for version in learned + again}) == 40
    found = audit(job.write(tmp_path, [MODEL]))
    assert (verdicts(found), found.entries, found.forks) == ({"equal": 60}, 61, 0)


def test_a_rollback_over_a_rollback(tmp_path: Path) -> None:
    job = HandMade()
    chain = job.chain("m", LOGISTIC, logistic())
    targets = []
    for turn in range(4):
        told(job, [chain], rows(5, 5 * turn))
        targets.append(chain.keep())
    chain.rollback(targets[2])
    told(job, [chain], rows(5, 30))
    targets.append(chain.keep())
    chain.rollback(targets[0])
    told(job, [chain], rows(5, 40))
    chain.rollback(targets[4])
    told(job, [chain], rows(5, 50))
    assert verdicts(audit(job.write(tmp_path, [MODEL]))) == {"equal": 35}


def test_a_pinned_version_answers_while_others_are_learned(tmp_path: Path) -> None:
    job = HandMade()
    chain = job.chain("m", LOGISTIC, logistic())
    told(job, [chain], rows(10))
    early = next(iter(chain.kept))
    assert early.startswith("m@0-")
    chain.pin(early)
    told(job, [chain], rows(10, 10))
    chain.pin(list(chain.kept)[7])
    told(job, [chain], rows(10, 20))
    chain.unpin()
    told(job, [chain], rows(10, 30))
    config = job.write(tmp_path, [MODEL])
    assert verdicts(audit(config)) == {"equal": 40}
    # A pinned prediction that says the live version is another one's.
    live = json.loads(job.learn_log[12])["version"]
    changed(tmp_path / "out/predictions/part-0-0.jsonl", 13, lambda row: row.update(version=live))
    assert verdicts(audit(config)) == {"equal": 39, "different": 1}


def test_deployed_retired_and_deployed_again(tmp_path: Path) -> None:
    job = HandMade()
    first = job.chain("m", LOGISTIC, logistic())
    told(job, [first], rows(10))
    other = job.deploy("b", NB, naive_bayes.GaussianNB())
    told(job, [first, other], rows(10, 10))
    other.control("retire", 2)
    told(job, [first], rows(10, 20))
    other = job.deploy("b", LOGISTIC, logistic())
    told(job, [first, other], rows(10, 30))
    other.control("promote", 4)
    job.champion = "b"
    told(job, [first, other], rows(10, 40))
    for op in ("freeze", "unfreeze", "publish", "retire"):
        other.control(op, 5)
    found = audit(job.write(tmp_path, [MODEL]))
    assert (verdicts(found), found.chains, found.forks) == ({"equal": 80}, 2, 0)


@pytest.mark.parametrize("at", ["the newest", "an older one"])
def test_deployed_from_a_version_of_another(tmp_path: Path, at: str) -> None:
    job = HandMade()
    first = job.chain("m", LOGISTIC, logistic())
    told(job, [first], rows(10))
    version = first.version if at == "the newest" else list(first.kept)[4]
    # Its chain is read before that of the model it comes from.
    other = job.deploy("a", LOGISTIC, None, since=first, version=version, env=environment())
    told(job, [first, other], rows(10, 10))
    other.rollback(list(other.kept)[3])
    told(job, [first, other], rows(10, 20))
    found = audit(job.write(tmp_path, [MODEL]))
    assert verdicts(found) == {"equal": 50}


def test_in_lanes_a_deployed_model_is_there_from_the_beginning(tmp_path: Path) -> None:
    job = HandMade()
    one = job.chain("m", LOGISTIC, logistic(), lane="1")
    told(job, [one], rows(3))
    deployed = job.chain("b", NB, naive_bayes.GaussianNB(), lane="1")
    deployed.control("deploy", 1, task="classification", role="shadow", origin=NB, since=None)
    told(job, [one, deployed], rows(3, 3))
    # A lane that comes later has no deploy entry.
    later = [
        job.chain("m", LOGISTIC, logistic(), lane="2"),
        job.chain("b", NB, naive_bayes.GaussianNB(), lane="2"),
    ]
    told(job, later, rows(3, 6))
    assert verdicts(audit(job.write(tmp_path, [MODEL]))) == {"equal": 15}


# Forks


def attempts(tmp_path: Path) -> tuple[HandMade, Config]:
    """Ten examples, of which the last two were an attempt that was given up, and five others."""
    job = HandMade()
    chain = job.chain("m", LOGISTIC, logistic())
    told(job, [chain], rows(8))
    chain.kept.clear()
    chain.keep()
    [kept] = chain.kept.values()
    told(job, [chain], rows(2, 100))
    chain.n, chain.head, chain.river = kept
    told(job, [chain], rows(5, 8))
    return job, job.write(tmp_path, [MODEL])


def test_an_attempt_that_was_given_up_is_a_fork(tmp_path: Path) -> None:
    _, config = attempts(tmp_path)
    found = audit(config)
    # The first prediction of the attempt was made by the version at which it forks off.
    assert verdicts(found) == {"equal": 14, "aborted attempt (fork)": 1}
    assert (found.sound, found.forks, found.entries) == (True, 1, 15)


def test_a_prediction_of_an_attempt_that_was_given_up_is_made_again_too(tmp_path: Path) -> None:
    _, config = attempts(tmp_path)
    path = tmp_path / "out/predictions/part-0-0.jsonl"
    changed(path, 9, lambda row: row["probabilities"].update(true=0.5))
    problem = only(audit(config))
    assert (problem.verdict, problem.id) == (Verdict.DIFFERENT, "t101")


def test_entries_that_an_at_least_once_log_has_twice_are_counted(tmp_path: Path) -> None:
    job, _ = attempts(tmp_path)
    job.learn_log[12:12] = job.learn_log[5:8] + job.learn_log[10:12]
    found = audit(job.write(tmp_path, [MODEL]))
    assert verdicts(found) == {"equal": 14, "aborted attempt (fork)": 1}
    assert (found.entries, found.repeated, found.forks) == (15, 5, 1)


@pytest.mark.parametrize("cuts", [[7], [3, 7, 9]])
def test_files_in_any_order_give_the_same_chain(tmp_path: Path, cuts: list[int]) -> None:
    job = HandMade()
    chains = [job.chain("m", LOGISTIC, logistic()), job.chain("b", NB, naive_bayes.GaussianNB())]
    told(job, chains, rows(10))
    config = job.write(tmp_path, [MODEL, classifier("b", NB)])
    folder = tmp_path / "out/learn_log"
    (folder / "part-0-0.jsonl").unlink()
    bounds = [0, *cuts, len(job.learn_log)]
    pieces = [job.learn_log[a:b] for a, b in pairwise(bounds)]
    for place, piece in enumerate(reversed(pieces)):
        path = folder / f"part-{place}-0.jsonl"
        path.write_text("".join(line + "\n" for line in piece))
        os.utime(path, (place, place))
    assert verdicts(audit(config)) == {"equal": 20}


# What is wrong


@cache
def sound_files() -> dict[str, bytes]:
    """A run with a rollback, a pinned version, a deployed model, and one that requests change."""
    job = HandMade()
    chain = job.chain("m", LOGISTIC, logistic())
    asked = job.chain("s", SRP, srp(naive_bayes.GaussianNB()), asked_changes=True)
    told(job, [chain, asked], rows(6))
    chain.rollback(list(chain.kept)[3])
    other = job.deploy("b", NB, naive_bayes.GaussianNB())
    told(job, [chain, asked, other], rows(4, 6))
    chain.pin(list(chain.kept)[2])
    told(job, [chain, asked, other], [("new", {"new": 1.5}, True), *rows(2, 10)])
    with tempfile.TemporaryDirectory() as name:
        config = job.write(Path(name), MODELS)
        assert verdicts(audit(config)) == {"equal": 33}
        return {
            str(path.relative_to(name)): path.read_bytes() for path in Path(name).rglob("*.jsonl")
        }


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(value, dict):
        return [leaf for key, inner in value.items() for leaf in leaves(inner, (*path, key))]
    return [path]


def flipped(value: Any, draw: Callable[[int], int]) -> Any:
    """Another value, as near as its type allows."""
    if value is None:
        return "x"
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value ^ (1 << draw(4))
    if isinstance(value, float):
        return math.nextafter(value, math.inf)
    place = draw(len(value))
    other = "0" if value[place] != "0" else "1"
    return value[:place] + other + value[place + 1 :]


@given(data=st.data())
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_single_value_that_was_changed_anywhere_is_found(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("flip")
    files = sound_files()
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    name = data.draw(st.sampled_from(sorted(files)))
    records = [json.loads(line) for line in files[name].splitlines()]
    number = data.draw(st.integers(0, len(records) - 1))
    # The clock's word is all that there is for this one.
    paths = [path for path in leaves(records[number]) if path != ("predicted_at",)]
    *path, last = data.draw(st.sampled_from(paths))

    def change(record: dict[str, Any]) -> None:
        for key in path:
            record = record[key]
        record[last] = flipped(record[last], lambda bound: data.draw(st.integers(0, bound - 1)))

    changed(folder / name, number, change)
    found = audit(config_of(folder, MODELS))
    assert not found.sound, (name, number, path, last)
    said = {problem.verdict for problem in found.problems}
    if "learn_log" in name:
        assert Verdict.BROKEN in said
        assert f"{name}:{number + 1}" in " ".join(str(p.position) for p in found.problems)
    elif "predictions" in name:
        assert said <= {
            Verdict.DIFFERENT,
            Verdict.UNKNOWN_VERSION,
            Verdict.MISSING,
            Verdict.NO_FEATURES,
        }
    else:
        assert said <= {Verdict.DIFFERENT, Verdict.MISSING, Verdict.NO_FEATURES}


def by_hand(folder: Path, count: int = 12, **sections: Any) -> tuple[HandMade, Config]:
    job = HandMade()
    told(job, [job.chain("m", LOGISTIC, logistic())], rows(count))
    return job, job.write(folder, [MODEL], **sections)


def without(path: Path, *numbers: int) -> None:
    kept = [line for n, line in enumerate(path.read_text().splitlines()) if n not in numbers]
    path.write_text("".join(line + "\n" for line in kept))


def test_a_transaction_without_a_prediction_is_missing_one(tmp_path: Path) -> None:
    _, config = by_hand(tmp_path)
    without(tmp_path / "out/predictions/part-0-0.jsonl", 4)
    found = audit(config)
    assert verdicts(found) == {"equal": 11, "missing prediction": 1}
    problem = only(found)
    assert (problem.id, problem.model, problem.position) == ("t4", None, f"{tmp_path}/in.jsonl:5")


def test_each_model_that_was_there_must_have_predicted(tmp_path: Path) -> None:
    job = HandMade()
    chains = [job.chain("m", LOGISTIC, logistic()), job.chain("b", NB, naive_bayes.GaussianNB())]
    told(job, chains, rows(5))
    config = job.write(tmp_path, [MODEL, classifier("b", NB)])
    without(tmp_path / "out/predictions/part-0-0.jsonl", 5)
    problem = only(audit(config))
    assert (problem.verdict, problem.id, problem.model) == (Verdict.MISSING, "t2", "b")


def test_what_the_features_do_not_say_of_is_told(tmp_path: Path) -> None:
    _, config = by_hand(tmp_path)
    without(tmp_path / "in.jsonl", 4)
    found = audit(config)
    assert verdicts(found) == {"equal": 11, "features missing": 1}
    assert only(found).id == "t4"


def test_a_prediction_twice_is_doubled(tmp_path: Path) -> None:
    job, config = by_hand(tmp_path)
    path = tmp_path / "out/predictions/part-0-0.jsonl"
    path.write_text(path.read_text() + job.predictions[4] + "\n")
    found = audit(config)
    assert verdicts(found) == {"equal": 13, "doubled": 1}
    assert only(found).position == f"{path}:13"
    # Such an output may hold it twice.
    sink = {"connector": "file", "path": "out/predictions", "delivery": "at_least_once"}
    assert audit(config_of(tmp_path, [MODEL], predictions=sink)).sound


def test_who_judges_the_first_part_may_be_killed(tmp_path: Path) -> None:
    _, config = by_hand(tmp_path)
    path = tmp_path / "out/learn_log/part-0-0.jsonl"
    changed(path, 3, lambda row: row.update(label=not row["label"]))
    expected = audit(config)
    here = os.getpid()

    def killed(auditor: Any, part: str, progress: Any) -> Any:
        if os.getpid() != here:
            os.kill(os.getpid(), signal.SIGKILL)
        return replay(auditor, part, progress)

    replay = auditing._Auditor._replay
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(auditing, "_WORTH_TWO", 0)
        patch.setattr(auditing._Auditor, "_replay", killed)
        assert auditing.audit(config) == expected
    assert not expected.sound


def test_a_log_that_lacks_an_entry_is_broken_there(tmp_path: Path) -> None:
    job, config = by_hand(tmp_path)
    path = tmp_path / "out/learn_log/part-0-0.jsonl"
    without(path, 6)
    found = audit(config)
    broken = [problem for problem in found.problems if problem.verdict is Verdict.BROKEN]
    versions = [json.loads(line)["version"] for line in job.learn_log]
    assert broken[0].position == f"{path}:7"
    assert broken[0].version == versions[7]
    assert versions[6] in broken[0].detail
    unknown = [p.id for p in found.problems if p.verdict is Verdict.UNKNOWN_VERSION]
    assert unknown == ["t7"], "the one by the version that is gone"
    assert found.verdicts[Verdict.EQUAL] == 7, "what comes before is as it was"


def test_the_end_of_a_log_may_be_gone(tmp_path: Path) -> None:
    _, config = by_hand(tmp_path)
    without(tmp_path / "out/learn_log/part-0-0.jsonl", 10, 11)
    assert verdicts(audit(config)) == {"equal": 11, "unknown version": 1}


def test_no_log_at_all(tmp_path: Path) -> None:
    _, config = by_hand(tmp_path)
    (tmp_path / "out/learn_log/part-0-0.jsonl").write_text("")
    assert verdicts(audit(config)) == {"equal": 1, "unknown version": 11}


@pytest.mark.parametrize("text", ["{", "[]", "", "{}", "\x00", '{"kind":"example","parent":"m@1-'])
def test_what_is_no_record_is_told_with_its_place(tmp_path: Path, text: str) -> None:
    _, config = by_hand(tmp_path)
    for output in ("learn_log", "predictions"):
        path = tmp_path / f"out/{output}/part-0-0.jsonl"
        path.write_text(path.read_text() + text + "\n")
    found = audit(config)
    if not text:
        assert found.sound
        return
    assert verdicts(found) == {"equal": 12, "different": 1, "broken chain": 1}
    assert {problem.position for problem in found.problems} == {
        f"{tmp_path}/out/{output}/part-0-0.jsonl:13" for output in ("learn_log", "predictions")
    }


def test_another_spec_than_that_of_the_log_explains_nothing(tmp_path: Path) -> None:
    job, _ = by_hand(tmp_path)
    found = audit(job.write(tmp_path, [classifier("m", NB)]))
    assert verdicts(found) == {"unknown version": 12, "broken chain": 1}
    assert "nothing is known of m@0-" in found.problems[0].detail


# Environments

ELSEWHERE = {**environment(), "machine": "another"}


def elsewhere(
    folder: Path, env: Callable[[int], dict[str, str] | None]
) -> tuple[Config, Path, list[int]]:
    """Three times four examples, with an environment entry before each; then every float is changed."""
    job = HandMade()
    chain = job.chain("m", LOGISTIC, logistic())
    for turn in range(3):
        entered = env(turn)
        if entered is not None:
            chain.environment(entered)
        told(job, [chain], rows(4, 4 * turn))
    config = job.write(folder, [MODEL])
    assert verdicts(audit(config)) == {"equal": 12}
    path = folder / "out/predictions/part-0-0.jsonl"
    for number in range(1, 12):
        changed(
            path,
            number,
            lambda row: row["probabilities"].update(true=row["probabilities"]["true"] + 1e-9),
        )
    return config, path, []


@pytest.mark.parametrize(
    ("envs", "different"),
    [
        ((None, None, None), 11),
        ((None, ELSEWHERE, None), 3),
        ((None, ELSEWHERE, environment()), 3),
        ((None, None, environment()), 0),
        ((environment(), None, None), 0),
        ((ELSEWHERE, None, None), 0),
    ],
    ids=["not told", "later", "there and back", "before", "from the first entry on", "always"],
)
def test_floats_of_another_environment_may_differ(
    tmp_path: Path, envs: tuple[Any, ...], different: int
) -> None:
    """What was learned elsewhere differs for good; what the log does not tell is taken for here."""
    config, *_ = elsewhere(tmp_path, lambda turn: envs[turn])
    found = audit(config)
    wanted = {"equal": 1, "different": different, "environment differs": 11 - different}
    assert verdicts(found) == {verdict: count for verdict, count in wanted.items() if count}
    assert not found.sound


# What is asked for


def test_one_transaction(tmp_path: Path) -> None:
    _, config = by_hand(tmp_path)
    assert verdicts(audit(config, id="t4")) == {"equal": 1}
    path = tmp_path / "out/predictions/part-0-0.jsonl"
    changed(path, 4, lambda row: row.update(prediction=None))
    assert only(audit(config, id="t4")).id == "t4"
    assert audit(config, id="t5").sound
    without(path, 4)
    assert verdicts(audit(config, id="t4")) == {"missing prediction": 1}
    assert verdicts(audit(config, id="nobody")) == {}


def test_from_a_version_on(tmp_path: Path) -> None:
    job, config = by_hand(tmp_path)
    version = json.loads(job.learn_log[6])["version"]
    path = tmp_path / "out/predictions/part-0-0.jsonl"
    changed(path, 3, lambda row: row["probabilities"].update(true=0.1))
    found = audit(config, since=[version])
    assert (found.sound, verdicts(found), found.skipped) == (True, {"equal": 5}, 7)
    with pytest.raises(Failure, match="m@7-000000000000 is not in the learn log"):
        audit(config, since=["m@7-000000000000"])
    with pytest.raises(Failure, match="is not a version"):
        audit(config, since=["m"])


def test_other_places_than_the_configurations(tmp_path: Path) -> None:
    _, config = by_hand(tmp_path)
    moved = tmp_path / "kept"
    moved.mkdir()
    for name in ("learn_log", "predictions"):
        shutil.move(tmp_path / f"out/{name}/part-0-0.jsonl", moved / f"{name}.jsonl")
    shutil.move(tmp_path / "in.jsonl", moved / "features.jsonl")
    with pytest.raises(Failure, match="no file or folder"):
        audit(config)
    where = sources(
        config,
        features=str(moved / "features.jsonl"),
        predictions=str(moved / "predictions.jsonl"),
        learn_logs=[str(moved / "learn_log.jsonl")],
    )
    assert verdicts(audit(config, where=where)) == {"equal": 12}
    with pytest.raises(Failure, match=r"no file or folder nowhere, and \[learn_log\]"):
        sources(config, learn_logs=["nowhere"])


def test_several_logs_one_behind_the_other(tmp_path: Path) -> None:
    job, config = by_hand(tmp_path)
    for name, part in (("one", job.learn_log[:5]), ("two", job.learn_log[5:])):
        (tmp_path / name).write_text("".join(line + "\n" for line in part))
    where = sources(config, learn_logs=[str(tmp_path / name) for name in ("one", "two")])
    assert verdicts(audit(config, where=where)) == {"equal": 12}


def test_a_river_object_given_in_python(tmp_path: Path) -> None:
    job = HandMade()
    origin = {"pickle": sha256(pickle_model(logistic())).hexdigest()}
    told(job, [job.chain("m", origin, logistic())], rows(5))
    job.write(tmp_path, [MODEL])
    document = {
        "job": {"name": "job"},
        "features": {"connector": "file", "path": "in.jsonl"},
        "predictions": {"connector": "file", "path": "out/predictions"},
        "learn_log": {"connector": "file", "path": "out/learn_log"},
        "models": [{"name": "m", "task": "classification"}],
    }
    config = read_config(document, tmp_path, {}, model_given=True)
    assert verdicts(audit(config, model=logistic())) == {"equal": 5}
    other = linear_model.LogisticRegression()
    assert not audit(config, model=other).sound


# The command


def toml(folder: Path, config: Config) -> Path:
    path = folder / "job.toml"
    path.write_text(config.to_public_toml())
    return path


def test_the_command_counts_and_ends_with_1_where_anything_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, config = by_hand(tmp_path)
    path = toml(tmp_path, config)
    assert cli.main(["audit", str(path)]) == 0
    assert capsys.readouterr().out.splitlines()[0].split() == ["equal", "12"]
    predictions = tmp_path / "out/predictions/part-0-0.jsonl"
    changed(predictions, 4, lambda row: row.update(score=0.5))
    assert cli.main(["audit", str(path)]) == 1
    said = capsys.readouterr().out
    assert f"different: {predictions}:5, id t4, m, m@4-" in said
    assert "score: 0.5, and it says nothing" in said
    assert cli.main(["audit", str(path), "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["verdicts"] == {"equal": 11, "different": 1}
    assert document["sound"] is False
    [problem] = document["problems"]
    assert (problem["id"], problem["verdict"]) == ("t4", "different")
    assert cli.main(["audit", str(path), "--id", "t5"]) == 0


def test_without_a_log_or_predictions_there_is_nothing_to_audit(tmp_path: Path) -> None:
    _, config = by_hand(tmp_path)
    for left_out in ("predictions", "learn_log"):
        text = "\n\n".join(
            part
            for part in config.to_public_toml().split("\n\n")
            if not part.startswith(f"[{left_out}]")
        )
        (tmp_path / "job.toml").write_text(text)
        with pytest.raises(Failure, match=left_out):
            sources(load_config(tmp_path / "job.toml"))


def test_a_configuration_that_keeps_too_little_is_warned_of(tmp_path: Path) -> None:
    _, config = by_hand(tmp_path)
    warning = "[learn_log] is left out: no audit will find the model that made a prediction"
    assert warning not in list(warnings(config))
    document = {
        "job": {"name": "job"},
        "features": {"connector": "file", "path": "in.jsonl"},
        "predictions": {"connector": "file", "path": "out/predictions"},
        "models": [MODEL],
    }
    assert warning in list(warnings(read_config(document, tmp_path)))
