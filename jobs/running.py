"""`riverrun run`: the job on an embedded MiniCluster, in this process's own JVM."""

import contextlib
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from jobs import environment, prometheus
from jobs.config import Config
from jobs.errors import Failure
from jobs.kafka_checks import require_ready, to_stderr
from jobs.processes import free_port
from jobs.rest import Rest, RestError, root_cause
from jobs.starting import Start, checkpoints, prepare_start


class Running(NamedTuple):
    """How far a job is; totals since it was started, or restored."""

    records: int
    predictions: int
    labelled: int


Progress = Callable[[Running], None]

# Somebody waits for this job: one that fails again and again is not restarted for ever, as it is on
# a cluster, and its progress is told as it is made.
_EMBEDDED = {
    "restart-strategy.type": "exponential-delay",
    "restart-strategy.exponential-delay.initial-backoff": "200 ms",
    "restart-strategy.exponential-delay.max-backoff": "2 s",
    "restart-strategy.exponential-delay.reset-backoff-threshold": "1 min",
    "restart-strategy.exponential-delay.attempts-before-reset-backoff": "8",
    "metrics.fetcher.update-interval": "1 s",
}


def run(
    config: Config,
    model: Any = None,
    *,
    start: Start = "new",
    overwrite: bool = False,
    prometheus_port: int | None = None,
    on_web_ui: Callable[[str], None] | None = None,
    progress: Progress | None = None,
    poll_s: float = 0.5,
    warn: Callable[[str], None] = to_stderr,
) -> bool:
    """Run the job until its input ends or it is interrupted.

    Parameters
    ----------
    prometheus_port : int, optional
        Where Prometheus finds the job's metrics while it runs, on every address of this machine.
    on_web_ui : callable, optional
        Told the address of Flink's web UI once it answers.
    warn : callable
        Told what may lose something.
    progress : callable, optional
        Told every `poll_s` seconds how far the job is.

    Returns
    -------
    bool
        True if the input ended; False if Ctrl-C did, and `start="resume"` goes on from there.

    Raises
    ------
    ConfigError, Failure
        The job cannot start, or failed for good.
    """
    environment.prepare([] if prometheus_port is None else [prometheus.PLUGIN])
    require_ready(config, warn)
    restored = prepare_start(config, start, overwrite)
    # Only now: importing PyFlink's environment fixes where it looks for Flink.
    from jobs.online_learning import OnlineLearning, flink_environment

    job = OnlineLearning(config, model)
    port = free_port()
    settings = {"rest.port": str(port), "rest.bind-port": str(port), **_EMBEDDED}
    if prometheus_port is not None:
        settings.update(prometheus.settings(free_port(prometheus_port)))
    if config.job.mode == "published":
        # A MiniCluster has as many as the job is parallel, and learners have slots of their own.
        slots = config.job.parallelism + len(config.models)
        settings["taskmanager.numberOfTaskSlots"] = str(slots)
    if restored is not None:
        settings["execution.state-recovery.path"] = restored
    env = flink_environment(config, environment.local_configuration(), settings)
    job.build(env)
    client = env.execute_async(config.job.name)
    rest = Rest(f"http://127.0.0.1:{port}")
    if prometheus_port is not None and not prometheus.answers(prometheus_port):
        warn(f"no metrics at port {prometheus_port}: Flink's log says why")
    if on_web_ui is not None:
        on_web_ui(rest.url)
    ended = threading.Event()
    failure: list[str] = []

    def wait() -> None:
        try:
            client.get_job_execution_result().result()
        except Exception as error:
            failure.append(str(error))
        ended.set()

    threading.Thread(target=wait, name="job", daemon=True).start()
    with _interrupts() as interrupted:
        while not ended.wait(poll_s):
            if interrupted.is_set():
                client.cancel().result()
                ended.wait()
                return False
            if progress is not None:
                with contextlib.suppress(RestError):
                    progress(so_far(rest, client))
    if failure:
        raise Failure(f"the job failed: {_cause(failure[0])}{_resumable(config)}")
    # Flink deletes them, too, unless the MiniCluster is gone first: there is nothing to resume.
    shutil.rmtree(Path(config.job.checkpoint_dir, str(client.get_job_id())), ignore_errors=True)
    return True


def so_far(rest: Rest, client: Any) -> Running:
    """Ask the running job."""
    found = rest.metrics(str(client.get_job_id()), {"records", "predictions", "examples"})
    totals = {name: int(value) for metrics in found.values() for name, value in metrics.items()}
    return Running(
        totals.get("records", 0), totals.get("predictions", 0), totals.get("examples", 0)
    )


@contextlib.contextmanager
def _interrupts() -> Iterator[threading.Event]:
    """Ctrl-C as an event: the job is to end, not this process in the middle of a call."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = {
        number: signal.signal(number, lambda *_: asked.set())
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _cause(error: str) -> str:
    java = error[error.find(": org.apache.flink") + 2 :] if ": org.apache.flink" in error else error
    return root_cause(java)


def _resumable(config: Config) -> str:
    return "; --resume goes on from its last checkpoint" if checkpoints(config) else ""
