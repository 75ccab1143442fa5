"""A real job, scraped by a real Prometheus: every documented metric, the dashboard's queries, an alert."""

import json
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from connectors.files import read_parts
from jobs.cluster import Cluster, ClusterError
from jobs.processes import free_port
from jobs.rest import TERMINAL_STATES
from jobs.waiting import wait_until
from monitoring.grafana import make_dashboard
from tests.cluster.streaming import Streaming
from tests.conftest import SETTINGS
from tests.jobs.flows import T0, classifier, job, phishing, write
from tests.patience import PATIENCE_S
from tests.prometheus.documented import OPERATOR, documented, of
from tests.prometheus.server import Prometheus, neighbours
from tests.prometheus.shown import assert_choices, assert_shown

pytestmark = pytest.mark.cluster

COUNT = 300
BAYES = {"class": "river.naive_bayes.GaussianNB"}
# A name that is none of Prometheus's own kind.
MODELS = [classifier("lr-eu.v2"), classifier("nb", BAYES, role="challenger")]
MONITOR = {"name": "quality", "every": 50, "window": 100, "drift": [], "data_quality": {}}
# Nothing that a file has, or a job in live mode.
ELSEWHERE = "Kafka and published mode"

NOT_JSON = [f'{{"id": "broken {i}' for i in range(30)]
OTHERWISE = [{"id": f"t{i}", "features": {"other": 1}, "ts": T0} for i in range(2)]
FAILING = [{"id": "odd", "features": {"ip_in_url": "a text"}, "ts": T0}]


@pytest.fixture(scope="module")
def _scraped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Cluster, Prometheus]]:
    """A cluster of one task manager, and a server that looks at it."""
    folder = tmp_path_factory.mktemp("scraped")
    with (
        Cluster.start(
            folder / "cluster", settings=SETTINGS, prometheus_port=neighbours(2)
        ) as cluster,
        Prometheus(folder / "prometheus", cluster.status().prometheus) as prometheus,
    ):
        yield cluster, prometheus


@pytest.fixture
def scraped(_scraped: tuple[Cluster, Prometheus]) -> Iterator[tuple[Cluster, Prometheus]]:
    """The two, without a job when the test is over."""
    yield _scraped
    rest = _scraped[0].rest
    for each in rest.jobs():
        if each.state not in TERMINAL_STATES:
            rest.cancel(each.id)
            rest.wait_for(each.id, TERMINAL_STATES)


def sections(mode: str) -> dict[str, Any]:
    outputs = {name: {"connector": "file", "path": f"out/{name}"} for name in ("metrics", "alerts")}
    return {"job": {"name": f"a-{mode}", "execution": mode}, "monitor": [MONITOR], **outputs}


def rows(running: Streaming, output: str) -> list[dict]:
    folder = Path(running.config.sinks(output)[0].path)  # type: ignore[union-attr]
    return [json.loads(line) for line in read_parts(folder)]


