"""What is asked of Kafka before a job starts, and what a user is told."""

import json

import pytest

from connectors.files import read_parts
from jobs import running
from jobs.errors import Failure
from jobs.kafka_checks import require_ready
from jobs.processes import free_port
from tests.jobs.flows import OUTPUTS, classifier, phishing, timeless
from tests.kafka.jobs import KafkaJob

pytestmark = [pytest.mark.cluster, pytest.mark.kafka]


def configured(topics, folder, **sections) -> KafkaJob:
    source = {"topic": topics.name("features"), "stop": "latest"}
    return KafkaJob(topics, folder, [classifier()], inputs={"features": source}, **sections)


def warned(config) -> list[str]:
    said: list[str] = []
    require_ready(config, said.append)
    return said


def test_missing_topics_are_named_and_topics_create_makes_them(topics, tmp_path, riverrun):
    job = configured(topics, tmp_path)
    names = [topics.name(topic) for topic in ("features", *OUTPUTS)]
    for command in ("run", "submit"):
        refused = riverrun(command, job.path)
        assert refused.code == 1
        said = refused.err.replace("\n", " ")
        if command == "run":
            for name in names:
                assert f"there is no topic {name!r}" in said
            assert "`riverrun topics create`" in said

    made = riverrun("topics", "create", job.path, "--partitions", "2", "--json")
    assert made.code == 0, made.err
    rows = [json.loads(line) for line in made.out.splitlines()]
    assert {(row["topic"], row["created"], row["problem"]) for row in rows} == {
        (name, True, None) for name in names
    }
    assert topics.configs("features", "retention.ms", "cleanup.policy") == ["-1", "delete"]
    assert topics.configs("learn_log", "retention.ms", "cleanup.policy") == ["-1", "delete"]
    assert topics.configs("predictions", "retention.ms") != ["-1"]
    assert topics.partitions("features") == 2
    again = riverrun("topics", "create", job.path)
    assert again.out.splitlines() == [f"{name}: is there" for name in names]
    assert warned(job.config) == []


def test_topics_create_keeps_as_long_as_told_and_warns_of_what_would_be_lost(
    topics, tmp_path, riverrun
):
    topics.create("features", configs={"cleanup.policy": "compact"})
    job = configured(topics, tmp_path)
    made = riverrun("topics", "create", job.path, "--retention", "30d")
    assert made.code == 0
    assert "it is compacted: records will go missing" in made.err
    assert topics.configs("learn_log", "retention.ms") == [str(30 * 86_400_000)]
    again = riverrun("topics", "create", job.path)
    assert "its records are deleted after 30d" in again.err


def test_where_no_broker_answers_the_error_says_so(topics, tmp_path):
    job = configured(topics, tmp_path)
    server = f"127.0.0.1:{free_port()}"
    source = {**job.document["features"], "bootstrap_servers": server}
    with pytest.raises(Failure, match=rf"\[features\]: no Kafka broker answers at {server}"):
        require_ready(job.configure(features=source), print)


def test_a_transaction_that_the_broker_would_end_too_early_is_refused(topics, tmp_path):
    topics.create("features", *OUTPUTS)
    job = configured(topics, tmp_path, job={"max_outage": "20m"})
    with pytest.raises(Failure) as refused:
        require_ready(job.config, print)
    [first, *_] = str(refused.value).splitlines()
    assert first == (
        "[predictions] transactions may last 20m ([job] max_outage, or transaction.timeout.ms), and "
        "the broker allows 15m: lower the one, or raise transaction.max.timeout.ms there"
    )
    assert len(str(refused.value).splitlines()) == len(OUTPUTS)
    # At least once there are no transactions.
    sinks = {o: {**job.document[o], "delivery": "at_least_once"} for o in OUTPUTS}
    assert warned(job.configure(**sinks)) == []


