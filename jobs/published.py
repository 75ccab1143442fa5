"""Published mode: the wiring of a job, or of one part of it, that predicts from published versions.

docs/published.md has the picture.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from pyflink.common import Types
from pyflink.datastream import DataStream, StreamExecutionEnvironment

from connectors import keying, own_topics
from jobs import kafka_clients
from jobs.config import ConfigError
from jobs.settings import MAX_PARALLELISM, Config, KafkaSink
from operators import predictor, queueing_join
from operators.evaluator import Evaluator
from operators.learning import LaneSettings, Out
from operators.live import Deployment
from operators.predictor import Predictor
from operators.publishing import PublishSettings
from operators.queueing_join import QueueingLabelJoin
from operators.serving import ServingSettings
from operators.trainer import Trainer
from state import names, snapshots
from state.names import PICKLED, TEXT, Uid
from state.signing import KeyFileError, SigningKey

SHIPPED = (QueueingLabelJoin, Predictor, Evaluator, Trainer)

# Under these keys versions go to predictors; requests go under their ids.
_VERSIONS = "versions "


class Wiring(NamedTuple):
    """What a job in published mode has in common with a live one."""

    events: Callable[[StreamExecutionEnvironment, Config], DataStream]
    process: Callable[..., DataStream]
    sink: Callable[[Config, str, DataStream], None]
    monitor: Callable[[Config, DataStream], list[DataStream]]


def build(
    env: StreamExecutionEnvironment, config: Config, models: list[Deployment], wiring: Wiring
) -> None:
    """Wire the part of the job that `config` is about, or all of it; start nothing."""
    refused: list[DataStream] = []
    if config.part != "learn":
        refused += _predicting(env, config, models, wiring)
    if config.part != "predict":
        refused += _learning(env, config, models, wiring)
    wiring.sink(config, "dead_letters", refused[0].union(*refused[1:]))


def _predicting(
    env: StreamExecutionEnvironment, config: Config, models: list[Deployment], wiring: Wiring
) -> list[DataStream]:
    """Join, predictors, evaluator: their dead letters."""
    alone = config.job.parallelism == 1
    batched = True  # there is no published mode in PyFlink's processes, see jobs/config_rules.py
    evaluates = bool(config.evaluations or config.monitors)
    versions = keying.passed_on(_own_topic(env, config, "versions", "versions", remembers=False))
    joined = (
        wiring.process(
            keying.key_rows(
                wiring.events(env, config).union(versions), TEXT, PICKLED, in_place=alone
            ),
            QueueingLabelJoin(
                config.join_settings(),
                config.decoder(),
                bool(config.dead_letters),
                any(model.settings.learn_on == "arrival" for model in models),
                evaluates,
                keying.keys_of_subtasks(MAX_PARALLELISM, config.job.parallelism, _VERSIONS),
            ),
            Types.ROW([TEXT, PICKLED]),
            queueing_join.SIDES,
            batched,
            value_state=names.HELD.name,
        )
        .name("LabelJoin")
        .uid(Uid.LABEL_JOIN)
    )
    wiring.sink(config, "learn_queue", keying.side_output(joined, names.LEARN_QUEUE))
    settings = ServingSettings(
        job=config.base_name,
        models=[model.settings for model in models],
        trusted=_trusted(config),
        hold_limit=config.job.hold_limit if config.job.without_model == "hold" else 0,
        predictions=bool(config.predictions),
        evaluations=evaluates,
        dead_letters=bool(config.dead_letters),
        raw_bytes=config.limits.raw_bytes,
        monitored=bool(config.monitors),
        background_nice=config.published.background_nice,
    )
    answered = (
        wiring.process(
            keying.key_rows(joined, TEXT, PICKLED, in_place=alone),
            Predictor(settings, [model.pickled for model in models]),
            TEXT,
            predictor.SIDES,
            batched,
            value_state=names.HELD_REQUESTS.name,
        )
        .name("Predictor")
        .uid(Uid.PREDICTOR)
    )
    wiring.sink(config, "predictions", answered)
    posted: list[DataStream] = []
    if evaluates:
        evaluated = _evaluated(env, config, models, answered)
        wiring.sink(config, "evaluations", evaluated)
        posted = wiring.monitor(config, evaluated)
    return _sides([joined, answered, *posted], names.DEAD_LETTERS)


def _evaluated(
    env: StreamExecutionEnvironment, config: Config, models: list[Deployment], answered: DataStream
) -> DataStream:
    said = own_topics.keyed_texts(keying.side_output(answered, names.SAID))
    outcomes = _own_topic(env, config, "learn_queue", None, remembers=True)
    tasks = {model.settings.name: model.settings.task for model in models}
    roles = {model.settings.name: model.settings.role for model in models}
    return (
        keying.key_rows(said.union(outcomes), TEXT, TEXT)
        .process(Evaluator(tasks, config.join.retention_ms, roles), output_type=TEXT)
        .name("Evaluator")
        .uid(Uid.EVALUATOR)
    )


def _learning(
    env: StreamExecutionEnvironment, config: Config, models: list[Deployment], wiring: Wiring
) -> list[DataStream]:
    """A trainer for each model, in a slot of its own: their dead letters."""
    assert config.security.signing_key_file is not None, "config_rules sees to it"
    published = config.published
    settings = PublishSettings(
        job=config.base_name,
        signing_key_file=config.security.signing_key_file,
        every=published.publish_every,
        interval_ms=published.publish_interval_ms,
        part_bytes=published.part_bytes,
        max_lag_ms=published.max_lag_ms,
        on_lag=published.on_lag,
        sample=published.sample,
        nice=published.learner_nice,
        background_nice=published.background_nice,
    )
    out = Out(
        predictions=False,
        evaluations=False,
        learn_log=bool(config.learn_log),
        dead_letters=bool(config.dead_letters),
        control_acks=False,
        versions=False,
        alerts=False,
    )
    trained = [_trained(env, config, model, settings, out) for model in models]
    wiring.sink(config, "versions", _union(trained))
    wiring.sink(config, "learn_log", _union(_sides(trained, names.LEARN_LOG)))
    return _sides(trained, names.DEAD_LETTERS)


def _trained(
    env: StreamExecutionEnvironment,
    config: Config,
    model: Deployment,
    settings: PublishSettings,
    out: Out,
) -> DataStream:
    name = model.settings.name
    # Nobody can ask for an earlier version.
    model = model._replace(settings=msgspec.structs.replace(model.settings, retain=0))
    group = f"learn {name}"
    queue = _own_topic(env, config, "learn_queue", name, remembers=True, greets=True)
    lane = LaneSettings(config.limits.raw_bytes)
    trainer = Trainer(settings, [model], out, False, 1, lane, snapshots.environment())
    queue._j_data_stream.slotSharingGroup(group)
    trained = (
        # One subtask each: they run in one thread, and a barrier waits for no record in between.
        keying.key_rows(queue, TEXT, TEXT, in_place=True)
        .process(trainer, output_type=TEXT)
        .name(f"Trainer of {name}")
        .uid(Uid.trainer(name))
    )
    trained.set_parallelism(1)
    trained.slot_sharing_group(group)
    return trained


def _own_topic(
    env: StreamExecutionEnvironment,
    config: Config,
    output: str,
    key: str | None,
    *,
    remembers: bool,
    greets: bool = False,
) -> DataStream:
    [sink] = config.sinks(output)
    assert isinstance(sink, KafkaSink), "config_rules sees to it"
    reader = output if key in (None, output) else f"{output} of {key}"
    return own_topics.own_topic(
        env,
        name=reader,
        topic=kafka_clients.topic(sink),
        servers=kafka_clients.servers(sink),
        group=f"{config.job.name} {reader}",
        properties=kafka_clients.properties(sink),
        key=key,
        remembers=remembers,
        greets=greets,
        uid=f"source-{output}-{key or 'outcomes'}-v1",
    )


def _sides(streams: Sequence[DataStream], tag: Any) -> list[DataStream]:
    return [keying.side_output(stream, tag) for stream in streams]


def _union(streams: Sequence[DataStream]) -> DataStream:
    first, *others = streams
    return first.union(*others) if others else first


def _trusted(config: Config) -> tuple[str, ...]:
    """Public keys; the private one stays where the learner runs."""
    path = config.security.signing_key_file
    trusted = config.security.trusted_keys
    if path is None or (config.part == "predict" and trusted and not Path(path).exists()):
        return trusted
    try:
        return (SigningKey.load(Path(path)).public, *trusted)
    except KeyFileError as error:
        raise ConfigError([f"[security] signing_key_file: {error}"]) from error