@pytest.mark.parametrize("mode", ["thread", "process"])
def test_every_documented_metric_is_there_and_says_what_the_outputs_say(scraped, tmp_path, mode):
    cluster, prometheus = scraped
    begun = time.time() * 1000
    running = Streaming(cluster, tmp_path, MODELS, **sections(mode))
    name = running.config.job.name
    events = phishing(COUNT)
    running.feed(events)
    running.submit()
    here = f'job_name="{name}"'
    prometheus.wait_for(f"sum({OPERATOR}predictions{{{here}}})", 2 * COUNT)
    # The alert is about what rises: it has been 0 before.
    assert prometheus.value(f'{OPERATOR}reason_dead_letters{{{here},reason="not_json"}}') == 0
    running.feed([*NOT_JSON, *OTHERWISE, *FAILING])
    prometheus.wait_for(f"sum({OPERATOR}records{{{here}}})", 2 * COUNT + 30 + 2 + 1)
    running.wait_for(30 + 2 + 2, "dead_letters")
    prometheus.wait_for(f"sum({OPERATOR}dead_letters{{{here}}})", 30 + 2 + 2)

    # As the outputs have it.
    letters = Counter(row["reason"] for row in rows(running, "dead_letters"))
    assert letters == {"not_json": 30, "duplicate_features": 2, "predict_failed": 2}
    found = prometheus.query(f"sum by (reason) ({OPERATOR}reason_dead_letters{{{here}}}) > 0")
    assert {labels["reason"]: count for labels, count in found} == letters
    running.wait_for(2 * COUNT, "evaluations")
    prometheus.wait_for(
        f'min({OPERATOR}monitor_model_role_scope_evaluated{{{here},scope="all"}})',
        COUNT,
    )
    evaluated = rows(running, "evaluations")
    for model, role in (("lr-eu.v2", "champion"), ("nb", "challenger")):
        own = [row for row in evaluated if row["model"] == model]
        # No answer, as of a model before its first label, is neither right nor wrong.
        answered = [row for row in own if row["prediction"] is not None]
        right = [row["prediction"] == row["label"] for row in answered]
        about = f'{here},monitor="quality",model="{model}",role="{role}"'
        prometheus.wait_for(f"{OPERATOR}monitor_model_role_labelled{{{about}}}", COUNT)
        for scope, counted in (("all", right), ("window", right[-100:])):
            accuracy = round(1e6 * sum(counted) / len(counted))
            metric = f'{about},scope="{scope}",metric="Accuracy"'
            prometheus.wait_for(
                f"{OPERATOR}monitor_model_role_scope_metric_millionths{{{metric}}}",
                accuracy,
            )
        learned = f'{OPERATOR}model_learned{{{here},model="{model}"}}'
        prometheus.wait_for(learned, COUNT)

    # Every name of the page, with its labels, and no other.
    wanted = of("LabelJoin", "OnlineModel", "Monitor")
    anomalies_only = {f"{OPERATOR}monitor_model_role_rate_millionths"}
    own_names = prometheus.names(f'{{{here},operator_name=~"LabelJoin|OnlineModel|Monitor"}}')
    ours = {each for each in own_names if each.startswith(OPERATOR) and each.islower()}
    assert ours == wanted.keys() - anomalies_only
    for metric in sorted(ours):
        for labels, value in prometheus.query(f"{metric}{{{here}}}"):
            assert set(wanted[metric].operators) >= {labels["operator_name"]}, labels
            assert wanted[metric].labels <= labels.keys()
            assert value == int(value)

    # Each clock is the one that it should be.
    now = time.time() * 1000
    for part in ("p50", "p99", "max"):
        waited = prometheus.value(f"max({OPERATOR}backlog_ms_{part}{{{here}}})")
        assert waited is not None and 0 <= waited < now - begun
        assert prometheus.value(f"max({OPERATOR}latency_ms_{part}{{{here}}})") == waited
        late = prometheus.value(f"max({OPERATOR}end_to_end_ms_{part}{{{here}}})")
        first, last = events[0]["ts"], events[-1]["ts"]
        assert late is not None and begun - last < late < now - first
        assert prometheus.value(f"max({OPERATOR}messaging_ms_{part}{{{here}}})") == 0
        for took in ("predict_us", "learn_us", "processing_us"):
            us = prometheus.value(f"max({OPERATOR}{took}_{part}{{{here}}})")
            assert us is not None and 0 < us < 1000 * (now - begun)
    for labels, changed in prometheus.query(f"{OPERATOR}model_version_changed_at_ms{{{here}}}"):
        assert begun < changed < now, labels
    for labels, size in prometheus.query(f"{OPERATOR}model_snapshot_bytes{{{here}}}"):
        assert 100 < size < 1e6, labels

    # The rules work, and the one alert that there is a reason for fires.
    assert set(prometheus.healthy_rules().values()) == {"ok"}
    wait_until(lambda: firing(prometheus, name), "an alert", timeout_s=PATIENCE_S)
    [alert] = firing(prometheus, name)
    assert alert["labels"] == {
        "alertname": "RiverrunDeadLettersRising",
        "job_name": name,
        "reason": "not_json",
        "severity": "warning",
    }
    assert alert["annotations"]["summary"] == f"Job {name} refuses records: not_json"
    assert_shown(prometheus, name, make_dashboard.ROWS.keys() - {ELSEWHERE})
    assert_choices(prometheus, name)


