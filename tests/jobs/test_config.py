"""The configuration: what a file means, and what is said about one that means nothing."""

import json
import pickle
import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from events.limits import Limits, Schema, TimeRange
from events.messages import Event
from jobs import kafka_clients, settings
from jobs.config import (
    Config,
    ConfigError,
    FileInput,
    FileSink,
    KafkaInput,
    KafkaSink,
    load_config,
    read_config,
)
from jobs.durations import format_duration, parse_duration
from jobs.reading import keys_of
from operators.action_settings import Schedule, Trigger
from operators.joining import JoinSettings
from operators.monitor_settings import DriftSettings, MonitorSettings, QualitySettings
from state.snapshots import SnapshotSettings

DAY = 86_400_000

SPEC = '{ class = "river.linear_model.LogisticRegression" }'
SMALLEST = f"""
[job]
name = "fraud"
[features]
connector = "file"
path = "in.jsonl"
[[models]]
name = "m"
task = "classification"
spec = {SPEC}
"""


def config_of(
    text: str, environ: dict[str, str] | None = None, folder: Path = Path("/base"), **more: Any
) -> Config:
    return read_config(tomllib.loads(text), folder, environ or {}, **more)


def problems_of(text: str, environ: dict[str, str] | None = None, **more: Any) -> list[str]:
    with pytest.raises(ConfigError) as error:
        config_of(text, environ, **more)
    assert str(error.value).splitlines() == error.value.problems, "a line each"
    return error.value.problems


def with_section(section: str, text: str = SMALLEST) -> str:
    """The text with a section put before its models, in place of one of the same name."""
    header = section.strip().splitlines()[0]
    rest = re.sub(rf"^{re.escape(header)}\n(?:[^\[].*\n)*", "", text, flags=re.MULTILINE)
    return rest.replace("[[models]]", f"{section}\n[[models]]", 1)


def with_model(lines: str, spec: str | None = SPEC, task: str = "classification") -> str:
    """The smallest configuration with another model in place of its own."""
    made = "" if spec is None else f"spec = {spec}\n"
    begin = SMALLEST[: SMALLEST.index("[[models]]")]
    return f'{begin}[[models]]\nname = "m"\ntask = "{task}"\n{made}{lines}\n'


REGRESSOR = '{ class = "river.linear_model.LinearRegression" }'
DETECTOR = '{ class = "river.anomaly.HalfSpaceTrees" }'


# What a file means


def test_the_smallest_file_gets_every_default() -> None:
    config = config_of(SMALLEST)
    assert config.job == settings.JobConfig(
        name="fraud",
        mode="live",
        ordering="arrival",
        parallelism=1,
        lane_by=None,
        live_lanes=1000,
        execution="thread",
        state_backend="heap",
        isolate_model=False,
        checkpoint_dir="/base/riverrun-state/fraud",
        checkpoint_interval_ms=1000,
        max_outage_ms=900_000,
    )
    assert config.inputs() == (("features", FileInput(path="/base/in.jsonl", watch=False)),)
    assert config.events == settings.EventsConfig(
        min_ts=946_684_800_000,
        max_future_ms=3_600_000,
        max_out_of_orderness_ms=5000,
        idle_timeout_ms=None,
        allow_extra=False,
    )
    assert config.limits == Limits(1_048_576, 10_000, 256, 8, 4096)
    assert config.join_settings() == JoinSettings(7 * DAY, 8 * DAY, "drop", None, "learn", "ignore")
    assert config.time_range() == TimeRange(946_684_800_000, 3_600_000)
    assert [config.sinks(output) for output in settings.OUTPUTS] == [()] * len(settings.OUTPUTS)
    (model,) = config.models
    assert (model.role, model.learn_on, model.labels) == ("champion", "label", None)
    assert model.spec == {"class": "river.linear_model.LogisticRegression"}
    assert (model.margin_below, model.learn_only, model.reemit) == (None, None, False)
    assert (model.max_failures, model.failure_window) == (10, 1000)
    assert model.snapshot == SnapshotSettings()


