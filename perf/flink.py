"""The job over a file of events, on a MiniCluster or on a cluster of two task managers."""

import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import msgspec
from msgspec import Struct

from connectors import files
from jobs import environment
from jobs.cluster import Cluster
from jobs.config import Config, load_config
from jobs.processes import free_port
from jobs.submitting import submit
from jobs.toml_text import dump_toml

# A run is given up after it.
_LONGEST_S = 3600.0


class Predicted(Struct):
    """What is needed of a prediction record; `predicted_at` in ms since the epoch."""

    id: str
    prediction: bool | None
    predicted_at: int
    probabilities: dict[str, float] | None


class Engine(Protocol):
    """Where jobs run."""

    isolate_model: bool
    """Whether join and model get processes of their own."""

    def pids(self) -> Collection[int]:
        """The processes that run the job's operators."""

    def run(self, config: Config, path: Path, chained: bool) -> None:
        """Run the job that is configured at `path` until its input ends.

        `chained` False gives each operator a thread of its own, where that can be asked for.
        """


class Mini:
    """A MiniCluster for each job, all in the JVM beside this process."""

    isolate_model = False

    def __init__(self) -> None:
        environment.prepare()
        self._port = str(free_port())

    def pids(self) -> Collection[int]:
        from pyflink.java_gateway import get_gateway

        return [get_gateway().jvm.java.lang.ProcessHandle.current().pid()]

    def run(self, config: Config, path: Path, chained: bool) -> None:
        # Only now: importing PyFlink's environment fixes where it looks for Flink.
        from jobs.online_learning import OnlineLearning, flink_environment

        settings = {
            "rest.port": self._port,
            "rest.bind-port": self._port,
            "pipeline.operator-chaining.enabled": str(chained).lower(),
        }
        env = flink_environment(config, environment.local_configuration(), settings)
        OnlineLearning(config).build(env)
        env.execute_async(config.job.name).get_job_execution_result().result()


class TwoTaskManagers:
    """A standalone cluster; its jobs are always chained, as they are where `flink run` sends them."""

    isolate_model = True

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def pids(self) -> Collection[int]:
        return self._cluster.task_manager_pids.values()

    def run(self, config: Config, path: Path, chained: bool) -> None:
        run_to_end(self._cluster, config, path)


@contextmanager
def engine(folder: Path, on_cluster: bool) -> Iterator[Engine]:
    """A `Mini`, or `TwoTaskManagers` under `folder` that end with the block."""
    if not on_cluster:
        yield Mini()
        return
    with Cluster.start(folder / "cluster", task_managers=2) as cluster:
        yield TwoTaskManagers(cluster)


def run_job(
    engine: Engine, folder: Path, events: Path, spec: dict[str, Any], *, chained: bool = True
) -> list[Predicted]:
    """Run the job until its input ends, and return its predictions in the order they were made.

    Parameters
    ----------
    folder : path
        For configuration, checkpoints and output; what another run left there goes.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    path = folder / "job.toml"
    path.write_text(dump_toml(_document(folder, events, spec, engine.isolate_model)))
    engine.run(load_config(path), path, chained)
    return read_predictions(folder / "predictions")


def run_to_end(cluster: Cluster, config: Config, path: Path) -> str:
    """Submit the job that is configured at `path` and wait until its input has ended; the job's id."""
    job_id = submit(config, path, cluster.rest)
    cluster.rest.wait_for(job_id, {"FINISHED"}, timeout_s=_LONGEST_S)
    return job_id


def read_predictions(folder: Path) -> list[Predicted]:
    """The final predictions in a folder, in the order they were made."""
    decode = msgspec.json.Decoder(Predicted).decode
    return [decode(line) for line in files.read_parts(folder)]


def _document(
    folder: Path, events: Path, spec: dict[str, Any], isolate_model: bool
) -> dict[str, Any]:
    return {
        "job": {
            "name": "throughput",
            "isolate_model": isolate_model,
            "checkpoint_dir": str(folder / "checkpoints"),
        },
        "features": {"connector": "file", "path": str(events)},
        "predictions": {"connector": "file", "path": str(folder / "predictions")},
        "models": [{"name": "model", "task": "classification", "spec": spec}],
    }
