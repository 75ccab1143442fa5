"""Artifacts: made of a learn log, looked at, checked, compared; a job goes on from them."""

import json
import pickle
import zipfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pytest
from river import linear_model, metrics, preprocessing

from jobs import cli
from jobs.audit import audit, learn_log_sinks
from jobs.backtest import backtest
from jobs.config import Config, ConfigError, load_config
from jobs.erasing import erase
from jobs.errors import Failure
from jobs.job_keys import trusted_keys
from jobs.versions import between, diff, export, show, verify, write
from state.artifacts import read_artifact, write_artifact
from state.signing import SigningKey
from tests.jobs.by_hand import HandMade, changed, told
from tests.jobs.flows import LOGISTIC, T0, classifier, written
from tests.jobs.test_audit import NB, PROJECTION, SRP, logistic, rows, toml, verdicts
from tests.jobs.test_backtest import over
from tests.operators.loops import MINUTE, Transaction, transactions

LINEAR = {
    "pipeline": [
        {"class": "river.preprocessing.StandardScaler"},
        {"class": "river.linear_model.LinearRegression"},
    ]
}


def made(config: Config, path: Path, version: str | None = None, **more: Any) -> Path:
    write(export(config, version, learn_log_sinks(config), **more), path, config)
    return path


def later_than(happened: list[Transaction], count: int) -> list[Transaction]:
    gap = max(row.due for row in happened) - T0 + MINUTE
    return [
        row._replace(
            id=f"later{number}",
            ts=row.ts + gap,
            due=row.due + gap,
            # A name that was not there before: of a projection this is in the log.
            x={**row.x, "late": 1.0} if number > 20 else row.x,
        )
        for number, row in enumerate(happened[:count])
    ]


@pytest.mark.parametrize("unpickle", [True, False], ids=["export", "rebuild"])
@pytest.mark.parametrize("name", ["LR", "SRP", "projection"])
def test_a_job_goes_on_from_what_the_log_makes(tmp_path: Path, name: str, unpickle: bool) -> None:
    """Run, rebuild, run from the artifact: floats, version names and heads of one long run."""
    spec = {"LR": LOGISTIC, "SRP": SRP, "projection": PROJECTION}[name]
    happened = transactions("Phishing", 100)
    later = later_than(happened, 60)
    whole = over(tmp_path / "whole", happened + later, classifier("m", spec))
    backtest(whole)
    first = over(tmp_path / "first", happened, classifier("m", spec))
    backtest(first)
    file = made(first, tmp_path / "m.rrv", unpickle=unpickle)
    artifact = {"name": "m", "task": "classification", "artifact": str(file)}
    second = over(tmp_path / "second", later, artifact)
    backtest(second)
    one, two, both = written(first), written(second), written(whole)
    for output in ("predictions", "learn_log", "evaluations"):
        assert one[output] + two[output] == both[output], output

    # And what came of it can be audited, from the artifact or from the very beginning.
    assert verdicts(audit(second)) == {"equal": 60}
    logs = [str(tmp_path / part / "out/learn_log") for part in ("first", "second")]
    again = export(second, None, learn_log_sinks(second, logs), unpickle=False)
    assert again.manifest.head == both["learn_log"][-1]["head"]
    assert again.manifest.names == export(whole, None, learn_log_sinks(whole)).manifest.names


def test_a_saved_version_and_one_of_the_log_are_the_same(tmp_path: Path) -> None:
    config = over(tmp_path, transactions("Phishing", 80), classifier("m", SRP))
    backtest(config, save=tmp_path / "saved.rrv")
    made(config, tmp_path / "made.rrv")
    saved, of_log = (read_artifact(tmp_path / f"{name}.rrv").manifest for name in ("saved", "made"))
    for field in ("version", "head", "n", "task", "origin", "label_type", "names", "purity"):
        assert getattr(saved, field) == getattr(of_log, field), field