FULL = """
[job]
name = "fraud"
mode = "live"
ordering = "arrival"
parallelism = 3
lane_by = "merchant"
live_lanes = 20
execution = "process"
state_backend = "rocksdb"
isolate_model = true
checkpoint_dir = "state"
checkpoint_interval = "250ms"
max_outage = "1h"
[events]
min_ts = 0
max_future = "2h"
max_out_of_orderness = "0s"
idle_timeout = "30s"
allow_extra = true
[limits]
record_bytes = 1000
features = 5
name_length = 8
depth = 3
raw_bytes = 100
[features]
connector = "kafka"
topic_pattern = "tx-.*"
bootstrap_servers = "a:1,b:2"
properties = { "security.protocol" = "SASL_SSL", "sasl.jaas.config" = "${JAAS}" }
[features.schema]
merchant = "string"
amount = "number"
unknown = "drop"
[labels]
connector = "file"
path = "labels"
watch = true
[control]
connector = "kafka"
topic = "control"
bootstrap_servers = "a:1"
[[predictions]]
connector = "kafka"
topic = "predictions"
bootstrap_servers = "a:1"
delivery = "at_least_once"
properties = { "linger.ms" = "5" }
[[predictions]]
connector = "file"
path = "out/predictions"
roll_interval = "10s"
roll_size_mb = 1
[learn_log]
connector = "file"
path = "out/learn_log"
[join]
label_timeout = "1d"
on_timeout = "assume"
assumed_label = false
late_labels = "drop"
corrections = "learn"
retention = "2w"
[security]
signing_key_file = "keys/sign.pem"
trusted_keys = ["k1", "k2"]
require_signatures = true
[[models]]
name = "new"
task = "classification"
role = "shadow"
artifact = "saved.rrv"
labels = "bool"
learn_if = { margin_below = 0.2 }
reemit = true
max_failures = 3
failure_window = 50
snapshot = { every = 500 }
[[models]]
name = "old"
task = "classification"
spec = { class = "river.linear_model.LogisticRegression" }
snapshot = { overhead = 0.1, max_replay = "3s", max_entries = 7 }
[[models]]
name = "odd"
task = "anomaly"
spec = { class = "river.anomaly.HalfSpaceTrees" }
learn_only = false
"""


def test_every_key_of_a_file_is_read() -> None:
    config = config_of(FULL, {"JAAS": "secret"})
    assert config.job == settings.JobConfig(
        "fraud", "live", "arrival", 3, "merchant", 20, "process", "rocksdb", True,
        "/base/state", 250, 3_600_000,
    )  # fmt: skip
    assert config.events == settings.EventsConfig(0, 7_200_000, 0, 30_000, True)
    assert config.limits == Limits(1000, 5, 8, 3, 100)
    assert config.inputs() == (
        (
            "features",
            KafkaInput(
                topic_pattern="tx-.*",
                bootstrap_servers="a:1,b:2",
                properties={"security.protocol": "SASL_SSL", "sasl.jaas.config": "${JAAS}"},
            ),
        ),
        ("labels", FileInput(path="/base/labels", watch=True)),
        ("control", KafkaInput(topic="control", bootstrap_servers="a:1")),
    )
    assert config.schema == Schema({"merchant": "string", "amount": "number"}, "drop")
    assert config.predictions == (
        KafkaSink(
            topic="predictions",
            bootstrap_servers="a:1",
            delivery="at_least_once",
            properties={"linger.ms": "5"},
        ),
        FileSink(path="/base/out/predictions", roll_interval_ms=10_000, roll_size_mb=1),
    )
    assert config.learn_log == (
        FileSink(
            path="/base/out/learn_log",
            delivery="exactly_once",
            roll_interval_ms=60_000,
            roll_size_mb=128,
        ),
    )
    assert config.join_settings() == JoinSettings(DAY, 14 * DAY, "assume", False, "drop", "learn")
    assert config.security == settings.SecurityConfig("/base/keys/sign.pem", ("k1", "k2"), True)
    new, old, odd = config.models
    assert (new.role, old.role, odd.role) == ("shadow", "champion", "challenger")
    assert (new.artifact, new.spec) == ("/base/saved.rrv", None)
    assert (new.labels, new.margin_below, new.reemit) == ("bool", 0.2, True)
    assert (new.max_failures, new.failure_window) == (3, 50)
    assert new.snapshot.every == 500
    assert old.snapshot == SnapshotSettings(None, 0.1, 3000, 7)
    assert (odd.learn_on, odd.learn_only) == ("label", False)


def test_a_decoder_follows_limits_schema_and_extra_fields() -> None:
    decoder = config_of(FULL, {"JAAS": ""}).decoder()
    raw = b'{"id":"a","ts":1,"note":1,"features":{"x":1,"amount":2,"merchant":"m"}}'
    assert decoder.decode(raw) == Event("a", 1, {"amount": 2, "merchant": "m"}, None, None)
    assert decoder.decode(raw.replace(b'"a"', b'"a12345678"')).reason == "name_too_long"


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ('path = "in.jsonl"', ["features"]),
        ('path = "./x/../in.jsonl"\nwatch = false', ["features"]),
        ('path = "labels.jsonl"', ["features", "labels"]),
    ],
)
def test_labels_that_come_with_the_features_are_one_source(labels: str, names: list[str]) -> None:
    config = config_of(with_section(f'[labels]\nconnector = "file"\n{labels}\n'))
    assert [name for name, _ in config.inputs()] == names