def test_a_transaction_shorter_than_the_longest_outage_is_warned_of(topics, tmp_path):
    topics.create("features", *OUTPUTS)
    job = configured(topics, tmp_path, sink={"properties": {"transaction.timeout.ms": "60000"}})
    said = warned(job.config)
    assert len(said) == len(OUTPUTS)
    assert "[predictions] transaction.timeout.ms is 1m, less than max_outage (15m)" in said[0]


def test_a_pattern_without_a_topic_is_warned_of(topics, tmp_path):
    topics.create(*OUTPUTS)
    pattern = topics.name("later-.*")
    job = KafkaJob(
        topics, tmp_path, [classifier()], inputs={"features": {"topic_pattern": pattern}}
    )
    assert warned(job.config) == [
        f"[features] no topic matches {pattern!r} yet; one that comes will be read"
    ]


@pytest.mark.parametrize("start", ["earliest", "latest", "time", "group"])
def test_a_job_begins_where_it_is_told(topics, tmp_path, start):
    topics.create("features", *OUTPUTS)
    events = [event for event in phishing(30) if "features" in event]
    topics.send("features", events[:10])
    if start == "group":
        topics.commit("features", 10, group="job")
    topics.send("features", events[10:])
    begin = topics.read("features")[10].timestamp if start == "time" else start
    job = configured(topics, tmp_path)
    job.configure(features={**job.document["features"], "start": begin})
    assert running.run(job.config)
    got = [row["id"] for row in topics.rows("predictions")]
    ids = [event["id"] for event in events]
    if start == "time":
        # Several records may have been written within a millisecond.
        assert got == ids[-len(got) :]
        assert 20 <= len(got) <= 30
    else:
        assert got == {"earliest": ids, "latest": [], "group": ids[10:]}[start]


def test_several_topics_and_a_pattern_are_one_input(topics, tmp_path):
    topics.create("shop-a", "shop-b", "other", *OUTPUTS)
    events = [event for event in phishing(30) if "features" in event]
    for place, name in enumerate(("shop-a", "shop-b", "other")):
        topics.send(name, events[place * 10 : place * 10 + 10])
    job = configured(topics, tmp_path)
    source = {key: value for key, value in job.document["features"].items() if key != "topic"}
    named = {**source, "topics": [topics.name("shop-a"), topics.name("other")]}
    assert running.run(job.configure(features=named))
    assert {row["id"] for row in topics.rows("predictions")} == {
        e["id"] for e in (*events[:10], *events[20:])
    }
    matching = {**source, "topic_pattern": topics.name("shop-.*")}
    assert running.run(job.configure(features=matching))
    assert {row["id"] for row in topics.rows("predictions")} == {e["id"] for e in events}


def test_tools_read_topics_to_their_end(topics, tmp_path, riverrun):
    topics.create("features", "dead_letters")
    events = phishing(40)
    topics.send("features", [*events, "no json", None])
    job = configured(topics, tmp_path)
    tried = riverrun("check", job.path, "--sample", "1000")
    assert tried.code == 0, tried.err
    assert "82 records: 40 predictions, 40 learned" in tried.out
    assert f"1 dead letters not_json, the first at {topics.name('features')}-0-80" in tried.out

    topics.create("predictions", "evaluations", "learn_log")
    assert running.run(job.config)
    letters = riverrun("dead-letters", "list", job.path)
    assert [line.split(":")[0] for line in letters.out.splitlines()] == [
        f"{topics.name('features')}-0-80 decode not_json",
        f"{topics.name('features')}-0-81 decode no_value",
    ]
    again = tmp_path / "again.jsonl"
    replayed = riverrun("dead-letters", "replay", job.path, "--out", again)
    assert (replayed.code, again.read_bytes()) == (0, b"no json\n")

    # The same topic through a backtest, into files.
    folders = {o: {"connector": "file", "path": f"out/{o}"} for o in OUTPUTS}
    job.configure(**folders)
    assert riverrun("backtest", job.path).code == 0
    assert [timeless(json.loads(line)) for line in read_parts(tmp_path / "out/predictions")] == [
        timeless(row) for row in topics.rows("predictions")
    ]
