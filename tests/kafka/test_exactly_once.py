"""Task managers and the broker go away in mid-stream; who reads committed records sees no sign."""

import os
import random
import time

import pytest

from jobs.broker import Broker
from jobs.waiting import wait_until
from tests.cluster.streaming import replace_task_manager
from tests.jobs.flows import LOGISTIC, classifier, phishing
from tests.kafka.jobs import KafkaJob
from tests.kafka.producing import Producing
from tests.patience import PATIENCE_S
from tests.replay import replayed

pytestmark = [pytest.mark.cluster, pytest.mark.kafka]

SEED = int(os.environ.get("RIVERRUN_SEED", random.randrange(1 << 32)))
INPUTS = ("features", "labels")
OUTPUTS = ("predictions", "evaluations", "learn_log", "dead_letters")


def streaming(topics, folder, **job) -> KafkaJob:
    topics.create(*INPUTS, partitions=3)
    topics.create(*OUTPUTS, partitions=3)
    return KafkaJob(
        topics,
        folder,
        [classifier()],
        inputs={name: {"topic": topics.name(name)} for name in INPUTS},
        job={"checkpoint_interval": "500ms", **job},
    )


def assert_each_once(job: KafkaJob, events: list[dict]) -> None:
    """One prediction a transaction, each label learned once, and the learn log gives all of it."""
    topics = job.topics
    sent = {e["id"]: e["features"] for e in events if "features" in e}
    labels = {e["id"]: e["label"] for e in events if "label" in e}
    predicted = [row["id"] for row in topics.rows("predictions")]
    assert sorted(predicted) == sorted(sent)
    evaluated = [(row["id"], row["label"]) for row in topics.rows("evaluations")]
    assert sorted(evaluated) == sorted(labels.items())
    learned = [(row["id"], row["label"]) for row in topics.rows("learn_log")]
    assert sorted(learned) == sorted(labels.items())
    assert topics.rows("dead_letters") == []
    written = (topics.texts(output) for output in ("predictions", "learn_log"))
    last = replayed(*written, sent, {"m": LOGISTIC})
    assert last["m"].startswith(f"m@{len(labels)}-")


def wait_for_all(job: KafkaJob, events: list[dict]) -> None:
    job.wait_for(sum("features" in event for event in events))
    for output in ("evaluations", "learn_log"):
        job.wait_for(sum("label" in event for event in events), output)


def test_task_managers_are_killed_at_random_and_each_record_counts_once(cluster, topics, tmp_path):
    rng = random.Random(SEED)
    print(f"RIVERRUN_SEED={SEED}")
    events = phishing(900)
    job = streaming(topics, tmp_path)
    job_id = job.submit(cluster)
    with Producing(topics, events, per_second=60) as producing:
        for kill in range(5):
            point = min(producing.sent + rng.randrange(40, 120), len(events))
            wait_until(lambda p=point: producing.sent >= p, "records", timeout_s=PATIENCE_S)
            if kill == 2:
                between_pre_commit_and_commit(cluster, job_id)
            replace_task_manager(cluster, job_id)
    wait_for_all(job, events)
    assert_each_once(job, events)


def between_pre_commit_and_commit(cluster, job_id: str) -> None:
    """Until a checkpoint has been acknowledged by some subtask and is not complete."""

    def some_but_not_all() -> bool:
        newest = cluster.rest.checkpoints(job_id)["history"][:1]
        return any(
            c["status"] == "IN_PROGRESS" and 0 < c["num_acknowledged_subtasks"] for c in newest
        )

    wait_until(some_but_not_all, "a checkpoint half done", timeout_s=PATIENCE_S, every_s=0)


@pytest.mark.parametrize("away_s", [0, 30], ids=["restarted", "away for 30 s"])
def test_the_broker_goes_away_and_comes_back(cluster, topics, broker, tmp_path, away_s):
    events = phishing(500)
    job = streaming(topics, tmp_path)
    job.submit(cluster)
    half = len(events) // 2
    with Producing(topics, events[:half], per_second=200):
        pass
    broker.stop() if away_s else broker.kill()
    # Not a wait for something to happen: how long it is away is the case.
    time.sleep(away_s)
    Broker.start(broker.folder)
    with Producing(topics, events[half:], per_second=200):
        pass
    wait_for_all(job, events)
    assert_each_once(job, events)