def test_labels_alone_are_an_input() -> None:
    config = config_of(SMALLEST.replace("[features]", "[labels]"))
    assert config.inputs() == (("labels", FileInput(path="/base/in.jsonl")),)


def test_retention_left_out_is_a_day_more_than_the_timeout() -> None:
    config = config_of(with_section('[join]\nlabel_timeout = "30d"\n'))
    assert config.join_settings().retention_ms == 31 * DAY


def test_regression_has_numbers_for_labels() -> None:
    (model,) = config_of(with_model("", REGRESSOR, "regression")).models
    assert model.labels == "number"
    (model,) = config_of(with_model('labels = "int"', REGRESSOR, "regression")).models
    assert model.labels == "int"


@pytest.mark.parametrize(
    ("lines", "learn_on"),
    [("", "arrival"), ('learn_on = "label"', "label"), ("learn_only = 0", "label")],
)
def test_an_anomaly_detector_learns_on_arrival_unless_told(lines: str, learn_on: str) -> None:
    (model,) = config_of(with_model(lines, DETECTOR, "anomaly")).models
    assert model.learn_on == learn_on


@pytest.mark.parametrize(
    ("roles", "resolved"),
    [
        ([None, None], ["champion", "challenger"]),
        (["shadow", None, None], ["shadow", "champion", "challenger"]),
        ([None, "champion"], ["challenger", "champion"]),
        (["challenger", "champion", "shadow"], ["challenger", "champion", "shadow"]),
    ],
)
def test_one_model_is_champion(roles: list[str | None], resolved: list[str]) -> None:
    assert [model.role for model in config_of(with_roles(roles)).models] == resolved


def with_roles(roles: list[str | None]) -> str:
    begin = SMALLEST[: SMALLEST.index("[[models]]")]
    models = [
        f'[[models]]\nname = "m{i}"\ntask = "classification"\nspec = {SPEC}\n'
        + (f'role = "{role}"\n' if role else "")
        for i, role in enumerate(roles)
    ]
    return begin + "".join(models)


def test_paths_begin_at_the_file_and_uris_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "conf").mkdir()
    text = SMALLEST.replace('path = "in.jsonl"', 'path = "../${NAME}/in.jsonl"')
    text = with_section('[dead_letters]\nconnector = "file"\npath = "s3://b/dead"\n', text)
    text = with_section('[learn_log]\nconnector = "file"\npath = "~/log"\n', text)
    text = with_section('[versions]\nconnector = "file"\npath = "${HERE}/v"\n', text)
    (tmp_path / "conf" / "job.toml").write_text(text)
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.chdir(tmp_path)
    config = load_config("conf/job.toml", {"NAME": "data", "HERE": "/here"})
    assert config.features == FileInput(path=f"{tmp_path}/data/in.jsonl")
    assert config.job.checkpoint_dir == f"{tmp_path}/conf/riverrun-state/fraud"
    assert config.dead_letters == (FileSink(path="s3://b/dead"),)
    assert config.learn_log == (FileSink(path="/home/me/log"),)
    assert config.versions == (FileSink(path="/here/v"),)


def test_a_configuration_travels_by_pickle() -> None:
    config = config_of(FULL, {"JAAS": "secret"})
    sent = pickle.dumps(config)
    assert pickle.loads(sent) == config
    assert b"secret" not in sent


# Secrets

KAFKA = """[labels]
connector = "kafka"
topic = "${TOPIC}"
bootstrap_servers = "${HOST}:9092"
properties = { "sasl.jaas.config" = "u=${USER} p=${PW}", "ssl.key.password" = "hunter2", "client.id" = "x-${USER}" }
"""
ENVIRON = {"TOPIC": "labels", "HOST": "broker", "USER": "bob", "PW": "swordfish"}


def test_secrets_are_resolved_where_they_are_used_only() -> None:
    config = config_of(with_section(KAFKA), ENVIRON)
    assert isinstance(config.labels, KafkaInput)
    assert config.labels.topic == "${TOPIC}"
    assert kafka_clients.properties(config.labels) == {
        "sasl.jaas.config": "u=${env:USER} p=${env:PW}",
        "ssl.key.password": "hunter2",
        "client.id": "x-${env:USER}",
    }


