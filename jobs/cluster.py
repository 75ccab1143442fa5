"""A standalone Flink on this machine: a job manager and task managers of one slot each.

Everything that it reads and writes lies under one folder:

    cluster.json     ports and derived memory settings
    conf/            Flink's configuration; FLINK_CONF_DIR for clients of this cluster
    log/             a log and the plain output of each process
    pids/            a pid file for each process
    checkpoints/     stays when the cluster stops, as does savepoints/
    savepoints/
    tmp/             removed when the cluster stops
"""

import fcntl
import os
import shlex
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import msgspec

from jobs import launch, processes, prometheus
from jobs.environment import process_environ
from jobs.errors import Failure
from jobs.launch import Kind, StateBackend
from jobs.processes import Process
from jobs.rest import Rest, Unreachable
from jobs.waiting import wait_until

JOB_MANAGER = "jobmanager"
_TASK_MANAGER = "taskmanager-"
_MARK = "RIVERRUN_CLUSTER"
_GRACE_S = 20.0
_FOLDERS = ("log", "pids", "checkpoints", "savepoints", "tmp")


class ClusterError(Failure):
    """The cluster cannot be started, found or changed as asked."""


class Record(msgspec.Struct, frozen=True):
    """What cluster.json holds.

    `mark` is in the environment of every process, and so in that of the Python workers they start.
    `memory` has the arguments of each kind of process, see `launch.memory_arguments`.
    `prometheus_port` is where the job manager's metrics are to be had, see `prometheus.port_of`.
    """

    rest_port: int
    mark: str
    memory: dict[Kind, tuple[list[str], list[str]]]
    prometheus_port: int | None = None


class Status(msgspec.Struct, frozen=True):
    """What runs.

    `task_managers` is number -> pid; `lost` names processes that ended without being stopped.
    The three behind them are the job manager's word, None while it does not answer.
    `prometheus` is `host:port` of the metrics of each process that runs, where they are to be had.
    """

    folder: str
    url: str
    job_manager: int | None
    task_managers: dict[int, int]
    lost: list[str]
    registered: int | None
    free_slots: int | None
    running_jobs: int | None
    prometheus: list[str]

    @property
    def sound(self) -> bool:
        """Whether everything that was started runs and every task manager is registered."""
        return not self.lost and self.registered == len(self.task_managers)


