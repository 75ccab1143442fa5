"""Alerts of a job on a real cluster, posted to a receiver that is down, hangs, or outlives the job's processes."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from connectors.files import read_parts
from jobs.cluster import Cluster
from jobs.config import Config
from jobs.errors import Failure
from jobs.processes import free_port
from jobs.waiting import wait_until
from tests.cluster.streaming import Streaming, replace_task_manager
from tests.cluster.telling import rest_answers
from tests.conftest import SETTINGS
from tests.jobs import alerting
from tests.jobs.flows import timeless
from tests.operators.receivers import Got, Receiver, Reply, receiving
from tests.patience import PATIENCE_S

pytestmark = pytest.mark.cluster

PLANTED = "planted-7d1e0c3b55aa"
HEADERS = {"Authorization": "Bearer ${PLANTED}"}


@pytest.fixture(scope="module")
def secretive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster of its own: its processes know the variable."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PLANTED", PLANTED)
        folder = tmp_path_factory.mktemp("cluster") / "cluster"
        with Cluster.start(folder, state_backend="rocksdb", settings=SETTINGS) as cluster:
            yield cluster


class Alerting(Streaming):
    """A job whose alerts go to a receiver, with a secret in a header."""

    def __init__(
        self, cluster: Cluster, folder: Path, url: str, timeout: str = "10s", **job: str
    ) -> None:
        given = alerting.sections(url, headers=HEADERS, timeout=timeout)
        super().__init__(
            cluster, folder, alerting.MODELS, job={"name": folder.name, **job}, **given
        )
        self.fed = 0

    def text(self, made: Config) -> str:
        shown = super().text(made).replace('"***"', '"Bearer ${PLANTED}"')
        return shown.replace("***", "${LATER}")

    def alarm(self, count: int) -> None:
        """Transactions that make so many more alerts."""
        self.feed(alerting.events(self.fed + count, self.fed))
        self.fed += count

    def predicted(self) -> None:
        """Wait until every transaction fed has its final prediction."""
        self.wait_for(len(alerting.events(self.fed)))

    def number(self, name: str) -> int:
        found = self.rest.metrics(self.job_id, {name})
        return sum(int(metrics[name]) for metrics in found.values() if name in metrics)

    def wait_for_number(self, name: str, value: int) -> None:
        wait_until(lambda: self.number(name) == value, f"{value} {name}", timeout_s=PATIENCE_S)

    def wait_for_checkpoint(self) -> None:
        """Until one that began after now is complete."""
        begun = self.rest.checkpoints(self.job_id)["counts"]["total"]

        def complete() -> bool:
            latest = (self.rest.checkpoints(self.job_id)["latest"] or {}).get("completed")
            return latest is not None and latest["id"] > begun + 1

        wait_until(complete, "a checkpoint", timeout_s=PATIENCE_S)


def arrived(server: Receiver, ids: list[str]) -> None:
    """Wait until these alerts have arrived."""
    wait_until(lambda: set(ids) <= set(server.ids()), f"{len(ids)} alerts", timeout_s=PATIENCE_S)


def told(got: list[Got]) -> list[dict]:
    """The alerts that came, in the order of their making: after a failure others may have passed one."""
    alerts = [timeless(json.loads(each.body)) for each in got]
    return sorted(alerts, key=lambda alert: int(alert["alert"].split("/")[-2]))


def contents(folder: Path) -> dict[Path | str, bytes]:
    """Every file below a folder."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("mode", ["thread", "process"])
def test_alerts_wait_for_a_receiver_that_is_down_and_the_secret_is_found_nowhere(
    secretive, tmp_path, mode
):
    port = free_port()
    job = Alerting(secretive, tmp_path, f"http://127.0.0.1:{port}/alerts", execution=mode)
    job.alarm(8)
    job_id = job.submit()
    # Nobody listens yet.
    job.predicted()
    job.wait_for_number("alerts_waiting", 8)
    wanted = alerting.expected(job.config)
    with receiving(port=port) as server:
        arrived(server, [alert["alert"] for alert in wanted])
        assert told(server.got) == wanted
        assert {got.headers["authorization"] for got in server.got} == {f"Bearer {PLANTED}"}
        job.wait_for_number("alerts_waiting", 0)
        job.wait_for_number("alerts_delivered", 8)
        assert job.number("alert_tries_failed") > 0
        answers = rest_answers(secretive, job_id)
        job.stop()
    logs, files = contents(secretive.folder), contents(tmp_path)
    assert sum(path.suffix == ".log" for path in logs) >= 2
    problem = (
        b"webhook of [[alerts]] 2: alert quality///1/t29 was not delivered: ConnectionRefusedError"
    )
    assert problem in b"".join(logs.values())
    for place, content in {**logs, **files, **answers}.items():
        assert PLANTED.encode() not in content, place
    assert b"${PLANTED}" in files[job.path]


