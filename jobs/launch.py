"""How a Flink process of a standalone cluster is configured and called.

Flink's own shell scripts are not used: they break on paths with spaces and decide by themselves
where pid files go. What they do besides is here: the memory settings come from the same Java
calculation that they call.
"""

import json
import re
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from ruamel.yaml import YAML

from jobs.errors import Failure

Kind = Literal["jobmanager", "taskmanager"]
StateBackend = Literal["heap", "rocksdb"]
KINDS: tuple[Kind, ...] = ("jobmanager", "taskmanager")

HOST = "127.0.0.1"

_MAIN_CLASS = {
    "jobmanager": "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint",
    "taskmanager": "org.apache.flink.runtime.taskexecutor.TaskManagerRunner",
}
_MEMORY_QUERY = {"jobmanager": "GET_JM_RESOURCE_PARAMS", "taskmanager": "GET_TM_RESOURCE_PARAMS"}
# For a JVM that ends within seconds: it has no time to gain from its best compiler, nor from several
# threads that collect garbage.
_BRIEF = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
_RESULT = "BASH_JAVA_UTILS_EXEC_RESULT:"


def local_settings(
    folder: Path, *, rest_port: int, rpc_port: int, state_backend: StateBackend, memory: str
) -> dict[str, str]:
    """Flink's settings for a cluster on this machine with everything under `folder`.

    Every address is the loopback's: Flink's REST port lets whoever reaches it run code.
    """
    return {
        "rest.address": HOST,
        "rest.bind-address": HOST,
        "rest.port": str(rest_port),
        "jobmanager.rpc.address": HOST,
        "jobmanager.rpc.port": str(rpc_port),
        "jobmanager.bind-host": HOST,
        "taskmanager.host": HOST,
        "taskmanager.bind-host": HOST,
        "jobmanager.memory.process.size": "1g",
        "taskmanager.memory.process.size": memory,
        **process_settings(state_backend),
        # Flink waits for distant machines: it gives a process up after 50 s.
        "heartbeat.interval": "1 s",
        "heartbeat.timeout": "15 s",
        "state.backend.type": "rocksdb" if state_backend == "rocksdb" else "hashmap",
        "execution.checkpointing.incremental": str(state_backend == "rocksdb").lower(),
        # Flink does not decode percent signs, so these are no proper URIs where a path has spaces.
        "execution.checkpointing.dir": f"file://{folder / 'checkpoints'}",
        "execution.checkpointing.savepoint-dir": f"file://{folder / 'savepoints'}",
        "io.tmp.dirs": str(folder / "tmp"),
        "env.log.dir": str(folder / "log"),
    }


def process_settings(state_backend: StateBackend) -> dict[str, str]:
    """Flink's settings for processes that run these jobs, wherever they are."""
    return {
        "taskmanager.numberOfTaskSlots": "1",  # one interpreter, one GIL, per process
        # Metrics are fetched from all task managers at once, and until one that died is given up nobody's
        # are new. By Flink's default that is ten minutes.
        "web.timeout": "1 min",
        # A process without memory left would otherwise stay, without answering.
        "taskmanager.jvm-exit-on-oom": "true",
        # A job manager that is not up yet would be asked again after 10 s.
        "cluster.registration.error-delay": "500 ms",
        # Flink's defaults leave 26 MB of heap to the tasks of a process of 1 GB.
        "taskmanager.memory.jvm-metaspace.size": "192m",
        "taskmanager.memory.jvm-overhead.min": "96m",
        "taskmanager.memory.managed.fraction": "0.4" if state_backend == "rocksdb" else "0.1",
    }


