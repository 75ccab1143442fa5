"""The job and the loops of `perf/loops.py` on one broker: started, watched, ended, and what they wrote."""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self

import msgspec
import psutil
from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.admin import NewTopic

from jobs.broker import Broker
from jobs.cluster import Cluster
from jobs.config import load_config
from jobs.submitting import submit
from jobs.toml_text import dump_toml
from jobs.waiting import wait_until
from perf.loops import LOOPS, Said
from perf.workloads import KAFKA_SPECS

_LONGEST_S = 1800.0
_ROOT = Path(__file__).parent.parent


class System(NamedTuple):
    """Something that predicts and learns.

    Attributes
    ----------
    name : str
        Of `perf.loops.LOOPS`, or one of this project's job.
    committed : bool
        Whether it writes in transactions.
    task_managers : int
        0 for a loop; with 2 the model has one of its own.
    state_backend, delivery : str
        Of a job.
    outputs : bool
        Whether the job writes evaluations and the learn log, too.
    """

    name: str
    committed: bool = False
    task_managers: int = 0
    state_backend: str = "heap"
    delivery: str = "exactly_once"
    outputs: bool = False


class Departure(NamedTuple):
    """A prediction as Kafka has it; times in ms since the epoch, `left` the producer's."""

    id: str
    left: int
    predicted: int
    said: dict[str, float]


class Used(NamedTuple):
    """What a system's processes took."""

    cpu_s: float
    memory_mb: float


