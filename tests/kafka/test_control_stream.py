"""A job on a real broker that is talked to: message by message, each answered before the next.

What it did in between is known, so it can be compared with plain River.
"""

import base64
import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from jobs import submitting
from jobs.cluster import Cluster
from jobs.waiting import wait_until
from operators.roles import Roles
from state.artifacts import read_artifact
from state.signing import SigningKey, TrustedKeys
from state.snapshots import unpickle_model
from tests.jobs.controlled_jobs import LR, NB, TREE, audit, deploy, message, signed
from tests.jobs.flows import classifier, phishing
from tests.kafka.jobs import KafkaJob
from tests.kafka.topics import Topics
from tests.operators.ledger import Ledger
from tests.operators.loops import ask
from tests.patience import PATIENCE_S

pytestmark = [pytest.mark.cluster, pytest.mark.kafka]

OUTPUTS = (
    "predictions",
    "evaluations",
    "learn_log",
    "dead_letters",
    "control_acks",
    "control_log",
    "versions",
)
KEY, STRANGER = SigningKey.generate(), SigningKey.generate()


class Dialogue:
    """A job that reads features and labels from one topic, and messages from another or the same."""

    def __init__(
        self, cluster: Cluster, topics: Topics, folder: Path, *, one_topic: bool = False
    ) -> None:
        self.own_key = SigningKey.generate()
        (folder / "key.pem").write_bytes(self.own_key.pem())
        self.topics = topics
        self.cluster = cluster
        self._control = "features" if one_topic else "control"
        topics.create("features", *OUTPUTS)
        if not one_topic:
            topics.create("control")
        self.job = KafkaJob(
            topics,
            folder,
            [classifier("a")],
            inputs={
                "features": {"topic": topics.name("features")},
                "control": {"topic": topics.name(self._control)},
            },
            outputs=OUTPUTS,
            limits={"record_bytes": 200_000},
            security={
                "signing_key_file": str(folder / "key.pem"),
                "trusted_keys": [f"me:{KEY.public}"],
                "require_signatures": True,
            },
        )
        self.job_id = self.job.submit(cluster)
        self.roles = Roles()
        self.roles.follow({"a": "champion"})
        self.events: list[dict[str, Any]] = []
        # Transaction -> who was to answer, and which models there were.
        self.served: dict[str, str | None] = {}
        self.asked: dict[str, set[str]] = {}

    def feed(self, events: Iterable[dict[str, Any]]) -> None:
        """Send events, and wait until all that follows from them is committed."""
        sent = list(events)
        self.topics.send("features", sent)
        self.events += sent
        for event in sent:
            if "features" in event:
                self.served[event["id"]] = self.roles.serving(event["id"])
                self.asked[event["id"]] = set(self.roles.roles)
        predicted = sum(map(len, self.asked.values()))
        learned = sum("label" in event for event in self.events)
        self.job.wait_for(predicted)
        wait_until(
            lambda: len(self.learned("a")) >= learned,
            f"{learned} examples of a",
            timeout_s=PATIENCE_S,
        )

    def learned(self, model: str) -> list[dict[str, Any]]:
        """Entries of a model's examples."""
        rows = self.topics.rows("learn_log")
        return [row for row in rows if row["model"] == model and row["kind"] == "example"]

    def send(self, record: dict[str, Any] | bytes) -> None:
        self.topics.send(self._control, [record])

    def say(self, payload: dict[str, Any], key: SigningKey = KEY) -> dict[str, Any]:
        """Send a message, signed, and wait for its answer."""
        before = len(self.topics.read("control_acks"))
        self.send(signed(payload, key))
        self.job.wait_for(before + 1, "control_acks")
        [ack] = self.topics.rows("control_acks")[before:]
        found = ack["issuer"], ack["seq"], ack["op"], ack["model"]
        assert found == (payload["issuer"], payload["seq"], payload["op"], payload["model"])
        assert ack["accepted"] == (ack["reason"] is None)
        return ack

    def done(self, payload: dict[str, Any]) -> str | None:
        """Say something that is accepted; the version that it led to."""
        ack = self.say(payload)
        assert ack["reason"] is None, ack
        op, name = payload["op"], payload["model"]
        if op == "deploy":
            self.roles.deploy(name, payload.get("role"))
        elif op == "retire":
            self.roles.retire(name)
        elif op == "promote":
            self.roles.promote(name)
        elif op == "split":
            self.roles.split = payload["weights"]
        return ack["version"]

    def refused(self, payload: dict[str, Any], reason: str, key: SigningKey = KEY) -> None:
        """Say something that is not."""
        assert self.say(payload, key)["reason"] == reason

    def assert_as_plain_river_has_it(self) -> Ledger:
        """Every prediction made again, every chain walked, each answered by whom it was to be."""
        rows = self.topics.rows("predictions")
        asked: dict[str, set[str]] = {}
        for row in rows:
            asked.setdefault(row["id"], set()).add(row["model"])
            assert row["serving"] == (row["model"] == self.served[row["id"]]), row
        assert asked == self.asked
        assert len(rows) == sum(map(len, asked.values())), "once each"
        return audit(
            self.topics.texts("predictions"),
            self.topics.texts("learn_log"),
            self.events,
            {"a": LR},
        )


