"""A Kafka broker on this machine, one node, bound to 127.0.0.1: for tests and for trying things.

Everything that it reads and writes lies under one folder:

    server.properties
    data/            topics; stays when the broker stops
    broker.log
    broker.json      its process
"""

import base64
import os
import subprocess
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from connectors import jars
from jobs import launch, processes
from jobs.environment import conf_folder, flink_environ
from jobs.errors import Failure
from jobs.waiting import wait_until

_GRACE_S = 30.0
_PORT = "riverrun.port="
# Kafka's own tools, by the names of the scripts that its distribution has for them.
_TOOLS = {
    "console-consumer": "org.apache.kafka.tools.consumer.ConsoleConsumer",
    "storage": "kafka.tools.StorageTool",
}


class BrokerError(Failure):
    """The broker cannot be started or found."""


def require_jars() -> None:
    """Say what is missing before anything is started.

    Raises
    ------
    BrokerError
        The broker's jars have not been fetched.
    """
    try:
        jars.find(jars.BROKER)
    except jars.MissingJars as error:
        raise BrokerError(f"a Kafka broker is missing: {error}") from None


class Broker:
    """The broker under a folder: `Broker.start` makes or restarts one, `Broker(folder)` finds one.

    As a context manager it stops at the end of the block.

    Raises
    ------
    BrokerError
        The folder holds none.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder).resolve()
        if not self._properties.is_file():
            raise BrokerError(f"no Kafka broker in {self.folder}")
        [port] = (
            line.removeprefix(f"# {_PORT}")
            for line in self._properties.read_text().splitlines()
            if line.startswith(f"# {_PORT}")
        )
        self.servers = f"{launch.HOST}:{port}"

    @classmethod
    def start(
        cls,
        folder: str | Path,
        *,
        port: int | None = None,
        settings: Mapping[str, str] | None = None,
        scram: Mapping[str, str] | None = None,
        timeout_s: float = 60.0,
    ) -> Self:
        """Start a broker and wait until it answers; one that was stopped goes on with its topics.

        Parameters
        ----------
        folder
            A new or empty folder, or that of a broker that was stopped.
        port
            Where clients find it; None takes a free one. Means nothing where a broker was stopped.
        settings
            More of Kafka's settings; they win. `{port}` in one stands for the port.
        scram : mapping, optional
            Users of SASL/SCRAM-SHA-256 -> password, for a new folder.

        Raises
        ------
        BrokerError
            Its jars have not been fetched; it runs already; or it ended, and the text has the end of
            its log.
        """
        require_jars()
        folder = Path(folder).resolve()
        if not (folder / "server.properties").exists():
            _lay_out(folder, processes.free_port(port), settings or {}, scram or {})
        broker = cls(folder)
        if broker.pid is not None:
            raise BrokerError(f"a Kafka broker runs in {folder} already: pid {broker.pid}")
        before = broker._log()
        broker._spawn()
        try:
            broker._wait(len(before), timeout_s)
        except BaseException:
            broker.stop()
            raise
        return broker

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int | None:
        """Of its process; None if it does not run."""
        process = self._process()
        return process.pid if process is not None and processes.alive(process) else None

    def stop(self) -> None:
        """End it, cleanly if it listens; its topics stay."""
        process = self._process()
        if process is not None:
            processes.end([process], grace_s=_GRACE_S)
            self._record.unlink()

    def kill(self) -> None:
        """SIGKILL."""
        process = self._process()
        if process is None or not processes.alive(process):
            raise BrokerError(f"no Kafka broker runs in {self.folder}")
        processes.kill(process)
        self._record.unlink()

    def tool(self, name: str, *arguments: str, timeout_s: float = 60.0) -> str:
        """Run one of Kafka's own tools, and return what it printed."""
        return _run([*_java(log_level="OFF"), _TOOLS[name], *arguments], timeout_s)

    @property
    def _properties(self) -> Path:
        return self.folder / "server.properties"

    @property
    def _record(self) -> Path:
        return self.folder / "broker.json"

    def _process(self) -> processes.Process | None:
        return processes.load(self._record) if self._record.exists() else None

    def _spawn(self) -> None:
        process = processes.spawn(
            [*_java(), "kafka.Kafka", str(self._properties)],
            env=os.environ,
            cwd=self.folder,
            output=self.folder / "broker.log",
        )
        processes.save(process, self._record)

    def _log(self) -> str:
        log = self.folder / "broker.log"
        return log.read_text(errors="replace") if log.exists() else ""

    def _wait(self, logged_before: int, timeout_s: float) -> None:
        def up() -> bool:
            if self.pid is None:
                lines = self._log().splitlines()
                raise BrokerError("the Kafka broker has ended; its log:\n" + "\n".join(lines[-20:]))
            return _STARTED in self._log()[logged_before:]

        wait_until(up, f"the Kafka broker at {self.servers}", timeout_s=timeout_s)


_STARTED = "Kafka Server started"


def _lay_out(
    folder: Path, port: int, settings: Mapping[str, str], scram: Mapping[str, str]
) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise BrokerError(f"{folder} is not a folder") from None
    if any(folder.iterdir()):
        raise BrokerError(f"{folder} is not empty and holds no Kafka broker: name another folder")
    controller = f"{launch.HOST}:{processes.free_port()}"
    lines = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@{controller}",
        "listeners": f"PLAINTEXT://{launch.HOST}:{port},CONTROLLER://{controller}",
        "advertised.listeners": f"PLAINTEXT://{launch.HOST}:{port}",
        "controller.listener.names": "CONTROLLER",
        "log.dirs": str(folder / "data"),
        # What a topic that nobody made on purpose would hide is a mistyped name.
        "auto.create.topics.enable": "false",
        # One node is all there is.
        "offsets.topic.replication.factor": "1",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        "group.initial.rebalance.delay.ms": "0",
        **{
            name: value.replace("{port}", str(port)).replace("{controller}", controller)
            for name, value in settings.items()
        },
    }
    text = f"# {_PORT}{port}\n" + "".join(f"{name}={value}\n" for name, value in lines.items())
    path = folder / "server.properties"
    path.write_text(text)
    _run(
        [
            *_java(log_level="OFF"),
            _TOOLS["storage"],
            *("format", "--cluster-id", _cluster_id(), "--config", str(path)),
            *(
                argument
                for user, password in scram.items()
                for argument in ("--add-scram", f"SCRAM-SHA-256=[name={user},password={password}]")
            ),
        ],
        timeout_s=60,
    )


def _cluster_id() -> str:
    """A random one, in Kafka's notation: 16 bytes in URL-safe base64 without padding."""
    made = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    # Kafka's tool takes a leading dash for an option, so Kafka itself makes none like that.
    return made.replace("-", "A", 1) if made.startswith("-") else made


def _java(log_level: str = "INFO") -> list[str]:
    environ = flink_environ()
    return [
        str(Path(environ["JAVA_HOME"], "bin", "java")),
        "-Xmx512m",
        f"-Dlog4j2.configurationFile={conf_folder() / 'log4j-broker.properties'}",
        f"-Dlog.level={log_level}",
        "-cp",
        os.pathsep.join(str(path) for path in jars.find(jars.BROKER)),
    ]


def _run(command: list[str], timeout_s: float) -> str:
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        errors="backslashreplace",
        stdin=subprocess.DEVNULL,
        check=False,
        timeout=timeout_s,
    )
    if done.returncode != 0:
        raise BrokerError((done.stdout + done.stderr).strip())
    return done.stdout