def test_secrets_are_shown_masked() -> None:
    config = config_of(with_section(KAFKA), ENVIRON)
    shown = config.to_public_dict()["labels"]
    assert shown == {
        "connector": "kafka",
        "topic": "***",
        "bootstrap_servers": "***:9092",
        "start": "earliest",
        "stop": "never",
        "properties": {
            "sasl.jaas.config": "***",
            "ssl.key.password": "***",
            "client.id": "x-***",
        },
    }
    text = config.to_public_toml() + json.dumps(config.to_public_dict())
    assert not [secret for secret in ("hunter2", "swordfish", "bob", "${") if secret in text]


def test_a_variable_that_is_not_set_is_a_mistake() -> None:
    assert problems_of(with_section(KAFKA), {"TOPIC": "t", "HOST": "h", "USER": "u"}) == [
        '[labels] properties."sasl.jaas.config" uses ${PW}, an environment variable that is not set'
    ]


def test_a_variable_can_stand_only_where_it_is_filled_in() -> None:
    text = SMALLEST.replace('name = "fraud"', 'name = "fraud"\nlane_by = "${LANE}"')
    assert problems_of(text, {"LANE": "x"}) == [
        (
            "[job] lane_by uses ${LANE}; "
            "only paths, topics, bootstrap_servers, properties, url and headers may"
        )
    ]


def test_a_value_under_a_secret_name_is_not_shown_in_a_mistake() -> None:
    (problem,) = problems_of(with_section(KAFKA.replace('"hunter2"', "1234")), ENVIRON)
    assert problem == '[labels] properties."ssl.key.password" is ***; a string is expected'


# The public form


@pytest.mark.parametrize("text", [SMALLEST, FULL], ids=["smallest", "full"])
def test_the_resolved_configuration_is_a_configuration(text: str) -> None:
    config = config_of(text.replace("${JAAS}", "x"))
    public = config.to_public_toml().replace(
        '"sasl.jaas.config" = "***"', '"sasl.jaas.config" = "x"'
    )
    assert config_of(public, folder=Path("/elsewhere")) == config
    assert tomllib.loads(config.to_public_toml()) == config.to_public_dict()


# What is wrong with a file


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "[job\n",
            "not TOML: Expected ']' at the end of a table declaration (at line 1, column 5)",
        ),
        ('[job]\nname = "a"\nname = "b"\n', "not TOML: Cannot overwrite a value (at line 3,"),
        (b'[job]\nname = "\xff"\n', "line 2 is not UTF-8"),
    ],
)
def test_a_file_that_is_not_toml_says_where(
    tmp_path: Path, text: str | bytes, problem: str
) -> None:
    path = tmp_path / "job.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError) as error:
        load_config(path)
    assert len(error.value.problems) == 1
    assert error.value.problems[0].startswith(f"{path}: {problem}")


def test_a_file_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file or directory"):
        load_config(tmp_path / "none.toml")


def test_a_byte_order_mark_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "job.toml"
    path.write_text(SMALLEST, encoding="utf-8-sig")
    assert load_config(path).job.name == "fraud"


def test_an_empty_file_says_what_is_needed() -> None:
    name = "a name of letters, digits and _ . - that begins with none of . -"
    assert problems_of("") == [
        f"[job] name is missing; {name} is expected",
        "[[models]] is missing; at least one model is expected",
        "[features] is missing; at least one input is expected",
    ]


