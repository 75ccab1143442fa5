"""A broker that asks for TLS, a password and ACLs; the password is found nowhere."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from kafka import KafkaAdminClient
from kafka.admin import (
    ACL,
    ACLOperation,
    ACLPermissionType,
    ResourcePattern,
    ResourceType,
)
from kafka.admin import ACLResourcePatternType as PatternType

from jobs.broker import Broker
from jobs.cluster import Cluster
from jobs.errors import Failure
from jobs.kafka_checks import require_ready
from tests.cluster.telling import rest_answers
from tests.conftest import SETTINGS
from tests.jobs.flows import OUTPUTS, classifier, phishing
from tests.kafka import certificates
from tests.kafka.jobs import KafkaJob
from tests.kafka.topics import Topics

pytestmark = [pytest.mark.cluster, pytest.mark.kafka]

ADMIN, PASSWORD = "admin-8f2c1d", "planted-4b7e9a0c55d1"
MODULE = "org.apache.kafka.common.security"
JAAS = {
    "PLAIN": f"{MODULE}.plain.PlainLoginModule required",
    "SCRAM-SHA-256": f"{MODULE}.scram.ScramLoginModule required",
    "OAUTHBEARER": f"{MODULE}.oauthbearer.OAuthBearerLoginModule required",
}


class Secured(NamedTuple):
    """A broker, what a client must trust, and who may do everything there."""

    broker: Broker
    trusted: Path
    admin: dict[str, object]

    def properties(self, mechanism: str, login: str) -> dict[str, str]:
        """Of a job."""
        return {
            "security.protocol": "SASL_SSL",
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self.trusted),
            "sasl.mechanism": mechanism,
            "sasl.jaas.config": f"{JAAS[mechanism]} {login};",
        }


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    folder = tmp_path_factory.mktemp("secured")
    key, trusted = certificates.write(folder)
    logins = f'username="admin" password="{ADMIN}" user_admin="{ADMIN}" user_fraud="{PASSWORD}"'
    listener = "listener.name.sasl_ssl"
    settings = {
        "listeners": "SASL_SSL://127.0.0.1:{port},CONTROLLER://{controller}",
        "advertised.listeners": "SASL_SSL://127.0.0.1:{port}",
        "listener.security.protocol.map": "SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "SASL_SSL",
        "sasl.mechanism.inter.broker.protocol": "PLAIN",
        "sasl.enabled.mechanisms": ",".join(JAAS),
        f"{listener}.plain.sasl.jaas.config": f"{JAAS['PLAIN']} {logins};",
        f"{listener}.scram-sha-256.sasl.jaas.config": f"{JAAS['SCRAM-SHA-256']};",
        f"{listener}.oauthbearer.sasl.jaas.config": (
            f'{JAAS["OAUTHBEARER"]} unsecuredLoginStringClaim_sub="admin";'
        ),
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(key),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(trusted),
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        # The controller's own listener knows no users.
        "super.users": "User:admin;User:ANONYMOUS",
    }
    with Broker.start(folder / "broker", settings=settings, scram={"fraud": PASSWORD}) as broker:
        admin = {
            "security_protocol": "SASL_SSL",
            "sasl_mechanism": "PLAIN",
            "sasl_plain_username": "admin",
            "sasl_plain_password": ADMIN,
            "ssl_cafile": str(trusted),
        }
        yield Secured(broker, trusted, admin)


@pytest.fixture
def topics(secured: Secured, request: pytest.FixtureRequest) -> Iterator[Topics]:
    prefix = f"t{abs(hash(request.node.name)):x}"
    with Topics(secured.broker.servers, prefix, **secured.admin) as mine:
        yield mine


def allow(secured: Secured, topics: Topics, job: str) -> None:
    """What docs/kafka.md says that a job's user needs, and nothing else."""
    needed = [
        (ResourceType.TOPIC, topics.name("features"), PatternType.LITERAL, "READ"),
        *(
            (ResourceType.TOPIC, topics.name(output), PatternType.LITERAL, "WRITE")
            for output in OUTPUTS
        ),
        (ResourceType.GROUP, job, PatternType.LITERAL, "READ"),
        (ResourceType.TRANSACTIONAL_ID, f"{job}/", PatternType.PREFIXED, "WRITE"),
    ]
    admin = KafkaAdminClient(bootstrap_servers=secured.broker.servers, **secured.admin)
    try:
        admin.create_acls(
            [
                ACL(
                    principal="User:fraud",
                    host="*",
                    operation=ACLOperation[operation],
                    permission_type=ACLPermissionType.ALLOW,
                    resource_pattern=ResourcePattern(kind, name, pattern),
                )
                for kind, name, pattern, operation in needed
            ]
        )
    finally:
        admin.close()


LOGINS = {
    "PLAIN": 'username="fraud" password="${PLANTED}"',
    "SCRAM-SHA-256": 'username="fraud" password="${file:FILE:password}"',
    "OAUTHBEARER": 'unsecuredLoginStringClaim_sub="fraud"',
}


@pytest.mark.parametrize("mechanism", LOGINS)
def test_a_job_logs_in_and_its_password_is_found_nowhere(
    secured, topics, tmp_path, monkeypatch, mechanism
):
    secret = tmp_path / "kafka.properties"
    secret.write_text(f"password={PASSWORD}\n")
    monkeypatch.setenv("PLANTED", PASSWORD)
    topics.create("features", *OUTPUTS)
    events = phishing(80)
    topics.send("features", events)
    properties = secured.properties(mechanism, LOGINS[mechanism].replace("FILE", str(secret)))
    name = f"job-{mechanism.lower()}"
    allow(secured, topics, name)
    # A cluster of its own: its processes know the variable, and its logs are of this job alone.
    with Cluster.start(tmp_path / "cluster", settings=SETTINGS) as cluster:
        job = KafkaJob(
            topics,
            tmp_path / "job",
            [classifier()],
            inputs={"features": {"topic": topics.name("features"), "properties": properties}},
            sink={"properties": properties},
            job={"name": name},
        )
        # In a process of its own: the JVM of this one may be older than the variable.
        command = [sys.executable, "-m", "jobs.cli", "submit", job.path, "--url", cluster.url]
        submitted = subprocess.run(command, capture_output=True, text=True, check=False)
        said = " ".join(submitted.stderr.split())
        assert submitted.returncode == 0, said
        assert "may not ask for the broker's transaction.max.timeout.ms" in said
        job_id = cluster.rest.job_by_name(name).id
        job.wait_for(80)
        job.wait_for(80, "learn_log")
        answers = rest_answers(cluster, job_id)
        cluster.rest.cancel(job_id)
    assert job.written() == job.expected("features")
    logs = {path: path.read_bytes() for path in (tmp_path / "cluster").rglob("*") if path.is_file()}
    assert sum(path.suffix == ".log" for path in logs) >= 2
    for place, text in {**logs, **answers}.items():
        assert PASSWORD.encode() not in text, place
    assert PASSWORD not in job.config.to_public_toml()


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256"])
def test_a_wrong_password_is_refused_before_anything_starts(
    secured, topics, tmp_path, riverrun, mechanism
):
    topics.create("features", *OUTPUTS)
    wrong = 'username="fraud" password="wrong-81c3"'
    properties = secured.properties(mechanism, wrong)
    job = KafkaJob(
        topics,
        tmp_path,
        [classifier()],
        inputs={"features": {"topic": topics.name("features"), "properties": properties}},
        sink={"properties": properties},
    )
    with pytest.raises(Failure) as refused:
        require_ready(job.config)
    assert "SaslAuthentication" in str(refused.value)
    assert "wrong-81c3" not in str(refused.value)
