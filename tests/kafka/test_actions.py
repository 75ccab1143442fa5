"""A job on a real broker that notices a drift, tells itself to retrain, and promotes what it made.

The same stream's other half is in the same run: the model that nothing was done about goes on as a
challenger, so what was gained is seen on the same transactions.
"""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from river import naive_bayes

from jobs.audit import audit
from jobs.cluster import Cluster
from jobs.waiting import wait_until
from state.signing import SigningKey
from tests.jobs.flows import classifier
from tests.kafka.jobs import KafkaJob
from tests.kafka.topics import Topics
from tests.operators.controlled import NB
from tests.patience import PATIENCE_S

pytestmark = [pytest.mark.cluster, pytest.mark.kafka]

OUTPUTS = (
    "predictions",
    "evaluations",
    "learn_log",
    "dead_letters",
    "control_acks",
    "control_log",
    "metrics",
    "alerts",
)
T0 = 1_700_000_000_000
CHANGE = 600


def events(first: int, last: int) -> list[dict[str, Any]]:
    """Transactions whose label means the opposite from the `CHANGE`th on."""
    found: list[dict[str, Any]] = []
    for i in range(first, last):
        rng = random.Random(i)
        x = {"amount": rng.gauss(0, 1), "hour": rng.randrange(24)}
        label = (x["amount"] > 0.2) != (i >= CHANGE)
        found.append({"id": f"t{i}", "features": x, "ts": T0 + i * 1000})
        found.append({"id": f"t{i}", "label": label, "ts": T0 + i * 1000 + 500})
    return found


def test_a_drift_is_answered_by_a_challenger_that_wins(
    cluster: Cluster, topics: Topics, tmp_path: Path
) -> None:
    topics.create("features", "control", *OUTPUTS)
    (tmp_path / "key.pem").write_bytes(SigningKey.generate().pem())
    job = KafkaJob(
        topics,
        tmp_path,
        [classifier("a", NB)],
        inputs={
            "features": {"topic": topics.name("features")},
            "control": {"topic": topics.name("control")},
        },
        outputs=OUTPUTS,
        security={
            "signing_key_file": str(tmp_path / "key.pem"),
            "trusted_keys": [f"ops:{SigningKey.generate().public}"],
            "require_signatures": True,
        },
        monitor=[{"name": "m", "every": 50, "drift": [{"on": "error", "detector": "ADWIN"}]}],
        trigger=[
            {"name": "retrain", "on": "drift", "do": "deploy", "cooldown": "1d"},
            {"name": "win", "on": "better", "do": "promote", "cooldown": "1d"},
        ],
    )
    job_id = job.submit(cluster)
    sent = 0

    def feed(count: int) -> None:
        nonlocal sent
        topics.send("features", events(sent, sent + count))
        sent += count

    def acks() -> list[dict[str, Any]]:
        return topics.rows("control_acks")

    feed(CHANGE + 200)
    job.wait_for(1, "control_acks")
    assert [(ack["issuer"], ack["accepted"]) for ack in acks()] == [("trigger:retrain", True)]
    [deployed] = [json.loads(row["payload"]) for row in topics.rows("control")]
    name = deployed["model"]
    assert (name, deployed["op"], deployed["role"]) == ("a-1", "deploy", "challenger")
    alert = next(row for row in topics.rows("alerts") if row["kind"] == "drift")
    assert deployed["feed_from"] == alert["fresh"]["event_time"]
    # Found where it was, give or take a few transactions.
    assert abs(alert["fresh"]["event_time"] - (T0 + CHANGE * 1000)) <= 10_000
    assert alert["before"] < 0.15
    assert alert["after"] > 0.6

    # What is sent from here on is predicted by both.
    def promoted() -> bool:
        feed(100)
        return len(acks()) > 1

    wait_until(promoted, "a verdict", timeout_s=PATIENCE_S, every_s=1)
    [_, ack] = acks()
    assert (ack["issuer"], ack["op"], ack["model"]) == ("trigger:win", "promote", name)
    assert ack["accepted"]

    def serves() -> bool:
        feed(100)
        return any(row["serving"] and row["model"] == name for row in topics.rows("predictions"))

    wait_until(serves, f"answers of {name}", timeout_s=PATIENCE_S, every_s=1)
    feed(300)
    last = f"t{sent - 1}"
    wait_until(
        lambda: sum(row["id"] == last for row in topics.rows("evaluations")) == 2,
        "the last evaluations",
        timeout_s=PATIENCE_S,
    )
    cluster.rest.cancel(job_id)

    # Less wrong than the model that nothing was done about, on the same transactions.
    wrong: dict[str, int] = {"a": 0, name: 0}
    evaluations = topics.rows("evaluations")
    compared = {row["id"] for row in evaluations if row["model"] == name}
    for row in evaluations:
        if row["id"] in compared:
            wrong[row["model"]] += row["prediction"] != row["label"]
    assert len(compared) >= 300
    assert wrong[name] * 2 < wrong["a"]

    # The challenger is plain River, taught what the log says it learned: the fresh data first.
    entries = [row for row in topics.rows("learn_log") if row["model"] == name]
    learned = [row for row in entries if row["kind"] == "example"]
    assert learned[0]["event_time"] == deployed["feed_from"]
    assert [row["n"] for row in learned] == list(range(1, len(learned) + 1))
    features = {event["id"]: event["features"] for event in events(0, sent) if "features" in event}
    model, place = naive_bayes.GaussianNB(), 0
    for row in topics.rows("predictions"):
        if row["model"] != name:
            continue
        while entries[place]["version"] != row["version"]:
            place += 1
            if entries[place]["kind"] == "example":
                model.learn_one(entries[place]["features"], entries[place]["label"])
        answer = model.predict_proba_one(features[row["id"]])
        assert row["probabilities"] == {str(k).lower(): p for k, p in answer.items()}
    assert audit(job.config).sound
    assert not topics.rows("dead_letters")
