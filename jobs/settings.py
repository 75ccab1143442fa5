"""The sections of the configuration as structs, with the defaults of what is left out.

`jobs/reading.py` says how a field is named in the file, `jobs/config.py` reads it, and
docs/configuration.md explains every key.
"""

from typing import Annotated, Any, Final, Literal, NamedTuple, get_args

import msgspec
from msgspec import Meta, Struct

from events.decode import Decoder
from events.limits import Limits, Schema, TimeRange
from events.messages import Label
from jobs import secret_values
from jobs.durations import format_duration
from jobs.reading import NEVER, key_of
from jobs.toml_text import dump_toml
from models.tasks import LabelType, TaskName
from operators.action_settings import Schedule, Trigger
from operators.joining import JoinSettings
from operators.learning import Output
from operators.monitor_settings import MonitorSettings
from operators.roles import Role
from state.snapshots import SnapshotSettings

# Key groups: the most subtasks that keyed state can ever be spread over. Fixed, for a savepoint
# keeps it.
MAX_PARALLELISM: Final = 128

OUTPUTS: Final[tuple[str, ...]] = (*get_args(Output), "metrics", "learn_queue")

Text = Annotated[str, Meta(min_length=1)]
Positive = Annotated[int, Meta(ge=1)]
NotNegative = Annotated[int, Meta(ge=0)]
JobName = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$",
        extra={"expected": "a name of letters, digits and _ . - that begins with none of . -"},
    ),
]
ModelName = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9_.-]+$",
        extra={"expected": "a name of letters, digits and _ . -"},
    ),
]
Servers = Annotated[str, Meta(min_length=1, extra={"expected": '"host:port" or "host:port,..."'})]


class JobConfig(Struct, frozen=True):
    """`[job]`: what runs, and how."""

    name: JobName
    mode: Literal["live", "published"] = "live"
    ordering: Literal["arrival", "event_time"] = "arrival"
    parallelism: Annotated[int, Meta(ge=1, le=MAX_PARALLELISM)] = 1
    lane_by: Text | None = None
    live_lanes: Positive = 1000
    execution: Literal["thread", "process"] = "thread"
    state_backend: Literal["heap", "rocksdb"] = "heap"
    isolate_model: bool = False
    checkpoint_dir: Text = ""
    # Flink takes none shorter.
    checkpoint_interval_ms: Annotated[int, Meta(ge=10)] = 1000
    max_outage_ms: Positive = 900_000
    without_model: Literal["hold", "dead_letter"] = "hold"
    hold_limit: Positive = 10_000
    trial_limit_ms: Positive = 20_000
    trial_memory_mb: Annotated[int, Meta(ge=512)] = 4096


class EventsConfig(Struct, frozen=True):
    """`[events]`: which times and which fields a record may have."""

    min_ts: int = 946_684_800_000  # 2000-01-01: seconds taken for milliseconds lie before it
    max_future_ms: NotNegative = 3_600_000
    max_out_of_orderness_ms: NotNegative = 5000
    idle_timeout_ms: Positive | None = None
    allow_extra: bool = False


class FileInput(Struct, frozen=True, kw_only=True):
    """An input from a file of JSON lines, or a folder of them."""

    connector: Literal["file"] = "file"
    path: Text
    watch: bool = False


Start = Annotated[
    Literal["earliest", "latest", "group"] | int,
    Meta(extra={"expected": '"earliest", "latest", "group" or a time in ms'}),
]
Stop = Annotated[
    Literal["never", "latest"] | int,
    Meta(extra={"expected": '"never", "latest" or a time in ms'}),
]


class KafkaInput(Struct, frozen=True, kw_only=True):
    """An input from a Kafka topic, several, or all whose names match a pattern."""

    connector: Literal["kafka"] = "kafka"
    topic: Text | None = None
    topics: tuple[Text, ...] = ()
    topic_pattern: Text | None = None
    bootstrap_servers: Servers
    properties: dict[str, str] = {}
    start: Start = "earliest"
    stop: Stop = "never"

    @property
    def named_topics(self) -> tuple[str, ...]:
        """`topic` or `topics`; empty where a pattern says which."""
        return self.topics if self.topic is None else (self.topic,)


Delivery = Literal["exactly_once", "at_least_once"]


class FileSink(Struct, frozen=True, kw_only=True):
    """An output into a folder of JSON lines; a part file is visible once a checkpoint closed it."""

    connector: Literal["file"] = "file"
    path: Text
    delivery: Delivery = "exactly_once"
    roll_interval_ms: Positive = 60_000
    roll_size_mb: Positive = 128


class KafkaSink(Struct, frozen=True, kw_only=True):
    """An output into a Kafka topic."""

    connector: Literal["kafka"] = "kafka"
    topic: Text
    bootstrap_servers: Servers
    delivery: Delivery = "exactly_once"
    properties: dict[str, str] = {}


