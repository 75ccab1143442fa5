"""What a container of docker/Dockerfile does: a Flink process in its foreground, or a submission.

    python -m jobs.container jobmanager | taskmanager | healthy | submit CONFIG

The environment says the rest: JOB_MANAGER is the job manager's host name, PROMETHEUS_PORT where the
process gives its metrics (left out: nowhere), FLINK_PROPERTIES has lines of Flink's configuration, which
win over all others.
"""

import os
import shutil
import socket
import sys
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from jobs import cli, launch, prometheus
from jobs.environment import conf_folder, process_environ
from jobs.launch import Kind
from jobs.rest import Rest
from jobs.starting import checkpoints

_REST_PORT = 8081


def main(argv: list[str]) -> int:
    command, *arguments = argv
    if command in launch.KINDS:
        _run("jobmanager" if command == "jobmanager" else "taskmanager")
    if command == "healthy":
        return 0 if _healthy() else 1
    if command == "submit":
        return _submit(Path(arguments[0]))
    print(f"{command!r} is none of jobmanager, taskmanager, healthy, submit", file=sys.stderr)
    return 2


def settings(host: str, environ: dict[str, str]) -> dict[str, Any]:
    """Flink's settings for one process a container.

    Parameters
    ----------
    host
        How the other containers reach this one.
    """
    manager = environ.get("JOB_MANAGER", "jobmanager")
    port = environ.get("PROMETHEUS_PORT")
    given = YAML(typ="safe").load(environ.get("FLINK_PROPERTIES", "")) or {}
    return {
        **launch.read_settings(conf_folder()),
        **launch.process_settings("heap"),
        "jobmanager.rpc.address": manager,
        "jobmanager.bind-host": "0.0.0.0",
        "rest.address": manager,
        "rest.bind-address": "0.0.0.0",
        "rest.port": _REST_PORT,
        # A name of its own would do for one task manager, and fail for the second.
        "taskmanager.host": host,
        "taskmanager.bind-host": "0.0.0.0",
        **(prometheus.settings(int(port)) if port else {}),
        **given,
    }


def _run(kind: Kind) -> None:
    """Become the Flink process; does not return."""
    folder = Path(os.environ["RIVERRUN_HOME"])
    environ = process_environ()
    conf = folder / "conf"
    shutil.copytree(conf_folder(), conf, dirs_exist_ok=True)
    for name in ("log", "tmp"):
        (folder / name).mkdir(exist_ok=True)
    host = socket.gethostbyname(socket.gethostname())
    launch.write_settings(conf, settings(host, environ))
    (folder / "role").write_text(kind)
    # A container may have been started again: a task manager with the old name would not be let in.
    name = kind if kind == "jobmanager" else f"taskmanager-{host}-{os.getpid()}"
    command = launch.command(
        name,
        kind,
        folder=folder,
        memory=launch.memory_arguments(kind, conf, environ),
        environ=environ,
        console="INFO",
    )
    environ["FLINK_CONF_DIR"] = str(conf)
    os.execvpe(command[0], command, environ)


def _healthy() -> bool:
    """Whether the job manager answers, and knows this task manager where this is one."""
    manager = Rest(_url())
    try:
        if Path(os.environ["RIVERRUN_HOME"], "role").read_text() == "jobmanager":
            return bool(manager.overview())
        host = socket.gethostbyname(socket.gethostname())
        return any(f"@{host}:" in each["path"] for each in manager.task_managers())
    except Exception as error:
        print(error, file=sys.stderr)
        return False


def _submit(config: Path) -> int:
    """Start the job; where it runs already upgrade it, where it ran before go on."""
    from jobs.config import load_config

    loaded = load_config(config)
    job = Rest(_url()).job_by_name(loaded.job.name)
    if job is not None and job.ended is None:
        return cli.main(["upgrade", str(config), "--url", _url()])
    resume = ["--resume"] if checkpoints(loaded) else []
    return cli.main(["submit", str(config), "--url", _url(), *resume])


def _url() -> str:
    return f"http://{os.environ.get('JOB_MANAGER', 'jobmanager')}:{_REST_PORT}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
