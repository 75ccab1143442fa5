"""`riverrun missing`: what a job must have written by what it read, and did not.

After an outage longer than its transactions, Kafka has aborted what a job had prepared and its state
takes for written. Which records those were follows from the inputs alone: the join is run over all that
the job has read, and what it sends to the models is compared with what is in the outputs.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import msgspec

from jobs import reading_outputs
from jobs.backtest import flow
from jobs.config import Config
from jobs.reading_inputs import records
from jobs.settings import ModelConfig

_COMPARED = ("predictions", "evaluations", "learn_log")
# Says something to whoever asks: what is said does not matter here, how many times does.
_STAND_INS: dict[str, dict[str, Any]] = {
    "classification": {"class": "river.dummy.PriorClassifier"},
    "regression": {
        "class": "river.dummy.StatisticRegressor",
        "params": {"statistic": {"class": "river.stats.Mean"}},
    },
}


class Missing(NamedTuple):
    """A record that an output should have; `source` is that of a label, None in predictions."""

    output: str
    model: str
    id: str
    source: str | None


class _Row(msgspec.Struct):
    """What tells a record of an output, or a dead letter, from others."""

    id: str | None = None
    model: str | None = None
    source: str | None = None
    kind: str | None = None
    reemit: bool = False


_read = msgspec.json.Decoder(_Row).decode


def missing(config: Config, compared: Callable[[int], None] | None = None) -> Iterator[Missing]:
    """Records that should be in predictions, evaluations and learn log and are not, by transaction id.

    Of Kafka inputs, what lies before the offsets that the job has committed counts as read; of files
    everything. A record with a dead letter of its model is not missed. Models that learn only some
    examples have no learn log to compare.

    Parameters
    ----------
    compared : callable, optional
        Told how many records of the inputs were looked at.

    Raises
    ------
    Failure
        An input or output cannot be read.
    """
    outputs = [output for output in _COMPARED if config.sinks(output)]
    wanted, records_read = _wanted(config, outputs)
    if compared is not None:
        compared(records_read)
    for output in outputs:
        for text in reading_outputs.texts(config, output):
            if (key := _key(output, _read(text))) is not None:
                wanted.pop(key, None)
    refused = set()
    if config.dead_letters:
        letters = map(_read, reading_outputs.texts(config, "dead_letters"))
        refused = {(letter.model, letter.id) for letter in letters if letter.model is not None}
    for key in wanted:
        if (key.model, key.id) not in refused:
            yield key


def _wanted(config: Config, outputs: list[str]) -> tuple[dict[Missing, None], int]:
    """What the inputs make, in their order, and how many records they have."""
    stand_ins = tuple(_stand_in(model) for model in config.models)
    choosy = {
        model.name for model in config.models if model.learn_if or model.learn_only is not None
    }
    found: dict[Missing, None] = {}

    def emit(output: str, text: str) -> None:
        if output not in outputs:
            return
        key = _key(output, _read(text))
        if key is not None and not (output == "learn_log" and key.model in choosy):
            found[key] = None

    running = flow(msgspec.structs.replace(config, models=stand_ins), emit)
    for record in records(config, read_by_the_job=True):
        running.record(record)
    return found, running.records


def _stand_in(model: ModelConfig) -> ModelConfig:
    spec = _STAND_INS.get(model.task, model.spec)
    return msgspec.structs.replace(model, spec=spec, artifact=None, learn_if=None, reemit=False)


def _key(output: str, row: _Row) -> Missing | None:
    """None for what is no record of a transaction, or one that another record stands for."""
    if row.id is None or row.model is None or row.reemit:
        return None
    if output == "learn_log" and row.kind != "example":
        return None
    return Missing(output, row.model, row.id, None if output == "predictions" else row.source)