class WebhookSink(Struct, frozen=True, kw_only=True):
    """Alerts posted to a receiver, each until it was taken; nothing of it can be read again."""

    connector: Literal["webhook"] = "webhook"
    url: Text
    headers: dict[str, str] = {}
    timeout_ms: Positive = 10_000
    max_backoff_ms: Positive = 300_000
    end_wait_ms: NotNegative = 10_000


Input = FileInput | KafkaInput
StoredSink = FileSink | KafkaSink
Sink = StoredSink | WebhookSink


Part = Literal["predict", "learn"]
# Outputs that a part does not write.
_NOT_OF: Final[dict[Part, tuple[str, ...]]] = {
    "predict": ("learn_log",),
    "learn": ("predictions", "evaluations", "metrics", "monitors"),
}


class NamedInput(NamedTuple):
    """An input under its name: `features`, `labels` or `control`."""

    name: str
    source: Input


class JoinConfig(Struct, frozen=True):
    """`[join]`: how long to wait for labels, and what to do with those late, twice or never."""

    label_timeout_ms: Positive = 604_800_000
    on_timeout: Literal["drop", "assume"] = "drop"
    assumed_label: Label | None = None
    late_labels: Literal["learn", "drop"] = "learn"
    corrections: Literal["ignore", "learn"] = "ignore"
    retention_ms: Positive = 691_200_000


class SecurityConfig(Struct, frozen=True):
    """`[security]`: whose control messages count, and what signs versions."""

    signing_key_file: Text | None = None
    trusted_keys: tuple[Text, ...] = ()
    require_signatures: bool = False


class PublishedConfig(Struct, frozen=True):
    """`[published]`: when the learner publishes a version, and what it does when it falls behind."""

    publish_every: Positive = 10_000
    publish_interval_ms: Positive = 5000
    # Much less than what a broker takes, as a prediction may wait for one to be read.
    part_bytes: Annotated[int, Meta(ge=1024)] = 100_000
    max_lag_ms: Positive | None = None
    on_lag: Literal["go_on", "sample", "skip_oldest"] = "go_on"
    sample: Annotated[float, Meta(gt=0, le=1, extra={"expected": "a number above 0 up to 1"})] = 0.1
    learner_nice: Annotated[int, Meta(ge=0, le=19)] | Literal["idle"] = 5
    background_nice: Annotated[int, Meta(ge=0, le=19)] = 10


class LearnIf(Struct, frozen=True):
    """Which examples are worth learning; `margin_below` is a difference of two probabilities."""

    margin_below: Annotated[float, Meta(gt=0, le=1, extra={"expected": "a number above 0 up to 1"})]


class ModelConfig(Struct, frozen=True):
    """`[[models]]`: one model."""

    name: ModelName
    task: TaskName
    role: Role = "challenger"
    spec: dict[str, Any] | None = None
    artifact: Text | None = None
    labels: LabelType | None = None
    learn_on: Literal["label", "arrival"] = "label"
    learn_only: Label | None = None
    learn_if: LearnIf | None = None
    reemit: bool = False
    max_failures: NotNegative = 10
    failure_window: Positive = 1000
    max_predict_ms: Positive | None = None
    retain_versions: NotNegative = 1000
    snapshot: SnapshotSettings = SnapshotSettings()

    @property
    def margin_below(self) -> float | None:
        """`learn_if.margin_below`, None where every example is learned."""
        return None if self.learn_if is None else self.learn_if.margin_below


