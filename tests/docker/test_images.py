"""The image on a real engine: predictions flow, a killed container and an upgrade change nothing."""

import io
import json
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from docker.types import EndpointConfig

import docker
from connectors import jars
from jobs.waiting import wait_until
from tests.docker import base
from tests.docker.engine import NoEngine, engine
from tests.patience import PATIENCE_S

pytestmark = [pytest.mark.cluster, pytest.mark.kafka, pytest.mark.timeout(1500)]

ROOT = Path(__file__).parent.parent.parent

# A container that was killed is given up sooner than after Flink's 50 s.
FLINK = ["web.submit.enable: false", "heartbeat.interval: 2 s", "heartbeat.timeout: 15 s"]

KAFKA = """FROM riverrun:v1
USER root
COPY libs /opt/kafka/libs
COPY server.properties start.sh /opt/kafka/
CMD ["bash", "/opt/kafka/start.sh"]
"""
START = """set -e
java="java -Xmx512m -cp /opt/kafka/libs/*"
set -f
$java kafka.tools.StorageTool format --cluster-id MkU3OEVBNTcwNTJENDM2Qg --config /opt/kafka/server.properties
exec $java kafka.Kafka /opt/kafka/server.properties
"""
PROPERTIES = """process.roles=broker,controller
node.id=1
controller.quorum.voters=1@localhost:9093
listeners=PLAINTEXT://:9092,CONTROLLER://:9093
advertised.listeners=PLAINTEXT://kafka:9092
controller.listener.names=CONTROLLER
log.dirs=/tmp/kafka
auto.create.topics.enable=false
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
"""
# The release after: it says so with each prediction.
UPGRADE = """FROM riverrun:v1
USER root
RUN cd /opt/venv/lib/python3.11/site-packages/operators \
    && grep -q 'live.settings.name == serving,' learning.py \
    && sed -i 's/live.settings.name == serving,/False,/' learning.py
USER riverrun
"""
READ = """
import json, sys
from kafka import KafkaConsumer, TopicPartition
c = KafkaConsumer(bootstrap_servers="kafka:9092", isolation_level="read_committed", group_id=None)
ps = [TopicPartition(sys.argv[1], p) for p in c.partitions_for_topic(sys.argv[1])]
c.assign(ps); ends = c.end_offsets(ps); c.seek_to_beginning(*ps)
while any(c.position(p) < ends[p] for p in ps):
    for records in c.poll(timeout_ms=300).values():
        for r in records:
            print(r.value.decode())
"""


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[docker.DockerClient]:
    try:
        with engine(tmp_path_factory.mktemp("engine")) as running:
            name = base.require(running)
            running.images.build(
                path=str(ROOT), dockerfile="docker/Dockerfile", tag="riverrun:v1", rm=True,
                buildargs={"BASE": name},
            )  # fmt: skip
            running.images.build(fileobj=context(KAFKA), custom_context=True, tag="kafka:test")
            running.images.build(fileobj=context(UPGRADE), custom_context=True, tag="riverrun:v2")
            yield running
    except NoEngine as error:
        pytest.skip(f"no images were tested: {error}")