def read_settings(conf: Path) -> dict[str, Any]:
    """Flink's configuration file in a folder as flat `a.b.c` -> value."""
    loaded = YAML(typ="safe").load(conf / "config.yaml") or {}

    def flat(tree: Mapping[str, Any], prefix: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in tree.items():
            path = f"{prefix}{key}"
            found.update(flat(value, f"{path}.") if isinstance(value, dict) else {path: value})
        return found

    return flat(loaded, "")


def write_settings(conf: Path, settings: Mapping[str, Any]) -> None:
    """Write Flink's configuration file; a JSON value is a YAML value."""
    lines = [f"{key}: {json.dumps(settings[key])}\n" for key in sorted(settings)]
    (conf / "config.yaml").write_text("".join(lines))


def memory_arguments(
    kind: Kind, conf: Path, environ: Mapping[str, str]
) -> tuple[list[str], list[str]]:
    """The JVM's and Flink's memory arguments, derived by Flink from its configuration.

    Raises
    ------
    Failure
        The sizes do not fit together; the text is Flink's.
    """
    utilities = Path(environ["FLINK_HOME"], "bin", "bash-java-utils.jar")
    [distribution] = Path(environ["FLINK_LIB_DIR"]).glob("flink-dist*.jar")
    answer = subprocess.run(
        [
            f"{environ['JAVA_HOME']}/bin/java",
            "-XX:-UsePerfData",
            *_BRIEF,
            "-classpath",
            f"{utilities}:{distribution}",
            "org.apache.flink.runtime.util.bash.BashJavaUtils",
            _MEMORY_QUERY[kind],
            "--configDir",
            str(conf),
        ],
        env=dict(environ),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    results = [line.removeprefix(_RESULT) for line in answer.stdout.splitlines() if _RESULT in line]
    if answer.returncode != 0 or len(results) != 2:
        causes = re.findall(r"\w*Exception: (.*)", answer.stdout + answer.stderr)
        raise Failure(f"the {kind}'s memory settings: {causes[-1] if causes else answer.stderr}")
    jvm, flink = results
    return jvm.split(), flink.split()


def command(
    name: str,
    kind: Kind,
    *,
    folder: Path,
    memory: tuple[list[str], list[str]],
    environ: Mapping[str, str],
    console: str = "OFF",
    settings: Mapping[str, str] | None = None,
) -> list[str]:
    """The command line of a Flink process with configuration, logs and temporary files in `folder`.

    Parameters
    ----------
    console
        The level from which its log goes to standard output, too.
    settings
        Flink's settings that are this process's own.
    """
    conf, log = folder / "conf", folder / "log" / name
    jvm, flink = memory
    own = dict(settings or {})
    if kind == "taskmanager":
        own["taskmanager.resource-id"] = name
    dynamic = [part for key, value in own.items() for part in ("-D", f"{key}={value}")]
    options = [
        *jvm,
        *_java_options(kind, conf, environ),
        *_logging(conf / "log4j-console.properties", Path(f"{log}.log")),
        f"-Dconsole.log.level={console}",
        f"-XX:ErrorFile={log}.crash.%p",
        f"-Djava.io.tmpdir={folder / 'tmp'}",
    ]
    return [*_java(environ, options), _MAIN_CLASS[kind], *flink, "--configDir", str(conf), *dynamic]


def client_command(environ: Mapping[str, str]) -> list[str]:
    """What to put before `run -d ...`, `stop ...`, `savepoint ...`: Flink's own command line.

    Parameters
    ----------
    environ
        With FLINK_CONF_DIR and FLINK_LOG_DIR; to be the environment of the command, too.
    """
    conf = Path(environ["FLINK_CONF_DIR"])
    log = Path(environ["FLINK_LOG_DIR"], "client.log")
    options = [
        *_BRIEF,
        *_java_options("client", conf, environ),
        *_logging(conf / "log4j-cli.properties", log),
    ]
    return [*_java(environ, options), "org.apache.flink.client.cli.CliFrontend"]


def _java(environ: Mapping[str, str], options: list[str]) -> list[str]:
    return [
        f"{environ['JAVA_HOME']}/bin/java",
        "-XX:-UsePerfData",  # it would leave files in the system's temporary folder
        *options,
        "-classpath",
        _class_path(Path(environ["FLINK_LIB_DIR"])),
    ]


def _logging(configuration: Path, log: Path) -> list[str]:
    return [f"-Dlog.file={log}", f"-Dlog4j.configurationFile={configuration.as_uri()}"]


def _java_options(
    who: Literal["jobmanager", "taskmanager", "client"], conf: Path, environ: Mapping[str, str]
) -> list[str]:
    """The options in Flink's configuration: those for every process, then those for this kind."""
    settings = read_settings(conf)
    keys = [
        f"env.java.{which}.{whom}" for whom in ("all", who) for which in ("default-opts", "opts")
    ]
    configured = [option for key in keys for option in shlex.split(settings.get(key, ""))]
    return ["-XX:+IgnoreUnrecognizedVMOptions", *configured]


def _class_path(lib: Path) -> str:
    # flink-dist comes last, as in Flink's scripts: a jar beside it may replace one of its classes.
    jars = sorted(lib.glob("*.jar"), key=lambda jar: (jar.name.startswith("flink-dist"), jar.name))
    return ":".join(map(str, jars))
