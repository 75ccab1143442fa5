"""`riverrun cluster start --kafka`: Flink and a broker, both ended by `stop`, topics kept."""

import json

import pytest

from jobs.broker import Broker, BrokerError
from tests.kafka.topics import Topics

pytestmark = [pytest.mark.cluster, pytest.mark.kafka]


def test_a_cluster_with_a_broker_starts_tells_stops_and_keeps_its_topics(tmp_path, riverrun):
    folder = tmp_path / "my cluster"
    start = ("cluster", "start", "--dir", folder, "--kafka", "--json")
    started = riverrun(*start)
    assert started.code == 0, started.err
    servers = json.loads(started.out)["kafka"]
    with Topics(servers, "kept") as topics:
        topics.create("a")
        topics.send("a", [{"id": "1"}])
    broker = Broker(folder / "kafka")
    assert (broker.servers, broker.pid is not None) == (servers, True)
    shown = riverrun("cluster", "status", "--dir", folder)
    assert f"Kafka            pid {broker.pid}, {servers}" in shown.out

    assert riverrun("cluster", "stop", "--dir", folder).code == 0
    assert broker.pid is None
    assert json.loads(riverrun("cluster", "status", "--dir", folder, "--json").out)["kafka"] is None

    again = riverrun(*start)
    assert again.code == 0, again.err
    assert json.loads(again.out)["kafka"] == servers
    with Topics(servers, "kept") as topics:
        assert topics.rows("a") == [{"id": "1"}]
    assert riverrun("cluster", "stop", "--dir", folder).code == 0


def test_a_broker_that_cannot_start_says_why(tmp_path):
    with pytest.raises(BrokerError, match="no Kafka broker in"):
        Broker(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(BrokerError, match="is not empty and holds no Kafka broker"):
        Broker.start(tmp_path / "full")
    with pytest.raises(BrokerError, match="Listener with name NO.SUCH.LISTENER"):
        Broker.start(
            tmp_path / "wrong", settings={"inter.broker.listener.name": "no.such.listener"}
        )
