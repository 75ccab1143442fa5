"""What a container's Flink process is told."""

from jobs import container


def test_other_containers_can_reach_it_and_uploads_can_be_off():
    environ = {
        "JOB_MANAGER": "boss",
        "FLINK_PROPERTIES": "web.submit.enable: false\nrest.port: 9\n",
    }
    told = container.settings("10.0.0.7", environ)
    assert told["jobmanager.rpc.address"] == told["rest.address"] == "boss"
    assert told["taskmanager.host"] == "10.0.0.7"
    for key in ("jobmanager.bind-host", "rest.bind-address", "taskmanager.bind-host"):
        assert told[key] == "0.0.0.0"
    # What the environment says wins.
    assert (told["web.submit.enable"], told["rest.port"]) == (False, 9)
    # The project's own settings are in it.
    assert told["python.execution-mode"] == "thread"


def test_metrics_for_prometheus_are_given_where_a_port_is_named():
    assert not [key for key in container.settings("h", {}) if key.startswith("metrics.")]
    told = container.settings("h", {"PROMETHEUS_PORT": "9249"})
    assert told["metrics.reporter.prom.port"] == "9249"
    reporter = "org.apache.flink.metrics.prometheus.PrometheusReporterFactory"
    assert told["metrics.reporter.prom.factory.class"] == reporter


def test_an_unknown_command_is_refused(capsys):
    assert container.main(["broker"]) == 2
    assert "'broker' is none of jobmanager, taskmanager" in capsys.readouterr().err
