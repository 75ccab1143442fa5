import re
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from jobs.cluster import Cluster
from jobs.processes import free_port
from jobs.rest import Rest, RestError, Unreachable
from jobs.waiting import TimedOut, wait_until
from tests.cluster.submitting import submit
from tests.patience import PATIENCE_S

ABSENT = "0" * 32


def test_where_nothing_listens_the_error_names_the_address():
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(Unreachable, match=f"no Flink REST API at {url}: .*refused"):
        Rest(url).overview()


def test_a_listener_that_never_answers_is_given_up():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        rest = Rest(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout_s=0.2)
        with pytest.raises(Unreachable, match="timed out"):
            rest.overview()


def test_a_proxy_in_the_environment_is_not_asked_for_the_loopback(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        proxy.settimeout(0)
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.getsockname()[1]}")
        monkeypatch.delenv("no_proxy", raising=False)
        with pytest.raises(Unreachable):
            Rest(f"http://127.0.0.1:{free_port()}", timeout_s=0.2).overview()
        with pytest.raises(BlockingIOError):
            proxy.accept()


@pytest.fixture
def web_page() -> Iterator[str]:
    """Address of a server that is no Flink."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>")

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_a_server_that_is_no_flink_is_told_apart(web_page):
    with pytest.raises(RestError, match="is not JSON: is this Flink's REST port?"):
        Rest(web_page).overview()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster of two slots."""
    folder: Path = tmp_path_factory.mktemp("a cluster")
    with Cluster.start(
        folder, task_managers=2, settings={"metrics.fetcher.update-interval": "500 ms"}
    ) as cluster:
        yield cluster


@pytest.mark.cluster
def test_an_idle_cluster_has_its_task_managers_and_no_job(cluster):
    overview = cluster.rest.overview()
    assert (overview["taskmanagers"], overview["slots-total"]) == (2, 2)
    assert {manager["id"] for manager in cluster.rest.task_managers()} == {
        "taskmanager-1",
        "taskmanager-2",
    }
    assert cluster.rest.job_by_name("nobody's") is None


@pytest.mark.cluster
def test_what_flink_refuses_has_its_status_and_its_reason(cluster):
    with pytest.raises(RestError, match=f"404 .*{ABSENT}") as refused:
        cluster.rest.job(ABSENT)
    assert refused.value.status == 404


@pytest.mark.cluster
def test_a_running_job_is_watched_and_stopped_with_a_savepoint(cluster):
    rest = cluster.rest
    job_id = submit(cluster, "count digits", "200")
    job = rest.job_by_name("count digits")
    assert job is not None
    assert (job.id, job.state, job.ended) == (job_id, "RUNNING", None)

    def counted() -> dict[str, float] | None:
        found = rest.metrics(job_id, ["counted", "numRecordsIn"]).get("count_digits", {})
        return found if found.get("counted") else None

    found = wait_until(counted, "a count", timeout_s=PATIENCE_S)
    assert found.keys() == {"counted", "numRecordsIn"}
    wait_until(
        lambda: rest.checkpoints(job_id)["counts"]["completed"] > 0, "a checkpoint", timeout_s=60
    )
    assert rest.restarts(job_id) == 0
    assert rest.failure(job_id) is None

    kept = rest.savepoint(job_id)
    assert rest.state(job_id) == "RUNNING"
    last = rest.stop_with_savepoint(job_id)
    assert rest.wait_for(job_id, {"FINISHED"}) == "FINISHED"
    for location in (kept, last):
        savepoint = Path(location.removeprefix("file:"))
        assert savepoint.parent == cluster.savepoints
        assert (savepoint / "_metadata").exists()
    again = rest.job_by_name("count digits")
    assert again is not None
    assert (again.id, again.state) == (job_id, "FINISHED")
    assert again.ended is not None
    assert again.ended >= again.started


@pytest.mark.cluster
def test_a_failing_job_says_why_and_how_often_until_it_is_cancelled(cluster):
    rest = cluster.rest
    job_id = submit(cluster, "too many digits", "1000", "20")
    wait_until(lambda: rest.restarts(job_id) > 0, "a restart", timeout_s=PATIENCE_S)
    cause = rest.failure(job_id)
    assert cause is not None
    assert re.search(r"ValueError'>: more than 20 of \d$", cause)
    rest.cancel(job_id)
    assert rest.wait_for(job_id, {"CANCELED"}) == "CANCELED"
    with pytest.raises(RestError, match=f"job {job_id} is CANCELED: .*more than 20 of "):
        rest.wait_for(job_id, {"RUNNING"})


@pytest.mark.cluster
def test_two_running_jobs_of_one_name_are_ambiguous(cluster):
    first, second = submit(cluster, "twins", "10"), submit(cluster, "twins", "10")
    with pytest.raises(RestError, match=r"2 jobs named 'twins' run at .*: \w+, \w+"):
        cluster.rest.job_by_name("twins")
    cluster.rest.cancel(first)
    cluster.rest.wait_for(first, {"CANCELED"})
    job = cluster.rest.job_by_name("twins")
    assert job is not None
    assert job.id == second
    with pytest.raises(TimedOut, match="in state FINISHED: not within 0.1 s"):
        cluster.rest.wait_for(second, {"FINISHED"}, timeout_s=0.1)
    cluster.rest.cancel(second)
    cluster.rest.wait_for(second, {"CANCELED"})
