"""Whole jobs on a MiniCluster that post their alerts to a real receiver, until their input ends."""

import json
from collections.abc import Iterator

import pytest

from connectors.files import read_parts
from jobs.config import Config
from jobs.running import run
from tests.jobs import alerting, flows
from tests.jobs.flows import timeless
from tests.operators import receivers
from tests.operators.receivers import Reply, receiving

pytestmark = pytest.mark.cluster

COUNT = 12


@pytest.fixture
def server() -> Iterator[receivers.Receiver]:
    with receiving() as running:
        yield running


def job(tmp_path, server, mode="thread", parallelism=1, **webhook) -> Config:
    flows.write(tmp_path / "events.jsonl", alerting.events(COUNT))
    return flows.job(
        tmp_path,
        inputs={"features": {"path": "events.jsonl"}},
        models=alerting.MODELS,
        job={"execution": mode, "parallelism": parallelism},
        **alerting.sections(server.url, **webhook),
    )


@pytest.mark.parametrize("mode", ["thread", "process"])
def test_every_alert_is_posted_as_it_is_written_and_predictions_are_as_ever(tmp_path, server, mode):
    config = job(tmp_path, server, mode, headers={"X-Team": "fraud"})
    assert run(config)
    bodies = [json.loads(got.body) for got in server.got]
    assert [timeless(body) for body in bodies] == alerting.expected(config)
    assert len(bodies) == COUNT
    assert bodies == [json.loads(line) for line in read_parts(alerting.folder_of(config))]
    assert server.ids() == [body["alert"] for body in bodies]
    assert {got.headers["x-team"] for got in server.got} == {"fraud"}
    assert {got.headers["x-riverrun-job"] for got in server.got} == {"job"}
    written = flows.written(config)
    assert len(written["predictions"]) == len(alerting.events(COUNT))
    assert written["dead_letters"] == []


def test_alerts_of_several_subtasks_go_through_one_in_their_order(tmp_path, server):
    # Which transactions are the first is chance here: of two subtasks of the join.
    config = job(tmp_path, server, parallelism=2, reference=5)
    assert run(config)
    written = [json.loads(line)["alert"] for line in read_parts(alerting.folder_of(config))]
    assert written
    assert sorted(server.ids()) == sorted(written)
    # Numbered by the monitor that made them.
    numbers = [int(id.split("/")[-2]) for id in server.ids()]
    assert numbers == list(range(1, len(written) + 1))


@pytest.mark.parametrize("mode", ["thread", "process"])
def test_the_input_ends_though_the_receiver_answers_nothing_and_the_alerts_are_dead_letters(
    tmp_path, server, mode
):
    server.reply = lambda got: Reply(None if len(server.got) > 3 else 200)
    config = job(tmp_path, server, mode, end_wait="500ms")
    assert run(config)
    wanted = alerting.expected(config)
    assert server.ids() == [alert["alert"] for alert in wanted[:4]]
    written = flows.written(config)
    assert len(written["predictions"]) == len(alerting.events(COUNT))
    for letter, alert in zip(written["dead_letters"], wanted[3:], strict=True):
        assert timeless(json.loads(letter.pop("raw"))) == alert
        assert letter == {
            "stage": "alert",
            "source": None,
            "position": None,
            "id": alert["id"],
            "model": None,
            "reason": "alert_undelivered",
            "detail": f"webhook of [[alerts]] 2: alert {alert['alert']}: "
            "the input has ended, and it was not delivered in time",
        }


def test_what_a_receiver_refuses_is_a_dead_letter_and_the_others_arrive(tmp_path, server):
    server.reply = lambda got: Reply(422 if json.loads(got.body)["kind"] == "recovered" else 200)
    config = job(tmp_path, server, max_backoff="50ms")
    assert run(config)
    wanted = alerting.expected(config)
    refused = [alert for alert in wanted if alert["kind"] == "recovered"]
    assert len(refused) == COUNT // 2
    assert server.ids() == [
        alert["alert"] for alert in wanted for _ in range(3 if alert in refused else 1)
    ]
    letters = flows.written(config)["dead_letters"]
    assert [letter["reason"] for letter in letters] == ["alert_refused"] * len(refused)
    assert [timeless(json.loads(letter["raw"])) for letter in letters] == refused