def firing(prometheus: Prometheus, job: str) -> list[dict[str, Any]]:
    alerts = [each for each in prometheus.alerts() if each["state"] == "firing"]
    return [each for each in alerts if each["labels"].get("job_name") == job]


def test_each_process_has_a_port_of_its_own_and_keeps_it(scraped, riverrun):
    cluster, prometheus = scraped
    first = cluster.prometheus_ports[0]
    assert cluster.prometheus_ports == [first, first + 1]
    told = riverrun("cluster", "status", "--dir", cluster.folder, "--json")
    assert json.loads(told.out)["prometheus"] == [f"127.0.0.1:{first}", f"127.0.0.1:{first + 1}"]
    assert (
        f"metrics for Prometheus: 127.0.0.1:{first + 1}\n"
        in riverrun("cluster", "status", "--dir", cluster.folder).out
    )
    up = f'up{{job="riverrun",instance="127.0.0.1:{first + 1}"}}'
    prometheus.wait_for(up, 1)
    cluster.kill_task_manager(1)
    prometheus.wait_for(up, 0)
    assert cluster.status().prometheus == [f"127.0.0.1:{first}"]
    cluster.start_task_manager(1)
    prometheus.wait_for(up, 1)


def test_a_port_that_is_taken_is_refused(tmp_path):
    first = neighbours(2)
    with (
        socket.create_server(("127.0.0.1", first + 1)),
        pytest.raises(Exception, match=f"port {first + 1} of 127.0.0.1 is taken"),
    ):
        Cluster.start(tmp_path / "c", prometheus_port=first)
    with pytest.raises(Exception, match="task manager 2 would need port 65536"):
        Cluster.start(tmp_path / "c", prometheus_port=65534, task_managers=2)
    with pytest.raises(ClusterError, match="no cluster in"):
        Cluster(tmp_path / "c")


def test_a_job_on_the_embedded_cluster_is_scraped_too(tmp_path):
    write(tmp_path / "in" / "events.jsonl", phishing(50))
    inputs = {"features": {"path": "in", "watch": True}}
    config = job(tmp_path, inputs=inputs, models=MODELS, **sections("thread"))
    path = tmp_path / "job.toml"
    path.write_text(config.to_public_toml())
    port = free_port()
    command = [sys.executable, "-m", "jobs.cli", "run", str(path), "--prometheus", str(port)]
    with (tmp_path / "said").open("wb") as said:
        running = subprocess.Popen(command, stdout=said, stderr=said)
    try:
        with Prometheus(tmp_path / "prometheus", [f"127.0.0.1:{port}"]) as prometheus:
            query = f'sum({OPERATOR}predictions{{job_name="a-thread"}})'

            def predicted() -> bool:
                assert running.poll() is None, (tmp_path / "said").read_text()
                return prometheus.value(query) == 100

            wait_until(predicted, "100 predictions", timeout_s=PATIENCE_S)
            assert prometheus.value("sum(flink_jobmanager_numRunningJobs)") == 1
    finally:
        running.send_signal(signal.SIGINT)
        assert running.wait(timeout=60) == 130
    assert "no metrics at port" not in (tmp_path / "said").read_text()


def test_no_metric_is_documented_twice():
    pairs = [(each.name, operator) for each in documented() for operator in each.operators]
    assert len(pairs) == len(set(pairs)) > 100
