"""`riverrun registry` against a real MLflow server, and plain MLflow loading what it pushed."""

import copy
import json
import pickletools
import subprocess
from pathlib import Path
from typing import Any

import mlflow
import pytest
from river import anomaly, datasets, ensemble, forest, linear_model, naive_bayes, preprocessing

from events.control import read_control
from events.limits import Limits
from jobs.control_keys import make_key
from jobs.control_messages import read_payload
from state.artifacts import Seen, read_artifact
from state.signing import SigningKey
from state.snapshots import environment
from tests.jobs.control_folders import job_file, sent
from tests.jobs.versions import artifact

LOAD = Path(__file__).with_name("load.py")


@pytest.fixture
def registry(server, riverrun):
    """Runs `riverrun registry` against the server."""

    def run(command, *arguments):
        return riverrun("registry", command, *arguments, "--tracking-uri", server.uri)

    return run


@pytest.fixture
def client(server):
    return mlflow.MlflowClient(server.uri, server.uri)


def logistic() -> Any:
    return preprocessing.StandardScaler() | linear_model.LogisticRegression()


def phishing(count: int) -> list[tuple[dict[str, Any], bool]]:
    return [pair for _, pair in zip(range(count), datasets.Phishing(), strict=False)]


def learned(model: Any, count: int = 300, label=bool) -> Any:
    for x, y in phishing(count):
        model.learn_one(x, label(y))
    return model


# What is stored


