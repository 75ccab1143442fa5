"""Processes of a real cluster are killed, and the outputs are those of a run where none was."""

import os
import random
import time

import pytest

from jobs.audit import Verdict, audit
from jobs.cluster import Cluster
from jobs.waiting import wait_until
from tests.cluster.streaming import Streaming, assert_once, assert_same, replace_task_manager
from tests.jobs.flows import T0, classifier, phishing
from tests.patience import PATIENCE_S

pytestmark = pytest.mark.cluster

SEED = int(os.environ.get("RIVERRUN_SEED", random.randrange(1 << 32)))

FOREST = {"class": "river.forest.ARFClassifier", "params": {"n_models": 5, "seed": 1}}
SUBSPACES = {
    "class": "river.ensemble.SRPClassifier",
    "params": {"model": {"class": "river.naive_bayes.GaussianNB"}, "n_models": 5, "seed": 2},
}
MODELS = [classifier(), classifier("forest", FOREST), classifier("subspaces", SUBSPACES)]


def with_bad_records(events: list[dict], rng: random.Random) -> list:
    """Some that are dead letters of the join and of the decoder in between."""
    mixed: list = list(events)
    for place in sorted(rng.sample(range(len(events) // 4, len(events)), 5)):
        mixed.insert(place, {"id": "t0", "features": {"other": 1}, "ts": T0})
        mixed.insert(place, '{"id": "broken')
    return mixed


def test_a_job_whose_task_manager_is_killed_six_times_writes_what_it_would_have(cluster, tmp_path):
    rng = random.Random(SEED)
    events = with_bad_records(phishing(600), rng)
    points = sorted(rng.sample(range(100, 550), 6))
    in_checkpoint = rng.choice(points[:3])  # while there is work left to hold its barriers up
    print(f"RIVERRUN_SEED={SEED}, kills after {points} transactions")
    print(f"the one at {in_checkpoint} in a checkpoint")
    job = Streaming(cluster, tmp_path, MODELS, job={"checkpoint_interval": "100ms"})
    feeding = Feeding(job, events, rng)
    feeding.until(100)
    job_id = job.submit()
    for point in points:
        feeding.until(point + rng.randrange(1, 50))
        wait_until(
            lambda point=point: len(job.begun()) >= point,
            f"{point} transactions",
            timeout_s=PATIENCE_S,
        )
        if point == in_checkpoint:
            kill_in_a_checkpoint(cluster, job, feeding, point)
        else:
            replace_task_manager(cluster, job_id)
    feeding.rest()
    assert job.rest.checkpoints(job_id)["counts"]["restored"] > 0

    got, _ = job.finish()
    assert_same(got, job.expected())
    assert_once(got)
    assert len(got["predictions"]) == len(MODELS) * 600
    assert len(got["dead_letters"]) == 10
    found = audit(job.config)
    assert (found.verdicts, found.forks) == ({Verdict.EQUAL: len(MODELS) * 600}, 0)


def kill_in_a_checkpoint(
    cluster: Cluster, job: Streaming, feeding: "Feeding", transactions: int
) -> None:
    """Kill the task manager while a checkpoint is under way; once more where it was faster."""
    for attempt in range(1, 6):
        # Behind so much work its barriers take a while.
        feeding.until(transactions + 300 * attempt)
        restarts = job.rest.restarts(job.job_id)
        begun = wait_until(
            lambda: checkpoints(job, "IN_PROGRESS", age_ms=100),
            "a checkpoint in progress",
            timeout_s=PATIENCE_S,
            every_s=0,
        )
        cluster.kill_task_manager(1)
        cluster.start_task_manager(1)
        job.wait_until_restarted(after=restarts)
        if begun & checkpoints(job, "FAILED"):
            return
    raise AssertionError("each of five checkpoints was complete before its task manager was dead")


def test_a_job_goes_on_after_its_job_manager_was_lost(cluster, tmp_path, riverrun):
    events = phishing(400)
    job = Streaming(cluster, tmp_path, MODELS[:2])
    job.feed(events[:300])
    job.submit()
    job.wait_for(100)
    # What is fed while there is no job waits for the next one.
    job.feed(events[300:500])
    cluster.kill_job_manager()
    cluster.start_job_manager()
    assert cluster.rest.jobs() == []

    refused = riverrun("submit", job.path, "--url", cluster.url)
    assert refused.code == 1
    assert "go on with --resume, or begin anew with --fresh" in refused.err
    assert riverrun("submit", job.path, "--url", cluster.url, "--resume").code == 0

    job.feed(events[500:])
    got, savepoint = job.finish()
    assert_same(got, job.expected())
    assert_once(got)
    assert len(got["predictions"]) == 2 * 400

    # What the lost job left is older than the output now. A savepoint that lies elsewhere is not.
    refused = riverrun("submit", job.path, "--url", cluster.url, "--resume")
    assert refused.code == 1
    assert "is final and newer than the newest checkpoint" in refused.err
    job.feed([{"id": "one more", "features": events[0]["features"], "ts": events[-1]["ts"]}])
    going_on = ("submit", job.path, "--url", cluster.url, "--from", savepoint)
    assert riverrun(*going_on).code == 0
    got, _ = job.finish()
    assert_same(got, job.expected())


def test_process_mode_survives_a_kill_and_goes_on_from_a_savepoint(cluster, tmp_path):
    events = with_bad_records(phishing(300), random.Random(SEED))
    print(f"RIVERRUN_SEED={SEED}")
    job = Streaming(
        cluster,
        tmp_path,
        [classifier(), classifier("subspaces", SUBSPACES)],
        job={"execution": "process", "checkpoint_interval": "500ms"},
    )
    job.feed(events[:200])
    job_id = job.submit()
    job.wait_for(100)
    job.feed(events[200:300])
    replace_task_manager(cluster, job_id)
    assert job.rest.checkpoints(job_id)["counts"]["restored"] > 0
    job.feed(events[300:400])
    job.wait_for(300)

    savepoint = job.stop()
    job.feed(events[400:])
    job.submit(savepoint=savepoint)
    got, _ = job.finish()
    assert_same(got, job.expected())
    assert_once(got)
    assert len(got["predictions"]) == 2 * 300
    assert len(got["dead_letters"]) == 10


def checkpoints(job: Streaming, status: str, age_ms: int = 0) -> set[int]:
    """Numbers of the running job's checkpoints with this status, begun so long ago or longer."""
    latest = time.time() * 1000 - age_ms
    return {
        checkpoint["id"]
        for checkpoint in job.rest.checkpoints(job.job_id)["history"]
        if checkpoint["status"] == status and checkpoint["trigger_timestamp"] <= latest
    }


class Feeding:
    """Hands events on, in files of random sizes, some without a record."""

    def __init__(self, job: Streaming, events: list, rng: random.Random) -> None:
        self._job, self._events, self._rng = job, events, rng
        self._ids: set[str] = set()

    def until(self, transactions: int) -> None:
        """So many transactions' features or all, and whatever lies before them."""
        while self._events and len(self._ids) < transactions:
            self._file(self._rng.randrange(0, 40))

    def rest(self) -> None:
        while self._events:
            self._file(self._rng.randrange(0, 80))

    def _file(self, size: int) -> None:
        file, self._events = self._events[:size], self._events[size:]
        self._ids |= {e["id"] for e in file if isinstance(e, dict) and "features" in e}
        self._job.feed(file)
