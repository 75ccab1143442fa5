"""What only Kafka and published mode have to show, scraped by a real Prometheus."""

import time

import pytest

from jobs.cluster import Cluster
from tests.conftest import SETTINGS
from tests.jobs.flows import phishing
from tests.kafka.producing import Producing
from tests.kafka.test_published import published, wait_for_all
from tests.prometheus import debian
from tests.prometheus.documented import OPERATOR, of
from tests.prometheus.server import Prometheus, neighbours
from tests.prometheus.shown import assert_shown

pytestmark = [pytest.mark.cluster, pytest.mark.kafka]


def test_messaging_learner_lag_and_versions_of_a_published_job(topics, tmp_path):
    try:
        debian.program("prometheus")
    except debian.CannotInstall as error:
        pytest.skip(f"Prometheus cannot be installed here: {error}")
    job = published(topics, tmp_path / "job")
    name = job.config.job.name
    events = phishing(300)
    count = sum("features" in event for event in events)
    with (
        Cluster.start(
            tmp_path / "cluster", task_managers=2, settings=SETTINGS, prometheus_port=neighbours(3)
        ) as cluster,
        Prometheus(tmp_path / "prometheus", cluster.status().prometheus) as prometheus,
    ):
        job.submit(cluster)
        begun = time.time() * 1000
        with Producing(topics, events, per_second=100):
            pass
        wait_for_all(job, events)
        prometheus.wait_for(f'sum({OPERATOR}predictions{{operator_name="Predictor"}})', count)
        prometheus.wait_for(f"sum({OPERATOR}model_learned)", count)
        lasted = time.time() * 1000 - begun

        # Every record was stamped by its producer just now, and none is answered before it came.
        for part in ("p50", "p99", "max"):
            messaging = prometheus.value(f"max({OPERATOR}messaging_ms_{part})")
            backlog = prometheus.value(f"max({OPERATOR}backlog_ms_{part})")
            latency = prometheus.value(f"max({OPERATOR}latency_ms_{part})")
            assert messaging is not None and backlog is not None and latency is not None
            assert 0 <= messaging < lasted
            assert messaging > 0 or part != "max"
            assert 0 <= backlog <= latency < lasted
        lag = f'{OPERATOR}pendingRecords{{operator_name="Source: learn_queue of m: Kafka"}}'
        prometheus.wait_for(f"sum({lag})", 0)
        # What is queued is read when a checkpoint has committed it.
        lag_ms = prometheus.value(f"max(max_over_time({OPERATOR}lag_ms[10m]))")
        assert lag_ms is not None and 0 < lag_ms < lasted
        loaded = prometheus.value(f"sum({OPERATOR}versions_loaded)")
        assert loaded is not None and loaded > 2

        # All that the page says of these operators.
        wanted = of("LabelJoin", "Predictor", "Trainer", "Evaluator")
        own = prometheus.names('{operator_name=~"LabelJoin|Predictor|Trainer of m|Evaluator"}')
        ours = {each for each in own if each.startswith(OPERATOR) and each.islower()}
        assert ours == wanted.keys() | of("OnlineModel").keys()
        assert_shown(prometheus, name, ["Latency", "Kafka and published mode"])
        assert set(prometheus.healthy_rules().values()) == {"ok"}
