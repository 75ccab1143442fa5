"""The sections of the configuration as structs, with the defaults of what is left out.

`jobs/reading.py` says how a field is named in the file, `jobs/config.py` reads it, and
docs/configuration.md explains every key.
"""

from typing import Annotated, Any, Final, Literal, NamedTuple

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
from operators.joining import JoinSettings
from operators.live import Role
from state.snapshots import SnapshotSettings

# Key groups: the most subtasks that keyed state can ever be spread over. Fixed, for a savepoint
# keeps it.
MAX_PARALLELISM: Final = 128

OUTPUTS: Final = (
    "predictions",
    "evaluations",
    "learn_log",
    "dead_letters",
    "control_acks",
    "versions",
)

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


Input = FileInput | KafkaInput
Sink = FileSink | KafkaSink


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
    snapshot: SnapshotSettings = SnapshotSettings()

    @property
    def margin_below(self) -> float | None:
        """`learn_if.margin_below`, None where every example is learned."""
        return None if self.learn_if is None else self.learn_if.margin_below


class Config(Struct, frozen=True):
    """A whole configuration, valid, with defaults filled in and secrets left out.

    `models` holds one champion. An output that is not configured is an empty tuple.
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
    versions: tuple[Sink, ...] = ()
    join: JoinConfig = JoinConfig()
    security: SecurityConfig = SecurityConfig()

    def inputs(self) -> tuple[NamedInput, ...]:
        """What is read, each source once: labels that come with the features are no input of theirs."""
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
        )

    def sinks(self, output: str) -> tuple[Sink, ...]:
        """Where one of `OUTPUTS` goes."""
        found: tuple[Sink, ...] = getattr(self, output)
        return found

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
        sections["security"] = _public(self.security)
        sections["models"] = [_public(model) for model in self.models]
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
        elif key in ("properties", "topics") and not value:
            continue
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
        return [_masked(item) for item in value]
    return value
