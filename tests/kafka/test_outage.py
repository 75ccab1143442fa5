"""A job that is down for longer than its transactions may last: what it lost is listed, by id."""

import json
import os
import signal
import time

import pytest

from jobs.cluster import Cluster
from jobs.waiting import wait_until
from tests.jobs.flows import OUTPUTS, classifier, phishing
from tests.kafka.jobs import KafkaJob
from tests.patience import PATIENCE_S

pytestmark = [pytest.mark.cluster, pytest.mark.kafka]

TIMEOUT_S = 10
# Slow enough for a checkpoint to have to wait for its barriers.
FOREST = {"class": "river.forest.ARFClassifier", "params": {"n_models": 10, "seed": 1}}


def test_what_an_outage_longer_than_the_transactions_lost_is_listed(
    cluster, topics, tmp_path, riverrun
):
    topics.create("features", *OUTPUTS)
    events = phishing(1250)
    job = KafkaJob(
        topics,
        tmp_path,
        [classifier(spec=FOREST)],
        inputs={"features": {"topic": topics.name("features")}},
        sink={"properties": {"transaction.timeout.ms": str(TIMEOUT_S * 1000)}},
        job={"checkpoint_interval": "1s"},
    )
    topics.send("features", events[:300])
    job_id = job.submit(cluster)
    topics.send("features", events[300:2000])
    for _ in range(5):
        if checkpoint_without_commit(cluster, job_id):
            break
        cluster.start_task_manager(1)
        wait_until(
            lambda: cluster.rest.job(job_id)["state"] == "RUNNING",
            "a restart",
            timeout_s=PATIENCE_S,
        )
    else:
        raise AssertionError("no checkpoint was complete without its commit in five tries")
    # Longer than the transactions live, and until the broker has looked: what it then lacks is lost.
    before = {output: ids(topics, output) for output in OUTPUTS}
    seen = {output: ids(topics, output, committed=False) for output in OUTPUTS}
    time.sleep(TIMEOUT_S + 3)
    assert {output: ids(topics, output) for output in OUTPUTS} == before

    cluster.start_task_manager(1)
    topics.send("features", events[2000:])
    last = events[-1]["id"]
    wait_until(
        lambda: last in ids(topics, "evaluations"),
        "the last label",
        timeout_s=PATIENCE_S,
        every_s=0.5,
    )
    # With the next checkpoint; up to there the listing looks.
    wait_until(
        lambda: topics.committed("features", group="job") == len(events),
        "the offsets",
        timeout_s=PATIENCE_S,
        every_s=0.5,
    )
    lost = {}
    for output in ("predictions", "evaluations", "learn_log"):
        wanted = {e["id"] for e in events if ("features" in e) == (output == "predictions")}
        lost[output] = wanted - ids(topics, output)
        # They had been written, and were in the transactions that the broker gave up.
        assert lost[output] <= seen[output] - before[output]
    assert lost["predictions"]
    listed = riverrun("missing", job.path, "--json")
    assert listed.code == 1, listed.err
    said = [json.loads(line) for line in listed.out.splitlines()]
    assert len(said) == sum(map(len, lost.values()))
    for output, of in lost.items():
        assert {row["id"] for row in said if row["output"] == output} == of


def ids(topics, output: str, *, committed: bool = True) -> set[str]:
    return {json.loads(record.value)["id"] for record in topics.read(output, committed=committed)}


def checkpoint_without_commit(cluster: Cluster, job_id: str) -> bool:
    """Let a checkpoint complete of which no task manager learns; whether that came about.

    The job manager is held while the task manager does its part, and reads what that reported when
    the task manager is dead.
    """
    manager = cluster.job_manager_pid
    assert manager is not None
    number = wait_until(
        lambda: in_progress(cluster, job_id), "a checkpoint", timeout_s=PATIENCE_S, every_s=0
    )
    os.kill(manager, signal.SIGSTOP)
    try:
        # Time for the barriers, and for nothing else: the job manager says nothing meanwhile.
        time.sleep(4)
        cluster.kill_task_manager(1)
    finally:
        os.kill(manager, signal.SIGCONT)
    wait_until(
        lambda: (
            cluster.rest.job(job_id)["state"] in ("RESTARTING", "RUNNING")
            and not in_progress(cluster, job_id)
        ),
        "the end of the checkpoint",
        timeout_s=PATIENCE_S,
    )
    done = cluster.rest.checkpoints(job_id)["latest"]["completed"]
    return done is not None and done["id"] >= number


def in_progress(cluster: Cluster, job_id: str) -> int | None:
    """The number of the checkpoint that is under way."""
    for checkpoint in cluster.rest.checkpoints(job_id)["history"]:
        if checkpoint["status"] == "IN_PROGRESS":
            return checkpoint["id"]
    return None
