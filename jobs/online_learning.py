"""The job: features and labels in, predictions, evaluations and the learn log out.

Run by `riverrun run` and `riverrun submit`, or by hand with
`flink run -py jobs/online_learning.py --config CONFIG`.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pyflink.common import Configuration, Types
from pyflink.common.typeinfo import TypeInformation
from pyflink.datastream import (
    DataStream,
    KeyedProcessFunction,
    KeyedStream,
    OutputTag,
    StreamExecutionEnvironment,
)

from connectors import files, java_code, kafka, keying, own_topics
from connectors.reading import Reading
from jobs import control_stream, environment, kafka_clients, published, shipping, webhooks
from jobs.config import load_config
from jobs.deployments import deployments
from jobs.kafka_checks import require_ready
from jobs.reading_kafka import most_partitions
from jobs.settings import (
    MAX_PARALLELISM,
    Config,
    FileInput,
    FileSink,
    Input,
    KafkaInput,
    StoredSink,
    WebhookSink,
)
from jobs.starting import require_built, uri
from jobs.submitting import PARAMETER, published_models
from operators import actor, control_gate, gauges, label_join, online_model
from operators.actor import Actor
from operators.control_gate import ControlGate
from operators.label_join import LabelJoin, OrderedLabelJoin
from operators.live import Deployment
from operators.monitor import Monitor
from operators.online_model import OnlineModel, OrderedOnlineModel
from operators.scratch import Sources
from operators.webhook import Webhook
from state import names, snapshots
from state.names import PICKLED, TEXT, Uid

shipping.ship(
    ControlGate,
    LabelJoin,
    OrderedLabelJoin,
    OnlineModel,
    OrderedOnlineModel,
    Monitor,
    Actor,
    Webhook,
    *published.SHIPPED,
)


def build(env: StreamExecutionEnvironment, config: Config, models: list[Deployment]) -> None:
    """Wire sources, join, models and sinks; start nothing."""
    if config.job.mode == "published":
        published.build(env, config, models, published.Wiring(_events, _process, _sink, _monitor))
        return
    ordered = config.job.ordering == "event_time"
    events = _events(env, config)
    join = OrderedLabelJoin if ordered else LabelJoin
    # Under event time nearly all happens when a watermark comes: there is nothing to gain.
    batched = config.job.execution == "thread" and not ordered
    # What is one subtask each runs in one thread: a record waits for no other to wake up.
    alone = config.job.parallelism == 1
    laned = config.job.lane_by is not None
    gate, every_lane = None, [""]
    if config.control is not None:
        gate, events = _gate(env, config, events)
        if laned:
            every_lane = keying.keys_of_all_groups(MAX_PARALLELISM, control_gate.KEY)
    joined = (
        _process(
            keying.key_rows(events, TEXT, PICKLED, in_place=alone),
            join(
                config.join_settings(),
                config.decoder(),
                config.job.lane_by,
                bool(config.dead_letters),
                every_lane,
            ),
            Types.ROW([TEXT, PICKLED]),
            label_join.SIDES,
            batched,
            value_state=names.HELD.name,
        )
        .name("LabelJoin")
        .uid(Uid.LABEL_JOIN)
    )
    model = OrderedOnlineModel if ordered else OnlineModel
    modelled = (
        _process(
            keying.key_rows(joined, TEXT, PICKLED, in_place=alone and not config.job.isolate_model),
            model(
                models,
                control_stream.out(config),
                laned,
                config.job.live_lanes,
                control_stream.lane_settings(config),
                snapshots.environment(),
                every_lane if laned and gate is not None else [],
            ),
            TEXT,
            online_model.SIDES,
            batched,
            map_state=names.PREDICTIONS.name if control_stream.out(config).evaluates else None,
        )
        .name("OnlineModel")
        .uid(Uid.ONLINE_MODEL)
    )
    if not laned:
        modelled.set_parallelism(1)
    if config.job.isolate_model:
        modelled.slot_sharing_group("model")
    _sink(config, "predictions", modelled)
    _sides(config, [modelled], "evaluations", "learn_log", "versions")
    posted = _monitor(config, modelled, [modelled])
    judged = [] if gate is None else [gate]
    _sides(config, judged, "control_log")
    _sides(config, [*judged, modelled], "control_acks")
    _sides(config, [joined, *judged, modelled, *posted], "dead_letters")


def _monitor(
    config: Config, observed: DataStream, alerting: Sequence[DataStream] = ()
) -> list[DataStream]:
    """What is told of models, and what follows from it; `alerting` has alerts of its own.

    Returns what posts alerts: it has dead letters.
    """
    monitored = _monitored(config, observed) if config.monitors else []
    alerting = [*alerting, *monitored]
    _sides(config, alerting, "alerts")
    alerts = [keying.side_output(stream, names.ALERTS) for stream in alerting]
    _act(config, monitored, alerts)
    return webhooks.webhooks(config, alerts)


def _monitored(config: Config, observed: DataStream) -> list[DataStream]:
    observed = own_topics.keyed_texts(keying.side_output(observed, names.OBSERVATIONS))
    monitored = (
        keying.key_rows(observed, TEXT, TEXT)
        .process(Monitor(config.monitors, config.join.retention_ms), output_type=TEXT)
        .name("Monitor")
        .uid(Uid.MONITOR)
    )
    _sink(config, "metrics", monitored)
    return [monitored]


def _act(config: Config, monitored: list[DataStream], alerts: list[DataStream]) -> None:
    """What the job tells itself, by way of the topic or the folder that control messages come from."""
    settings, sink = control_stream.action_settings(config), config.commands()
    if settings is None or sink is None:
        return
    first, *others = [*monitored, *alerts]
    said = (
        keying.key_rows(keying.under_one_key(first.union(*others), actor.KEY), TEXT, TEXT)
        .process(Actor(settings), output_type=TEXT)
        .name("Actor")
        .uid(Uid.ACTOR)
        .force_non_parallel()
    )
    _write(config, "commands", said, sink, Uid.COMMANDS)


def _gate(
    env: StreamExecutionEnvironment, config: Config, events: DataStream
) -> tuple[DataStream, DataStream]:
    """The control gate, and what goes into the join: all events, and what the gate lets through."""
    # With every watermark of the events, whether or not messages come by the same source.
    messages = keying.control_rows(events, True)
    for name, source in config.inputs():
        if name == "control":
            holds = config.job.ordering == "event_time"
            reading = _reading(config)._replace(control="all", holds=holds and _ends(source))
            messages = messages.union(_source(env, config, name, source, reading))
    settings = control_stream.gate_settings(config)
    assert settings is not None, "there is a control stream"
    gate = (
        keying.key_rows(messages, TEXT, PICKLED)
        .process(
            ControlGate(
                settings,
                control_stream.trial_limits(config),
                Sources(shipping.pack()[1]),
                control_stream.out(config),
            ),
            output_type=Types.ROW([TEXT, PICKLED]),
        )
        .name("ControlGate")
        .uid(Uid.CONTROL_GATE)
        .force_non_parallel()
    )
    return gate, keying.control_rows(events, False).union(gate)


def _ends(source: Input) -> bool:
    return not source.watch if isinstance(source, FileInput) else source.stop != "never"


def _process(
    stream: KeyedStream,
    function: KeyedProcessFunction,
    output_type: TypeInformation,
    sides: Sequence[OutputTag],
    batched: bool,
    **states: str | None,
) -> DataStream:
    if not batched:
        return stream.process(function, output_type=output_type)
    return keying.process_batches(
        stream, function, output_type, sides=sides, show_every_ms=gauges.DELAY_MS, **states
    )


def _events(env: StreamExecutionEnvironment, config: Config) -> DataStream:
    """Every input as one stream of `Row(key, value)`, under a watermark."""
    streams = [
        _source(env, config, *input, _reading(config)._replace(control=config.control_in(input)))
        for input in config.inputs()
        if input.name != "control"
    ]
    events = streams[0].union(*streams[1:]) if len(streams) > 1 else streams[0]
    if not _timed(config):
        return events
    ordered = config.job.ordering == "event_time"
    clocked = keying.clock(events, config.events.max_out_of_orderness_ms, refuse=ordered)
    return clocked.name("Clock").uid(Uid.CLOCK)


def _timed(config: Config) -> bool:
    """Where timers decide an outcome, it must not depend on when a watermark came by."""
    return config.job.ordering == "event_time" or config.join.on_timeout == "assume"


def _reading(config: Config) -> Reading:
    return Reading(
        min_ts=config.events.min_ts,
        max_future_ms=config.events.max_future_ms,
        record_limit=config.limits.record_bytes,
        # A character that Java cuts in two is not taken for bytes that are not UTF-8.
        raw_keep=config.limits.raw_bytes + 4,
        max_out_of_orderness_ms=config.events.max_out_of_orderness_ms,
        idle_timeout_ms=config.events.idle_timeout_ms,
        punctuated=_timed(config),
    )


def _source(
    env: StreamExecutionEnvironment, config: Config, name: str, source: Input, reading: Reading
) -> DataStream:
    uid = Uid.source(name, source.connector)
    if isinstance(source, FileInput):
        return files.file_source(
            env,
            input_name=name,
            path=source.path,
            watch=source.watch,
            reading=reading,
            hold_until_last_file=config.job.ordering == "event_time",
            uid=uid,
        )
    return kafka.kafka_source(
        env,
        input_name=name,
        topics=kafka_clients.topics(source),
        pattern=kafka_clients.pattern(source),
        servers=kafka_clients.servers(source),
        group=kafka_clients.group(config, source),
        properties=kafka_clients.source_properties(source),
        start=source.start,
        stop=None if source.stop == "never" else source.stop,
        reading=reading,
        parallelism=_readers(config, name, source),
        uid=uid,
    )


def _readers(config: Config, name: str, source: KafkaInput) -> int:
    """As many subtasks as get a partition each."""
    if config.job.parallelism == 1:
        return 1
    return min(config.job.parallelism, max(1, most_partitions(name, source)))


def _sides(config: Config, streams: list[DataStream], *outputs: str) -> None:
    """Side outputs of these operators, where there are any."""
    for output in outputs:
        sides = [keying.side_output(stream, names.SIDE_OUTPUTS[output]) for stream in streams]
        if sides:
            _sink(config, output, sides[0].union(*sides[1:]) if len(sides) > 1 else sides[0])


def _sink(config: Config, output: str, stream: DataStream) -> None:
    for place, sink in enumerate(config.sinks(output)):
        if isinstance(sink, WebhookSink):
            continue  # it is an operator, see jobs/webhooks.py
        _write(config, output, stream, sink, Uid.sink(output, sink.connector, place), place)


def _write(
    config: Config, output: str, stream: DataStream, sink: StoredSink, uid: str, place: int = 0
) -> None:
    name = output.replace("_", " ")
    if isinstance(sink, FileSink):
        files.file_sink(
            stream,
            path=sink.path,
            prefix="part",
            uid=uid,
            name=name,
            roll_interval_ms=sink.roll_interval_ms,
            roll_size_bytes=sink.roll_size_mb << 20,
        )
        return
    kafka.kafka_sink(
        stream,
        topic=kafka_clients.topic(sink),
        servers=kafka_clients.servers(sink),
        properties=kafka_clients.sink_properties(config, output, sink),
        delivery=sink.delivery,
        transactional_id_prefix=kafka_clients.transactional_id(config, output, place),
        by_chain=output == "learn_log",
        uid=uid,
        name=name,
    )


def flink_environment(
    config: Config, base: Configuration | None = None, settings: Mapping[str, str] | None = None
) -> StreamExecutionEnvironment:
    """An environment with what every way of running this job has in common.

    Parameters
    ----------
    base : Configuration, optional
        Flink's own settings, where nothing else brings them.
    settings : mapping, optional
        More of them; they win.
    """
    flink = base or Configuration()
    for key, value in {**_settings(config), **(settings or {})}.items():
        flink.set_string(key, value)
    env = StreamExecutionEnvironment.get_execution_environment(flink)
    java_code.attach(env, kafka=kafka_clients.used(config))
    env.set_parallelism(config.job.parallelism)
    env.set_max_parallelism(MAX_PARALLELISM)
    env.get_config().set_global_job_parameters({PARAMETER: published_models(config.models)})
    return env


def _settings(config: Config) -> dict[str, str]:
    job = config.job
    folder = uri(Path(job.checkpoint_dir))
    return {
        "pipeline.name": job.name,
        # No operator changes or keeps what it is given.
        "pipeline.object-reuse": "true",
        "python.execution-mode": job.execution,
        "execution.checkpointing.interval": f"{job.checkpoint_interval_ms} ms",
        "execution.checkpointing.mode": "EXACTLY_ONCE",
        "execution.checkpointing.dir": folder,
        "execution.checkpointing.savepoint-dir": f"{folder}/savepoints",
        "execution.checkpointing.externalized-checkpoint-retention": "RETAIN_ON_CANCELLATION",
        "execution.checkpointing.storage": "filesystem",
        "execution.checkpointing.incremental": "true",
        "execution.buffer-timeout.interval": "0 ms",
        # A new transaction's id is in none of RocksDB's files: without filters each is asked, and with
        # millions of transactions that takes as long as all the rest together, many times over.
        "state.backend.rocksdb.use-bloom-filter": "true",
        "state.backend.rocksdb.memory.partitioned-index-filters": "true",
        "state.backend.type": {"heap": "hashmap", "rocksdb": "rocksdb"}[job.state_backend],
    }


class OnlineLearning:
    """A configured job, from Python.

    Parameters
    ----------
    config : Config or path
        The configuration, or the TOML file it stands in.
    model : River estimator, optional
        Stands for the spec of the one `[[models]]` that has none. Its classes must be importable,
        by the names of their modules, where the job runs.

    Examples
    --------
    >>> from river import linear_model, preprocessing
    >>> model = preprocessing.StandardScaler() | linear_model.LogisticRegression()
    >>> OnlineLearning("fraud.toml", model=model).run()  # doctest: +SKIP
    """

    def __init__(self, config: Config | str | Path, model: Any = None) -> None:
        given = model is not None
        self.config = (
            config if isinstance(config, Config) else load_config(config, model_given=given)
        )
        require_built(self.config)
        if self.config.job.execution == "thread":
            environment.require_shared_python()
        self.deployments = deployments(self.config, model)

    def build(self, env: StreamExecutionEnvironment) -> None:
        """Add the job's operators to `env`; start nothing."""
        build(env, self.config, self.deployments)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", required=True, help="the job's TOML file")
    parser.add_argument("--part", choices=("predict", "learn"), help='of mode = "published"')
    arguments = parser.parse_args(argv)
    job = OnlineLearning(load_config(arguments.config).for_part(arguments.part))
    require_ready(job.config)
    env = flink_environment(job.config)
    job.build(env)
    env.execute(job.config.job.name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