class Bench:
    """A broker, and a cluster for each number of task managers that is asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._cluster: Cluster | None = None
        self._runs = 0

    def __enter__(self) -> Self:
        self.broker = Broker.start(self._folder / "kafka")
        return self

    def __exit__(self, *_: object) -> None:
        self._stop_cluster()
        self.broker.stop()

    def topic(self, name: str) -> str:
        """A new topic of one partition."""
        self._runs += 1
        full = f"{name}-{self._runs}"
        admin = KafkaAdminClient(bootstrap_servers=self.broker.servers)
        admin.create_topics([NewTopic(full, 1, 1)])
        admin.close()
        return full

    @contextmanager
    def running(self, system: System, model: str, source: str, target: str) -> Iterator["Watch"]:
        """The system, from when it has been started until the end of the block."""
        if system.task_managers:
            with self._job(system, model, source, target) as processes:
                yield Watch(processes)
            return
        # What a loop keeps on disk goes with this run.
        folder = self._folder / target
        folder.mkdir()
        log = folder / "log"
        command = [sys.executable, "-m", "perf.loops", system.name]
        with log.open("wb") as output:
            loop = subprocess.Popen(
                [*command, self.broker.servers, source, target, model],
                cwd=folder,
                env={**os.environ, "PYTHONPATH": str(_ROOT)},
                stdout=output,
                stderr=output,
            )
        try:
            yield Watch([psutil.Process(loop.pid)])
        except psutil.NoSuchProcess:
            raise RuntimeError(f"{system.name} has ended:\n{log.read_text()[-2000:]}") from None
        finally:
            loop.kill()
            loop.wait()

    def wait_for(self, topic: str, count: int, committed: bool, watch: "Watch") -> list[Departure]:
        """Wait until there are so many predictions; all of them, in order."""
        partition = TopicPartition(topic, 0)
        consumer = self._consumer(committed)
        try:
            consumer.assign([partition])
            wait_until(
                lambda: watch.used() and consumer.end_offsets([partition])[partition] >= count,
                f"{count} predictions in {topic}",
                timeout_s=_LONGEST_S,
                every_s=0.5,
            )
        finally:
            consumer.close()
        # Markers of transactions count as records in an offset.
        while len(found := self.read(topic, committed)) < count:
            time.sleep(0.5)
        return found

    def read(self, topic: str, committed: bool) -> list[Departure]:
        """All predictions of a topic."""
        decode = msgspec.json.Decoder(Said).decode
        return [
            Departure(said.id, record.timestamp, said.predicted_at, said.probabilities)
            for record in self.records(topic, committed)
            for said in [decode(record.value)]
        ]

    def records(self, topic: str, committed: bool) -> Iterator[Any]:
        """All records of a topic, up to its present end."""
        partition = TopicPartition(topic, 0)
        consumer = self._consumer(committed)
        try:
            consumer.assign([partition])
            consumer.seek_to_beginning(partition)
            end = consumer.end_offsets([partition])[partition]
            while consumer.position(partition) < end:
                for records in consumer.poll(timeout_ms=500).values():
                    yield from records
        finally:
            consumer.close()

    def _consumer(self, committed: bool) -> Any:
        return KafkaConsumer(
            bootstrap_servers=self.broker.servers,
            group_id=None,
            enable_auto_commit=False,
            isolation_level="read_committed" if committed else "read_uncommitted",
        )

    @contextmanager
    def _job(
        self, system: System, model: str, source: str, target: str
    ) -> Iterator[list[psutil.Process]]:
        cluster = self._cluster_of(system.task_managers)
        folder = self._folder / target
        folder.mkdir()
        path = folder / "job.toml"
        path.write_text(dump_toml(self._document(system, model, source, target, folder)))
        job_id = submit(load_config(path), path, cluster.rest)
        try:
            yield [psutil.Process(pid) for pid in cluster.task_manager_pids.values()]
        finally:
            cluster.rest.cancel(job_id)
            cluster.rest.wait_for(job_id, {"CANCELED"})

    def _cluster_of(self, task_managers: int) -> Cluster:
        """One at a time: an idle Flink takes memory and some CPU, too."""
        running = self._cluster
        if running is not None and len(running.task_manager_pids) == task_managers:
            return running
        self._stop_cluster()
        folder = self._folder / f"cluster-{self._runs}"
        self._cluster = Cluster.start(folder, task_managers=task_managers)
        return self._cluster

    def _stop_cluster(self) -> None:
        if self._cluster is not None:
            self._cluster.stop()
            self._cluster = None

    def _document(
        self, system: System, model: str, source: str, target: str, folder: Path
    ) -> dict[str, Any]:
        connection = {"connector": "kafka", "bootstrap_servers": self.broker.servers}
        sink = {**connection, "delivery": system.delivery}
        outputs = {"predictions": {**sink, "topic": target}}
        if system.outputs:
            for output in ("evaluations", "learn_log"):
                outputs[output] = {**sink, "topic": self.topic(f"{target}-{output}")}
        job = {
            "name": target,
            "checkpoint_dir": str(folder / "checkpoints"),
            "state_backend": system.state_backend,
        }
        return {
            "job": {**job, "isolate_model": system.task_managers == 2},
            "features": {**connection, "topic": source},
            **outputs,
            "models": [{"name": "m", "task": "classification", "spec": KAFKA_SPECS[model]}],
        }


class Watch:
    """What processes take while they run."""

    def __init__(self, processes: list[psutil.Process]) -> None:
        self._processes = processes
        self._before = self._cpu_s()

    def used(self) -> Used:
        """Since the watch began; memory as it is now.

        Raises
        ------
        psutil.NoSuchProcess
            One has ended.
        """
        for process in self._processes:
            if process.status() == psutil.STATUS_ZOMBIE:
                raise psutil.NoSuchProcess(process.pid)
        memory = sum(process.memory_info().rss for process in self._processes)
        return Used(self._cpu_s() - self._before, memory / 1e6)

    def _cpu_s(self) -> float:
        times = [process.cpu_times() for process in self._processes]
        return sum(each.user + each.system for each in times)


SYSTEMS = [
    *(System(name, committed=name == "quixstreams") for name in LOOPS),
    System("riverrun exactly-once", True, 1),
    System("riverrun at-least-once", False, 1, delivery="at_least_once"),
    System("riverrun two task managers", True, 2),
    System("riverrun all outputs, RocksDB", True, 1, "rocksdb", outputs=True),
]


def common_options(description: str | None) -> argparse.ArgumentParser:
    """What every measurement on Kafka can be told."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", choices=KAFKA_SPECS, default=list(KAFKA_SPECS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--systems", nargs="+", help="parts of names; default: all")
    parser.add_argument("--json", type=Path, help="write the rows there")
    return parser


def chosen(parts: list[str] | None) -> list[System]:
    """The systems whose names have one of these parts; all of them without."""
    return [system for system in SYSTEMS if not parts or any(part in system.name for part in parts)]


def same(runs: list[list[Departure]]) -> bool:
    """Whether all systems said the same of each transaction, floats compared with ==."""
    first, *others = ({each.id: each.said for each in run} for run in runs)
    return all(other == first for other in others)


def now_ms() -> float:
    return time.time() * 1000
