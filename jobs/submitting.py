"""`riverrun submit`, `upgrade` and `status`: this job on a cluster that runs already."""

import difflib
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from jobs import environment, launch
from jobs.config import Config, ModelConfig
from jobs.errors import Failure
from jobs.kafka_checks import require_ready, to_stderr
from jobs.rest import TERMINAL_STATES, Job, Rest, RestError
from jobs.starting import SAVEPOINTS, Start, prepare_start, uri
from jobs.waiting import wait_until

PARAMETER = "riverrun.models"
_RUNS = "RUNNING"
_JAVA_FRAME = re.compile(r"\s+(at |\.\.\. \d+ more)")
_SUBMITTED = re.compile(r"JobID ([0-9a-f]{32})")
_SCRIPT = Path(__file__).with_name("online_learning.py")


class JobStatus(Struct, frozen=True):
    """How a job is; times in ms since the epoch.

    Attributes
    ----------
    restarts : int
        Since it was submitted; `failure` is the cause of the newest.
    metrics : dict
        Totals since the operators were last restored; of ages, in ms, the highest.
    dead_letters : dict
        Reason -> how many, likewise.
    """

    id: str
    name: str
    state: str
    started: int
    last_checkpoint: str | None
    last_checkpoint_at: int | None
    restarts: int
    failure: str | None
    metrics: dict[str, int]
    dead_letters: dict[str, int]


def submit(
    config: Config,
    path: Path,
    rest: Rest,
    *,
    start: Start = "new",
    overwrite: bool = False,
    savepoint: str | None = None,
    other_mode: bool = False,
    timeout_s: float = 180.0,
    warn: Callable[[str], None] = to_stderr,
) -> str:
    """Start the job on a cluster and wait until it runs.

    Parameters
    ----------
    path : path
        The file that `config`, or what it is a part of, was read from: the cluster's client reads it
        again.
    savepoint : str, optional
        Start from it instead; `start` and `overwrite` do not matter then.
    other_mode : bool
        The savepoint is one of live mode and the job one of published mode, or the other way round:
        the join and what was read go on, the rest of it is left behind.
    warn : callable
        Told what may lose something.

    Returns
    -------
    str
        The job's id.

    Raises
    ------
    Failure
        A job of this name runs already, there is something that this start would spoil, or the job
        did not come up; the text says why.
    """
    running = rest.job_by_name(config.job.name)
    if running is not None and running.state not in TERMINAL_STATES:
        raise Failure(f"job {config.job.name!r} runs already, as {running.id}: upgrade it")
    require_ready(config, warn)
    restored = savepoint or prepare_start(config, start, overwrite)
    return _start(config, path, rest, restored, timeout_s, other_mode)


def _start(
    config: Config,
    path: Path,
    rest: Rest,
    restored: str | None,
    timeout_s: float,
    other_mode: bool = False,
) -> str:
    job_id = _flink_run(config, path, rest, restored, other_mode)
    _wait_until_it_runs(rest, job_id, timeout_s)
    return job_id


def upgrade(
    config: Config,
    path: Path,
    rest: Rest,
    *,
    timeout_s: float = 180.0,
    warn: Callable[[str], None] = to_stderr,
) -> tuple[str, str]:
    """Stop the job with a savepoint and start this code and configuration from it.

    The job is not drained: open transactions go on as they were.

    Returns
    -------
    (str, str)
        The new job's id and the savepoint.

    Raises
    ------
    Failure
        No such job runs, a model's spec differs from the one that runs, or Kafka is not ready (then
        nothing was stopped); or the new job did not come up, and the text says how to go back to the savepoint.
    """
    job = _running(rest, config.job.name)
    changed = list(_changed_specs(_models_of(rest, job.id), config.models))
    if changed:
        raise Failure("\n".join([*changed, _CHOICES]))
    require_ready(config, warn)
    folder = uri(Path(config.job.checkpoint_dir, SAVEPOINTS))
    savepoint = rest.stop_with_savepoint(job.id, folder, timeout_s=timeout_s)
    rest.wait_for(job.id, {"FINISHED"}, timeout_s=timeout_s)
    try:
        new = _start(config, path, rest, savepoint, timeout_s)
    except Failure as error:
        raise Failure(
            f"{error}\nthe old job has stopped; its savepoint is {savepoint}\n"
            f"to go back: with the old code, riverrun submit {shlex.quote(str(path))} "
            f"--from {shlex.quote(savepoint)} --url {rest.url}"
        ) from error
    return new, savepoint


_CHOICES = """nothing was stopped. A model that runs keeps its spec; choose one:
  give the new spec a new name in [[models]], beside the old one: both run, from this upgrade on
  put the old spec back, and upgrade
  begin anew with riverrun submit --fresh, after the job was stopped"""


