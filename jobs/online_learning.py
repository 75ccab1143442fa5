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

from connectors import files, java_code, kafka, keying
from connectors.reading import Reading
from jobs import environment, kafka_clients, shipping
from jobs.config import load_config
from jobs.deployments import deployments
from jobs.kafka_checks import require_ready
from jobs.settings import MAX_PARALLELISM, Config, FileInput, FileSink, Input
from jobs.starting import require_built, uri
from jobs.submitting import PARAMETER, published_models
from operators import label_join, online_model
from operators.label_join import LabelJoin, OrderedLabelJoin
from operators.learning import Out
from operators.live import Deployment
from operators.online_model import OnlineModel, OrderedOnlineModel
from state import names, snapshots
from state.names import PICKLED, TEXT, Uid

shipping.ship(LabelJoin, OrderedLabelJoin, OnlineModel, OrderedOnlineModel)


def build(env: StreamExecutionEnvironment, config: Config, models: list[Deployment]) -> None:
    """Wire sources, join, models and sinks; start nothing."""
    ordered = config.job.ordering == "event_time"
    events = _events(env, config)
    join = OrderedLabelJoin if ordered else LabelJoin
    # Under event time nearly all happens when a watermark comes: there is nothing to gain.
    batched = config.job.execution == "thread" and not ordered
    # What is one subtask each runs in one thread: a record waits for no other to wake up.
    alone = config.job.parallelism == 1
    joined = (
        _process(
            keying.key_rows(events, TEXT, PICKLED, in_place=alone),
            join(
                config.join_settings(),
                config.decoder(),
                config.job.lane_by,
                bool(config.dead_letters),
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
    out = Out(
        predictions=bool(config.predictions),
        evaluations=bool(config.evaluations),
        learn_log=bool(config.learn_log),
        dead_letters=bool(config.dead_letters),
    )
    modelled = (
        _process(
            keying.key_rows(joined, TEXT, PICKLED, in_place=alone and not config.job.isolate_model),
            model(
                models,
                out,
                config.job.lane_by is not None,
                config.job.live_lanes,
                config.limits.raw_bytes,
                snapshots.environment(),
            ),
            TEXT,
            online_model.SIDES,
            batched,
            map_state=names.PREDICTIONS.name if config.evaluations else None,
        )
        .name("OnlineModel")
        .uid(Uid.ONLINE_MODEL)
    )
    if config.job.lane_by is None:
        modelled.set_parallelism(1)
    if config.job.isolate_model:
        modelled.slot_sharing_group("model")
    _sink(config, "predictions", modelled)
    _sink(config, "evaluations", keying.side_output(modelled, names.EVALUATIONS))
    _sink(config, "learn_log", keying.side_output(modelled, names.LEARN_LOG))
    refused = [keying.side_output(stream, names.DEAD_LETTERS) for stream in (joined, modelled)]
    _sink(config, "dead_letters", refused[0].union(refused[1]))


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
    return keying.process_batches(stream, function, output_type, sides=sides, **states)


def _events(env: StreamExecutionEnvironment, config: Config) -> DataStream:
    """Every input as one stream of `Row(key, value)`, under a watermark."""
    ordered = config.job.ordering == "event_time"
    # Where timers decide an outcome, it must not depend on when a watermark came by.
    timed = ordered or config.join.on_timeout == "assume"
    reading = Reading(
        min_ts=config.events.min_ts,
        max_future_ms=config.events.max_future_ms,
        record_limit=config.limits.record_bytes,
        # A character that Java cuts in two is not taken for bytes that are not UTF-8.
        raw_keep=config.limits.raw_bytes + 4,
        max_out_of_orderness_ms=config.events.max_out_of_orderness_ms,
        idle_timeout_ms=config.events.idle_timeout_ms,
        punctuated=timed,
    )
    streams = [_source(env, config, name, source, reading) for name, source in config.inputs()]
    events = streams[0].union(*streams[1:]) if len(streams) > 1 else streams[0]
    if not timed:
        return events
    clocked = keying.clock(events, config.events.max_out_of_orderness_ms, refuse=ordered)
    return clocked.name("Clock").uid(Uid.CLOCK)


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
        uid=uid,
    )


def _sink(config: Config, output: str, stream: DataStream) -> None:
    for place, sink in enumerate(config.sinks(output)):
        uid = Uid.sink(output, sink.connector, place)
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
            continue
        kafka.kafka_sink(
            stream,
            topic=kafka_clients.topic(sink),
            servers=kafka_clients.servers(sink),
            properties=kafka_clients.sink_properties(config, sink),
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
    arguments = parser.parse_args(argv)
    job = OnlineLearning(arguments.config)
    require_ready(job.config)
    env = flink_environment(job.config)
    job.build(env)
    env.execute(job.config.job.name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
