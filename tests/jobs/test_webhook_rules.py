"""`[alerts] connector = "webhook"` in the configuration: what is refused, shown and left out."""

import tomllib
from pathlib import Path

import cloudpickle
import msgspec
import pytest

from jobs import checking, dead_letters, reading_outputs, webhook_rules, webhooks
from jobs.config import OUTPUTS, Config, ConfigError, read_config
from jobs.errors import Failure
from jobs.following import Following
from jobs.monitor_records import read_board
from jobs.settings import FileSink, WebhookSink
from tests.jobs import flows

MODEL = """
[job]
name = "fraud"
[features]
connector = "file"
path = "in.jsonl"
[[models]]
name = "m"
task = "classification"
spec = { class = "river.linear_model.LogisticRegression" }
"""
ENVIRON = {"TOKEN": "planted-1f", "PATH_KEY": "planted-2f", "ODD": "planted-3f\n"}


def config_of(section: str) -> Config:
    return read_config(tomllib.loads(MODEL + section), Path("/base"), ENVIRON)


def problems_of(section: str) -> list[str]:
    with pytest.raises(ConfigError) as error:
        config_of(section)
    return error.value.problems


def alerts(lines: str, header: str = "[alerts]") -> str:
    return f'{header}\nconnector = "webhook"\n{lines}\n'


BESIDE = (
    '[[alerts]]\nconnector = "file"\npath = "out/alerts"\n'
    + alerts('url = "https://hooks.example.com/${PATH_KEY}"\ntimeout = "3s"', "[[alerts]]")
    + alerts(
        'url = "http://127.0.0.1:8080"\nheaders = { Authorization = "Bearer ${TOKEN}" }\n'
        'max_backoff = "1m"\nend_wait = "0s"',
        "[[alerts]]",
    )
)


def test_a_webhook_stands_beside_other_sinks_and_has_defaults() -> None:
    config = config_of(BESIDE)
    assert config.alerts == (
        FileSink(path="/base/out/alerts"),
        WebhookSink(url="https://hooks.example.com/${PATH_KEY}", timeout_ms=3000),
        WebhookSink(
            url="http://127.0.0.1:8080",
            headers={"Authorization": "Bearer ${TOKEN}"},
            max_backoff_ms=60_000,
            end_wait_ms=0,
        ),
    )
    assert config.stored("alerts") == config.alerts[:1]
    assert [place for place, _ in config.webhooks()] == [1, 2]


def test_what_is_shown_has_no_secret() -> None:
    config = config_of(BESIDE + alerts('url = "https://h"\nheaders = { X = "y" }', "[[alerts]]"))
    shown = config.to_public_dict()["alerts"]
    assert shown[1]["url"] == "https://hooks.example.com/***"
    assert shown[2]["headers"] == {"Authorization": "***"}
    assert shown[3]["headers"] == {"X": "***"}
    assert "headers" not in shown[1]
    assert tomllib.loads(config.to_public_toml())["alerts"] == shown


def test_what_leaves_for_the_cluster_has_references_and_no_secret() -> None:
    settings = webhooks.settings_of(config_of(BESIDE))
    assert [(place, told.name) for place, told in settings] == [
        (1, "webhook of [[alerts]] 2"),
        (2, "webhook of [[alerts]] 3"),
    ]
    sent = cloudpickle.dumps(settings)
    assert b"${TOKEN}" in sent and b"${PATH_KEY}" in sent
    assert b"planted" not in sent


@pytest.mark.parametrize("output", [name for name in OUTPUTS if name != "alerts"])
def test_only_alerts_have_webhooks(output: str) -> None:
    section = alerts('url = "https://h"', f"[{output}]")
    expected = '"file" or "kafka" is expected'
    said = f'[{output}] connector is "webhook", which goes with [alerts] only; {expected}'
    assert said in problems_of(section)


@pytest.mark.parametrize("name", ["features", "labels", "control"])
def test_no_input_is_one(name: str) -> None:
    text = MODEL.replace('[features]\nconnector = "file"\npath = "in.jsonl"', "")
    section = alerts('url = "https://h"', f"[{name}]")
    with pytest.raises(ConfigError) as error:
        read_config(tomllib.loads(text + section), Path("/base"), ENVIRON)
    said = f'[{name}] connector is "webhook", which goes with [alerts] only; "file" or "kafka"'
    assert [line for line in error.value.problems if said in line]


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ("", "[alerts] url is missing; a string that is not empty is expected"),
        ('url = "ftp://h/x"', "[alerts] url is no URL of https or http"),
        ('url = "hooks.example.com"', "[alerts] url is no URL of https or http"),
        ('url = "https://h/${ODD}"', "[alerts] url holds a character that no URL may have; "),
        ('url = "https://h/${NONE}"', "[alerts] url uses ${NONE}, an environment variable that is"),
        ('url = "https://h"\nheaders = { Host = "x" }', "[alerts] headers.Host cannot be set"),
        (
            'url = "https://h"\nheaders = { X-Key = "${ODD}" }',
            "[alerts] headers.X-Key holds a character that no header may have",
        ),
        (
            'url = "https://h"\nheaders = { X-Key = "a", x-key = "b" }',
            "[alerts] headers.x-key stands there twice; case tells no headers apart",
        ),
        (
            'url = "https://h"\nheaders = { X-Key = 5234 }',
            "[alerts] headers.X-Key is ***; a string is expected",
        ),
        (
            'url = "https://h"\ndelivery = "exactly_once"',
            '[alerts] delivery is no key of connector = "webhook"; known are connector, url, ',
        ),
        (
            'url = "https://h"\ntopic = "t"',
            '[alerts] topic is no key of connector = "webhook"; ',
        ),
        ('url = "https://h"\ntimeout = "0s"', '[alerts] timeout is "0s"; a duration like'),
    ],
)
def test_a_mistake_is_a_line_without_the_value(lines: str, problem: str) -> None:
    (said,) = problems_of(alerts(lines))
    assert said.startswith(problem)
    assert "planted" not in said