@pytest.mark.parametrize(
    ("task", "spec", "data"),
    [("classification", LOGISTIC, "Phishing"), ("regression", LINEAR, "TrumpApproval")],
)
def test_metrics_are_those_of_a_plain_loop(
    tmp_path: Path, task: str, spec: dict[str, Any], data: str
) -> None:
    happened = transactions(data, 90)
    config = over(tmp_path, happened, classifier("m", spec, task=task))
    backtest(config)
    manifest = export(config, "m", learn_log_sinks(config)).manifest
    if task == "regression":
        model: Any = preprocessing.StandardScaler() | linear_model.LinearRegression()
        wanted = {"mae": metrics.MAE(), "rmse": metrics.RMSE()}
    else:
        model = logistic()
        wanted = {"accuracy": metrics.Accuracy(), "log_loss": metrics.LogLoss()}
    scores = []
    learned = sorted(happened, key=lambda row: (row.due, row.id))
    for row in learned:
        said = model.predict_one(row.x)
        if task == "classification":
            p = model.predict_proba_one(row.x)
            scores.append((p[True], row.y))
            wanted["log_loss"].update(row.y, p)
            wanted["accuracy"].update(row.y, said)
        else:
            for metric in wanted.values():
                metric.update(row.y, said)
        model.learn_one(row.x, row.y)
    for name, metric in wanted.items():
        assert manifest.metrics.pop(name) == pytest.approx(metric.get(), rel=1e-12)
    if task == "classification":
        pairs = [(a, b) for a, yes in scores for b, other in scores if yes and not other]
        area = sum((a > b) + (a == b) / 2 for a, b in pairs) / len(pairs)
        assert manifest.metrics.pop("roc_auc") == pytest.approx(area, rel=1e-12)
    assert manifest.metrics == {}
    assert manifest.first is not None and manifest.last is not None
    first, last = learned[0], learned[-1]
    assert (manifest.first.id, manifest.first.event_time) == (first.id, first.ts)
    assert (manifest.last.id, manifest.last.event_time) == (last.id, last.ts)
    assert manifest.learned == manifest.n == 90


def test_a_model_that_being_asked_changes_is_not_measured(tmp_path: Path) -> None:
    config = over(tmp_path, transactions("Phishing", 30), classifier("m", PROJECTION))
    backtest(config)
    manifest = export(config, "m", learn_log_sinks(config)).manifest
    assert (manifest.metrics, manifest.purity, len(manifest.names)) == ({}, "names", 9)


# Any version


def test_any_version_can_be_made(tmp_path: Path) -> None:
    job = HandMade()
    chain = job.chain("m", LOGISTIC, logistic())
    told(job, [chain], rows(6))
    chain.rollback(list(chain.kept)[2])
    told(job, [chain], rows(4, 6))
    other = job.deploy("b", NB, None, since=chain, version=list(chain.kept)[4], env={})
    told(job, [other], rows(3, 20))
    config = job.write(tmp_path, [classifier("m")])
    probe = rows(1, 100)[0][1]
    for chain_ in (chain, other):
        for version, (n, head, river) in chain_.kept.items():
            made_ = export(config, version, learn_log_sinks(config))
            manifest = made_.manifest
            assert (manifest.version, manifest.n, manifest.head) == (version, n, head.hex())
            model = _unpickled(made_.pickled)
            assert model.predict_proba_one(probe) == river.predict_proba_one(probe)
    assert export(config, "m", learn_log_sinks(config)).manifest.version == chain.version
    assert export(config, None, learn_log_sinks(config)).manifest.version == chain.version
    newest = export(config, chain.version, learn_log_sinks(config)).manifest
    assert (newest.n, newest.learned) == (6, 10), "the four that were undone count as learned"


def _unpickled(data: bytes) -> Any:
    return pickle.loads(data)