def test_a_receiver_that_hangs_holds_up_no_prediction(secretive, tmp_path):
    with receiving() as server:
        server.reply = lambda got: Reply(None)
        job = Alerting(secretive, tmp_path, server.url, timeout="1h")
        job.alarm(4)
        job.submit()
        wait_until(lambda: server.got, "the first request", timeout_s=PATIENCE_S)
        for _ in range(4):
            job.alarm(4)
        job.predicted()
        wanted = alerting.expected(job.config)
        assert len(wanted) == 20
        job.wait_for_number("alerts_waiting", 20)
        assert job.status().metrics["alerts_waiting"] == 20
        assert server.ids() == [wanted[0]["alert"]]
        job.stop()


def test_alerts_that_were_pending_when_the_task_manager_was_killed_arrive_after_it(
    secretive, tmp_path
):
    with receiving() as server:
        server.reply = lambda got: Reply(503)
        job = Alerting(secretive, tmp_path, server.url)
        job.alarm(6)
        job.submit()
        job.predicted()
        job.wait_for_number("alerts_waiting", 6)
        # Nothing will be read again: what arrives later comes out of the checkpoint.
        job.wait_for_checkpoint()
        restarts = job.rest.restarts(job.job_id)
        secretive.kill_task_manager(1)
        refused = len(server.got)
        secretive.start_task_manager(1)
        job.wait_until_restarted(after=restarts)
        job.wait_for_number("alerts_waiting", 6)
        job.alarm(2)
        server.reply = lambda got: Reply(200)
        wanted = alerting.expected(job.config)
        job.wait_for_number("alerts_delivered", 8)
        job.wait_for_number("alerts_waiting", 0)
        # What was answered last was taken: each once.
        assert told(server.got[-8:]) == wanted
        assert refused > 0
        assert {got.headers["idempotency-key"] for got in server.got[:-8]} <= {
            alert["alert"] for alert in wanted
        }
        job.stop()


def test_an_alert_that_arrives_twice_has_the_same_id_and_says_the_same(secretive, tmp_path):
    with receiving() as server:
        job = Alerting(secretive, tmp_path, server.url, checkpoint_interval="1h", max_outage="2h")
        job.alarm(5)
        job.submit()
        wanted = alerting.expected(job.config)
        arrived(server, [alert["alert"] for alert in wanted])
        # There was no checkpoint: all is read again, and told again.
        replace_task_manager(secretive, job.job_id)
        by_id = {alert["alert"]: alert for alert in wanted}
        wait_until(
            lambda: all(server.ids().count(id) > 1 for id in by_id),
            "each alert again",
            timeout_s=PATIENCE_S,
        )
        for got in server.got:  # a kill may restart a job twice
            alert = timeless(json.loads(got.body))
            assert alert == by_id[alert["alert"]]
        job.stop()


def test_alerts_stay_pending_through_a_savepoint(secretive, tmp_path):
    with receiving() as server:
        server.reply = lambda got: Reply(503)
        job = Alerting(secretive, tmp_path, server.url)
        job.alarm(3)
        job.submit()
        job.wait_for_number("alerts_waiting", 3)
        savepoint = job.stop()
        state = b"".join(contents(Path(savepoint.removeprefix("file:"))).values())
        assert state.count(b'"alert":"quality///1/') == 1
        assert PLANTED.encode() not in state
        server.reply = lambda got: Reply(204)
        job.submit(savepoint=savepoint)
        wanted = alerting.expected(job.config)
        job.wait_for_number("alerts_delivered", 3)
        assert told(server.got[-3:]) == wanted
        written = alerting.folder_of(job.config)
        wait_until(lambda: len(list(read_parts(written))) == 3, "each once", timeout_s=PATIENCE_S)
        job.stop()


def test_a_variable_that_the_cluster_does_not_know_is_told_by_name(
    secretive, tmp_path, monkeypatch
):
    monkeypatch.setenv("LATER", PLANTED)  # here, after the cluster's processes were started
    job = Alerting(secretive, tmp_path, "http://127.0.0.1:9/${LATER}")
    job.alarm(1)
    with pytest.raises(Failure) as refused:
        job.submit()
    said = "webhook of [[alerts]] 2: the environment variable LATER is not set where the job runs"
    assert said in str(refused.value)
    assert PLANTED not in str(refused.value)
