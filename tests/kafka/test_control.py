"""`riverrun control` on a real broker: messages arrive whole, their answers are found."""

import json
import threading
from pathlib import Path

import pytest

from jobs.processes import free_port
from jobs.toml_text import dump_toml
from jobs.waiting import wait_until
from tests.jobs.control_folders import LOGISTIC, ack, payload
from tests.kafka.topics import Topics
from tests.patience import PATIENCE_S

pytestmark = pytest.mark.kafka


def job_file(folder: Path, servers: str, prefix: str, **control: object) -> Path:
    connection = {"connector": "kafka", "bootstrap_servers": servers}
    reads = control or {"topic": f"{prefix}-control"}
    path = folder / "job.toml"
    path.write_text(
        dump_toml(
            {
                "job": {"name": "fraud"},
                "features": {"connector": "file", "path": "features"},
                "control": {**connection, **reads},
                "control_acks": {**connection, "topic": f"{prefix}-acks"},
                "models": [{"name": "a", "task": "classification", "spec": LOGISTIC}],
            }
        )
    )
    return path


def prefix(topics: Topics) -> str:
    return topics.name("").removesuffix("-")


class Answering(threading.Thread):
    """Answers the first message as the job does."""

    def __init__(self, topics: Topics, reason: str | None) -> None:
        super().__init__()
        self._topics, self._reason = topics, reason
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            [text] = wait_until(
                lambda: self._topics.texts("control"), "a message", timeout_s=PATIENCE_S
            )
            self._topics.send("acks", [ack(payload(1)), ack(json.loads(text), self._reason)])
        except BaseException as error:
            self.error = error


@pytest.mark.parametrize(
    ("reason", "code", "said"),
    [
        (None, 0, "accepted: promote b\n"),
        ("unknown_model", 1, "refused: promote b: unknown_model\n"),
    ],
)
def test_a_message_is_sent_and_its_answer_waited_for(
    topics, tmp_path, riverrun, reason, code, said
):
    topics.create("control", "acks")
    answering = Answering(topics, reason)
    path = job_file(tmp_path, topics.servers, prefix(topics))
    done = riverrun("control", "send", path, "promote", "--model", "b", "--issuer", "me", "--wait")
    answering.join()
    assert answering.error is None
    assert (done.code, done.out) == (code, said), done.err
    [record] = topics.read("control")
    message = json.loads(record.value)
    assert (message["op"], message["issuer"], record.key) == ("promote", "me", b"me")


def test_an_issuers_messages_keep_their_order_in_a_topic_of_several_partitions(
    topics, tmp_path, riverrun
):
    topics.create("control", partitions=4)
    path = job_file(tmp_path, topics.servers, prefix(topics))
    for seq in (1, 2, 3):
        done = riverrun(
            "control", "send", path, "freeze", "--model", "a", "--issuer", "me", "--seq", seq,
            "--json",
        )  # fmt: skip
        assert done.code == 0, done.err
    records = topics.read("control")
    assert len({record.partition for record in records}) == 1
    assert [json.loads(record.value)["seq"] for record in records] == [1, 2, 3]
    [last] = [record for record in records if record.offset == 2]
    place = f"{topics.name('control')}-{last.partition}-2"
    assert json.loads(done.out) == {"issuer": "me", "seq": 3, "position": place}


def test_a_large_message_arrives_whole_and_one_beyond_the_topics_limit_is_refused(
    topics, tmp_path, riverrun
):
    # More than a producer of Kafka's sends by default.
    topics.create("control", configs={"max.message.bytes": "2000000"})
    path = job_file(tmp_path, topics.servers, prefix(topics))
    file = tmp_path / "payload.json"
    for size, code in ((1_500_000, 0), (2_500_000, 1)):
        fields = {"task": "classification", "artifact": "base64:" + "x" * size}
        file.write_text(json.dumps(payload(size, "deploy", "b", **fields)))
        done = riverrun("control", "send", path, file)
        assert done.code == code, done.err
        assert "the job refuses more than 1,048,576" in done.err
    assert "RecordTooLarge" in done.err
    [text] = topics.texts("control")
    assert json.loads(text) == payload(
        1_500_000, "deploy", "b", task="classification", artifact="base64:" + "x" * 1_500_000
    )


def test_a_topic_that_is_missing_or_not_the_jobs_is_refused(topics, tmp_path, riverrun):
    path = job_file(tmp_path, topics.servers, prefix(topics))
    message = ("freeze", "--model", "a")
    missing = riverrun("control", "send", path, *message)
    assert missing.code == 1
    assert f"[control] there is no topic '{topics.name('control')}'" in missing.err
    other = riverrun("control", "send", path, *message, "--topic", "other")
    assert (other.code, "[control] reads no topic 'other'" in other.err) == (1, True)
    topics.create("control")
    answers = riverrun("control", "send", path, *message, "--wait")
    assert answers.code == 1
    assert f"[control_acks] there is no topic '{topics.name('acks')}'" in answers.err
    assert topics.read("control") == []

    of_pattern = job_file(
        tmp_path, topics.servers, prefix(topics), topic_pattern=topics.name("contr.*")
    )
    unclear = riverrun("control", "send", of_pattern, *message)
    assert (unclear.code, "say which with --topic" in unclear.err) == (1, True)
    done = riverrun("control", "send", of_pattern, *message, "--topic", topics.name("control"))
    assert done.code == 0, done.err
    assert len(topics.read("control")) == 1


def test_without_a_broker_it_ends_with_one_line(tmp_path, riverrun):
    servers = f"127.0.0.1:{free_port()}"
    path = job_file(tmp_path, servers, "nowhere")
    done = riverrun("control", "send", path, "freeze", "--model", "a")
    assert done.code == 1
    assert done.err.startswith(f"riverrun: [control] no Kafka broker answers at {servers}: ")
    assert done.err.count("\n") == 1
