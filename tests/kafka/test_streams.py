"""Upgrades while records keep coming, times, partitions that are idle, behind or new, other clients."""

import json

import pytest

from jobs import running, submitting
from jobs.waiting import wait_until
from tests.jobs.flows import DAY, LOGISTIC, OUTPUTS, T0, by_content, classifier, phishing
from tests.kafka.jobs import KafkaJob
from tests.kafka.producing import Producing
from tests.patience import PATIENCE_S
from tests.replay import replayed

pytestmark = [pytest.mark.cluster, pytest.mark.kafka]


def test_an_upgrade_while_a_producer_goes_on_loses_and_doubles_nothing(cluster, topics, tmp_path):
    topics.create("features", "labels", partitions=3)
    topics.create(*OUTPUTS)
    events = phishing(500)
    job = KafkaJob(
        topics,
        tmp_path,
        [classifier()],
        inputs={name: {"topic": topics.name(name)} for name in ("features", "labels")},
    )
    job.submit(cluster)
    with Producing(topics, events, per_second=40) as producing:
        for point in (150, 400):
            wait_until(lambda p=point: producing.sent >= p, "records", timeout_s=PATIENCE_S)
            job.configure(models=[classifier(), classifier(f"added-{point}", role="challenger")])
            submitting.upgrade(job.config, job.path, cluster.rest)
    sent = {e["id"]: e["features"] for e in events if "features" in e}

    def of(model: str, output: str) -> list[dict]:
        return [row for row in topics.rows(output) if row["model"] == model]

    wait_until(
        lambda: len(of("m", "predictions")) >= 500 and len(of("m", "evaluations")) >= 500,
        "every transaction of the first model",
        timeout_s=PATIENCE_S,
        every_s=0.3,
    )
    assert sorted(row["id"] for row in of("m", "predictions")) == sorted(sent)
    assert len(of("added-150", "predictions")) < 500
    written = (
        [text for text in topics.texts(output) if json.loads(text)["model"] == "m"]
        for output in ("predictions", "learn_log")
    )
    assert replayed(*written, sent, {"m": LOGISTIC})["m"].startswith("m@500-")


def event_time(topics, folder, **events) -> KafkaJob:
    return KafkaJob(
        topics,
        folder,
        [classifier()],
        inputs={
            name: {"topic": topics.name(name), "stop": "latest"} for name in ("features", "labels")
        },
        job={"ordering": "event_time"},
        events={"max_out_of_orderness": "1h", **events},
    )


def test_event_time_order_is_the_same_whatever_partition_is_behind(topics, tmp_path):
    """Features in three partitions, one of them read long after the others; labels in another topic."""
    topics.create("features", "labels", partitions=3)
    topics.create(*OUTPUTS)
    events = phishing(300, last_delay=DAY)
    spoilt = {"id": "spoilt", "features": {"x": 1.0}, "ts": T0 // 1000}
    for name in ("features", "labels"):
        mine = [e for e in events if ("features" in e) == (name == "features")]
        for partition in (0, 1):
            topics.send(name, mine[partition::2], partition=partition)
        topics.send(name, [spoilt], partition=0)
        # The third has a single record, the last one of all.
    last = {"id": "last", "features": events[0]["features"], "ts": events[-1]["ts"] + 1}
    topics.send("features", [last], partition=2)
    topics.send("labels", [{"id": "last", "label": True, "ts": last["ts"]}], partition=2)
    job = event_time(topics, tmp_path)
    assert running.run(job.config)
    got, wanted = job.written(), job.expected("features", "labels", ended=True)
    letters, wanted_letters = got.pop("dead_letters"), wanted.pop("dead_letters")
    assert by_content(letters) == by_content(wanted_letters)
    assert [letter["reason"] for letter in letters] == ["bad_ts", "bad_ts"]
    assert got == wanted
    assert len(got["predictions"]) == 301


def test_an_idle_partition_holds_nothing_up_where_it_may_not(cluster, topics, tmp_path):
    topics.create("features", partitions=2)
    topics.create(*OUTPUTS)
    events = phishing(50)
    topics.send("features", events, partition=0)
    job = KafkaJob(
        topics,
        tmp_path,
        [classifier()],
        inputs={"features": {"topic": topics.name("features")}},
        job={"ordering": "event_time"},
        events={"max_out_of_orderness": "0ms", "idle_timeout": "2s"},
    )
    job.submit(cluster)
    # All but what may still be overtaken: the newest time itself.
    job.wait_for(49)
    assert {row["id"] for row in topics.rows("predictions")} <= {e["id"] for e in events}


def test_time_goes_on_where_there_are_fewer_partitions_than_subtasks(cluster, topics, tmp_path):
    topics.create("features", *OUTPUTS)
    topics.send("features", phishing(50))
    cluster.start_task_manager(2)
    job = KafkaJob(
        topics,
        tmp_path,
        [classifier()],
        inputs={"features": {"topic": topics.name("features")}},
        job={"ordering": "event_time", "parallelism": 2},
        events={"max_out_of_orderness": "0ms"},
    )
    job.submit(cluster)
    # All but what may still be overtaken.
    job.wait_for(49)


def test_partitions_that_are_added_are_read(cluster, topics, tmp_path):
    topics.create("features", *OUTPUTS)
    events = [event for event in phishing(40) if "features" in event]
    topics.send("features", events[:20])
    often = {"partition.discovery.interval.ms": "500"}
    job = KafkaJob(
        topics,
        tmp_path,
        [classifier()],
        inputs={"features": {"topic": topics.name("features"), "properties": often}},
    )
    job.submit(cluster)
    job.wait_for(20)
    topics.grow("features", 2)
    topics.send("features", events[20:], partition=1)
    job.wait_for(40)
    assert {row["id"] for row in topics.rows("predictions")} == {e["id"] for e in events}


def test_one_output_goes_to_two_topics_and_kafkas_own_consumer_reads_it(topics, broker, tmp_path):
    topics.create("features", "now", *OUTPUTS)
    topics.send("features", phishing(40))
    job = KafkaJob(
        topics,
        tmp_path,
        [classifier()],
        inputs={"features": {"topic": topics.name("features"), "stop": "latest"}},
    )
    record = job.document["predictions"]
    now = {**record, "topic": topics.name("now"), "delivery": "at_least_once"}
    job.configure(predictions=[now, record])
    assert running.run(job.config)
    said = broker.tool(
        "console-consumer",
        *("--bootstrap-server", broker.servers),
        *("--topic", topics.name("predictions")),
        *("--isolation-level", "read_committed"),
        *("--from-beginning", "--max-messages", "40", "--timeout-ms", "30000"),
    )
    lines = [line for line in said.splitlines() if line.startswith("{")]
    assert lines == topics.texts("predictions") == topics.texts("now")
    assert len(lines) == 40
