"""Task managers are killed while control messages take effect: each does once, with one answer."""

import json
import os
import random

import pytest

from jobs.waiting import wait_until
from state.signing import SigningKey
from tests.cluster.streaming import replace_task_manager
from tests.jobs.flows import classifier, phishing
from tests.kafka.jobs import KafkaJob
from tests.kafka.producing import Producing
from tests.patience import PATIENCE_S

pytestmark = [pytest.mark.cluster, pytest.mark.kafka]

SEED = int(os.environ.get("RIVERRUN_SEED", random.randrange(1 << 32)))
INPUTS = ("features", "labels", "control")
OUTPUTS = ("predictions", "learn_log", "dead_letters", "control_acks", "control_log", "versions")
BAYES = {"class": "river.naive_bayes.GaussianNB"}


class Commanded:
    """A job with a control topic, and the messages that went into it."""

    def __init__(self, topics, folder) -> None:
        topics.create("features", "labels", partitions=3)
        topics.create("control", *OUTPUTS)
        (folder / "key.pem").write_bytes(SigningKey.generate().pem())
        self.topics = topics
        self.job = KafkaJob(
            topics,
            folder,
            [classifier()],
            inputs={name: {"topic": topics.name(name)} for name in INPUTS},
            outputs=OUTPUTS,
            job={"checkpoint_interval": "500ms"},
            security={"signing_key_file": str(folder / "key.pem")},
        )
        self.sent = 0

    def say(self, op: str, model: str, **fields: object) -> None:
        """The next message."""
        self.sent += 1
        message = {"job": "job", "issuer": "ops", "seq": self.sent, "op": op, "model": model}
        self.topics.send("control", [{**message, **fields}])

    def answers(self) -> dict[int, list[dict]]:
        """Committed acks by seq."""
        found: dict[int, list[dict]] = {}
        for ack in self.topics.rows("control_acks"):
            found.setdefault(ack["seq"], []).append(ack)
        return found

    def wait_for_answers(self) -> None:
        wait_until(lambda: len(self.answers()) == self.sent, "an answer each", timeout_s=PATIENCE_S)


def test_each_message_takes_effect_once_whatever_is_killed(cluster, topics, tmp_path) -> None:
    rng = random.Random(SEED)
    print(f"RIVERRUN_SEED={SEED}")
    commanded = Commanded(topics, tmp_path)
    job_id = commanded.job.submit(cluster)
    events = phishing(900)
    # So that records are left for the model that is deployed, however long the first kills take.
    first, second = events[:600], events[600:]

    def killed_after(producing: Producing, limit: int, op: str, **fields: object) -> None:
        """Kill at some time between the message and its answer, or right behind it."""
        commanded.say(op, "b", **fields)
        later = min(producing.sent + rng.randrange(30), limit)
        wait_until(lambda: producing.sent >= later, "records", timeout_s=PATIENCE_S)
        replace_task_manager(cluster, job_id)
        commanded.wait_for_answers()

    def learned() -> list[str]:
        log = topics.rows("learn_log")
        return [r["version"] for r in log if (r["model"], r["kind"]) == ("b", "example")]

    with Producing(topics, first, per_second=60) as producing:
        killed_after(producing, len(first), "deploy", task="classification", spec=BAYES)
        killed_after(producing, len(first), "promote")
    with Producing(topics, second, per_second=60) as producing:
        wait_until(lambda: len(learned()) > 20, "versions to go back to", timeout_s=PATIENCE_S)
        killed_after(producing, len(second), "rollback", version=learned()[10])
        killed_after(producing, len(second), "publish")

    answers = commanded.answers()
    assert {seq: len(acks) for seq, acks in answers.items()} == dict.fromkeys(range(1, 5), 1)
    assert all(ack["accepted"] for [ack] in answers.values()), answers
    entries = [row for row in topics.rows("learn_log") if row["kind"] == "control"]
    assert [(row["seq"], row["op"].split(" ")[0]) for row in entries] == [
        (1, "deploy"),
        (2, "promote"),
        (3, "rollback"),
        (4, "publish"),
    ]
    # What each message was answered with is the version that its entry led to.
    assert [row["version"] for row in entries] == [answers[s][0]["version"] for s in range(1, 5)]
    logged = [json.loads(row["payload"]) for row in topics.rows("control_log")]
    assert [payload["seq"] for payload in logged] == [1, 2, 3, 4]
    parts = topics.rows("versions")
    assert [part["part"] for part in parts] == list(range(parts[0]["parts"]))
    assert {part["version"] for part in parts} == {answers[4][0]["version"]}
    assert topics.rows("dead_letters") == []
