"""`riverrun bench`: how many transactions a second these models can take on this machine."""

import itertools
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from connectors.files import read_parts
from events.messages import Rejected
from jobs import running
from jobs.config import Config
from jobs.deployments import deployments
from jobs.errors import Failure
from jobs.reading_inputs import lines_of, records
from jobs.settings import FileInput, FileSink, ModelConfig
from models import tasks
from operators.live import Deployment
from operators.plain import Record
from state.snapshots import environment, unpickle_model

_SKIPPED = 0.2
_LEFT_OUT = ("evaluations", "learn_log", "dead_letters", "metrics", "alerts")


class Rate(NamedTuple):
    """Transactions a second; `model` None where all of them run together, in the job."""

    model: str | None
    what: str
    per_s: float


class _Predicted(msgspec.Struct):
    predicted_at: int


def bench(config: Config, sample: Path | None = None, count: int = 20_000) -> Iterator[Rate]:
    """Measure each model alone (predict, learn, both), then the job with all of them.

    Alone: in this process, without Flink, over the examples of the sample in their order; the first
    fifth warms up. The job: on an embedded Flink over the same records in a file, its rate by the
    `predicted_at` of the predictions. What is slower of the two, the model or the job, is
    what a stream can sustain.

    Parameters
    ----------
    sample : path, optional
        A file of records; None for the first records of the configured inputs.
    count : int
        How many records at the most.

    Raises
    ------
    Failure
        Too few examples to measure, or the job failed.
    """
    taken = list(itertools.islice(_records(config, sample), count))
    examples = list(_examples(config, taken))
    if len(examples) < 100:
        raise Failure(f"{len(examples)} examples with a label in the sample; 100 are needed")
    configured = {model.name: model for model in config.models}
    for deployment in deployments(config):
        model = configured[deployment.settings.name]
        for what, per_s in _alone(deployment, model, examples):
            yield Rate(model.name, what, per_s)
    yield Rate(None, "job", _job(config, taken))


def _records(config: Config, sample: Path | None) -> Iterator[Record]:
    return records(config) if sample is None else lines_of(sample, "features")


def _examples(config: Config, taken: list[Record]) -> Iterator[tuple[dict[str, Any], Any]]:
    """Features with their label, in the order of the labels."""
    decode = config.decoder().decode
    features: dict[str, dict[str, Any]] = {}
    for record in taken:
        event = decode(record.raw)
        if isinstance(event, Rejected):
            continue
        if event.features is not None:
            features[event.id] = event.features
        if event.label is not None and event.id in features:
            yield features.pop(event.id), event.label


def _alone(
    deployment: Deployment, configured: ModelConfig, examples: list[tuple[dict[str, Any], Any]]
) -> Iterator[tuple[str, float]]:
    task = tasks.task_for(configured.task)

    def fresh() -> tuple[Callable[..., Any], Callable[..., Any]]:
        model = unpickle_model(deployment.pickled, environment())
        return task.asker(model), task.teacher(model)

    ask, teach = fresh()
    yield "learn", _rate(teach, examples)
    # Of what it has learned by now: an empty model answers faster than it ever will again.
    yield "predict", _rate(lambda x, y: ask(x), examples)
    ask, teach = fresh()

    def both(x: dict[str, Any], y: Any) -> None:
        ask(x)
        teach(x, y)

    yield "both", _rate(both, examples)


def _rate(step: Callable[[dict[str, Any], Any], Any], examples: list[Any]) -> float:
    skipped = int(len(examples) * _SKIPPED)
    for x, y in examples[:skipped]:
        step(x, y)
    begun = time.perf_counter()
    for x, y in examples[skipped:]:
        step(x, y)
    return (len(examples) - skipped) / (time.perf_counter() - begun)


def _job(config: Config, taken: list[Record]) -> float:
    with tempfile.TemporaryDirectory(prefix="riverrun-bench-") as name:
        folder = Path(name)
        source = folder / "sample.jsonl"
        with source.open("wb") as file:
            file.writelines(record.raw + b"\n" for record in taken if record.raw is not None)
        here = msgspec.structs.replace(
            config,
            job=msgspec.structs.replace(config.job, checkpoint_dir=str(folder / "checkpoints")),
            features=FileInput(path=str(source)),
            labels=None,
            control=None,
            triggers=(),
            schedules=(),
            # Nothing is sent to anybody.
            **{output: () for output in _LEFT_OUT},
            predictions=(FileSink(path=str(folder / "predictions")),),
        )
        running.run(here)
        read = msgspec.json.Decoder(_Predicted).decode
        at = sorted(read(line).predicted_at for line in read_parts(folder / "predictions"))
    skipped = int(len(at) * _SKIPPED)
    seconds = (at[-1] - at[skipped]) / 1000
    return (len(at) - skipped) / len(config.models) / max(seconds, 1e-3)
