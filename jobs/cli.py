"""The command line: it parses and prints; the work is in functions that tests call, too.

A command `riverrun NAME` is one function here over one module, `jobs/NAME.py` or the like. It
imports that module itself where that takes long, so that `riverrun --help` answers at once. What
goes wrong is raised as `Failure` or `ConfigError`; nothing here catches it but `main`.

Exit codes: 0 fine, 1 failed, 2 wrong usage or configuration, 130 interrupted.
"""

import os
import platform
import shlex
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from jobs import cli_control, cli_jobs, cli_registry, cli_report, cli_versions
from jobs.broker import Broker, require_jars
from jobs.cluster import Cluster, Status
from jobs.config import ConfigError
from jobs.environment import HASH_SEED
from jobs.errors import Failure
from jobs.launch import StateBackend
from jobs.terminal import JsonFlag, err, out, print_json

app = typer.Typer(
    name="riverrun",
    help="Online machine learning on Apache Flink, in Python, with River.",
    epilog="Example: riverrun cluster start --dir my-cluster",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    argv
        Without the program's name; None takes the process's own.

    Returns
    -------
    int
        The exit code.
    """
    if argv is None:
        _fix_hash_seed()
    try:
        app(args=None if argv is None else list(argv), prog_name="riverrun")
    except SystemExit as exit_:
        return exit_.code if isinstance(exit_.code, int) else int(exit_.code is not None)
    except ConfigError as error:
        for problem in error.problems:
            err.print(problem)
        return 2
    except Failure as error:
        err.print(f"riverrun: {error}")
        return 1
    return 0


def _fix_hash_seed() -> None:
    """Start this program again under the hash seed that jobs run under, unless one is set.

    It bears on some models' floats, and can be set only before Python starts.
    """
    if "PYTHONHASHSEED" not in os.environ:
        os.environ["PYTHONHASHSEED"] = HASH_SEED
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _print_version(wanted: bool) -> None:
    if not wanted:
        return
    parts = [f"{name} {version(name)}" for name in ("apache-flink", "river")]
    python = f"Python {platform.python_version()}"
    out.print(f"riverrun {version('riverrun')} ({', '.join([*parts, python])})")
    raise typer.Exit


@app.callback()
def riverrun(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print versions and exit."
        ),
    ] = False,
) -> None:
    """Online machine learning on Apache Flink, in Python, with River."""


app.add_typer(cli_jobs.app)
app.add_typer(cli_versions.app)
app.add_typer(cli_report.app)
app.add_typer(cli_control.app, epilog="Example: riverrun control list job.toml")
app.add_typer(
    cli_registry.app,
    epilog="Example: riverrun registry push fraud.rrv --tracking-uri http://127.0.0.1:5000",
)

cluster_app = typer.Typer(
    name="cluster",
    help="A standalone Flink on this machine, with everything under one folder.",
    no_args_is_help=True,
)
app.add_typer(cluster_app, epilog="Example: riverrun cluster start --dir my-cluster")

Folder = Annotated[Path, typer.Option("--dir", metavar="FOLDER", help="The cluster's folder.")]


@cluster_app.command(
    "start",
    epilog="Example: riverrun cluster start --dir my-cluster --task-managers 2 --port 8081",
)
def cluster_start(
    folder: Folder,
    task_managers: Annotated[int, typer.Option(min=0, help="Processes of one slot each.")] = 1,
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="REST API and web UI.", show_default="a free port"),
    ] = None,
    state_backend: Annotated[StateBackend, typer.Option(help="Where state is held.")] = "heap",
    memory: Annotated[
        str, typer.Option(metavar="SIZE", help="Of each task manager's process, without models.")
    ] = "1g",
    prometheus: Annotated[
        int | None,
        typer.Option(
            metavar="PORT",
            min=1,
            max=65535,
            help="Metrics for Prometheus: the job manager's at PORT, task manager N's at PORT + N, on "
            "every address of this machine.",
            show_default="none",
        ),
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("-D", metavar="KEY=VALUE", help="A setting of Flink's; may be repeated."),
    ] = None,
    kafka: Annotated[bool, typer.Option("--kafka", help="A Kafka broker, too.")] = False,
    kafka_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="The broker's.", show_default="a free port")
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Start a job manager and task managers, bound to 127.0.0.1, and wait until they are ready."""
    settings = dict(_key_and_value(text) for text in setting or [])
    if kafka:
        require_jars()
    with err.status("starting Flink"):
        cluster = Cluster.start(
            folder,
            task_managers=task_managers,
            port=port,
            state_backend=state_backend,
            memory=memory,
            prometheus_port=prometheus,
            settings=settings,
        )
    if kafka:
        with err.status("starting Kafka"):
            try:
                Broker.start(_broker_folder(folder), port=kafka_port)
            except BaseException:
                cluster.stop()
                raise
    if json:
        print_json(_as_json(cluster.status()))
        return
    if (broker := _broker(folder)) and broker.pid is not None:
        out.print(f"Kafka runs at {broker.servers}")
    out.print(f"Flink runs at {cluster.url}; task managers of one slot: {task_managers}")
    if prometheus is not None:
        out.print(f"metrics for Prometheus: {', '.join(cluster.status().prometheus)}")
    stop = f"riverrun cluster stop --dir {shlex.quote(str(folder))}"
    out.print(f"`{stop}` ends it; logs are in {cluster.folder / 'log'}")


@cluster_app.command("stop", epilog="Example: riverrun cluster stop --dir my-cluster")
def cluster_stop(folder: Folder) -> None:
    """End every process of a cluster; checkpoints, savepoints and logs stay."""
    with err.status("stopping Flink"):
        killed = Cluster(folder).stop()
    if broker := _broker(folder):
        with err.status("stopping Kafka"):
            broker.stop()
    for name in killed:
        err.print(f"{name} did not end when asked to and was killed")
    out.print(f"stopped; checkpoints, savepoints and logs are in {folder}")


@cluster_app.command("status", epilog="Example: riverrun cluster status --dir my-cluster --json")
def cluster_status(folder: Folder, json: JsonFlag = False) -> None:
    """Say what runs; exit code 1 unless everything that was started does."""
    status = Cluster(folder).status()
    if json:
        print_json(_as_json(status))
    else:
        out.print(status.url)
        if (broker := _broker(folder)) and broker.pid is not None:
            out.print(f"Kafka            pid {broker.pid}, {broker.servers}")
        if status.job_manager is not None:
            out.print(f"job manager      pid {status.job_manager}")
        for number, pid in status.task_managers.items():
            out.print(f"task manager {number:<3} pid {pid}")
        for name in status.lost:
            out.print(f"{name} has ended; its log is {status.folder}/log/{name}.log")
        if status.registered is not None:
            out.print(
                f"registered: {status.registered}, free slots: {status.free_slots}, "
                f"running jobs: {status.running_jobs}"
            )
            for target in status.prometheus:
                out.print(f"metrics for Prometheus: {target}")
        elif status.job_manager is None and not status.task_managers:
            out.print("stopped")
        else:
            out.print("the job manager does not answer")
    if not status.sound:
        raise typer.Exit(1)


def _as_json(status: Status) -> dict[str, object]:
    broker = _broker(Path(status.folder))
    kafka = broker.servers if broker is not None and broker.pid is not None else None
    return {**msgspec.structs.asdict(status), "sound": status.sound, "kafka": kafka}


def _broker_folder(cluster: Path) -> Path:
    return cluster / "kafka"


def _broker(cluster: Path) -> Broker | None:
    """The Kafka broker of a cluster; None if it has none."""
    folder = _broker_folder(cluster)
    return Broker(folder) if folder.is_dir() else None


def _key_and_value(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise typer.BadParameter(f"{text!r} is not KEY=VALUE", param_hint="-D")
    return key, value


if __name__ == "__main__":
    sys.exit(main())