def test_of_lanes_each_has_its_own(tmp_path: Path) -> None:
    config = over(tmp_path, transactions("Phishing", 60), classifier(), job={"lane_by": "https"})
    backtest(config)
    lanes = {row["lane"] for row in written(config)["predictions"]}
    for lane in sorted(lanes):
        manifest = export(config, f"m/{lane}", learn_log_sinks(config)).manifest
        last = [row for row in written(config)["learn_log"] if row["lane"] == lane][-1]
        assert (manifest.version, manifest.lane) == (last["version"], lane)
    with pytest.raises(Failure, match="the learn log has no model 'm/9'; it has m/"):
        export(config, "m/9", learn_log_sinks(config))


def test_what_the_log_does_not_lead_to_is_not_made(tmp_path: Path) -> None:
    job = HandMade()
    chain = job.chain("m", LOGISTIC, logistic())
    told(job, [chain], rows(8))
    config = job.write(tmp_path, [classifier("m")])
    sinks = learn_log_sinks(config)
    with pytest.raises(Failure, match="m@3-000000000000 is not in the learn log"):
        export(config, "m@3-000000000000", sinks)
    with pytest.raises(Failure, match="is not a version"):
        export(config, "m@x", sinks)
    begin = export(config, next(iter(chain.kept)), sinks)
    assert (begin.manifest.n, begin.manifest.first) == (0, None)

    log = tmp_path / "out/learn_log/part-0-0.jsonl"
    changed(log, 4, lambda record: record["features"].update(https=0.25))
    assert export(config, list(chain.kept)[4], sinks).manifest.n == 4, "it stands before that"
    with pytest.raises(Failure, match=rf"the chain is broken at {log}:5, m@5-.* does not follow"):
        export(config, "m", sinks)


def test_behind_an_erased_entry_nothing_is_made_but_from_an_artifact(tmp_path: Path) -> None:
    job = HandMade()
    chain = job.chain("m", LOGISTIC, logistic())
    told(job, [chain], rows(10))
    config = job.write(tmp_path, [classifier("m")])
    behind = made(config, tmp_path / "behind.rrv", list(chain.kept)[6])
    newest = export(config, "m", learn_log_sinks(config))
    erase(config, "t3")
    with pytest.raises(Failure, match="contents of an entry before it were erased"):
        export(config, "m", learn_log_sinks(config))
    again = export(config, "m", learn_log_sinks(config), artifacts=[behind])
    assert again.pickled == newest.pickled
    assert again.manifest.head == newest.manifest.head
    found = audit(config, artifacts=[behind])
    assert (verdicts(found), found.skipped) == ({"equal": 4}, 6)


# Keys


def signed(folder: Path, trusted: tuple[str, ...] = ()) -> tuple[Config, SigningKey]:
    """A job by hand whose versions are signed."""
    key = SigningKey.generate()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "key.pem").write_bytes(key.pem())
    job = HandMade()
    told(job, [job.chain("m", LOGISTIC, logistic())], rows(10))
    security = {"signing_key_file": "key.pem", "trusted_keys": list(trusted)}
    return job.write(folder, [classifier("m")], security=security), key


def test_a_version_is_signed_where_there_is_a_key(tmp_path: Path) -> None:
    config, key = signed(tmp_path)
    file = made(config, tmp_path / "m.rrv")
    assert read_artifact(file, trusted_keys(config)).key_id == key.key_id
    assert show(file).signed_by == key.key_id
    with pytest.raises(Failure, match="exists: name a file that does not"):
        made(config, file)


def test_an_audit_starts_at_trusted_artifacts_only(tmp_path: Path) -> None:
    config, _ = signed(tmp_path / "one")
    other, other_key = signed(tmp_path / "other")
    version = json.loads((tmp_path / "one/out/learn_log/part-0-0.jsonl").read_text().split("\n")[4])
    file = made(config, tmp_path / "m.rrv", version["version"])
    foreign = made(other, tmp_path / "foreign.rrv", version["version"])
    found = audit(config, artifacts=[file])
    assert (verdicts(found), found.skipped) == ({"equal": 5}, 5)
    with pytest.raises(Failure, match="no trusted key"):
        audit(config, artifacts=[foreign])
    trusting, _ = signed(tmp_path / "two", (other_key.public,))
    assert verdicts(audit(trusting, artifacts=[foreign])) == {"equal": 5}