def test_every_mistake_is_told_at_once() -> None:
    text = """
retention = "3d"
[job]
name = "my job"
parallelism = 0
checkpoint_interval = "1 s"
max_outage = 5
[evnts]
[events]
idle_timeout = "sometimes"
[limits]
depth = 1
[features]
connector = "file"
topic = "x"
watch = 1
[features.schema]
amount = "float"
unknown = "explode"
[labels]
connector = "pigeon"
[[evaluations]]
connector = "file"
path = "out"
delivery = "twice"
[[evaluations]]
connector = "kafka"
topic = "ok"
[join]
retenton = "1d"
[security]
trusted_keys = ["a", 3]
[[models]]
name = "a@b"
task = "clasification"
[[models]]
name = "b"
task = "classification"
spec = { class = "river.linear_model.LogisticRegresion" }
learn_if = { margin = 0.2 }
"""
    units = 'a duration like "250ms", "5s", "15m", "1h", "7d" or "2w"'
    assert problems_of(text) == [
        "retention stands in no section; it belongs in [join]",
        '[evnts] is no section; did you mean "events"?',
        (
            '[job] name is "my job"; '
            "a name of letters, digits and _ . - that begins with none of . - is expected"
        ),
        "[job] parallelism is 0; a whole number from 1 to 128 is expected",
        f'[job] checkpoint_interval is "1 s"; {units} of at least "10ms" is expected',
        f'[job] max_outage is 5; {units} of at least "1ms" is expected',
        f'[events] idle_timeout is "sometimes"; {units} of at least "1ms" or "never" is expected',
        "[limits] depth is 1; a whole number from 2 to 256 is expected",
        '[join] retenton is no key of this section; did you mean "retention"?',
        "[security] trusted_keys.1 is 3; a string that is not empty is expected",
        '[features] topic is no key of connector = "file"; known are connector, path, watch',
        "[features] path is missing; a string that is not empty is expected",
        "[features] watch is 1; true or false is expected",
        '[labels] connector is "pigeon"; "file" or "kafka" is expected',
        '[[evaluations]] 1 delivery is "twice"; "at_least_once" or "exactly_once" is expected',
        '[[evaluations]] 2 bootstrap_servers is missing; "host:port" or "host:port,..." is expected',
        (
            '[features.schema] amount is "float"; '
            '"number" or "integer" or "boolean" or "string" is expected'
        ),
        '[features.schema] unknown is "explode"; "keep" or "drop" or "reject" is expected',
        '[[models]] 1 name is "a@b"; a name of letters, digits and _ . - is expected',
        (
            '[[models]] 1 task is "clasification"; '
            '"anomaly", "classification" or "regression" is expected'
        ),
        "[[models]] 2 learn_if.margin_below is missing; a number above 0 up to 1 is expected",
        '[[models]] 2 learn_if.margin is no key of this section; did you mean "margin_below"?',
        (
            "[[models]] 2 spec is wrong at class: unknown class "
            "'river.linear_model.LogisticRegresion'; "
            "the nearest is 'river.linear_model.LogisticRegression'"
        ),
        "[[models]] 1 has no model; a spec or an artifact is expected",
    ]


@pytest.mark.parametrize(
    ("section", "problem"),
    [
        (
            '[join]\nlabel_timeout = "7d"\nretention = "7d"',
            '[join] retention is "7d"; more than label_timeout ("7d") is expected',
        ),
        (
            '[join]\non_timeout = "assume"',
            '[join] assumed_label is missing; on_timeout = "assume" needs the label to assume',
        ),
        (
            "[join]\nassumed_label = nan",
            (
                "[join] assumed_label is NaN; "
                "true or false, a whole number, a number or a string is expected"
            ),
        ),
        ("[join]\nlate_labels = true", '[join] late_labels is true; "drop" or "learn" is expected'),
        (
            "[join]\ncorrections = 1979-05-27",
            '[join] corrections is 1979-05-27; "ignore" or "learn" is expected',
        ),
        (
            '[job]\nname = "a"\ncheckpoint_interval = "1h"',
            '[job] max_outage is "15m"; more than checkpoint_interval ("1h") is expected',
        ),
        ('[job]\nname = ".."', None),
        ('[job]\nname = "a"\nparallelism = 129', None),
        (
            '[job]\nname = "a"\nretention = "1d"',
            "[job] retention is no key of this section; it belongs in [join]",
        ),
        (
            "[security]\nrequire_signatures = true",
            (
                "[security] require_signatures is true, but [security] trusted_keys is empty: "
                "no message could be accepted"
            ),
        ),
        (
            '[predictions]\nconnector = "file"\npath = "."',
            (
                '[predictions] path is "/base"; '
                'a place of its own is expected, apart from [features] path ("/base/in.jsonl")'
            ),
        ),
        (
            '[predictions]\nconnector = "file"\npath = "riverrun-state"',
            (
                '[predictions] path is "/base/riverrun-state"; a place of its own is expected, '
                'apart from [job] checkpoint_dir ("/base/riverrun-state/fraud")'
            ),
        ),
        (
            '[labels]\nconnector = "file"\npath = "in.jsonl"\nwatch = true',
            (
                '[labels] path is "/base/in.jsonl"; a place of its own is expected, '
                'apart from [features] path ("/base/in.jsonl")'
            ),
        ),
        (
            '[labels]\nconnector = "file"\npath = "l"\nschema = { a = "number" }',
            "[labels] schema is no key of this section; it belongs in [features.schema]",
        ),
        (
            '[labels]\nconnector = "kafka"\nbootstrap_servers = "a:1"',
            "[labels] topic is missing; one of topic, topics and topic_pattern is expected",
        ),
        (
            '[labels]\nconnector = "kafka"\nbootstrap_servers = "a:1"\ntopic = "t"\ntopic_pattern = "t"',
            "[labels] topic stands beside topic_pattern; one of topic, topics and topic_pattern is expected",
        ),
        (
            '[labels]\nconnector = "kafka"\nbootstrap_servers = "a:1,b"\ntopic = "t"',
            '[labels] bootstrap_servers is "a:1,b"; "host:port" or "host:port,..." is expected',
        ),
        (
            '[labels]\nconnector = "kafka"\nbootstrap_servers = "a:1"\ntopic = "a b"',
            '[labels] topic is "a b"; up to 249 letters, digits and . _ - are expected',
        ),
        (
            '[labels]\nconnector = "kafka"\nbootstrap_servers = "a:1"\ntopic = "t"\nproperties = { x = 5 }',
            "[labels] properties.x is 5; a string is expected",
        ),
        (
            '[labels]\nconnector = "kafka"\nbootstrap_servers = "a:1"\ntopic = "t"\nwatch = true',
            (
                '[labels] watch is no key of connector = "kafka"; '
                "known are connector, topic, topics, topic_pattern, bootstrap_servers, properties, "
                "start, stop"
            ),
        ),
        (
            "[predictions]\nconnector = 5",
            '[predictions] connector is 5; "file" or "kafka" is expected',
        ),
    ],
)
def test_one_mistake_is_one_line(section: str, problem: str | None) -> None:
    problems = problems_of(with_section(f"{section}\n"))
    if problem is None:
        assert len(problems) == 1
    else:
        assert problems == [problem]


