"""A job from and to Kafka gives what the plain flow and plain River give."""

import json

import pytest

from jobs import running
from tests.jobs.flows import by_content, classifier, phishing, river_loop
from tests.kafka.jobs import KafkaJob
from tests.kafka.topics import Topics

pytestmark = [pytest.mark.cluster, pytest.mark.kafka]


@pytest.mark.parametrize("delivery", ["exactly_once", "at_least_once"])
def test_one_merged_partition_gives_plain_rivers_predictions(topics: Topics, tmp_path, delivery):
    topics.create("features", "predictions", "evaluations", "learn_log", "dead_letters")
    events = phishing()
    topics.send("features", events)
    source = {"topic": topics.name("features"), "stop": "latest"}
    job = KafkaJob(
        topics,
        tmp_path,
        [classifier()],
        inputs={"features": source},
        sink={"delivery": delivery},
    )
    assert running.run(job.config)
    got, wanted = job.written(), job.expected("features", ended=True)
    assert got.pop("dead_letters") == wanted.pop("dead_letters") == []
    assert got == wanted
    assert {row["id"]: row["probabilities"] for row in got["predictions"]} == river_loop(events)


def test_predictions_are_keyed_by_transaction_and_the_learn_log_by_chain(topics, tmp_path):
    topics.create(
        "features", "predictions", "evaluations", "learn_log", "dead_letters", partitions=3
    )
    topics.send("features", [*phishing(60), "no json"])
    source = {"topic": topics.name("features"), "stop": "latest"}
    job = KafkaJob(
        topics, tmp_path, [classifier("a"), classifier("b")], inputs={"features": source}
    )
    assert running.run(job.config)
    for output in ("predictions", "evaluations"):
        records = topics.read(output)
        assert len(records) == 120
        assert all(r.key.decode() == json.loads(r.value)["id"] for r in records)
        assert len({r.partition for r in records}) == 3
    log = topics.read("learn_log")
    assert {r.key for r in log} == {b"a", b"b"}
    for model in ("a", "b"):
        assert len({r.partition for r in log if r.key.decode() == model}) == 1
        numbers = [json.loads(r.value)["n"] for r in log if r.key.decode() == model]
        assert numbers == list(range(1, 61))
    [letter] = topics.read("dead_letters")
    assert letter.key is None
    assert by_content(job.written()["predictions"]) == by_content(
        job.expected("features", ended=True)["predictions"]
    )