def rewritten(file: Path, part: str, change: Callable[[bytes], bytes]) -> None:
    with zipfile.ZipFile(file) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    parts[part] = change(parts[part])
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)


def checks(file: Path, config: Config, **more: Any) -> dict[str, bool | None]:
    found = verify(file, trusted_keys(config), config, learn_log_sinks(config), **more)
    return {check.what: check.passed for check in found}


def test_a_version_is_verified_against_key_and_log(tmp_path: Path) -> None:
    config, _ = signed(tmp_path)
    file = made(config, tmp_path / "m.rrv")
    everything = {"whole": True, "signed": True, "in the learn log": True, "says the same": True}
    assert checks(file, config) == everything
    assert [check.passed for check in verify(file, None)] == [True, None]

    original = file.read_bytes()
    rewritten(file, "model.pickle", lambda data: data + b"x")
    assert checks(file, config) == {"whole": False}
    file.write_bytes(original)
    rewritten(file, "manifest.json", lambda text: text.replace(b'"n": 10', b'"n": 11'))
    assert checks(file, config) == {**everything, "signed": False, "says the same": None}
    file.write_bytes(original)
    rewritten(
        file, "signature.json", lambda text: text.replace(b'"signature":"', b'"signature":"A')
    )
    assert checks(file, config)["signed"] is False

    file.write_bytes(original)
    log = tmp_path / "out/learn_log/part-0-0.jsonl"
    lines = log.read_text().splitlines(keepends=True)
    log.write_text("".join(lines[:-1]))
    assert checks(file, config) == {"whole": True, "signed": True, "in the learn log": False}


def test_a_model_that_is_not_that_of_the_log_is_found(tmp_path: Path) -> None:
    """Signed by a key that is trusted, under the head of another model."""
    config, _ = signed(tmp_path)
    right = export(config, "m", learn_log_sinks(config))
    early = json.loads((tmp_path / "out/learn_log/part-0-0.jsonl").read_text().split("\n")[4])
    wrong = export(config, early["version"], learn_log_sinks(config))
    mixed = msgspec.structs.replace(
        wrong,
        manifest=msgspec.structs.replace(right.manifest, sha256=wrong.manifest.sha256),
    )
    write(mixed, tmp_path / "mixed.rrv", config)
    found = checks(tmp_path / "mixed.rrv", config)
    assert found.pop("says the same") is False
    assert set(found.values()) == {True}


# Differences


def test_two_versions_are_compared_without_their_models(tmp_path: Path) -> None:
    config, _ = signed(tmp_path)
    versions = [json.loads(line)["version"] for line in _log(tmp_path)]
    one = made(config, tmp_path / "one.rrv", versions[3])
    two = made(config, tmp_path / "two.rrv", versions[8])
    found = {difference.field: (difference.one, difference.other) for difference in diff(one, two)}
    assert found["n"] == (4, 9)
    assert found["last.id"] == ("t3", "t8")
    assert {"head", "version", "sha256", "metrics.accuracy"} <= set(found)
    assert not {"model", "task", "first.id", "signed_by", "environment.river"} & set(found)
    said = between(config, one, two, learn_log_sinks(config), None)
    assert (said.entries, said.first, said.last) == ({"example": 5}, "t4", "t8")
    assert diff(one, one) == []