def test_an_input_is_one_table() -> None:
    text = SMALLEST.replace("[features]", "[[features]]")
    assert problems_of(text) == ["[features] is an array; a table is expected"]


def test_a_section_is_a_table() -> None:
    assert problems_of("join = 3\n" + SMALLEST) == ["[join] is 3; a table is expected"]
    assert problems_of(SMALLEST.replace("[[models]]", "[models]")) == [
        "[[models]] is a table; an array of tables is expected, each under [[models]]"
    ]


def test_an_output_may_not_be_an_input() -> None:
    kafka = 'connector = "kafka"\nbootstrap_servers = "a:1"\ntopic = "t"\n'
    text = with_section(f"[predictions]\n{kafka}", with_section(f"[labels]\n{kafka}"))
    assert problems_of(text) == [
        '[predictions] topic is "t", which is an input: the job would read what it wrote'
    ]


def test_a_topic_is_read_once() -> None:
    kafka = 'connector = "kafka"\nbootstrap_servers = "a:1"\ntopic = "t"\n'
    other = kafka + 'start = "latest"\n'
    text = with_section(f"[control]\n{other}", with_section(f"[labels]\n{kafka}"))
    assert problems_of(text) == [
        '[control] topic is "t", which is read by [labels], otherwise configured'
    ]


def test_control_messages_may_come_with_the_labels() -> None:
    kafka = 'connector = "kafka"\nbootstrap_servers = "a:1"\ntopic = "t"\n'
    text = with_section(f"[control]\n{kafka}", with_section(f"[labels]\n{kafka}"))
    config = config_of(text)
    assert [input.name for input in config.inputs()] == ["features", "labels"]
    assert [config.control_in(input) for input in config.inputs()] == ["none", "some"]


def test_outputs_may_not_share_a_folder() -> None:
    section = '[[evaluations]]\nconnector = "file"\npath = "out"\n'
    text = with_section(section + section.replace('"out"', '"out/in"'))
    assert problems_of(text) == [
        (
            '[[evaluations]] 2 path is "/base/out/in"; a place of its own is expected, '
            'apart from [[evaluations]] 1 path ("/base/out")'
        )
    ]


@pytest.mark.parametrize(("unknown", "wrong"), [("keep", 0), ("drop", 1), ("reject", 1)])
def test_lanes_need_their_feature_to_pass_the_schema(unknown: str, wrong: int) -> None:
    text = SMALLEST.replace('name = "fraud"', 'name = "fraud"\nlane_by = "shop"')
    text = with_section(f'[features.schema]\namount = "number"\nunknown = "{unknown}"\n', text)
    if not wrong:
        assert config_of(text).job.lane_by == "shop"
        return
    assert problems_of(text) == [
        (
            '[job] lane_by is "shop", which [features.schema] does not name '
            f'and unknown = "{unknown}" lets nothing else through'
        )
    ]


