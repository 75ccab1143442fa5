"""The thread that sends alerts, to a receiver that is real."""

import logging
from collections.abc import Iterator

import pytest

from jobs.waiting import wait_until
from operators.courier import Courier
from operators.delivering import Answer, Deliveries, Ended
from operators.posting import Receiver
from tests.operators import receivers
from tests.operators.receivers import Reply, receiving
from tests.patience import PATIENCE_S


@pytest.fixture
def server() -> Iterator[receivers.Receiver]:
    with receiving() as running:
        yield running


@pytest.fixture
def courier(server) -> Iterator[Courier]:
    receiver = Receiver(server.url, {}, "fraud", 10.0)
    made = Courier("webhook", receiver, Deliveries(0.05))
    made.start()
    yield made
    made.close()


def taken(courier: Courier, count: int) -> list[Ended]:
    found: list[Ended] = []

    def enough() -> bool:
        found.extend(courier.taken())
        return len(found) >= count

    wait_until(enough, f"{count} alerts to end", timeout_s=PATIENCE_S, every_s=0.01)
    return found


def test_what_is_handed_over_arrives_in_order(server, courier) -> None:
    for number in range(20):
        courier.hand(number, f"a{number}", f'"{number}"')
    assert taken(courier, 20) == [Ended(n, f"a{n}", f'"{n}"') for n in range(20)]
    assert server.ids() == [f"a{number}" for number in range(20)]
    assert [got.body for got in server.got] == [f'"{n}"'.encode() for n in range(20)]
    assert courier.waiting == 0


def test_a_receiver_that_hangs_holds_up_nobody_who_hands_over(server, courier) -> None:
    server.reply = lambda got: Reply(None)
    for number in range(100):
        courier.hand(number, f"a{number}", "{}")
    wait_until(lambda: server.got, "the first request", timeout_s=PATIENCE_S)
    assert (courier.taken(), courier.waiting) == ([], 100)
    courier.close()
    thread = courier._thread
    wait_until(lambda: not thread.is_alive(), "the thread to end", timeout_s=PATIENCE_S)
    assert len(server.got) == 1


def test_a_receiver_that_fails_gets_the_same_alert_again(server, courier, caplog) -> None:
    answers = iter([503, 500, 429, 200, 200])
    server.reply = lambda got: Reply(next(answers))
    with caplog.at_level(logging.WARNING):
        courier.hand(0, "a0", "{}")
        courier.hand(1, "a1", "{}")
        taken(courier, 2)
    assert server.ids() == ["a0", "a0", "a0", "a0", "a1"]
    said = [record.getMessage() for record in caplog.records]
    assert [line.partition(";")[0] for line in said[:2]] == [
        "webhook: alert a0 was not delivered: status 503",
        "webhook: alert a0 was not delivered: status 500",
    ]
    assert said[2:] == ["webhook: alerts are delivered again, after 3 tries that failed"]


def test_one_that_is_refused_is_told_of(server, courier, caplog) -> None:
    server.reply = lambda got: Reply(404 if got.headers["idempotency-key"] == "a0" else 200)
    with caplog.at_level(logging.WARNING):
        courier.hand(0, "a0", "{}")
        courier.hand(1, "a1", "{}")
        first, second = taken(courier, 2)
    assert (first.number, first.refused) == (0, True)
    assert second == Ended(1, "a1", "{}")
    why = "the receiver refused it 3 times, the last with status 404"
    assert f"webhook: alert a0 is given up: {why}" in caplog.messages


def test_at_the_end_what_is_not_delivered_in_time_is_given_up(server, courier, caplog) -> None:
    server.reply = lambda got: Reply(None if got.headers["idempotency-key"] == "a1" else 200)
    for number in range(3):
        courier.hand(number, f"a{number}", "{}")
    wait_until(lambda: "a1" in server.ids(), "the second to be sent", timeout_s=PATIENCE_S)
    with caplog.at_level(logging.WARNING):
        courier.finish(0.1)
        ended = courier.taken()
    why = "the input has ended, and it was not delivered in time"
    assert ended == [Ended(0, "a0", "{}"), *(Ended(n, f"a{n}", "{}", why) for n in (1, 2))]
    assert [f"webhook: alert a{n} is given up: {why}" for n in (1, 2)] == caplog.messages


def test_at_the_end_it_waits_no_longer_than_it_takes(server, courier) -> None:
    courier.hand(0, "a0", "{}")
    courier.finish(PATIENCE_S * 100)
    assert courier.taken() == [Ended(0, "a0", "{}")]


class Odd:
    """A way to post that raises what nobody has thought of, once."""

    def __init__(self) -> None:
        self.posts = 0

    def post(self, id: str, text: str) -> Answer:
        self.posts += 1
        if self.posts == 1:
            raise RuntimeError("https://secret")
        return Answer(200)

    def abort(self) -> None:
        pass


def test_an_error_that_nobody_expects_is_a_try_that_failed(caplog) -> None:
    odd = Odd()
    courier = Courier("webhook", odd, Deliveries(0.05))
    courier.start()
    with caplog.at_level(logging.WARNING):
        courier.hand(0, "a0", "{}")
        assert taken(courier, 1) == [Ended(0, "a0", "{}")]
    courier.close()
    assert odd.posts == 2
    assert "secret" not in caplog.text