class Cluster:
    """The cluster under a folder: `Cluster.start` makes one, `Cluster(folder)` finds one.

    As a context manager it stops at the end of the block.

    Raises
    ------
    ClusterError
        The folder holds no cluster.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder).resolve()
        record = self.folder / "cluster.json"
        try:
            self._record = msgspec.json.decode(record.read_bytes(), type=Record)
        except (FileNotFoundError, NotADirectoryError):
            raise ClusterError(f"no cluster in {self.folder}") from None
        except msgspec.DecodeError as error:
            raise ClusterError(f"{record} is not what a cluster writes: {error}") from None
        self.rest = Rest(f"http://{launch.HOST}:{self._record.rest_port}")

    @classmethod
    def start(
        cls,
        folder: str | Path,
        *,
        task_managers: int = 1,
        port: int | None = None,
        state_backend: StateBackend = "heap",
        memory: str = "1g",
        prometheus_port: int | None = None,
        settings: Mapping[str, str] | None = None,
        timeout_s: float = 90.0,
    ) -> Self:
        """Start a cluster and wait until every task manager is registered.

        Parameters
        ----------
        folder
            A new or empty folder, or that of a cluster that was stopped: its checkpoints and
            savepoints stay.
        task_managers
            How many, each a process of one slot.
        port
            REST port and web UI; None takes a free one.
        memory
            Size of a task manager's process in Flink's notation, `1g` or `1280m`. What Python
            holds in thread mode (the models) comes on top.
        prometheus_port
            Where Prometheus finds the job manager's metrics, and those of task manager N at as many
            ports above; on every address of this machine. None: nowhere.
        settings
            More of Flink's settings; they win over all others.
        timeout_s
            Seconds until the start is given up; what was started is ended again.

        Raises
        ------
        ClusterError
            The folder holds something else or a running cluster, the port is taken, or a process
            has ended: the text has the end of its log.
        """
        folder = Path(folder).resolve()
        _make(folder)
        with _one_at_a_time(folder):
            _refuse_unless_free(folder)
            rest_port, rpc_port = processes.free_port(port), processes.free_port()
            if prometheus_port is not None:
                for number in (None, *range(1, task_managers + 1)):
                    taken = processes.free_port(prometheus.port_of(prometheus_port, number))
                    if taken in (rest_port, rpc_port):
                        raise ClusterError(f"port {taken} is the cluster's own: name another")
            local = launch.local_settings(
                folder,
                rest_port=rest_port,
                rpc_port=rpc_port,
                state_backend=state_backend,
                memory=memory,
            )
            _lay_out(folder, rest_port, prometheus_port, {**local, **(settings or {})})
            cluster = cls(folder)
            try:
                cluster._spawn(JOB_MANAGER)
                for number in range(1, task_managers + 1):
                    cluster._spawn(f"{_TASK_MANAGER}{number}")
                cluster._wait_complete(timeout_s)
            except BaseException:
                cluster._end()
                raise
        return cluster

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Address of the REST API and the web UI."""
        return self.rest.url

    @property
    def conf(self) -> Path:
        """Flink's configuration folder."""
        return self.folder / "conf"

    @property
    def checkpoints(self) -> Path:
        """Where checkpoints are written, a folder for each job id."""
        return self.folder / "checkpoints"

    @property
    def savepoints(self) -> Path:
        """Where savepoints are written unless another folder is named for one."""
        return self.folder / "savepoints"

    @property
    def job_manager_pid(self) -> int | None:
        """Pid of the job manager; None if it does not run."""
        return self._pids().get(JOB_MANAGER)

    @property
    def task_manager_pids(self) -> dict[int, int]:
        """Number -> pid of the task managers that run."""
        numbered = ((_number(name), pid) for name, pid in self._pids().items())
        return {number: pid for number, pid in numbered if number is not None}

    @property
    def prometheus_ports(self) -> list[int]:
        """Where the metrics of the processes that run are to be had; empty where they are not."""
        first = self._record.prometheus_port
        if first is None:
            return []
        return [prometheus.port_of(first, _number(name)) for name in self._pids()]

    def environ(self) -> dict[str, str]:
        """Environment for Flink's clients: with it, `flink run` submits to this cluster."""
        return {
            **process_environ(),
            "FLINK_CONF_DIR": str(self.conf),
            "FLINK_LOG_DIR": str(self.folder / "log"),
        }

    def status(self) -> Status:
        """What runs, by the pid files and by the job manager's word."""
        pids = self._pids()
        try:
            overview = self.rest.overview() if JOB_MANAGER in pids else {}
        except Unreachable:
            overview = {}
        return Status(
            folder=str(self.folder),
            url=self.url,
            job_manager=pids.get(JOB_MANAGER),
            task_managers=self.task_manager_pids,
            lost=[name for name in self._processes() if name not in pids],
            registered=overview.get("taskmanagers"),
            free_slots=overview.get("slots-available"),
            running_jobs=overview.get("jobs-running"),
            prometheus=[f"{launch.HOST}:{port}" for port in self.prometheus_ports],
        )

    def stop(self) -> list[str]:
        """End every process and whatever it started; checkpoints, savepoints and logs stay.

        Returns
        -------
        list of str
            Names of the processes that had to be killed because they did not end when asked to.
        """
        with _one_at_a_time(self.folder):
            return self._end()

    def kill_task_manager(self, number: int) -> None:
        """SIGKILL a task manager, as a crash would."""
        self._kill(f"{_TASK_MANAGER}{number}")

    def kill_job_manager(self) -> None:
        """SIGKILL the job manager: the jobs that it ran are lost, their checkpoints are not."""
        self._kill(JOB_MANAGER)

    def start_task_manager(self, number: int | None = None, *, timeout_s: float = 60.0) -> int:
        """Start a task manager, wait until it is registered, and return its number.

        Parameters
        ----------
        number
            Which one, from 1; None for the lowest that does not run.
        """
        running = self.task_manager_pids
        if number is None:
            number = next(n for n in range(1, len(running) + 2) if n not in running)
        if number in running:
            raise ClusterError(f"task manager {number} runs already: pid {running[number]}")
        name = f"{_TASK_MANAGER}{number}"
        # A killed one stays registered until its heartbeats are missed or its successor comes.
        before = self._registered().get(name)
        self._spawn(name)
        self._wait(
            lambda: self._registered().get(name, before) != before,
            f"registration of {name} at {self.url}",
            timeout_s,
        )
        return number

    def start_job_manager(self, *, timeout_s: float = 60.0) -> None:
        """Start the job manager again and wait until the task managers have found it.

        It knows nothing of earlier jobs: submit them again from their newest checkpoints.
        """
        if (pid := self.job_manager_pid) is not None:
            raise ClusterError(f"the job manager runs already: pid {pid}")
        self._spawn(JOB_MANAGER)
        self._wait_complete(timeout_s)

    def _processes(self) -> dict[str, Process]:
        """Name -> process of everything that was started and not stopped."""
        files = sorted((self.folder / "pids").glob("*.json"))
        return {path.stem: processes.load(path) for path in files}

    def _pids(self) -> dict[str, int]:
        started = self._processes().items()
        return {name: process.pid for name, process in started if processes.alive(process)}

    def _spawn(self, name: str) -> None:
        kind: Kind = "jobmanager" if name == JOB_MANAGER else "taskmanager"
        environ = {
            **self.environ(),
            _MARK: self._record.mark,
            "TMPDIR": str(self.folder / "tmp"),
        }
        process = processes.spawn(
            launch.command(
                name,
                kind,
                folder=self.folder,
                memory=self._record.memory[kind],
                environ=environ,
                settings=self._settings_of(name),
            ),
            env=environ,
            cwd=self.folder,
            output=self.folder / "log" / f"{name}.out",
        )
        processes.save(process, self._pid_file(name))

    def _settings_of(self, name: str) -> dict[str, str]:
        first = self._record.prometheus_port
        if first is None:
            return {}
        return prometheus.settings(prometheus.port_of(first, _number(name)))

    def _kill(self, name: str) -> None:
        process = self._processes().get(name)
        if process is None or not processes.alive(process):
            raise ClusterError(f"{name} does not run in {self.folder}")
        processes.kill(process)

    def _end(self) -> list[str]:
        started = self._processes()
        stubborn = processes.end(list(started.values()), grace_s=_GRACE_S)
        processes.end(processes.marked(f"{_MARK}={self._record.mark}"), grace_s=_GRACE_S)
        for name in started:
            self._pid_file(name).unlink()
        shutil.rmtree(self.folder / "tmp", ignore_errors=True)
        return [name for name, process in started.items() if process in stubborn]

    def _pid_file(self, name: str) -> Path:
        return self.folder / "pids" / f"{name}.json"

    def _registered(self) -> dict[str, Any]:
        """Task manager with a slot -> its address, as the job manager has it; empty without one."""
        try:
            managers = self.rest.task_managers()
        except Unreachable:
            return {}
        return {each["id"]: each["path"] for each in managers if each["slotsNumber"]}

    def _wait_complete(self, timeout_s: float) -> None:
        expected = {name for name in self._pids() if name != JOB_MANAGER}

        def complete() -> bool:
            return self._answers() and expected <= self._registered().keys()

        self._wait(complete, f"{len(expected)} task managers at {self.url}", timeout_s)

    def _answers(self) -> bool:
        try:
            return bool(self.rest.overview())
        except Unreachable:
            return False

    def _wait(self, condition: Callable[[], bool], what: str, timeout_s: float) -> None:
        """Wait, unless a process that runs now ends meanwhile."""
        expected = self._pids()

        def met() -> bool:
            for name in expected.keys() - self._pids().keys():
                raise ClusterError(f"{name} has ended; its log:\n{self._end_of_log(name)}")
            return condition()

        wait_until(met, what, timeout_s=timeout_s)

    def _end_of_log(self, name: str, lines: int = 20) -> str:
        log = self.folder / "log"
        texts = [
            path.read_text(errors="replace")
            for path in (log / f"{name}.log", log / f"{name}.out")
            if path.exists()
        ]
        return "\n".join(line for text in texts for line in text.splitlines()[-lines:])


