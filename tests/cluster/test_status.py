"""What a user is told about a job."""

import json
from pathlib import Path

import pytest

from jobs import online_learning
from jobs.waiting import wait_until
from tests.cluster.streaming import PATIENCE_S, Streaming, assert_same
from tests.cluster.submitting import submit
from tests.jobs.flows import T0, classifier, phishing

pytestmark = pytest.mark.cluster

# What the join and the models refuse, as well as the decoder.
REFUSED = [
    '{"id": "broken',
    {"id": "t0", "features": {"other": 1}, "ts": T0},
    {"id": "t1", "features": {"other": 1}, "ts": T0},
    {"id": "odd", "features": {"ip_in_url": "a text"}, "ts": T0},
]
REASONS = {"not_json": 1, "duplicate_features": 2, "predict_failed": 1}


def test_status_tells_state_checkpoint_restarts_and_dead_letters(cluster, tmp_path, riverrun):
    job = Streaming(cluster, tmp_path, [classifier()])

    def status(*flags: str):
        return riverrun("status", job.path, "--url", cluster.url, *flags)

    assert status().code == 1
    assert status().err == f"riverrun: no job 'job' at {cluster.url}\n"

    job.feed([*phishing(50), *REFUSED])
    job_id = job.submit()
    job.wait_for(len(REFUSED), "dead_letters")
    wait_until(lambda: job.status().dead_letters == REASONS, "metrics", timeout_s=PATIENCE_S)
    told = status("--json")
    assert told.code == 0
    said = json.loads(told.out)
    assert (said["id"], said["name"], said["state"]) == (job_id, "job", "RUNNING")
    assert (said["restarts"], said["failure"]) == (0, None)
    assert said["dead_letters"] == REASONS
    assert said["metrics"] == {
        "records": 104,
        "predictions": 51,
        "examples": 50,
        "evaluations": 50,
        "pending_transactions": 51,
    }
    checkpoint = Path(said["last_checkpoint"].removeprefix("file:"))
    assert checkpoint.parent == Path(job.config.job.checkpoint_dir, job_id)
    assert said["started"] < said["last_checkpoint_at"]

    cluster.kill_task_manager(1)
    wait_until(lambda: status().code == 1, "the loss in the status", timeout_s=PATIENCE_S)
    cluster.start_task_manager(1)
    job.wait_until_restarted(1)
    told = status()
    assert told.code == 0
    lines = told.out.splitlines()
    assert lines[0] == f"job RUNNING, job {job_id}"
    assert lines[1].startswith("last checkpoint: file:/")
    assert lines[2].startswith("1 restarts, the last because of: ")
    assert "taskmanager-1" in lines[2]

    job.rest.cancel(job_id)
    job.rest.wait_for(job_id, {"CANCELED"})
    told = status()
    assert told.code == 1
    assert told.out.splitlines()[0] == f"job CANCELED, job {job_id}"


def test_flink_run_alone_starts_the_job(cluster, tmp_path, riverrun):
    job = Streaming(cluster, tmp_path, [classifier()])
    job.feed(phishing(50))
    script = Path(online_learning.__file__)
    job_id = submit(cluster, "--config", str(job.path), script=script)
    got, _ = job.finish()
    assert_same(got, job.expected())
    told = riverrun("status", job.path, "--url", cluster.url, "--json")
    assert told.code == 0
    assert (json.loads(told.out)["id"], json.loads(told.out)["state"]) == (job_id, "FINISHED")