def test_specs_are_compared_place_by_place(tmp_path: Path) -> None:
    files = []
    for name, l2 in (("one", 0.0), ("two", 0.5)):
        spec = {"class": "river.linear_model.LogisticRegression", "params": {"l2": l2}}
        config = over(tmp_path / name, transactions("Phishing", 5), classifier("m", spec))
        backtest(config)
        files.append(made(config, tmp_path / f"{name}.rrv"))
    found = {difference.field: (difference.one, difference.other) for difference in diff(*files)}
    assert found["origin.params.l2"] == (0.0, 0.5)
    with pytest.raises(Failure, match="no way from m@5-"):
        between(config, *files, learn_log_sinks(config), None)


def _log(folder: Path) -> list[str]:
    return (folder / "out/learn_log/part-0-0.jsonl").read_text().splitlines()


# The commands


def test_the_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config, key = signed(tmp_path)
    path = toml(tmp_path, config)
    assert load_config(path) == config
    early = json.loads(_log(tmp_path)[3])["version"]
    one, two = tmp_path / "one.rrv", tmp_path / "two.rrv"

    def run(*words: object) -> str:
        assert cli.main([str(word) for word in words]) == 0
        return capsys.readouterr().out

    said = run("version", "export", path, early, "--out", one)
    assert said == f"{early} is in {one}, signed by {key.key_id}\n"
    document = json.loads(run("version", "rebuild", path, "--out", two, "--json"))
    assert (document["manifest"]["n"], document["key_id"]) == (10, key.key_id)
    assert f"version      {early}\n" in run("version", "show", one)
    assert json.loads(run("version", "show", one, "--json"))["signed_by"] == key.key_id
    said = run("version", "verify", one, "--config", path)
    assert [line.split(":")[0].split()[-1] for line in said.splitlines()] == ["yes"] * 4
    said = run("version", "verify", one, "--trusted-key", key.public)
    assert f"by {key.key_id}, which is trusted" in said
    said = run("version", "diff", one, two, "--config", path)
    assert "n: 4 -> 10\n" in said
    assert "between them: 6 example, from t4 to t9\n" in said
    said = run("audit", path, "--from", one)
    assert said.split()[:4] == ["equal", "6", "skipped", "4"]

    stranger = SigningKey.generate().public
    assert cli.main(["version", "verify", str(one), "--trusted-key", stranger]) == 1
    assert "NO" in capsys.readouterr().out
    assert cli.main(["version", "verify", str(one), "--learn-log", "x"]) == 2
    assert cli.main(["version", "verify", str(one), "--trusted-key", "x"]) == 1
    assert cli.main(["version", "export", str(path), "m", "--out", str(one)]) == 1


def test_bytes_that_this_river_cannot_read_name_the_command(tmp_path: Path) -> None:
    """An artifact of a River whose classes are gone: the start stops, and says what makes it again."""
    happened = transactions("Phishing", 30)
    first = over(tmp_path / "first", happened, classifier())
    backtest(first, save=tmp_path / "old.rrv")
    manifest, pickled, _ = read_artifact(tmp_path / "old.rrv")
    broken = pickled.replace(b"river.linear_model", b"river.lineal_model")
    write_artifact(
        tmp_path / "old.rrv",
        msgspec.structs.replace(manifest, sha256=sha256(broken).hexdigest()),
        broken,
    )
    later = later_than(happened, 20)
    artifact = {"name": "m", "task": "classification", "artifact": str(tmp_path / "old.rrv")}
    second = over(tmp_path / "second", later, artifact)
    with pytest.raises(ConfigError, match="riverrun version rebuild"):
        backtest(second)
    made(first, tmp_path / "new.rrv", unpickle=False)
    backtest(over(tmp_path / "second", later, {**artifact, "artifact": str(tmp_path / "new.rrv")}))
    # The old artifact is still in this configuration: only the log of before stands for it.
    logs = [str(tmp_path / part / "out/learn_log") for part in ("first", "second")]
    again = export(second, None, learn_log_sinks(second, logs), unpickle=False)
    assert again.manifest.n == 50
    with pytest.raises(Failure, match="cannot be made|broken"):
        export(second, None, learn_log_sinks(second), unpickle=False)
