"""Flink for the tests: one JVM a session, a MiniCluster a job, one standalone cluster for those that
leave it as they found it."""

from collections.abc import Callable, Generator, Iterator
from typing import Any, NamedTuple

import pytest

from jobs import cli, environment
from jobs.cluster import Cluster
from jobs.rest import TERMINAL_STATES
from tests.situation import situation


@pytest.fixture(scope="session")
def flink() -> None:
    """PyFlink can be used; its JVM starts with the first use and ends with the session."""
    environment.prepare()


@pytest.fixture
def flink_env(flink: None) -> Callable[..., Any]:
    """Makes fresh environments with the connectors attached.

    `flink_env(parallelism=1, mode="thread", settings={"key": "value"})`: Flink's own settings by
    their names. What fails ends: with Flink's restarts, a test that fails inside a job would fail for
    as long as a test may last.
    """
    from pyflink.datastream import StreamExecutionEnvironment

    from connectors import java_code

    def make(
        *, parallelism: int = 1, mode: str = "thread", settings: dict[str, str] | None = None
    ) -> StreamExecutionEnvironment:
        configuration = environment.local_configuration()
        given = {"python.execution-mode": mode, "restart-strategy.type": "none", **(settings or {})}
        for key, value in given.items():
            configuration.set_string(key, value)
        env = StreamExecutionEnvironment.get_execution_environment(configuration)
        env.set_parallelism(parallelism)
        java_code.attach(env)
        return env

    return make


SETTINGS = {
    # The answers of the REST API are at most this old; a wait for a condition sees it soon.
    "web.refresh-interval": "100 ms",
    "metrics.fetcher.update-interval": "200 ms",
    "web.timeout": "30 s",
    "restart-strategy.exponential-delay.max-backoff": "1 s",
    # Every checkpoint, not the last ten.
    "web.checkpoints.history": "10000",
    # A cluster of the tests spends most of its time starting; compiling less is what makes it fast.
    "env.java.opts.jobmanager": "-XX:TieredStopAtLevel=1",
    "env.java.opts.taskmanager": "-XX:TieredStopAtLevel=1",
}


@pytest.fixture(scope="session")
def _running_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("cluster") / "cluster"
    with Cluster.start(folder, state_backend="rocksdb", settings=SETTINGS) as cluster:
        yield cluster


@pytest.fixture
def cluster(_running_cluster: Cluster) -> Iterator[Cluster]:
    """A job manager and one task manager, without a job."""
    running = _running_cluster
    yield running
    if running.job_manager_pid is None:
        running.start_job_manager()
    for job in running.rest.jobs():
        if job.state not in TERMINAL_STATES:
            running.rest.cancel(job.id)
            running.rest.wait_for(job.id, TERMINAL_STATES)
    for number in running.task_manager_pids:
        if number > 1:
            running.kill_task_manager(number)
    if 1 not in running.task_manager_pids:
        running.start_task_manager(1)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call" and report.failed:
        for given in getattr(item, "funcargs", {}).values():
            if isinstance(given, Cluster):
                report.sections.append(("Cluster", situation(given)))
    return report


class Result(NamedTuple):
    """What a command said."""

    code: int
    out: str
    err: str


@pytest.fixture
def riverrun(capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """Runs a command in this process: `riverrun("status", "job.toml")`."""

    def run(*arguments: object) -> Result:
        capsys.readouterr()
        code = cli.main([str(argument) for argument in arguments])
        return Result(code, *capsys.readouterr())

    return run