class Config(Struct, frozen=True):
    """A whole configuration, valid, with defaults filled in and secrets left out.

    `models` holds one champion; with a control stream it may be empty. An output that is not
    configured is an empty tuple.
    """

    job: JobConfig
    models: tuple[ModelConfig, ...]
    events: EventsConfig = EventsConfig()
    limits: Limits = Limits()
    features: Input | None = None
    schema: Schema | None = None
    labels: Input | None = None
    control: Input | None = None
    predictions: tuple[Sink, ...] = ()
    evaluations: tuple[Sink, ...] = ()
    learn_log: tuple[Sink, ...] = ()
    dead_letters: tuple[Sink, ...] = ()
    control_acks: tuple[Sink, ...] = ()
    control_log: tuple[Sink, ...] = ()
    versions: tuple[Sink, ...] = ()
    alerts: tuple[Sink, ...] = ()
    metrics: tuple[Sink, ...] = ()
    learn_queue: tuple[Sink, ...] = ()
    published: PublishedConfig = PublishedConfig()
    part: Part | None = None
    join: JoinConfig = JoinConfig()
    security: SecurityConfig = SecurityConfig()
    monitors: tuple[MonitorSettings, ...] = ()
    triggers: tuple[Trigger, ...] = ()
    schedules: tuple[Schedule, ...] = ()

    @property
    def base_name(self) -> str:
        """`[job] name`, as both parts of a job in published mode know it."""
        return self.job.name if self.part is None else self.job.name.removesuffix(f"-{self.part}")

    def for_part(self, part: Part | None) -> "Config":
        """The configuration of one part of a job in published mode, under a name and state of its own."""
        if part is None:
            return self
        name = f"{self.job.name}-{part}"
        job = msgspec.structs.replace(
            self.job, name=name, checkpoint_dir=f"{self.job.checkpoint_dir}-{part}"
        )
        others: dict[str, Any] = dict.fromkeys(_NOT_OF[part], ())
        return msgspec.structs.replace(self, job=job, part=part, **others)

    def inputs(self) -> tuple[NamedInput, ...]:
        """What is read, each source once: what comes with the features is no input of its own."""
        named = (
            NamedInput("features", self.features),  # type: ignore[arg-type]
            NamedInput("labels", self.labels),  # type: ignore[arg-type]
            NamedInput("control", self.control),  # type: ignore[arg-type]
        )
        return tuple(
            input
            for input in named
            if input.source is not None
            and not (input.name == "labels" and input.source == self.features)
            and not (input.name == "control" and input.source in (self.features, self.labels))
        )

    def control_in(self, input: NamedInput) -> Literal["none", "some", "all"]:
        """Which of an input's records are control messages."""
        if input.name == "control":
            return "all"
        return "some" if self.control == input.source else "none"

    def commands(self) -> StoredSink | None:
        """Where the job's own control messages go: where control messages come from."""
        if not (self.triggers or self.schedules):
            return None
        source = self.control
        if isinstance(source, KafkaInput):
            [topic] = source.named_topics
            return KafkaSink(
                topic=topic,
                bootstrap_servers=source.bootstrap_servers,
                properties=source.properties,
            )
        assert source is not None, "config_rules sees to it"
        return FileSink(path=source.path, roll_interval_ms=1000)

    def sinks(self, output: str) -> tuple[Sink, ...]:
        """Where one of `OUTPUTS` goes."""
        found: tuple[Sink, ...] = getattr(self, output)
        return found

    def stored(self, output: str) -> tuple[StoredSink, ...]:
        """Where one of `OUTPUTS` goes and can be read."""
        return tuple(sink for sink in self.sinks(output) if not isinstance(sink, WebhookSink))

    def webhooks(self) -> tuple[tuple[int, WebhookSink], ...]:
        """Those of `[alerts]`, each with its place among all its sinks."""
        return tuple(
            (place, sink) for place, sink in enumerate(self.alerts) if isinstance(sink, WebhookSink)
        )

    def decoder(self) -> Decoder:
        """What reads the records of every input but control."""
        return Decoder(self.limits, self.events.allow_extra, self.schema)

    def time_range(self) -> TimeRange:
        """The times that a record may have."""
        return TimeRange(self.events.min_ts, self.events.max_future_ms)

    def join_settings(self) -> JoinSettings:
        """The rules of the join."""
        return JoinSettings(**msgspec.structs.asdict(self.join))

    def to_public_dict(self) -> dict[str, Any]:
        """The configuration as it could stand in a file, defaults and all, secrets as `***`."""
        sections: dict[str, Any] = {}
        for name in ("job", "events", "limits", "features", "labels", "control"):
            section = getattr(self, name)
            if section is not None:
                sections[name] = _public(section)
        if self.schema is not None:
            sections["features"]["schema"] = {**self.schema.types, "unknown": self.schema.unknown}
        for name in OUTPUTS:
            sinks = [_public(sink) for sink in self.sinks(name)]
            if sinks:
                sections[name] = sinks if len(sinks) > 1 else sinks[0]
        sections["join"] = _public(self.join)
        if self.job.mode == "published":
            sections["published"] = _public(self.published)
        sections["security"] = _public(self.security)
        sections["models"] = [_public(model) for model in self.models]
        if self.monitors:
            sections["monitor"] = [_public(monitor) for monitor in self.monitors]
        if self.triggers:
            sections["trigger"] = [_public(trigger) for trigger in self.triggers]
        if self.schedules:
            sections["schedule"] = [_public(schedule) for schedule in self.schedules]
        return sections

    def to_public_toml(self) -> str:
        """`to_public_dict` as a TOML file."""
        return dump_toml(self.to_public_dict())


def _public(section: Struct) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for field in section.__struct_fields__:
        value = getattr(section, field)
        key = key_of(field)
        if field == "idle_timeout_ms" and value is None:
            shown[key] = NEVER
        elif value is None:
            continue
        elif key != field:
            shown[key] = format_duration(value)
        elif key in ("properties", "topics", "headers") and not value:
            continue
        elif key == "headers":
            shown[key] = secret_values.mask_headers(value)
        elif key == "properties":
            shown[key] = secret_values.mask_properties(value)
        elif isinstance(value, SnapshotSettings) and value.every is not None:
            shown[key] = {"every": value.every}
        elif isinstance(value, Struct):
            shown[key] = _public(value)
        else:
            shown[key] = _masked(value)
    return shown


def _masked(value: Any) -> Any:
    if isinstance(value, str):
        return secret_values.mask(value)
    if isinstance(value, tuple):
        return [_public(item) if isinstance(item, Struct) else _masked(item) for item in value]
    return value
