"""The job over a file of events, on a MiniCluster or on a cluster of two task managers."""

import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct

from jobs import environment
from jobs.cluster import Cluster
from jobs.config import Config, load_config
from jobs.processes import free_port
from jobs.toml_text import dump_toml
from perf.cpu import Sampler


class Predicted(Struct):
    """What is needed of a prediction record; `predicted_at` in ms since the epoch."""

    id: str
    prediction: bool | None
    predicted_at: int
    probabilities: dict[str, float] | None


class Run(NamedTuple):
    """What one run gave: the predictions in the order in which they were made, and CPU samples."""

    predictions: list[Predicted]
    sampler: Sampler


class Engine(NamedTuple):
    """Where jobs run.

    Attributes
    ----------
    settings : dict
        Flink's settings that send a job there.
    isolate_model : bool
        Whether join and model can run in processes of their own.
    """

    settings: dict[str, str]
    isolate_model: bool
    cluster: Cluster | None = None

    def pids(self) -> Collection[int]:
        """The processes that run the job's operators."""
        if self.cluster is not None:
            return self.cluster.task_manager_pids.values()
        from pyflink.java_gateway import get_gateway

        return [get_gateway().jvm.java.lang.ProcessHandle.current().pid()]


@contextmanager
def engine(folder: Path, on_cluster: bool) -> Iterator[Engine]:
    """A MiniCluster in the JVM beside this process, or a cluster under `folder`."""
    environment.prepare()
    if not on_cluster:
        port = str(free_port())
        yield Engine({"rest.port": port, "rest.bind-port": port}, isolate_model=False)
        return
    with Cluster.start(folder / "cluster", task_managers=2) as cluster:
        host, port = cluster.url.removeprefix("http://").split(":")
        there = {"execution.target": "remote", "rest.address": host, "rest.port": port}
        yield Engine(there, isolate_model=True, cluster=cluster)


def run_job(
    engine: Engine,
    folder: Path,
    events: Path,
    spec: dict[str, Any],
    settings: dict[str, str] | None = None,
) -> Run:
    """Run the job until its input ends.

    Parameters
    ----------
    folder : path
        For configuration, checkpoints and output; what another run left there goes.
    settings : dict, optional
        More of Flink's settings.
    """
    # Only now: importing PyFlink's environment fixes where it looks for Flink.
    from connectors.files import read_parts
    from jobs.online_learning import OnlineLearning, flink_environment

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    config = _config(folder, events, spec, engine.isolate_model)
    env = flink_environment(
        config, environment.local_configuration(), {**engine.settings, **(settings or {})}
    )
    OnlineLearning(config).build(env)
    pids = engine.pids()
    with Sampler(lambda: pids) as sampler:
        env.execute_async(config.job.name).get_job_execution_result().result()
    decode = msgspec.json.Decoder(Predicted).decode
    return Run([decode(line) for line in read_parts(folder / "predictions")], sampler)


def _config(folder: Path, events: Path, spec: dict[str, Any], isolate_model: bool) -> Config:
    path = folder / "job.toml"
    job = {
        "name": "throughput",
        "isolate_model": isolate_model,
        "checkpoint_dir": str(folder / "checkpoints"),
    }
    document: dict[str, Any] = {
        "job": job,
        "features": {"connector": "file", "path": str(events)},
        "predictions": {"connector": "file", "path": str(folder / "predictions")},
        "models": [{"name": "model", "task": "classification", "spec": spec}],
    }
    path.write_text(dump_toml(document))
    return load_config(path)