def test_a_version_is_registered_with_what_is_known_of_it(tmp_path, registry, client, monkeypatch):
    tree = tmp_path / "tree"
    git = ["git", "-C", tree, "-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run(["git", "init", "--quiet", tree], check=True)
    subprocess.run([*git, "commit", "--quiet", "--allow-empty", "-m", "first"], check=True)
    commit = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
    monkeypatch.chdir(tree)
    made = make_key(tmp_path / "job.pem")
    key = SigningKey.load(tmp_path / "job.pem")
    origin = {"pipeline": [{"class": "river.preprocessing.StandardScaler"}, {"class": "x"}]}
    file = artifact(
        tmp_path / "v.rrv",
        learned(logistic(), 20),
        key,
        head="ab12",
        n=1200,
        learned=1250,
        origin=origin,
        metrics={"ROC AUC (%)": 0.875},
        first=Seen("t0", 1_700_000_000_000),
        last=Seen("t9", 1_700_000_060_000),
    )
    pushed = registry("push", file, "--job", "payments", "--registered-model", "known")
    assert (pushed.code, pushed.err) == (0, "")
    assert pushed.out == "fraud@1200-ab1200000000 is known:1\n"

    version = client.get_model_version("known", "1")
    expected = {
        "version": "fraud@1200-ab1200000000",
        "head": "ab12".ljust(64, "0"),
        "model": "fraud",
        "task": "classification",
        "key_id": made.key_id,
        "job": "payments",
        "data.first.id": "t0",
        "data.first.event_time": "1700000000000",
        "data.first.at": "2023-11-14T22:13:20.000+00:00",
        "data.last.id": "t9",
        "data.last.event_time": "1700000060000",
        "data.last.at": "2023-11-14T22:14:20.000+00:00",
        "commit": commit.stdout.strip(),
        "environment.river": environment()["river"],
        "code": "0.1.0",
    }
    tags = {name: version.tags.get(f"riverrun.{name}") for name in expected}
    assert tags == expected
    run = client.get_run(version.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params == {
        "pipeline.0.class": "river.preprocessing.StandardScaler",
        "pipeline.1.class": "x",
    }
    assert run.data.metrics == {"ROC AUC ___": 0.875, "n": 1200, "learned": 1250}
    assert {name: run.data.tags.get(f"riverrun.{name}") for name in expected} == expected
    assert run.data.tags["mlflow.source.git.commit"] == commit.stdout.strip()
    kept = [each.path for each in client.list_artifacts(version.run_id, "model/artifacts")]
    assert kept == ["model/artifacts/version.rrv"]


def test_uncommitted_changes_are_told(tmp_path, registry, client, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = artifact(tmp_path / "v.rrv", learned(logistic(), 20))
    assert registry("push", file, "--registered-model", "no tree").code == 0
    assert "riverrun.commit" not in client.get_model_version("no tree", "1").tags
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run(["git", "init", "--quiet"], check=True)
    Path("code.py").write_text("a = 1\n")
    subprocess.run(["git", "add", "code.py"], check=True)
    subprocess.run([*git, "commit", "--quiet", "-m", "first"], check=True)
    Path("code.py").write_text("a = 2\n")
    assert registry("push", file, "--registered-model", "dirty").code == 0
    commit = client.get_model_version("dirty", "1").tags["riverrun.commit"]
    assert (len(commit), commit.endswith("-dirty")) == (40 + len("-dirty"), True)


def test_a_version_is_registered_once_and_the_newest_is_pulled(tmp_path, registry):
    model = learned(logistic(), 20)
    first = artifact(tmp_path / "1.rrv", model, head="1", model="once")
    second = artifact(tmp_path / "2.rrv", model, head="2", model="once")
    numbers = []
    for file in (first, second, first):
        pushed = registry("push", file, "--job", "fraud", "--json")
        assert pushed.code == 0, pushed.err
        found = json.loads(pushed.out)
        numbers.append((found["number"], found["created"]))
    assert numbers == [(1, True), (2, True), (1, False)]
    for name, file in (("once", second), ("once:1", first)):
        out = tmp_path / f"{file.stem}.out"
        assert registry("pull", name, "--out", out).code == 0
        assert out.read_bytes() == file.read_bytes()


def test_what_is_pulled_is_deployed_by_its_message(tmp_path, registry, riverrun):
    made = make_key(tmp_path / "ops.pem")
    key = SigningKey.load(tmp_path / "ops.pem")
    file = artifact(tmp_path / "v.rrv", learned(logistic(), 20), key, model="pulled")
    assert registry("push", file, "--job", "fraud").code == 0
    config = job_file(tmp_path, security={"trusted_keys": [made.entry]})
    out = tmp_path / "out.rrv"
    pulled = registry("pull", "pulled", "--out", out, "--config", config, "--role", "shadow")
    assert pulled.code == 0, pulled.err
    assert f"signed by {made.key_id}" in pulled.err
    assert out.read_bytes() == file.read_bytes()
    payload = read_payload(pulled.out)
    assert (payload.job, payload.op, payload.model) == ("fraud", "deploy", "pulled")
    assert (payload.task, payload.role, payload.artifact) == ("classification", "shadow", str(out))

    message = tmp_path / "deploy.json"
    again = registry(
        "pull", "pulled:1", "--out", tmp_path / "again.rrv", "--message", message, "--model", "b"
    )
    assert (again.code, again.out) == (0, "")
    signed = riverrun("control", "send", config, message, "--key", tmp_path / "ops.pem")
    assert (signed.code, signed.err) == (0, "")
    read = read_control(sent(tmp_path)[0].encode(), Limits())
    assert (read.payload.model, read.key_id) == ("b", made.key_id)


def test_only_what_a_trusted_key_signed_is_pulled_if_keys_are_asked_for(tmp_path, registry):
    mine, other = (make_key(tmp_path / name) for name in ("mine.pem", "other.pem"))
    key = SigningKey.load(tmp_path / "mine.pem")
    model = learned(logistic(), 20)
    registry("push", artifact(tmp_path / "1.rrv", model, key, model="signed"), "--job", "j")
    registry("push", artifact(tmp_path / "2.rrv", model, model="unsigned"), "--job", "j")
    for name, entry, said in [
        ("signed", other.entry, f"is signed by {mine.key_id}: no trusted key"),
        ("unsigned", mine.entry, "is not signed"),
    ]:
        out = tmp_path / "out.rrv"
        refused = registry("pull", name, "--out", out, "--trusted-key", entry)
        assert (refused.code, said in refused.err) == (1, True), refused.err
        assert not out.exists()
    trusted = ("--trusted-key", other.entry, "--trusted-key", mine.entry)
    assert registry("pull", "signed", "--out", tmp_path / "out.rrv", *trusted).code == 0


def test_what_cannot_be_pulled_or_pushed_says_why(tmp_path, registry, client, riverrun):
    out = tmp_path / "out.rrv"
    model = learned(logistic(), 20)
    missing = registry("pull", "nothing", "--out", out)
    assert (missing.code, "has no version of 'nothing'" in missing.err) == (1, True)
    missing = registry("pull", "nothing:3", "--out", out)
    assert (missing.code, "not found" in missing.err) == (1, True)
    client.create_registered_model("foreign")
    run = client.create_run(client.create_experiment("foreign"))
    client.create_model_version("foreign", run.info.artifact_uri, run.info.run_id)
    foreign = registry("pull", "foreign", "--out", out, "--job", "j")
    assert (foreign.code, "was not put there by" in foreign.err) == (1, True)
    registry("push", artifact(tmp_path / "v.rrv", model, model="jobless"))
    jobless = registry("pull", "jobless", "--out", out)
    assert (jobless.code, "use --job NAME" in jobless.err) == (1, True)
    out.write_text("precious")
    there = registry("pull", "jobless", "--out", out, "--job", "j")
    assert (there.code, f"{out} exists" in there.err) == (1, True)
    assert out.read_text() == "precious"

    lane = artifact(tmp_path / "lane.rrv", model, lane="shop 7", version="fraud/shop%207@3-0")
    named = registry("push", lane)
    assert (named.code, "--registered-model" in named.err) == (1, True)
    (tmp_path / "no.rrv").write_text("no archive")
    broken = registry("push", tmp_path / "no.rrv")
    assert (broken.code, "is not an artifact" in broken.err) == (1, True)
    nobody = riverrun("registry", "push", lane, "--tracking-uri", "http://127.0.0.1:9")
    assert (nobody.code, "MLflow at http://127.0.0.1:9: " in nobody.err) == (1, True)


# Plain MLflow, elsewhere


def said(model: Any, task: str, row: dict[str, Any]) -> list[Any]:
    """What the River object says, as JSON has it."""
    if task == "regression":
        return [model.predict_one(row)]
    if task == "anomaly":
        score = model.score_one(row)
        return [model.classify(score) if hasattr(model, "classify") else None, score]
    probabilities = model.predict_proba_one(row)
    return [model.predict_one(row), [list(pair) for pair in probabilities.items()]]


def expected(model: Any, task: str, rows: list[dict[str, Any]], pure: bool = True) -> list[Any]:
    """Of each row; a model that is changed by what it is asked is a fresh copy for each."""
    return [said(model if pure else copy.deepcopy(model), task, dict(row)) for row in rows]


def in_table(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows as a table has them: in one order, for all."""
    names = dict.fromkeys(name for row in rows for name in row)
    return [{name: row[name] for name in names if row.get(name) is not None} for row in rows]


def test_plain_mlflow_loads_a_version_where_riverrun_is_not_and_predicts_the_same_floats(
    tmp_path, server, registry
):
    rows = [x for x, _ in phishing(320)[300:]]
    srp = learned(ensemble.SRPClassifier(naive_bayes.BernoulliNB(), n_models=3, seed=42))
    unseen = [{**rows[0], "new1": 1, "new2": 0.5}, rows[1], {"new2": 3, **rows[2]}]
    large = linear_model.LogisticRegression()
    for start in range(0, 12_000, 100):
        large.learn_one(
            {f"name {i}": i / 12_000 for i in range(start, start + 100)}, start % 3 == 0
        )
    regression = preprocessing.StandardScaler() | linear_model.LinearRegression()
    filtered = anomaly.QuantileFilter(anomaly.HalfSpaceTrees(n_trees=3, seed=1), q=0.9)
    for x, y in phishing(300):
        regression.learn_one(x, 3.5 * y + 0.1)
        filtered.learn_one({name: value / 2 for name, value in x.items()})
    missing = [{**rows[0], "age_of_domain": None}, dict(reversed(rows[1].items())), {}]
    asked = {
        "lr": (learned(logistic()), "classification", [*rows, *missing], {"label_type": "bool"}),
        "arf": (
            learned(forest.ARFClassifier(n_models=5, seed=42), label=lambda y: "bad" if y else "ok"),
            "classification",
            rows,
            {"label_type": "str"},
        ),
        "srp": (srp, "classification", unseen, {"purity": "names", "names": [
            f"{len(name)}:{name}" for name in rows[0]
        ]}),
        "large": (large, "classification", [{f"name {i}": 1.5} for i in (0, 7, 11_999)], {}),
        "linear": (regression, "regression", [*rows, {}], {"label_type": "number"}),
        "filter": (filtered, "anomaly", rows, {}),
    }  # fmt: skip
    assert b"split" in pickletools.optimize(large_pickle(tmp_path, large))
    for name, (model, task, _, fields) in asked.items():
        file = artifact(tmp_path / f"{name}.rrv", model, model=name, task=task, **fields)
        assert registry("push", file).code == 0

    found = load(
        server,
        tmp_path,
        [{"model": f"models:/{name}/1", "rows": rows} for name, (_, _, rows, _) in asked.items()],
    )
    columns = {
        "classification": ["prediction", "probabilities"],
        "regression": ["prediction"],
        "anomaly": ["prediction", "score"],
    }
    for (name, (model, task, rows, fields)), answers in zip(asked.items(), found, strict=True):
        pure = fields.get("purity", "pure") == "pure"
        present = [{key: each for key, each in row.items() if each is not None} for row in rows]
        assert answers["columns"] == columns[task], name
        wanted = expected(model, task, present, pure)
        assert answers["dicts"] == wanted, name
        assert answers["again"] == wanted, name
        assert answers["table"] == expected(model, task, in_table(rows), pure), name


def large_pickle(folder: Path, model: Any) -> bytes:
    return read_artifact(artifact(folder / "of columns.rrv", model)).pickled


def load(server, folder: Path, asked: list[dict[str, Any]]) -> list[Any]:
    """What plain MLflow makes of each, in the server's own environment."""
    file = folder / "asked.json"
    file.write_text(json.dumps(asked))
    done = subprocess.run(
        [server.python, "-I", LOAD, server.uri, file],
        capture_output=True,
        text=True,
        cwd=folder,
        env={"PYTHONHASHSEED": "0", "PATH": "/usr/bin:/bin", "HOME": str(folder)},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_what_was_changed_in_the_registry_or_is_not_trusted_is_not_unpickled(
    tmp_path, server, registry, client
):
    mine, other = (make_key(tmp_path / name) for name in ("mine.pem", "other.pem"))
    key = SigningKey.load(tmp_path / "mine.pem")
    model = learned(logistic(), 20)
    registry("push", artifact(tmp_path / "1.rrv", model, key, model="kept"))
    registry("push", artifact(tmp_path / "2.rrv", model, model="by nobody"))
    registry("push", artifact(tmp_path / "3.rrv", model, key, model="changed"), "--job", "j")

    # Whoever can write to MLflow's storage changes one byte of the model.
    wrong = artifact(tmp_path / "version.rrv", model, key, model="changed", sha256="0" * 64)
    run = client.get_model_version("changed", "1").run_id
    client.log_artifact(run, wrong, "model/artifacts")
    rows = [phishing(1)[0][0]]
    asked = [
        {"model": "models:/kept/1", "trusted": [other.entry, f"job:{mine.entry}"]},
        {"model": "models:/kept/1", "trusted": [other.entry]},
        {"model": "models:/by nobody/1", "trusted": [mine.entry]},
        {"model": "models:/changed/1"},
    ]
    kept, *refused = load(server, tmp_path, [{**each, "rows": rows} for each in asked])
    assert kept["dicts"] == expected(model, "classification", rows)
    assert [each.get("error") for each in refused] == [
        "the artifact is signed by none of trusted_keys",
        "the artifact is not signed, and trusted_keys asks for it",
        "the artifact was changed: its model is not the one its manifest names",
    ]
    pulled = registry("pull", "changed", "--out", tmp_path / "out.rrv")
    assert (pulled.code, "changed:1 was changed" in pulled.err) == (1, True)


def test_versions_of_a_job_are_made_of_its_learn_log_and_pushed(
    tmp_path, server, registry, client, riverrun
):
    made = make_key(tmp_path / "job.pem")
    features = tmp_path / "features.jsonl"
    pairs = phishing(40)
    events = [
        {"id": f"t{n}", "features": x, "label": y, "ts": 1_700_000_000_000 + n}
        for n, (x, y) in enumerate(pairs)
    ]
    features.write_text("".join(json.dumps(event) + "\n" for event in events))
    spec = {"class": "river.linear_model.LogisticRegression", "params": {"l2": 0.1}}
    path = job_file(
        tmp_path,
        control=None,
        control_acks=None,
        control_log=None,
        features={"connector": "file", "path": str(features)},
        learn_log={"connector": "file", "path": "out/learn_log"},
        predictions={"connector": "file", "path": "out/predictions"},
        security={"signing_key_file": str(tmp_path / "job.pem")},
        models=[{"name": "made", "task": "classification", "spec": spec}],
    )
    assert riverrun("backtest", path).code == 0
    [part] = (tmp_path / "out" / "predictions").iterdir()
    predictions = [json.loads(line) for line in part.read_text().splitlines()]
    # What answered the sixth transaction had learned five.
    version = predictions[5]["version"]
    assert version.startswith("made@5-")
    pushed = registry("push", path, version, "made")
    assert (pushed.code, pushed.err) == (0, "")
    newest = client.get_model_version("made", "2").tags["riverrun.version"]
    assert pushed.out.splitlines() == [f"{version} is made:1", f"{newest} is made:2"]
    assert newest.startswith("made@40-")

    tags = client.get_model_version("made", "1").tags
    assert (tags["riverrun.job"], tags["riverrun.key_id"]) == ("fraud", made.key_id)
    assert (tags["riverrun.data.first.id"], tags["riverrun.data.last.id"]) == ("t0", "t4")
    run = client.get_run(client.get_model_version("made", "1").run_id)
    assert run.data.params == {
        "class": "river.linear_model.LogisticRegression",
        "params.l2": "0.1",
    }
    assert (run.data.metrics["n"], run.data.metrics["learned"]) == (5, 5)

    [loaded] = load(
        server,
        tmp_path,
        [{"model": "models:/made/1", "rows": [pairs[5][0]], "trusted": [made.entry]}],
    )
    probabilities = [[False, None], [True, None]]
    for pair in probabilities:
        pair[1] = predictions[5]["probabilities"][json.dumps(pair[0])]
    assert loaded["dicts"] == [[predictions[5]["prediction"], probabilities]]

    missing = registry("push", path, "made@7-000000000000")
    assert (missing.code, "is not in the learn log" in missing.err) == (1, True)
