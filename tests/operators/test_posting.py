"""One alert, posted over real sockets."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.waiting import wait_until
from operators.delivering import Answer
from operators.posting import Receiver, header_problem, header_text, url_problem
from tests.kafka import certificates
from tests.operators import receivers
from tests.operators.receivers import Reply, receiving
from tests.patience import PATIENCE_S

ALERT = '{"alert":"quality/lr/champion/7","detail":"Zürich"}'


@pytest.fixture
def server() -> Iterator[receivers.Receiver]:
    with receiving() as running:
        yield running


def post(server: receivers.Receiver, *, timeout_s: float = 10.0, **headers: str) -> Answer:
    return Receiver(server.url, headers, "fraud", timeout_s).post("quality/lr/champion/7", ALERT)


def test_the_receiver_gets_the_record_with_its_id_and_the_headers(server) -> None:
    url = server.url + "/deep?room=1&x=%20"
    receiver = Receiver(url, {"Authorization": "Bearer x", "X-Team": "fraud"}, "fraud", 10.0)
    assert receiver.post("quality/lr/champion/7", ALERT) == Answer(200)
    [got] = server.got
    assert got.path == "/alerts/deep?room=1&x=%20"
    assert got.body == ALERT.encode()
    assert json.loads(got.body)["detail"] == "Zürich"
    assert got.headers == {
        "host": f"127.0.0.1:{server.port}",
        "accept-encoding": "identity",
        "user-agent": "riverrun",
        "content-length": str(len(ALERT.encode())),
        "content-type": "application/json",
        "connection": "close",
        "authorization": "Bearer x",
        "x-team": "fraud",
        "x-riverrun-job": "fraud",
        "x-riverrun-alert": "quality/lr/champion/7",
        "idempotency-key": "quality/lr/champion/7",
    }


@pytest.mark.parametrize(
    ("id", "shown"),
    [
        ("failing/lr/Zürich/7", "failing/lr/Z%C3%BCrich/7"),
        ("failing/lr/a\r\nX-Evil: 1/7", "failing/lr/a%0D%0AX-Evil: 1/7"),
        ("failing/lr/100%/7", "failing/lr/100%25/7"),
        (" ", "%20"),
    ],
)
def test_an_id_of_any_characters_is_one_header(server, id: str, shown: str) -> None:
    assert Receiver(server.url, {}, "fraud", 10.0).post(id, ALERT).status == 200
    [got] = server.got
    assert got.headers["idempotency-key"] == got.headers["x-riverrun-alert"] == shown
    assert "x-evil" not in got.headers
    assert header_text(id) == shown


def test_a_url_without_a_path_is_the_root(server) -> None:
    url = server.url.removesuffix("/alerts")
    assert Receiver(url, {}, "fraud", 10.0).post("a", ALERT).status == 200
    assert server.got[0].path == "/"


def test_a_redirect_is_not_followed(server) -> None:
    server.reply = lambda got: Reply(302, (("Location", "/elsewhere"),))
    assert post(server) == Answer(302)
    assert [got.path for got in server.got] == ["/alerts"]


def test_no_proxy_of_the_environment_is_used(server, monkeypatch) -> None:
    with receiving() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        assert post(server).status == 200
        assert proxy.got == []
    assert len(server.got) == 1


def test_the_body_of_an_answer_is_not_waited_for(server) -> None:
    server.reply = lambda got: Reply(200, (("Content-Length", "1000000"),), b"so far")
    assert post(server) == Answer(200)


def test_what_the_receiver_asks_for_is_in_the_answer(server) -> None:
    server.reply = lambda got: Reply(429, (("Retry-After", "17"),))
    assert post(server) == Answer(429, asked_s=17.0)


def test_a_receiver_that_does_not_answer_is_left_after_the_timeout(server) -> None:
    server.reply = lambda got: Reply(None)
    assert post(server, timeout_s=0.5) == Answer(None, "no answer in time")
    wait_until(lambda: len(server.got) == 1, "the request", timeout_s=PATIENCE_S)


def test_one_that_answers_a_byte_at_a_time_is_too(server) -> None:
    server.drips = True
    assert post(server, timeout_s=0.3) == Answer(None, "no answer in time")


def test_one_that_does_not_speak_http_is_a_problem_in_words() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/secret-path"
        receiver = Receiver(url, {}, "fraud", 0.2)
        assert receiver.post("a", ALERT) == Answer(None, "no answer in time")
    # Nobody listens there any more.
    answer = receiver.post("a", ALERT)
    assert answer == Answer(None, "ConnectionRefusedError: Connection refused")


def test_https_asks_for_a_certificate_that_is_trusted(tmp_path: Path, monkeypatch) -> None:
    key, trusted = certificates.write(tmp_path)
    with receiving(certificate=key) as server:
        answer = post(server, Authorization="Bearer x")
        assert answer.status is None
        assert answer.problem.startswith("its certificate is not trusted: ")
        assert server.got == []
        monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
        assert post(server).status == 200


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("https://hooks.example.com/x", None),
        ("http://127.0.0.1:8080", None),
        ("HTTPS://h/x?y=z", None),
        ("https://[::1]:8443/x", None),
        ("ftp://example.com/x", "is no URL of https or http"),
        ("file:///etc/passwd", "is no URL of https or http"),
        ("example.com/x", "is no URL of https or http"),
        ("https:///x", "names no host"),
        ("https://:443/x", "names no host"),
        ("https://h:0/x", "names no host"),
        ("https://h:99999/x", "is no URL"),
        ("https://h:port/x", "is no URL"),
        ("https://[::1/x", "is no URL"),
        ("https://u:p@h/x", "holds a user or password; headers.Authorization is the place for it"),
        ("https://h/a b", "holds a character that no URL may have; percent-encode it"),
        ("https://h/ä", "holds a character that no URL may have; percent-encode it"),
        ("https://h/\r\nX: y", "holds a character that no URL may have; percent-encode it"),
    ],
)
def test_which_urls_can_be_posted_to(url: str, problem: str | None) -> None:
    assert url_problem(url) == problem
    if problem is not None:
        with pytest.raises(ValueError, match="url ") as refused:
            Receiver(url, {}, "fraud", 1.0)
        assert url not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("Authorization", "Bearer a.b-c", None),
        ("X-Empty", "", None),
        ("User-Agent", "ours", None),
        ("content-type", "text/plain", "cannot be set"),
        ("Idempotency-Key", "1", "cannot be set"),
        ("X-Riverrun-Alert", "1", "cannot be set"),
        ("Transfer-Encoding", "chunked", "cannot be set"),
        ("", "x", "is no name of a header"),
        ("X Y", "x", "is no name of a header"),
        ("X:", "x", "is no name of a header"),
        ("X-Key", "planted\n", "holds a character that no header may have"),
        ("X-Key", "plänted", "holds a character that no header may have"),
    ],
)
def test_which_headers_can_be_sent(name: str, value: str, problem: str | None) -> None:
    assert header_problem(name, value) == problem
    if problem is not None:
        with pytest.raises(ValueError, match="headers") as refused:
            Receiver("http://h", {name: value}, "fraud", 1.0)
        assert value in ("1", "x") or value not in str(refused.value)