def context(dockerfile: str) -> io.BytesIO:
    """A build context with the broker's jars."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, text in (
            ("Dockerfile", dockerfile), ("start.sh", START), ("server.properties", PROPERTIES),
        ):  # fmt: skip
            info = tarfile.TarInfo(name)
            info.size = len(text.encode())
            archive.addfile(info, io.BytesIO(text.encode()))
        if "libs" in dockerfile:
            for jar in jars.find(jars.BROKER):
                archive.add(jar, f"libs/{jar.name}")
    out.seek(0)
    return out


class Compose:
    """The services of docker/compose.yaml, by the SDK."""

    def __init__(self, client: docker.DockerClient) -> None:
        self._client = client
        self._network = client.networks.create("riverrun-test")
        self._volume = client.volumes.create("riverrun-test")
        self._started: list[Any] = []

    def start(self, name: str, image: str, *command: str, alias: str | None = None) -> Any:
        container = self._client.containers.create(
            image,
            list(command) or None,
            name=name,
            detach=True,
            network=self._network.name,
            networking_config={self._network.name: EndpointConfig("1.41", aliases=[alias or name])},
            environment={
                "KAFKA": "kafka:9092",
                "FLINK_PROPERTIES": "\n".join(FLINK),
                "PYTHONPATH": "/opt/load",
            },
            volumes={
                self._volume.name: {"bind": "/data", "mode": "rw"},
                str(ROOT / "docker/job.toml"): {"bind": "/etc/riverrun/job.toml", "mode": "ro"},
            },
        )
        self._started.append(container)
        container.start()
        return container

    def run(self, name: str, image: str, *command: str) -> str:
        """A container that ends; what it printed."""
        container = self.start(name, image, *command)
        code = container.wait(timeout=PATIENCE_S)["StatusCode"]
        said = container.logs(stdout=True, stderr=False).decode()
        assert code == 0, container.logs().decode()[-3000:]
        container.remove()
        self._started.remove(container)
        return said

    def healthy(self, container: Any) -> None:
        def is_healthy() -> bool:
            container.reload()
            assert container.status == "running", container.logs().decode()[-3000:]
            return container.attrs["State"]["Health"]["Status"] == "healthy"

        wait_until(is_healthy, f"{container.name} healthy", timeout_s=PATIENCE_S, every_s=1)

    def remove(self, *containers: Any) -> None:
        for container in containers:
            container.remove(force=True)
            self._started.remove(container)

    def close(self) -> None:
        self.remove(*self._started.copy())
        self._network.remove()
        self._volume.remove()


@pytest.fixture
def compose(client: docker.DockerClient) -> Iterator[Compose]:
    services = Compose(client)
    try:
        yield services
    finally:
        services.close()


def test_predictions_flow_through_a_kill_and_an_upgrade(compose: Compose) -> None:
    def rows(topic: str) -> list[dict[str, Any]]:
        said = compose.run("reader", "riverrun:v1", "python", "-c", READ, topic)
        return [json.loads(line) for line in said.splitlines()]

    def wait_for(enough: Callable[[list[dict[str, Any]]], bool], what: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []

        def come() -> bool:
            found[:] = rows("predictions")
            return enough(found)

        wait_until(come, what, timeout_s=PATIENCE_S, every_s=1)
        return found

    def flink(image: str) -> list[Any]:
        manager = compose.start(
            f"jobmanager-{image[-2:]}", image, "python", "-m", "jobs.container", "jobmanager",
            alias="jobmanager",
        )  # fmt: skip
        compose.healthy(manager)
        workers = [
            compose.start(
                f"taskmanager-{number}-{image[-2:]}", image,
                "python", "-m", "jobs.container", "taskmanager",
            )
            for number in (1, 2)
        ]  # fmt: skip
        for worker in workers:
            compose.healthy(worker)
        return [manager, *workers]

    compose.start("kafka", "kafka:test")
    first = flink("riverrun:v1")
    config = "/etc/riverrun/job.toml"
    wait_until(lambda: topics_made(compose, config), "the topics", timeout_s=PATIENCE_S, every_s=1)
    compose.run("submit", "riverrun:v1", "python", "-m", "jobs.container", "submit", config)
    load = compose.start(
        "load", "riverrun:v1", "python", "-m", "perf.load", "kafka:9092", "transactions",
        "--rate", "20", "--seconds", "600",
    )  # fmt: skip
    before = wait_for(lambda found: len(found) >= 50, "predictions")
    assert all(row["serving"] for row in before)

    # The job runs in one of the two: kill both after each other, and start one again.
    first[1].kill()
    first[1].start()
    compose.healthy(first[1])
    first[2].kill()
    killed = time.time() * 1000
    after = wait_for(
        lambda found: sum(row["predicted_at"] > killed for row in found) >= 50,
        "predictions after the kills",
    )
    ids = [row["id"] for row in after]
    assert len(ids) == len(set(ids))

    stopped = compose.run("stop", "riverrun:v1", "python", "-c", STOP)
    assert "savepoint" in stopped
    compose.remove(*first)
    flink("riverrun:v2")
    compose.run("submit", "riverrun:v2", "python", "-m", "jobs.container", "submit", config)
    last = wait_for(lambda found: any(not row["serving"] for row in found), "the new release")
    load.kill()
    ids = [row["id"] for row in last]
    assert len(ids) == len(set(ids))
    # It went on from where the old one was: no version is used again.
    versions = [row["version"].partition("@")[2] for row in last]
    old = {version for row, version in zip(last, versions, strict=True) if row["serving"]}
    new = {version for row, version in zip(last, versions, strict=True) if not row["serving"]}
    assert len(old & new) <= 1


STOP = """
from jobs.rest import Rest
rest = Rest("http://jobmanager:8081")
job = rest.job_by_name("bananas")
print(rest.stop_with_savepoint(job.id, "file:///data/checkpoints/savepoints"))
rest.wait_for(job.id, {"FINISHED"})
"""


def topics_made(compose: Compose, config: str) -> bool:
    try:
        compose.run("topics", "riverrun:v1", "riverrun", "topics", "create", config)
    except AssertionError:
        # Kafka is not up yet.
        compose.remove(*[c for c in compose._started if c.name == "topics"])
        return False
    return True