def test_keys_of_a_webhook_are_no_others() -> None:
    section = '[alerts]\nconnector = "file"\npath = "out"\nurl = "https://h"\n'
    (said,) = problems_of(section)
    assert said.startswith('[alerts] url is no key of connector = "file"; known are connector, ')
    section = '[alerts]\nconnector = "pigeon"\n'
    assert problems_of(section) == [
        '[alerts] connector is "pigeon"; "file", "kafka" or "webhook" is expected'
    ]


@pytest.mark.parametrize(
    ("lines", "warned"),
    [
        ('url = "http://hooks.example.com"\nheaders = { A = "${TOKEN}" }', True),
        ('url = "http://hooks.example.com/${PATH_KEY}"', True),
        ('url = "http://hooks.example.com/"\nheaders = { A = "plain" }', False),
        ('url = "https://hooks.example.com/"\nheaders = { A = "${TOKEN}" }', False),
        ('url = "http://localhost:1/"\nheaders = { A = "${TOKEN}" }', False),
    ],
)
def test_a_secret_without_encryption_is_warned_of(lines: str, warned: bool) -> None:
    said = [line for line in checking.warnings(config_of(alerts(lines))) if "http" in line]
    assert [line.partition(":")[0] for line in said] == ["[alerts] url begins with http"] * warned


def test_alerts_that_go_to_a_webhook_only_cannot_be_read() -> None:
    config = config_of(alerts('url = "https://h"'))
    assert reading_outputs.recorded(config, "alerts") is None
    with pytest.raises(Failure, match=r"\[alerts\] goes to a webhook only"):
        list(reading_outputs.texts(config, "alerts"))
    assert reading_outputs.recorded(config_of(BESIDE), "alerts") == FileSink(
        path="/base/out/alerts"
    )


def test_what_reads_alerts_reads_those_beside_a_webhook(tmp_path) -> None:
    alert = '{"alert":"a","kind":"drift","model":null,"lane":null,"detail":"","id":null,'
    flows.write(tmp_path / "out" / "alerts" / "part-0-0.jsonl", [alert + '"event_time":1,"at":1}'])
    hook = alerts('url = "https://h"', "[[alerts]]")
    beside = hook + '[[alerts]]\nconnector = "file"\npath = "out/alerts"\n'
    for section, count in ((beside, 1), (hook, 0)):
        config = read_config(tomllib.loads(MODEL + section), tmp_path, ENVIRON)
        assert len(read_board(config, {}).alerts) == count
        with Following(config, ("alerts",)) as following:
            assert len(list(following.new())) == count


def test_a_backtest_calls_no_webhook_and_says_so(tmp_path, riverrun) -> None:
    # Nobody listens there: a call would be noticed by its failure, and by the time it takes.
    section = BESIDE.replace("https://hooks.example.com/${PATH_KEY}", "http://127.0.0.1:9/")
    path = tmp_path / "job.toml"
    path.write_text(MODEL + section.replace("${TOKEN}", "x"))
    flows.write(tmp_path / "in.jsonl", flows.phishing(20))
    said = riverrun("backtest", path)
    assert said.code == 0
    words = " ".join(said.err.split())
    assert "[alerts] webhooks are not called by a backtest, its other outputs are written" in words
    assert (tmp_path / "out" / "alerts" / "part-0-0.jsonl").exists()


def test_what_a_backtest_says_where_nothing_else_is_written() -> None:
    assert list(webhook_rules.not_called(config_of(alerts('url = "https://h"')))) == [
        "[alerts] webhooks are not called by a backtest"
    ]
    assert list(webhook_rules.not_called(config_of(""))) == []


def test_an_alert_among_dead_letters_is_no_record_to_send_again(tmp_path) -> None:
    letter = {
        **dict.fromkeys(("source", "position", "id", "model")),
        "stage": "alert",
        "reason": "alert_refused",
        "detail": "",
        "raw": "{}",
        "at": 0,
    }
    record = {**letter, "stage": "join", "reason": "orphan_label"}
    letters = [msgspec.convert(each, dead_letters.DeadLetter) for each in (letter, record)]
    target = tmp_path / "again.jsonl"
    assert dead_letters.replay(iter(letters), target, 100) == (1, 1)
    assert target.read_text() == "{}\n"