def status(config: Config, rest: Rest) -> JobStatus:
    """How the job of this name is.

    Raises
    ------
    Failure
        The cluster knows none.
    """
    job = rest.job_by_name(config.job.name)
    if job is None:
        raise Failure(f"no job {config.job.name!r} at {rest.url}")
    completed = (rest.checkpoints(job.id).get("latest") or {}).get("completed") or {}
    running = job.state not in TERMINAL_STATES
    found = rest.metrics(job.id, _METRICS) if running else {}
    totals: dict[str, int] = {}
    for metrics in found.values():
        for name, value in metrics.items():
            totals[name] = totals.get(name, 0) + int(value)
    if running and config.job.mode == "published":
        for metrics in rest.metrics(job.id, _AGES, "max").values():
            totals.update((name, int(value)) for name, value in metrics.items())
    return JobStatus(
        job.id,
        job.name,
        job.state,
        job.started,
        completed.get("external_path"),
        completed.get("latest_ack_timestamp"),
        rest.restarts(job.id),
        rest.failure(job.id),
        {name: totals[name] for name in (*_TOTALS, *_AGES) if name in totals},
        {
            name.removeprefix(_DEAD): value
            for name, value in totals.items()
            if name.startswith(_DEAD) and value
        },
    )


_DEAD = "dead_letters_"
_TOTALS = (
    "records",
    "predictions",
    "examples",
    "evaluations",
    "pending_transactions",
    "alerts_waiting",
    # Of published mode: examples that a learner too far behind left out.
    "skipped_by_lag",
)
# Of published mode: of the learner, and of the versions that are asked.
_AGES = ("lag_ms", "version_age_ms")


def _metric_names() -> tuple[str, ...]:
    from events.reasons import Reason

    return (*_TOTALS, *(f"{_DEAD}{reason}" for reason in Reason))


_METRICS = _metric_names()


def published_models(models: tuple[ModelConfig, ...]) -> str:
    """What a running job tells of its models, for a later upgrade to compare."""
    return msgspec.json.encode(
        {model.name: {"task": model.task, "spec": model.spec} for model in models}
    ).decode()


def _running(rest: Rest, name: str) -> Job:
    job = rest.job_by_name(name)
    if job is None or job.state in TERMINAL_STATES:
        raise Failure(f"no job {name!r} runs at {rest.url}: submit it")
    return job


def _models_of(rest: Rest, job_id: str) -> dict[str, Any]:
    parameters = rest.parameters(job_id)
    if PARAMETER not in parameters:
        raise Failure(f"job {job_id} is not one of riverrun's")
    models: dict[str, Any] = msgspec.json.decode(parameters[PARAMETER])
    return models


def _changed_specs(running: dict[str, Any], models: tuple[ModelConfig, ...]) -> Any:
    """A diff for each model whose task or spec is another than that of the running one."""
    for model in models:
        new = msgspec.json.decode(published_models((model,)))[model.name]
        old = running.get(model.name, new)
        if new != old:
            yield f"[[models]] {model.name} differs from the model that runs:"
            yield from difflib.unified_diff(
                _lines(old), _lines(new), "running", "configured", lineterm="", n=1
            )


def _lines(value: Any) -> list[str]:
    return msgspec.json.format(msgspec.json.encode(value)).decode().splitlines()


def _flink_run(
    config: Config, path: Path, rest: Rest, restored: str | None, other_mode: bool
) -> str:
    environ = environment.process_environ()
    command = [
        *launch.client_command(environ),
        "run",
        "--detached",
        "--jobmanager",
        rest.url.removeprefix("http://"),
        *(["--fromSavepoint", restored] if restored else []),
        *(["--allowNonRestoredState"] if other_mode else []),
        "-pyclientexec",
        sys.executable,
        "-py",
        str(_SCRIPT),
        "--config",
        str(path.absolute()),
        *([] if config.part is None else ["--part", config.part]),
    ]
    done = subprocess.run(
        command,
        env=environ,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    found = _SUBMITTED.search(done.stdout)
    if done.returncode != 0 or found is None:
        said = (done.stdout + done.stderr).strip().splitlines()
        # Why stands before the client's own stack.
        told = [line for line in said if not _JAVA_FRAME.match(line)]
        raise Failure("flink run failed:\n" + "\n".join(told[-15:]))
    return found[1]


def _wait_until_it_runs(rest: Rest, job_id: str, timeout_s: float) -> None:
    """Until every subtask runs; a job that fails instead is cancelled, for it would go on failing."""

    def settled() -> str | None:
        job = rest.job(job_id)
        tasks = {vertex["status"] for vertex in job["vertices"]}
        if job["state"] == "FINISHED" or tasks <= {"RUNNING", "FINISHED"}:
            return _RUNS
        return rest.failure(job_id)

    outcome = wait_until(settled, f"job {job_id} to run", timeout_s=timeout_s)
    if outcome != _RUNS:
        try:
            rest.cancel(job_id)
        except RestError:
            pass  # it has ended by itself
        raise Failure(f"job {job_id} does not come up: {outcome}")