@pytest.mark.parametrize(
    ("lines", "task", "spec", "problem"),
    [
        (
            'artifact = "a.rrv"',
            "classification",
            SPEC,
            "[[models]] 1 artifact stands beside spec; one of them is expected",
        ),
        (
            "",
            "classification",
            None,
            "[[models]] 1 has no model; a spec or an artifact is expected",
        ),
        (
            'learn_on = "arrival"',
            "classification",
            SPEC,
            '[[models]] 1 learn_on is "arrival"; task = "classification" learns from labels',
        ),
        (
            "learn_only = true",
            "classification",
            SPEC,
            '[[models]] 1 learn_only goes with task = "anomaly" only',
        ),
        (
            'learn_only = true\nlearn_on = "arrival"',
            "anomaly",
            DETECTOR,
            '[[models]] 1 learn_only goes with learn_on = "label": on arrival no label is known',
        ),
        (
            'learn_only = 1\nlabels = "bool"',
            "anomaly",
            DETECTOR,
            '[[models]] 1 learn_only is 1; model "m" has labels = "bool"',
        ),
        (
            "learn_if = { margin_below = 0.2 }",
            "regression",
            REGRESSOR,
            '[[models]] 1 learn_if goes with task = "classification" only',
        ),
        (
            "learn_if = { margin_below = 0 }",
            "classification",
            SPEC,
            "[[models]] 1 learn_if.margin_below is 0; a number above 0 up to 1 is expected",
        ),
        (
            'labels = "str"',
            "regression",
            REGRESSOR,
            '[[models]] 1 labels is "str"; regression takes "int" or "number"',
        ),
        (
            "max_failures = 1000",
            "classification",
            SPEC,
            "[[models]] 1 max_failures is 1000; fewer than failure_window (1000) are expected",
        ),
        (
            "snapshot = { every = 0 }",
            "classification",
            SPEC,
            "[[models]] 1 snapshot.every is 0; at least 1 is expected",
        ),
        (
            "snapshot = { every = 5, overhead = 0.5 }",
            "classification",
            SPEC,
            "[[models]] 1 snapshot.every fixes when snapshots are taken; leave out overhead, or every",
        ),
        (
            "snapshot = { overhead = 0 }",
            "classification",
            SPEC,
            "[[models]] 1 snapshot.overhead is 0.0; above 0 up to 1 is expected",
        ),
        (
            'snapshot = { max_replay = "0s" }',
            "classification",
            SPEC,
            '[[models]] 1 snapshot.max_replay is "0s"; at least "1ms" is expected',
        ),
        (
            "snapshot = { max_entries = 0 }",
            "classification",
            SPEC,
            "[[models]] 1 snapshot.max_entries is 0; at least 1 is expected",
        ),
        (
            "",
            "classification",
            '"LogisticRegression"',
            '[[models]] 1 spec is "LogisticRegression"; a table is expected',
        ),
        (
            "",
            "regression",
            SPEC,
            (
                "[[models]] 1 spec does not fit: "
                "LogisticRegression is a classifier; regression needs a regressor"
            ),
        ),
    ],
)
def test_one_mistake_of_a_model_is_one_line(
    lines: str, task: str, spec: str | None, problem: str
) -> None:
    assert problems_of(with_model(lines, spec, task)) == [problem]


def test_the_assumed_label_must_be_one_that_the_models_know() -> None:
    text = with_section(
        '[join]\non_timeout = "assume"\nassumed_label = 0\n', with_model('labels = "bool"')
    )
    assert problems_of(text) == [
        '[join] assumed_label is 0; model "m" has labels = "bool"',
    ]


@pytest.mark.parametrize(
    ("roles", "problem"),
    [
        (
            ["champion", None, "champion"],
            '[[models]] 3 role is "champion", as is that of [[models]] 1; one champion is expected',
        ),
        (
            ["challenger", "shadow"],
            '[[models]] have no champion; one role = "champion", or one left out, is expected',
        ),
    ],
)
def test_there_is_one_champion(roles: list[str | None], problem: str) -> None:
    assert problems_of(with_roles(roles)) == [problem]


def test_a_name_is_one_models() -> None:
    assert problems_of(with_roles([None, None]).replace('"m1"', '"m0"')) == [
        '[[models]] 2 name is "m0", as is that of [[models]] 1; another is expected'
    ]


def test_a_river_object_stands_for_the_one_model_without_a_spec() -> None:
    (model,) = config_of(with_model("", None), model_given=True).models
    assert (model.spec, model.artifact) == (None, None)
    assert problems_of(SMALLEST, model_given=True) == [
        "[[models]] all have a spec or an artifact; a River object is given for one that has none"
    ]
    two = with_roles([None, None]).replace(f"spec = {SPEC}\n", "")
    assert problems_of(two, model_given=True) == [
        "[[models]] 2 has no model; the River object given is for one model only"
    ]


# The document

PAGE = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text()
TABLES = {
    "[job]": [settings.JobConfig],
    "[events]": [settings.EventsConfig],
    "[limits]": [Limits],
    "Inputs": [settings.FileInput, settings.KafkaInput],
    "Outputs": [settings.FileSink, settings.KafkaSink, settings.WebhookSink],
    "[join]": [settings.JoinConfig],
    "[security]": [settings.SecurityConfig],
    "[[models]]": [settings.ModelConfig],
    "`learn_if`": [settings.LearnIf],
    "`snapshot`": [SnapshotSettings],
    "[[monitor]]": [MonitorSettings],
    "`drift`": [DriftSettings],
    "`data_quality`": [QualitySettings],
    "[[trigger]]": [Trigger],
    "[[schedule]]": [Schedule],
}


