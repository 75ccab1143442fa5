"""The job and the loops of `perf/loops.py` on one broker: started, watched, ended, and what they wrote."""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Self

import msgspec
import psutil
from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.admin import NewTopic

from jobs.broker import Broker
from jobs.cluster import Cluster
from jobs.config import load_config
from jobs.kafka_checks import create_topics
from jobs.rest import Rest
from jobs.submitting import submit
from jobs.toml_text import dump_toml
from jobs.waiting import wait_until
from perf.loops import CALLS, LOOPS, Calls, Said
from perf.workloads import KAFKA_SPECS
from state.signing import SigningKey

_LONGEST_S = 1800.0
# Of a job in published mode, besides its predictions.
PUBLISHED_TOPICS = ("learn_queue", "versions")
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
    published : bool
        Whether the job predicts from published versions.
    """

    name: str
    committed: bool = False
    task_managers: int = 0
    state_backend: str = "heap"
    delivery: str = "exactly_once"
    outputs: bool = False
    published: bool = False


class Departure(NamedTuple):
    """A prediction as Kafka has it; times in ms since the epoch, `left` the producer's."""

    id: str
    left: int
    predicted: int
    said: dict[str, float]


class Used(NamedTuple):
    """What a system's processes took in so many seconds."""

    seconds: float
    cpu_s: float
    memory_mb: float


class Bench:
    """A broker, and a cluster for each number of task managers that is asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._clusters: dict[int, Cluster] = {}
        self._runs = 0

    def __enter__(self) -> Self:
        self.broker = Broker.start(self._folder / "kafka")
        return self

    def __exit__(self, *_: object) -> None:
        for cluster in self._clusters.values():
            cluster.stop()
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
            with self._job(system, model, source, target) as watch:
                yield watch
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
            yield Watch([psutil.Process(loop.pid)], partial(_calls_of_loop, folder / CALLS))
        except psutil.NoSuchProcess:
            raise RuntimeError(f"{system.name} has ended:\n{log.read_text()[-2000:]}") from None
        finally:
            loop.kill()
            loop.wait()

    def metric(self, system: System, target: str, name: str) -> float:
        """A metric of the job that writes to `target`, once it is more than 0; its sum."""
        rest = self._cluster_of(system.task_managers).rest
        job = rest.job_by_name(target)
        assert job is not None, "it runs"
        # The job manager fetches metrics when it is asked for them, for the next one who asks.
        return wait_until(
            lambda: sum(of.get(name, 0) for of in rest.metrics(job.id, {name}).values()),
            f"{name} of the job",
            timeout_s=60,
        )

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
    def _job(self, system: System, model: str, source: str, target: str) -> Iterator["Watch"]:
        cluster = self._cluster_of(system.task_managers)
        folder = self._folder / target
        folder.mkdir()
        path = folder / "job.toml"
        path.write_text(dump_toml(self._document(system, model, source, target, folder)))
        config = load_config(path)
        for _ in create_topics(config):
            pass
        job_id = submit(config, path, cluster.rest)
        try:
            processes = [psutil.Process(pid) for pid in cluster.task_manager_pids.values()]
            yield Watch(processes, partial(_calls_of_job, cluster.rest, job_id))
        finally:
            cluster.rest.cancel(job_id)
            cluster.rest.wait_for(job_id, {"CANCELED"})

    def _cluster_of(self, task_managers: int) -> Cluster:
        """They stay: a JVM that has just started compiles while it runs."""
        if task_managers not in self._clusters:
            folder = self._folder / f"cluster-{task_managers}"
            self._clusters[task_managers] = Cluster.start(folder, task_managers=task_managers)
        return self._clusters[task_managers]

    def _document(
        self, system: System, model: str, source: str, target: str, folder: Path
    ) -> dict[str, Any]:
        connection = {"connector": "kafka", "bootstrap_servers": self.broker.servers}
        sink = {**connection, "delivery": system.delivery}
        outputs = {"predictions": {**sink, "topic": target}}
        if system.outputs:
            for output in ("evaluations", "learn_log"):
                outputs[output] = {**sink, "topic": self.topic(f"{target}-{output}")}
        properties: dict[str, str] = {}
        job: dict[str, Any] = {
            "name": target,
            "checkpoint_dir": str(folder / "checkpoints"),
            "state_backend": system.state_backend,
        }
        if system.published:
            key = folder / "key.pem"
            key.write_bytes(SigningKey.generate().pem())
            job["mode"] = "published"
            # What comes before the first version waits for it, however much that is.
            job["hold_limit"] = 1_000_000
            outputs["security"] = {"signing_key_file": str(key)}
            # As docs/published.md has it for a machine with few cores.
            outputs["published"] = {"learner_nice": "idle"}
            properties = {"fetch.max.wait.ms": "10", "fetch.min.bytes": "65536"}
            for output in PUBLISHED_TOPICS:
                outputs[output] = {**sink, "topic": f"{target}-{output}"}
        return {
            "job": {**job, "isolate_model": system.task_managers == 2 and not system.published},
            "features": {**connection, "topic": source, "properties": properties},
            **outputs,
            "models": [{"name": "m", "task": "classification", "spec": KAFKA_SPECS[model]}],
        }


class Watch:
    """What processes take while they run.

    Attributes
    ----------
    calls : callable
        Tells how long the model's calls took.
    """

    def __init__(self, processes: list[psutil.Process], calls: Callable[[], Calls]) -> None:
        self._processes = processes
        self.calls = calls
        self._since = time.monotonic()
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
        seconds = time.monotonic() - self._since
        return Used(seconds, self._cpu_s() - self._before, memory / 1e6)

    def _cpu_s(self) -> float:
        times = [process.cpu_times() for process in self._processes]
        return sum(each.user + each.system for each in times)


def _calls_of_loop(path: Path) -> Calls:
    return msgspec.json.decode(path.read_bytes(), type=Calls)


def _calls_of_job(rest: Rest, job_id: str) -> Calls:
    def measured() -> Calls | None:
        metrics = rest.metrics(job_id, Calls.__struct_fields__)
        found = metrics.get("OnlineModel", {})
        if "Predictor" in metrics:
            found = {**metrics["Predictor"], "learn_us": metrics["Trainer_of_m"].get("learn_us", 0)}
        return msgspec.convert(found, Calls) if found.get("predict_us") else None

    # The job manager fetches metrics when it is asked for them, for the next one who asks.
    return wait_until(measured, "metrics of the job", timeout_s=60)


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


def chosen(parts: list[str] | None, systems: Sequence[System] = SYSTEMS) -> list[System]:
    """The systems whose names have one of these parts; all of them without."""
    return [system for system in systems if not parts or any(part in system.name for part in parts)]


def same(runs: list[list[Departure]]) -> bool:
    """Whether all systems said the same of each transaction, floats compared with ==."""
    first, *others = ({each.id: each.said for each in run} for run in runs)
    return all(other == first for other in others)


def now_ms() -> float:
    return time.time() * 1000
