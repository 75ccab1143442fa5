"""Jobs go on from a savepoint with other code, another configuration, another parallelism."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import jobs
from connectors.files import read_parts
from jobs.waiting import wait_until
from tests.cluster.streaming import Streaming, assert_once, assert_same
from tests.conftest import Result
from tests.jobs import flows
from tests.jobs.flows import classifier, phishing
from tests.patience import PATIENCE_S
from tests.replay import replayed

pytestmark = pytest.mark.cluster

ROOT = Path(jobs.__file__).parent.parent
SHOPS = 12
SUBSPACES = {
    "class": "river.ensemble.SRPClassifier",
    "params": {"model": {"class": "river.naive_bayes.GaussianNB"}, "n_models": 2, "seed": 2},
}


class Copy:
    """Another release: the project's code in a folder of its own, where it can be changed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        for package in ("events", "models", "state", "operators", "connectors", "jobs"):
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / package, folder / package, ignore=ignored)
        shutil.copytree(ROOT / "flink-conf", folder / "flink-conf")

    def change(self, module: str, before: str, after: str) -> None:
        path = self._folder / module
        text = path.read_text()
        assert text.count(before) == 1, f"{before!r} in {module}"
        path.write_text(text.replace(before, after))

    def riverrun(self, *arguments: object) -> Result:
        """Run a command with this code."""
        done = subprocess.run(
            [sys.executable, "-m", "jobs.cli", *map(str, arguments)],
            env={**os.environ, "PYTHONPATH": str(self._folder)},
            cwd=self._folder.parent,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=PATIENCE_S,
            check=False,
        )
        return Result(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def release(tmp_path: Path) -> Copy:
    return Copy(tmp_path / "release")


def wait_until_predicted(job: Streaming, events: list[dict]) -> None:
    """Until a prediction was written, final or not, for each of these features."""
    ids = {event["id"] for event in events if "features" in event}
    wait_until(lambda: ids <= job.begun(), f"{len(ids)} predictions", timeout_s=PATIENCE_S)


def test_an_upgrade_runs_the_new_code_in_the_same_task_manager(cluster, tmp_path, release):
    events = phishing(300)
    job = Streaming(cluster, tmp_path, [classifier(), classifier("subspaces", SUBSPACES)])
    job.feed(events[:300])
    first = job.submit()
    wait_until_predicted(job, events[:300])
    pid = cluster.task_manager_pids[1]

    # Another spec under the same name: refused, and nothing happens to the job.
    other = {
        "pipeline": [*flows.LOGISTIC["pipeline"][:1], {"class": "river.naive_bayes.GaussianNB"}]
    }
    job.configure(models=[classifier(spec=other), classifier("subspaces", SUBSPACES)])
    refused = release.riverrun("upgrade", job.path, "--url", cluster.url)
    assert refused.code == 1
    assert "[[models]] m differs from the model that runs:" in refused.err
    assert '-        "class": "river.linear_model.LogisticRegression"' in refused.err
    assert '+        "class": "river.naive_bayes.GaussianNB"' in refused.err
    assert "nothing was stopped" in refused.err
    assert job.rest.state(first) == "RUNNING"
    assert job.rest.checkpoints(first)["latest"]["savepoint"] is None
    job.configure(models=[classifier(), classifier("subspaces", SUBSPACES)])

    release.change(
        "operators/learning.py", "live.settings.name == serving,", '"by another release",'
    )
    upgraded = release.riverrun("upgrade", job.path, "--url", cluster.url, "--json")
    assert upgraded.code == 0, upgraded.err
    assert job.job_id == json.loads(upgraded.out)["job"] != first
    job.feed(events[300:])
    got, _ = job.finish()

    wanted = job.expected()
    before = {event["id"] for event in events[:300]}
    for row in wanted["predictions"]:
        if row["id"] not in before:
            row["serving"] = "by another release"
    assert len(wanted["predictions"]) == 600
    assert {row["id"] for row in wanted["predictions"]} - before
    assert_same(got, wanted)
    assert_once(got)
    assert cluster.task_manager_pids == {1: pid}


CANNOT_START = {
    "code that raises": (
        "operators/online_model.py",
        "self._check_environment()\n",
        "raise RuntimeError('no such luck')\n",
        "no such luck",
    ),
    "another dependency": (
        "jobs/online_learning.py",
        "snapshots.environment(),",
        "{**snapshots.environment(), 'river': '9.9.9'},",
        "the job was submitted with 9.9.9: start new task managers",
    ),
}


def test_an_upgrade_that_cannot_start_leaves_a_savepoint_and_the_way_back(
    cluster, tmp_path, riverrun
):
    events = phishing(300)
    job = Streaming(cluster, tmp_path, [classifier()])
    job.feed(events[:200])
    job.submit()
    fed = 200
    for number, (module, before, after, said) in enumerate(CANNOT_START.values()):
        wait_until_predicted(job, events[:fed])
        release = Copy(tmp_path / f"release-{number}")
        release.change(module, before, after)
        failed = release.riverrun("upgrade", job.path, "--url", cluster.url)
        assert failed.code == 1
        assert said in failed.err
        [way_back] = [line for line in failed.err.splitlines() if line.startswith("to go back: ")]
        command = way_back.partition("riverrun ")[2]
        assert f"its savepoint is {shlex.split(command)[3]}" in failed.err
        job.feed(events[fed : fed + 100])
        fed += 100
        returned = riverrun(*shlex.split(command))
        assert returned.code == 0, returned.err
    job.feed(events[fed:])
    got, _ = job.finish()
    assert_same(got, job.expected())
    assert_once(got)


@pytest.mark.parametrize("lanes", [False, True], ids=["one model on heap", "lanes on rocksdb"])
def test_a_job_is_rescaled_with_open_transactions(cluster, tmp_path, lanes):
    events = phishing(240)
    options = {"state_backend": "rocksdb", "lane_by": "shop"} if lanes else {}
    spec = flows.LOGISTIC
    if lanes:
        spec = {
            "pipeline": [{"class": "river.compose.Discard", "args": ["shop"]}, *spec["pipeline"]]
        }
        for event in events:
            if "features" in event:
                event["features"]["shop"] = f"shop {int(event['id'][1:]) % SHOPS}"
    for number in (2, 3):
        cluster.start_task_manager(number)

    job = Streaming(cluster, tmp_path, [classifier(spec=spec)], job=options)
    steps = (1, 2, 3, 1)
    share = len(events) // len(steps)
    for step, parallelism in enumerate(steps):
        job.configure(job={**options, "parallelism": parallelism})
        if step:
            seen = events[: share * step]
            waiting = unlabelled(seen)
            assert len(waiting) > 10
            wait_until_predicted(job, seen)
            job.upgrade()
        else:
            job.submit()
        assert subtasks(job)["LabelJoin"] == parallelism
        assert subtasks(job)["OnlineModel"] == (parallelism if lanes else 1)
        # Several files: each subtask of the source takes one.
        for begin in range(share * step, share * (step + 1), 15):
            job.feed(events[begin : begin + 15])
    got, _ = job.finish()

    ids = {event["id"] for event in events}
    assert Counter(row["id"] for row in got["predictions"]) == Counter(ids)
    assert Counter(row["id"] for row in got["learn_log"]) == Counter(ids)
    assert Counter(row["id"] for row in got["evaluations"]) == Counter(ids)
    assert got["dead_letters"] == []
    written = (
        read_parts(job.config.sinks(output)[0].path) for output in ("predictions", "learn_log")
    )
    replayed(*written, features_sent(job), {"m": spec})


def unlabelled(events: list[dict]) -> set[str]:
    return {e["id"] for e in events if "features" in e} - {e["id"] for e in events if "label" in e}


def subtasks(job: Streaming) -> dict[str, int]:
    """Parallelism of each operator that stands in a row with the one before it, by its name."""
    vertices = job.rest.job(job.job_id)["vertices"]
    return {
        operator: vertex["parallelism"]
        for vertex in vertices
        for operator in vertex["name"].split(" -> ")
    }


def features_sent(job: Streaming) -> dict[str, dict]:
    """Transaction -> its features."""
    return {
        event["id"]: event["features"]
        for file in sorted(Path(job.config.features.path).iterdir())
        for event in map(json.loads, file.read_text().splitlines())
        if "features" in event
    }


def test_nothing_is_left_in_state_when_everything_is_settled(cluster, tmp_path):
    """Neither of the join's nor of the model's, nor a timer: no file of a savepoint has another id."""
    events = []
    ts = flows.T0
    for i in range(60):
        id = f"transaction-{i:02}"
        features = {"x": float(i % 7), "shop": f"shop {i % 3}"}
        if i % 10 != 9:
            events.append({"id": id, "features": features, "ts": ts + i})
        if i % 10 == 8:
            continue  # never labelled; every tenth label has no features
        late = 90 * 60_000 if i % 10 == 7 else 0
        events.append({"id": id, "label": i % 2 == 0, "ts": ts + i + 1000 + late})
    spec = {
        "pipeline": [
            {"class": "river.compose.Discard", "args": ["shop"]},
            {"class": "river.naive_bayes.GaussianNB"},
        ]
    }
    job = Streaming(
        cluster,
        tmp_path,
        # The log since a snapshot has ids, too, and so has that of versions to go back to.
        [classifier(spec=spec, snapshot={"every": 1}, retain_versions=0)],
        job={"lane_by": "shop"},
        join={"label_timeout": "1h", "retention": "2h"},
    )
    job.feed(events)
    job.submit()
    wait_for_pending(job, 60)
    assert ids_in(job.rest.savepoint(job.job_id)) >= {event["id"] for event in events}

    # A record without a lane is refused, but time passes with it.
    job.feed([{"id": "later", "features": {"x": 1.0}, "ts": ts + 3 * flows.DAY}])
    wait_for_pending(job, 0)
    job.wait_for(7, "dead_letters")
    got, savepoint = job.finish()
    assert Counter(row["reason"] for row in got["dead_letters"]) == {
        "orphan_label": 6,
        "missing_lane": 1,
    }
    # Of each lane's model it is known what it learned first and last.
    learned = {}
    for row in got["learn_log"]:
        if row["kind"] == "example":
            learned.setdefault(row["lane"], []).append((row["n"], row["id"]))
    known = {id for rows in learned.values() for _, id in (min(rows), max(rows))}
    assert len(learned) == 3
    assert ids_in(savepoint) == known
    job.submit(savepoint=savepoint)
    wait_for_pending(job, 0)


def wait_for_pending(job: Streaming, count: int) -> None:
    wait_until(
        lambda: job.status().metrics.get("pending_transactions") == count,
        f"{count} pending transactions",
        timeout_s=PATIENCE_S,
    )


def ids_in(savepoint: str) -> set[str]:
    """Transaction ids that stand anywhere in a savepoint; the text of a key is kept as it is."""
    folder = Path(savepoint.removeprefix("file:"))
    content = b"".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())
    return {f"transaction-{i:02}" for i in range(60) if f"transaction-{i:02}".encode() in content}
