"""One Kafka broker for the tests that leave it as they found it."""

import uuid
from collections.abc import Iterator

import pytest

from jobs.broker import Broker
from tests.kafka.topics import Topics


@pytest.fixture(scope="session")
def _running_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    # A transaction that has timed out is aborted soon, not up to 10 s later.
    settings = {"transaction.abort.timed.out.transaction.cleanup.interval.ms": "500"}
    folder = tmp_path_factory.mktemp("broker") / "broker"
    with Broker.start(folder, settings=settings) as running:
        yield running


@pytest.fixture
def broker(_running_broker: Broker) -> Broker:
    """A broker that runs, whatever the test before did to it."""
    if _running_broker.pid is None:
        Broker.start(_running_broker.folder)
    return _running_broker


@pytest.fixture
def topics(broker: Broker) -> Iterator[Topics]:
    """Topics of this test alone."""
    with Topics(broker.servers, uuid.uuid4().hex[:8]) as mine:
        yield mine