def documented(heading: str) -> list[tuple[str, str]]:
    """Key and default of each row of the tables under a heading."""
    found = re.search(
        rf"^##+ [^\n]*{re.escape(heading)}[^\n]*\n(.*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL
    )
    assert found, f"docs/configuration.md has no heading {heading}"
    return re.findall(r"^\| `(\w+)` \| [^|]+ \| ([^|]+) \| .+ \|$", found[1], re.MULTILINE)


@pytest.mark.parametrize("heading", TABLES)
def test_the_document_has_every_key_and_no_other(heading: str) -> None:
    assert {key for key, _ in documented(heading)} == set(keys_of(*TABLES[heading]))


@pytest.mark.parametrize("heading", TABLES)
def test_the_document_has_every_default(heading: str) -> None:
    rows = documented(heading)
    for struct in TABLES[heading]:
        for field in msgspec.structs.fields(struct):
            key = field.name.removesuffix("_ms")
            default = None if field.default is msgspec.NODEFAULT else field.default
            if field.required or key == "connector":
                expected = "required"
            elif key == "idle_timeout":
                expected = '`"never"`'
            elif field.name.endswith("_ms") and default is not None:
                written = next(
                    text
                    for row, text in rows
                    if row == key and parse_duration(json.loads(text.strip("`"))) == default
                )
                expected = written
            elif key in ("checkpoint_dir", "snapshot"):
                continue
            elif key in ("properties", "headers", "params"):
                expected = "`{}`"
            elif default is None:
                expected = "none"
            else:
                expected = f"`{json.dumps(default)}`"
            assert (key, expected) in rows, (key, expected)


def test_the_smallest_file_of_the_document_is_one() -> None:
    example = re.search(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    assert example
    assert config_of(example[1]).models[0].name == "fraud"


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("0s", 0),
        ("250ms", 250),
        ("15m", 900_000),
        ("2w", 14 * DAY),
        ("007d", 7 * DAY),
        ("36525d", 36525 * DAY),
    ],
)
def test_a_duration_is_a_number_and_a_unit(text: str, ms: int) -> None:
    assert parse_duration(text) == ms
    assert parse_duration(format_duration(ms)) == ms


@pytest.mark.parametrize(
    "text", ["", "5", "s", "-1s", "1.5h", "1 s", "1S", "1d ", "36526d", "9" * 5000 + "d", "٣s"]
)
def test_nothing_else_is_a_duration(text: str) -> None:
    with pytest.raises(ValueError):
        parse_duration(text)


def test_event_time_needs_thread_mode():
    text = SMALLEST.replace("[job]\n", '[job]\nordering = "event_time"\nexecution = "process"\n')
    assert problems_of(text) == [
        '[job] execution is "process"; ordering = "event_time" needs "thread"'
    ]


@pytest.mark.parametrize("start", ["earliest", "latest", "group", 1_700_000_000_000])
def test_a_kafka_input_begins_and_ends_where_it_is_told(start: str | int) -> None:
    kafka = 'connector = "kafka"\nbootstrap_servers = "a:1"\ntopics = ["t", "u"]\nstop = "latest"\n'
    config = config_of(with_section(f"[labels]\n{kafka}start = {json.dumps(start)}"))
    assert isinstance(config.labels, KafkaInput)
    assert (config.labels.named_topics, config.labels.start) == (("t", "u"), start)
    assert config.labels.stop == "latest"


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (
            'start = "now"',
            'start is "now"; "earliest", "latest", "group" or a time in ms is expected',
        ),
        ("stop = true", 'stop is true; "never", "latest" or a time in ms is expected'),
        (
            'properties = { "auto.offset.reset" = "latest" }',
            'properties."auto.offset.reset" cannot be set; it has a key of its own, start',
        ),
        (
            'topics = ["t", "a b"]',
            'topics is "a b"; up to 249 letters, digits and . _ - are expected',
        ),
    ],
)
def test_what_a_kafka_input_cannot_have_is_one_line(line: str, problem: str) -> None:
    topic = "" if line.startswith("topics") else 'topic = "t"\n'
    kafka = f'connector = "kafka"\nbootstrap_servers = "a:1"\n{topic}{line}\n'
    assert problems_of(with_section(f"[labels]\n{kafka}")) == [f"[labels] {problem}"]