def _number(name: str) -> int | None:
    """Of a task manager; None for the job manager."""
    return None if name == JOB_MANAGER else int(name.removeprefix(_TASK_MANAGER))


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise ClusterError(f"{folder} is not a folder") from None


def _refuse_unless_free(folder: Path) -> None:
    if not any(folder.iterdir()):
        return
    if not (folder / "cluster.json").exists():
        raise ClusterError(f"{folder} is not empty and holds no cluster: name another folder")
    before = Cluster(folder)
    if before._pids() or processes.marked(f"{_MARK}={before._record.mark}"):
        raise ClusterError(
            f"a cluster runs in {folder} ({before.url}); "
            f"`riverrun cluster stop --dir {shlex.quote(str(folder))}` ends it"
        )
    for name in before._processes():
        before._pid_file(name).unlink()


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Hold the folder against another `start` or `stop`; the lock ends with this process."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ClusterError(f"the cluster in {folder} is being started or stopped") from None
        yield
    finally:
        os.close(handle)


def _lay_out(
    folder: Path, rest_port: int, prometheus_port: int | None, settings: Mapping[str, str]
) -> None:
    """Write cluster.json and conf/, and make the other folders; all of it or, on a mistake, nothing."""
    environ = process_environ()
    base = Path(environ["FLINK_CONF_DIR"])
    with tempfile.TemporaryDirectory() as draft:
        conf = Path(draft, "conf")
        shutil.copytree(base, conf)
        launch.write_settings(conf, {**launch.read_settings(base), **settings})
        record = Record(
            rest_port=rest_port,
            mark=uuid.uuid4().hex,
            memory={kind: launch.memory_arguments(kind, conf, environ) for kind in launch.KINDS},
            prometheus_port=prometheus_port,
        )
        text = msgspec.json.format(msgspec.json.encode(record), indent=2)
        (folder / "cluster.json").write_bytes(text + b"\n")
        shutil.copytree(conf, folder / "conf", dirs_exist_ok=True)
    for name in _FOLDERS:
        (folder / name).mkdir(exist_ok=True)