def clock() -> int:
    return time.time_ns() // 1_000_000


@pytest.mark.parametrize("one_topic", [False, True], ids=["two topics", "one topic"])
def test_a_job_does_what_it_is_told_and_nothing_else(cluster, topics, tmp_path, one_topic):
    job = Dialogue(cluster, topics, tmp_path, one_topic=one_topic)
    events = iter(phishing(300, last_delay=40 * 60_000))

    def some(count: int = 40) -> list[dict[str, Any]]:
        return [next(events) for _ in range(count)]

    job.feed(some())
    # Who may say what.
    job.refused(message(1, "retire"), "unknown_key", STRANGER)
    job.refused({**message(1, "retire"), "issuer": "you"}, "wrong_issuer")
    job.refused({**message(1, "retire"), "job": "another"}, "wrong_job")
    job.refused(message(1, "retire", expires_at=clock() - 1), "expired")
    job.send(message(2, "retire"))
    job.send({**signed(message(2, "retire"), KEY), "signature": "AAAA"})
    job.job.wait_for(6, "control_acks")
    # What is none: dead letters only. In a topic with events it would be one of those.
    none = [
        json.dumps({"op": "explode"}).encode(),
        b'{"payload": 5}',
        b'{"op":"x"' + b" " * 250_000,
    ]
    for record in none:
        job.send(record)
    job.job.wait_for(6 + 3, "dead_letters")

    job.done(deploy(3, "b", NB))
    job.feed(some())
    job.refused(deploy(4, "b", TREE), "already_deployed")
    job.refused(deploy(5, "bad", {"class": "os.system", "args": ["true"]}), "bad_spec")
    job.done(message(6, "split", "a", weights={"a": 50, "b": 50}))
    job.feed(some())
    job.done(message(7, "promote", "b"))
    version = job.learned("b")[-3]["version"]
    job.done(message(8, "rollback", "b", version=version))
    job.feed(some())
    job.refused(message(9, "rollback", "b", version="b@3-000000000000"), "unknown_version")
    pinned = job.learned("b")[-5]["version"]
    assert job.done(message(10, "pin", "b", version=pinned)) == pinned
    job.feed(some())
    last = [row for row in topics.rows("predictions") if row["model"] == "b"][-1]
    assert last["version"] == pinned
    job.done(message(11, "unpin", "b"))

    # The same again: the first answer, to the letter. Another under its number: refused.
    first = [text for text in topics.texts("control_acks") if json.loads(text)["seq"] == 10]
    job.say(message(10, "pin", "b", version=pinned))
    assert topics.texts("control_acks")[-1:] == first
    job.refused(message(10, "freeze", "b"), "seq_conflict")
    job.refused(message(2, "freeze", "b"), "stale_seq")

    # When the clock says so.
    moment = clock() + 3000
    ack = job.say(message(12, "promote", "a", effective_at=moment))
    assert ack["at"] >= moment
    job.roles.promote("a")
    job.feed(some())

    # A version published, and deployed elsewhere from there.
    published = job.done(message(13, "publish", "b"))
    parts = topics.rows("versions")
    assert {part["version"] for part in parts} == {published}
    file = b"".join(base64.b64decode(part["data"]) for part in parts)
    manifest, pickled, key_id = read_artifact(file, TrustedKeys([job.own_key.public]))
    assert (manifest.version, key_id) == (published, job.own_key.key_id)
    model = unpickle_model(pickled, manifest.environment)
    in_base64 = "base64:" + base64.b64encode(file).decode()
    job.done(message(14, "deploy", "c", artifact=in_base64, role="shadow"))
    job.feed(some())
    job.done(message(15, "retire", "b"))
    job.feed(some())
    oracle = job.assert_as_plain_river_has_it().model(published)
    for event in job.events[:20]:
        if "features" in event:
            features = event["features"]
            assert ask("classification", model, features) == (
                ask("classification", oracle, features)
            )
    assert cluster.rest.restarts(job.job_id) == 0
    stages = {row["reason"] for row in topics.rows("dead_letters")}
    assert stages == {
        "unknown_key", "wrong_issuer", "wrong_job", "expired", "unsigned", "bad_signature",
        "bad_field", "too_large", "already_deployed", "bad_spec",
        "unknown_version", "seq_conflict", "stale_seq",
    }  # fmt: skip
    logged = [json.loads(row["payload"])["seq"] for row in topics.rows("control_log")]
    assert logged == [3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]


