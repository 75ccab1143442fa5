"""What a user is told about a job."""

import json
import re
from pathlib import Path

import pytest

from jobs import online_learning
from jobs.errors import Failure
from jobs.waiting import wait_until
from tests.cluster.streaming import Streaming, assert_same
from tests.cluster.submitting import submit
from tests.jobs.flows import T0, classifier, phishing
from tests.patience import PATIENCE_S

pytestmark = pytest.mark.cluster

# What the join and the models refuse, as well as the decoder.
REFUSED = [
    '{"id": "broken',
    {"id": "t0", "features": {"other": 1}, "ts": T0},
    {"id": "t1", "features": {"other": 1}, "ts": T0},
    {"id": "odd", "features": {"ip_in_url": "a text"}, "ts": T0},
]
REASONS = {"not_json": 1, "duplicate_features": 2, "predict_failed": 1}


@pytest.mark.parametrize("mode", ["thread", "process"])
def test_status_tells_state_checkpoint_totals_and_dead_letters(cluster, tmp_path, riverrun, mode):
    job = Streaming(cluster, tmp_path, [classifier()], job={"name": mode, "execution": mode})
    arguments = ("status", job.path, "--url", cluster.url)
    unknown = riverrun(*arguments)
    assert (unknown.code, unknown.err) == (1, f"riverrun: no job {mode!r} at {cluster.url}\n")

    job.feed([*phishing(50), *REFUSED])
    job_id = job.submit()
    job.wait_for(len(REFUSED), "dead_letters")
    wait_until(lambda: job.status().dead_letters == REASONS, "metrics", timeout_s=PATIENCE_S)
    told = riverrun(*arguments, "--json")
    assert told.code == 0
    said = json.loads(told.out)
    assert (said["id"], said["name"], said["state"]) == (job_id, mode, "RUNNING")
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

    job.rest.cancel(job_id)
    job.rest.wait_for(job_id, {"CANCELED"})
    told = riverrun(*arguments)
    assert told.code == 1
    assert told.out.splitlines()[0] == f"{mode} CANCELED, job {job_id}"


def test_status_tells_of_restarts_and_their_cause(cluster, tmp_path, riverrun):
    job = Streaming(cluster, tmp_path, [classifier()])
    job.feed(phishing(20))
    job_id = job.submit()
    job.wait_for(20)
    arguments = ("status", job.path, "--url", cluster.url)

    assert job.rest.restarts(job_id) == 0
    cluster.kill_task_manager(1)
    wait_until(lambda: riverrun(*arguments).code == 1, "the loss", timeout_s=PATIENCE_S)
    cluster.start_task_manager(1)
    job.wait_until_restarted(after=0)
    told = riverrun(*arguments)
    assert told.code == 0
    lines = told.out.splitlines()
    assert lines[0] == f"job RUNNING, job {job_id}"
    assert lines[1].startswith("last checkpoint: file:/")
    # Flink sees the loss where a message was lost, where heartbeats end, or both; then it may have tried
    # to go on before there was a task manager again.
    restarts = job.rest.restarts(job_id)
    lost, nowhere = "taskmanager-1|was lost", "the minimum required resources"
    assert re.match(
        rf"{restarts} restarts, the last because of: .*({lost}|{nowhere})", lines[2], re.IGNORECASE
    )
    history = [failure["stacktrace"] for failure in job.rest.exceptions(job_id)]
    assert any(re.search(lost, trace, re.IGNORECASE) for trace in history), history


def test_why_flink_run_failed_is_told_without_the_clients_stack(cluster, tmp_path):
    job = Streaming(cluster, tmp_path, [classifier()])
    job.path.write_text("[job]\nname = 1\n")
    with pytest.raises(Failure) as refused:
        job.submit()
    said = str(refused.value)
    assert said.startswith("flink run failed:\n")
    assert "[job] name" in said
    assert "\tat " not in said


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
