"""`riverrun watch` and `riverrun report` over topics of a real broker: committed records, as they come."""

import json

import pytest
from kafka import KafkaProducer

from jobs.config import load_config
from jobs.report import report
from jobs.toml_text import dump_toml
from tests.jobs import monitored
from tests.jobs.monitored import OUTPUTS, T0
from tests.jobs.terminals import terminal

pytestmark = pytest.mark.kafka


def job_file(topics, folder):
    def sink(name):
        return {
            "connector": "kafka",
            "bootstrap_servers": topics.servers,
            "topic": topics.name(name),
        }

    path = folder / "job.toml"
    tables = {**monitored.sections(()), **{name: sink(name) for name in OUTPUTS}}
    path.write_text(dump_toml(tables))
    return path


def test_topics_are_followed_and_only_what_is_committed_is_shown(topics, tmp_path):
    topics.create("alerts")
    topics.create("metrics", partitions=2)
    path = job_file(topics, tmp_path)
    topics.send("metrics", [monitored.metrics(T0, n=111)])
    producer = KafkaProducer(
        bootstrap_servers=topics.servers, transactional_id=topics.name("transaction")
    )
    producer.init_transactions()
    with terminal("watch", path) as shown:
        shown.wait_for("first (champion)", "last 111", "no alerts")
        producer.begin_transaction()
        record = json.dumps(monitored.metrics(T0 + 1, n=222)).encode()
        producer.send(topics.name("metrics"), record, partition=0).get(timeout=60)
        topics.send("metrics", [monitored.metrics(T0 + 2, n=333, model="second")], partition=1)
        shown.wait_for("second (champion)", "last 333")
        assert "last 222" not in shown.seen
        producer.commit_transaction()
        shown.wait_for("last 222")
        topics.send("alerts", [monitored.alert(1), "{"])
        shown.wait_for("1 open", "error went from 0.1 to 0.5", "1 lines are no record")
        assert shown.interrupt() == 0
        assert "Traceback" not in shown.seen
    producer.close()


def test_a_report_reads_topics(topics, tmp_path, riverrun):
    topics.create(*OUTPUTS)
    path = job_file(topics, tmp_path)
    topics.send("metrics", [monitored.metrics(T0), monitored.metrics(T0 + 1000), "no JSON"])
    topics.send("evaluations", [monitored.evaluation(str(n), True, 0.75) for n in range(9)])
    found = report(load_config(path), tmp_path / "report.html")
    assert (found.records["metrics"], found.left_out["metrics"]) == (2, 1)
    page = (tmp_path / "report.html").read_text()
    assert f"{topics.name('metrics')}-0-2: " in page
    assert "9 predictions with a true label" in page
    frame = json.loads(riverrun("watch", path, "--once", "--json").out)
    assert frame["records"] == {"metrics": 2, "alerts": 0}


def test_a_topic_that_is_missing_is_named(topics, tmp_path, riverrun):
    topics.create("metrics")
    done = riverrun("watch", job_file(topics, tmp_path), "--once")
    assert done.code == 1 and f"[alerts] there is no topic '{topics.name('alerts')}'" in done.err