def test_an_upgrade_keeps_all_that_messages_have_made(cluster, topics, tmp_path):
    job = Dialogue(cluster, topics, tmp_path)
    events = iter(phishing(300, last_delay=40 * 60_000))

    def some(count: int = 40) -> list[dict[str, Any]]:
        return [next(events) for _ in range(count)]

    def upgrade() -> None:
        job.job_id, _ = submitting.upgrade(job.job.config, job.job.path, cluster.rest)

    job.feed(some())
    job.done(deploy(1, "b", NB))
    job.done(deploy(2, "c", TREE, role="shadow"))
    job.feed(some())
    job.done(message(3, "split", "a", weights={"a": 20, "b": 80}))
    job.feed(some())
    pinned = job.learned("b")[-4]["version"]
    job.done(message(4, "pin", "b", version=pinned))
    job.done(message(5, "freeze", "c"))
    older = job.learned("a")[-20]["version"]
    first = topics.texts("control_acks")[-1]
    upgrade()

    job.feed(some())
    rows = topics.rows("predictions")
    assert [row["version"] for row in rows if row["model"] == "b"][-1] == pinned
    assert {row["model"] for row in rows if row["serving"]} >= {"a", "b"}
    job.say(message(5, "freeze", "c"))
    assert topics.texts("control_acks")[-1] == first
    job.refused(message(5, "unfreeze", "c"), "seq_conflict")
    job.refused(message(0, "unfreeze", "c"), "stale_seq")
    job.refused(message(6, "freeze", "c"), "not_applicable")
    job.done(message(7, "rollback", "a", version=older))
    job.done(message(8, "unfreeze", "c"))
    job.done(message(9, "promote", "c"))
    job.feed(some())
    # One that waits for the clock goes on waiting.
    moment = clock() + 15_000
    before = len(topics.read("control_acks"))
    job.send(signed(message(10, "promote", "a", effective_at=moment), KEY))
    job.job.wait_for(10, "control_log")
    upgrade()
    job.job.wait_for(before + 1, "control_acks")
    [ack] = topics.rows("control_acks")[before:]
    assert (ack["seq"], ack["reason"]) == (10, None)
    assert ack["at"] >= moment
    job.roles.promote("a")
    job.feed(some())
    job.assert_as_plain_river_has_it()
