"""What must hold between the keys of a configuration, each rule a function.

A rule looks only at what was read without a mistake, so one mistake is not reported as two.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any, Final

from jobs import action_rules, monitor_rules, secret_values, webhook_rules
from jobs.durations import format_duration
from jobs.reading import Mistakes, Place, numbered, shown, sink_place
from jobs.settings import (
    OUTPUTS,
    Config,
    FileInput,
    FileSink,
    KafkaInput,
    KafkaSink,
    ModelConfig,
    Sink,
)
from models import specs, tasks

_TOPIC: Final = re.compile(r"[A-Za-z0-9._-]{1,249}")
_WHICH_TOPICS: Final = ("topic", "topics", "topic_pattern")
_NOT_FOR_USERS: Final = {
    "bootstrap.servers": "it has a key of its own, bootstrap_servers",
    "auto.offset.reset": "it has a key of its own, start",
    "enable.auto.commit": "offsets are committed with checkpoints",
    "transactional.id": "it is made of the names of job and output",
    **dict.fromkeys(
        ("key.serializer", "value.serializer", "key.deserializer", "value.deserializer"),
        "records are bytes",
    ),
}
_SERVER: Final = re.compile(r"\S*[^\s:,]:[0-9]{1,5}")

JOIN: Final = Place("[join]")
JOB: Final = Place("[job]")


def check(
    config: Config, mistakes: Mistakes, environ: Mapping[str, str], model_given: bool
) -> None:
    """Note every rule that the configuration breaks; parts with a mistake may be None."""
    _join(config, mistakes)
    _job(config, mistakes)
    _published(config, mistakes)
    _lanes(config, mistakes)
    _inputs(config, mistakes)
    _paths(config, mistakes)
    _kafka(config, mistakes, environ)
    _models(config, mistakes, model_given)
    monitor_rules.check(config, mistakes)
    action_rules.check(config, mistakes)
    webhook_rules.check(config, mistakes, environ)
    if config.security.require_signatures and not config.security.trusted_keys:
        problem = "is true, but [security] trusted_keys is empty: no message could be accepted"
        mistakes.add(Place("[security]") / "require_signatures", problem)


def _join(config: Config, mistakes: Mistakes) -> None:
    join = config.join
    if mistakes.none_at(JOIN / "retention", JOIN / "label_timeout") and (
        join.retention_ms <= join.label_timeout_ms
    ):
        timeout = format_duration(join.label_timeout_ms)
        problem = (
            f'is "{format_duration(join.retention_ms)}"; more than label_timeout ("{timeout}")'
        )
        mistakes.add(JOIN / "retention", f"{problem} is expected")
    if not mistakes.none_at(JOIN / "assumed_label", JOIN / "on_timeout"):
        return
    if join.on_timeout == "assume" and join.assumed_label is None:
        problem = 'is missing; on_timeout = "assume" needs the label to assume'
        mistakes.add(JOIN / "assumed_label", problem)


def _job(config: Config, mistakes: Mistakes) -> None:
    job = config.job
    if job.ordering == "event_time" and job.execution == "process":
        # PyFlink sends a watermark on before what its timers yield has come back from Python.
        problem = 'is "process"; ordering = "event_time" needs "thread"'
        mistakes.add(JOB / "execution", problem)
    if mistakes.none_at(JOB / "max_outage", JOB / "checkpoint_interval") and (
        job.max_outage_ms <= job.checkpoint_interval_ms
    ):
        interval = format_duration(job.checkpoint_interval_ms)
        problem = f'is "{format_duration(job.max_outage_ms)}"; more than checkpoint_interval'
        mistakes.add(JOB / "max_outage", f'{problem} ("{interval}") is expected')


def _published(config: Config, mistakes: Mistakes) -> None:
    job = config.job
    if job.mode != "published":
        if config.learn_queue:
            problem = f'goes with [job] mode = "published"; it is {shown(job.mode)}'
            mistakes.add(Place("[learn_queue]"), problem)
        return
    if job.ordering == "event_time":
        problem = 'is "event_time"; mode = "published" knows "arrival" only'
        mistakes.add(JOB / "ordering", problem)
    if job.execution == "process":
        # Versions are loaded by a thread beside Flink's.
        mistakes.add(JOB / "execution", 'is "process"; mode = "published" needs "thread"')
    if job.lane_by is not None:
        problem = f'is {shown(job.lane_by)}; mode = "published" has no lanes, leave it out'
        mistakes.add(JOB / "lane_by", problem)
    for name, source in config.inputs():
        if not isinstance(source, KafkaInput):
            problem = 'is "file"; mode = "published" needs "kafka"'
            mistakes.add(Place(f"[{name}]") / "connector", problem)
    for name in ("learn_queue", "versions"):
        _own_topic(name, config.sinks(name), mistakes)
    if config.security.signing_key_file is None:
        problem = (
            'is missing; mode = "published" reads models from a topic, and nothing read from a topic '
            "is unpickled unless the job's own key has signed it: riverrun control keygen makes one"
        )
        mistakes.add(Place("[security]") / "signing_key_file", problem)
    if config.control is not None:
        mistakes.add(Place("[control]"), 'goes with mode = "live"; leave it out')
    for index, model in enumerate(config.models):
        if model.reemit:
            problem = 'is true; mode = "published" predicts apart from learning, leave it out'
            mistakes.add(numbered("models", index) / "reemit", problem)


def _own_topic(name: str, sinks: tuple[Sink, ...], mistakes: Mistakes) -> None:
    """What one part of a job in published mode writes and the other reads."""
    place = Place(f"[{name}]")
    if not sinks:
        mistakes.add(place, 'is missing; mode = "published" needs it, a Kafka topic')
        return
    if len(sinks) > 1:
        mistakes.add(place, f"stands there {len(sinks)} times; one is expected")
    for index, sink in enumerate(sinks):
        at = sink_place(name, index, len(sinks) == 1)
        if not mistakes.none_at(at, at / "connector"):
            continue
        if not isinstance(sink, KafkaSink):
            problem = 'is "file"; mode = "published" needs "kafka"'
            mistakes.add(at / "connector", problem)
        elif sink.delivery != "exactly_once":
            problem = f'is {shown(sink.delivery)}; mode = "published" needs "exactly_once"'
            mistakes.add(at / "delivery", problem)


def _lanes(config: Config, mistakes: Mistakes) -> None:
    lane_by, schema = config.job.lane_by, config.schema
    if lane_by is None or schema is None or schema.unknown == "keep":
        return
    if lane_by not in schema.types:
        problem = (
            f"is {shown(lane_by)}, which [features.schema] does not name "
            f'and unknown = "{schema.unknown}" lets nothing else through'
        )
        mistakes.add(JOB / "lane_by", problem)


def _inputs(config: Config, mistakes: Mistakes) -> None:
    sections = [Place("[features]"), Place("[labels]")]
    unread = mistakes.none_at(*sections, *(place / "connector" for place in sections))
    if config.features is None and config.labels is None and unread:
        mistakes.add(Place("[features]"), "is missing; at least one input is expected")


def _paths(config: Config, mistakes: Mistakes) -> None:
    """No file is read twice, and no folder is written to by two, or written to and read from."""
    taken: list[tuple[str, Place]] = []
    for path, place in _used_paths(config):
        if not path or not mistakes.none_at(place):
            continue
        for other, owner in taken:
            if PurePath(path).is_relative_to(other) or PurePath(other).is_relative_to(path):
                problem = f"is {shown(path)}; a place of its own is expected, apart from {owner}"
                mistakes.add(place, f"{problem} ({shown(other)})")
                break
        taken.append((path, place))


def _used_paths(config: Config) -> Iterator[tuple[str, Place]]:
    for name, source in config.inputs():
        if isinstance(source, FileInput):
            yield source.path, Place(f"[{name}]") / "path"
    if config.job.name is not None:  # what its default is made of
        yield config.job.checkpoint_dir, JOB / "checkpoint_dir"
    for place, sink in _sinks(config):
        if isinstance(sink, FileSink):
            yield sink.path, place / "path"


def _sinks(config: Config) -> Iterator[tuple[Place, Sink]]:
    for output in OUTPUTS:
        sinks = config.sinks(output)
        for index, sink in enumerate(sinks):
            yield sink_place(output, index, len(sinks) == 1), sink


# Kafka


def _kafka(config: Config, mistakes: Mistakes, environ: Mapping[str, str]) -> None:
    read: dict[tuple[str, str], Place] = {}
    for name, source in config.inputs():
        if not isinstance(source, KafkaInput):
            continue
        place = Place(f"[{name}]")
        _servers(source.bootstrap_servers, place, mistakes, environ)
        _properties(source.properties, place, mistakes)
        keys = [key for key in _WHICH_TOPICS if getattr(source, key)]
        if not mistakes.none_at(*(place / key for key in _WHICH_TOPICS)):
            continue
        if len(keys) != 1:
            given = f"stands beside {' and '.join(keys[1:])}" if keys else "is missing"
            expected = "one of topic, topics and topic_pattern is expected"
            mistakes.add(place / (keys[0] if keys else "topic"), f"{given}; {expected}")
            continue
        for topic in source.named_topics:
            if not _topic(topic, place / keys[0], mistakes, environ):
                continue
            other = read.setdefault((topic, source.bootstrap_servers), place)
            if other is not place:
                problem = f"is {shown(topic)}, which is read by {other}, otherwise configured"
                mistakes.add(place / keys[0], problem)
    for place, sink in _sinks(config):
        if not isinstance(sink, KafkaSink):
            continue
        _servers(sink.bootstrap_servers, place, mistakes, environ)
        _properties(sink.properties, place, mistakes)
        if _topic(sink.topic, place / "topic", mistakes, environ) and (
            (sink.topic, sink.bootstrap_servers) in read
        ):
            problem = f"is {shown(sink.topic)}, which is an input: the job would read what it wrote"
            mistakes.add(place / "topic", problem)


def _servers(
    servers: str | None, place: Place, mistakes: Mistakes, environ: Mapping[str, str]
) -> None:
    place /= "bootstrap_servers"
    if servers is None or not mistakes.none_at(place):
        return
    resolved = secret_values.resolve(servers, environ)
    if not all(_SERVER.fullmatch(server.strip()) for server in resolved.split(",")):
        mistakes.add(place, f'is {shown(servers)}; "host:port" or "host:port,..." is expected')


def _topic(topic: str | None, place: Place, mistakes: Mistakes, environ: Mapping[str, str]) -> bool:
    if topic is None or not mistakes.none_at(place):
        return False
    if _TOPIC.fullmatch(secret_values.resolve(topic, environ)):
        return True
    expected = "up to 249 letters, digits and . _ - are expected"
    mistakes.add(place, f"is {shown(topic)}; {expected}")
    return False


def _properties(properties: Mapping[str, str] | None, place: Place, mistakes: Mistakes) -> None:
    """Settings of the client that this project makes itself, or has keys of its own for."""
    for name in properties or {}:
        if name in _NOT_FOR_USERS:
            mistakes.add(place / "properties" / name, f"cannot be set; {_NOT_FOR_USERS[name]}")


# Models


def _models(config: Config, mistakes: Mistakes, model_given: bool) -> None:
    places = [numbered("models", index) for index in range(len(config.models))]
    names: dict[str, Place] = {}
    champion: Place | None = None
    without: list[Place] = []
    for model, place in zip(config.models, places, strict=True):
        if mistakes.none_at(place / "name"):
            other = names.setdefault(model.name, place)
            if other is not place:
                problem = f"is {shown(model.name)}, as is that of {other}; another is expected"
                mistakes.add(place / "name", problem)
        if model.role == "champion":
            if champion is not None:
                problem = f'is "champion", as is that of {champion}; one champion is expected'
                mistakes.add(place / "role", problem)
            champion = champion or place
        if model.spec is None and model.artifact is None:
            without.append(place)
        _model(config, model, place, mistakes)
    if places and champion is None and mistakes.none_at(*(place / "role" for place in places)):
        problem = 'have no champion; one role = "champion", or one left out, is expected'
        mistakes.add(Place("[[models]]"), problem)
    _given(
        [place for place in without if mistakes.none_at(place / "spec", place / "artifact")],
        mistakes,
        model_given,
    )


def _given(without: list[Place], mistakes: Mistakes, model_given: bool) -> None:
    """Who has no spec: nobody, or the one model for which a River object is given."""
    if not model_given:
        for place in without:
            mistakes.add(place, "has no model; a spec or an artifact is expected")
    elif not without:
        problem = "all have a spec or an artifact; a River object is given for one that has none"
        mistakes.add(Place("[[models]]"), problem)
    else:
        for place in without[1:]:
            mistakes.add(place, "has no model; the River object given is for one model only")


def _model(config: Config, model: ModelConfig, place: Place, mistakes: Mistakes) -> None:
    def none_at(*keys: str) -> bool:
        return mistakes.none_at(*(place / key for key in keys))

    if model.spec is not None and model.artifact is not None:
        mistakes.add(place / "artifact", "stands beside spec; one of them is expected")
    elif model.spec is not None:
        _spec(model, place / "spec", mistakes, fits=none_at("task"))
    if none_at("task"):
        _learning(model, place, mistakes)
    if none_at("labels", "learn_only"):
        _label(model.learn_only, model, place / "learn_only", mistakes)
    if mistakes.none_at(JOIN / "assumed_label") and config.join.on_timeout == "assume":
        _label(config.join.assumed_label, model, JOIN / "assumed_label", mistakes)
    if none_at("max_failures", "failure_window") and model.max_failures >= model.failure_window:
        problem = f"is {model.max_failures}; fewer than failure_window ({model.failure_window})"
        mistakes.add(place / "max_failures", f"{problem} are expected")
    if none_at("snapshot"):
        _snapshot(model, place / "snapshot", mistakes)


def _learning(model: ModelConfig, place: Place, mistakes: Mistakes) -> None:
    if model.learn_on == "arrival" and model.task != "anomaly":
        problem = f'is "arrival"; task = "{model.task}" learns from labels'
        mistakes.add(place / "learn_on", problem)
    if model.learn_only is not None:
        if model.task != "anomaly":
            mistakes.add(place / "learn_only", 'goes with task = "anomaly" only')
        elif model.learn_on == "arrival":
            problem = 'goes with learn_on = "label": on arrival no label is known'
            mistakes.add(place / "learn_only", problem)
    if model.learn_if is not None and model.task != "classification":
        mistakes.add(place / "learn_if", 'goes with task = "classification" only')
    if model.task == "regression" and model.labels in ("bool", "str"):
        problem = f'is "{model.labels}"; regression takes "int" or "number"'
        mistakes.add(place / "labels", problem)


def _label(label: Any, model: ModelConfig, place: Place, mistakes: Mistakes) -> None:
    """A label of the configuration must be one that this model can have."""
    if label is None or model.labels is None or tasks.conforms(label, model.labels):
        return
    problem = f'is {shown(label)}; model "{model.name}" has labels = "{model.labels}"'
    mistakes.add(place, problem)


def _snapshot(model: ModelConfig, place: Place, mistakes: Mistakes) -> None:
    policy = model.snapshot
    if policy.every is not None and policy.every < 1:
        mistakes.add(place / "every", f"is {policy.every}; at least 1 is expected")
    if not 0 < policy.overhead <= 1:
        mistakes.add(place / "overhead", f"is {policy.overhead}; above 0 up to 1 is expected")
    if policy.max_replay_ms < 1:
        problem = f'is "{format_duration(policy.max_replay_ms)}"; at least "1ms" is expected'
        mistakes.add(place / "max_replay", problem)
    if policy.max_entries < 1:
        mistakes.add(place / "max_entries", f"is {policy.max_entries}; at least 1 is expected")


def _spec(model: ModelConfig, place: Place, mistakes: Mistakes, fits: bool) -> None:
    """The spec makes a model, and one that fits its task."""
    if not mistakes.none_at(place):
        return
    for problem in specs.check(model.spec):
        where, _, what = problem.partition(": ")
        mistakes.add(
            place, f"is wrong: {what}" if where == "spec" else f"is wrong at {where}: {what}"
        )
    if fits and mistakes.none_at(place):
        built = specs.build(model.spec, model.name or "")
        for problem in tasks.task_for(model.task).check_model(built):
            mistakes.add(place, f"does not fit: {problem}")
