"""What an audit says of transactions as wholes: predictions that are missing, doubled, serving or not."""

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from events.messages import Event
from events.reasons import Reason
from jobs import kafka_clients, reading_kafka, reading_outputs
from jobs.audit_index import Features, Numbers, Predictions
from jobs.config import Config
from jobs.settings import KafkaInput, NamedInput
from state.chains import Chains

# Operations after which a model need not be there for every transaction.
_COMING_OR_GOING = frozenset({"deploy", "retire"})
# A dead letter of these says nothing of the features that came with the label, if any did.
_OF_LABELS = frozenset(
    {
        Reason.ORPHAN_LABEL,
        Reason.LATE_LABEL,
        Reason.CONFLICTING_LABEL,
        Reason.LABEL_TYPE,
        Reason.LEARN_FAILED,
        Reason.MODEL_FROZEN,
        Reason.PREDICT_FAILED,
        Reason.PREDICTION_NOT_FINITE,
    }
)
# Odd, so that no two products of 64 bits are the same.
_SPREAD = np.int64(0x2545F4914F6CDD1D)

ReadSoFar = Mapping[tuple[str, int], int]


class Missing(NamedTuple):
    """A transaction without a prediction; `model` None where it has none at all."""

    id: str
    position: str
    model: str | None


def read_so_far(config: Config, inputs: Iterable[NamedInput]) -> ReadSoFar:
    """Of Kafka inputs the offsets that the job has committed, in whatever topics.

    Raises
    ------
    Failure
        Kafka does not answer or refuses.
    """
    found: dict[tuple[str, int], int] = {}
    for name, source in inputs:
        if isinstance(source, KafkaInput):
            group = kafka_clients.group(config, source)
            found.update(reading_kafka.committed(name, source, group))
    return found


def always_there(config: Config, chains: Chains, predictions: Predictions) -> list[str]:
    """Models that have been deployed from the beginning: every transaction has a prediction of each."""
    moving, known = set(), set(predictions.models)
    for chain in chains:
        known.add(chain.model)
        if any(operation.op in _COMING_OR_GOING for operation in chain.operations):
            moving.add(chain.model)
    return [m.name for m in config.models if m.name in known and m.name not in moving]


def missing(
    config: Config,
    features: Features,
    predictions: Predictions,
    always: Iterable[str],
    read: ReadSoFar,
) -> Iterator[Missing]:
    """Feature events that must have a prediction, and have none."""
    first = ~predictions.reemit
    predicted = np.isin(features.transactions, predictions.transactions[first])
    lacking = np.nonzero(~predicted)[0]
    if len(lacking):
        refused = _refused(config)
        for place in map(int, lacking):
            event = _must_be_predicted(config, features, place)
            position = features.position(place)
            if event is not None and position not in refused and not _unread(position, read):
                yield Missing(event.id, position, None)
    for name in always:
        of_model = np.array([name == model for model in predictions.models], dtype=bool)
        own = predictions.transactions[first & of_model[predictions.model]]
        for place in map(int, np.nonzero(predicted & ~np.isin(features.transactions, own))[0]):
            event = _must_be_predicted(config, features, place)
            if event is not None:
                yield Missing(event.id, features.position(place), name)


def _must_be_predicted(config: Config, features: Features, place: int) -> Event | None:
    """The event, if the join makes a request of it: it is sound, and the first of its transaction."""
    event = features.event(place)
    if event is None or not _is_asked(config, event):
        return None
    same: list[tuple[int, int]] = []
    for other in features.of_id(hash(event.id)):
        found = features.event(other)
        if found is not None and found.id == event.id and _is_asked(config, found):
            same.append((found.ts, other))
    if config.job.ordering == "event_time":
        same.sort()
    held: int | None = None
    for ts, other in same:
        if held is None or ts > held + config.join.retention_ms:
            held = ts
            if other == place:
                return event
    return None


def _is_asked(config: Config, event: Event) -> bool:
    """Whether the join takes an event with this time and these features."""
    lane_by, now_ms = config.job.lane_by, time.time_ns() // 1_000_000
    if not config.time_range().accepts(event.ts, now_ms):
        return False
    return lane_by is None or lane_by in (event.features or {})


class _Letter(msgspec.Struct):
    position: str | None
    reason: str


def _refused(config: Config) -> set[str]:
    """Where the records stand that are dead letters, but for those that are about labels."""
    if not config.dead_letters:
        return set()
    letters = (
        msgspec.json.decode(text, type=_Letter)
        for text in reading_outputs.texts(config, "dead_letters")
    )
    return {
        letter.position for letter in letters if letter.position and letter.reason not in _OF_LABELS
    }


def _unread(position: str, read: ReadSoFar) -> bool:
    """Whether the job, if it ever read this topic of Kafka's, has not come to this record yet."""
    if not read:
        return False
    topic, partition, offset = position.rsplit("-", 2)
    if all(known != topic for known, _ in read):
        return False
    return int(offset) >= read.get((topic, int(partition)), 0)


def doubled(predictions: Predictions, aborted: NDArray[np.bool_], again: bool) -> Iterator[int]:
    """Predictions that their transaction has of this model already.

    Parameters
    ----------
    aborted
        Those of attempts that were given up, which do not count.
    again
        Whether the output may hold a prediction twice, as one that is at-least-once does.
    """
    if again or not len(predictions):
        return
    # After each correction that it learned, a model may say something anew.
    keys = _by_model(predictions)
    keys = np.where(predictions.reemit, keys ^ predictions.versions, keys)
    counted = np.nonzero(~aborted)[0]
    _, firsts = np.unique(keys[counted], return_index=True)
    yield from map(int, np.delete(counted, firsts))


def _by_model(predictions: Predictions) -> Numbers:
    """A hash of each one's transaction and model."""
    spread: Numbers = predictions.transactions + _SPREAD * (predictions.model.astype(np.int64) + 1)
    return spread


def not_one_serving(
    predictions: Predictions,
    aborted: NDArray[np.bool_],
    chains: Chains,
    models: int,
    again: bool,
) -> Iterator[tuple[int, int]]:
    """The first prediction of each transaction of which not exactly one serves, and how many do.

    Where a model was retired there may be none: it may have been the only one that could.

    Parameters
    ----------
    models
        How many predictions a transaction has at least; one that lacks some is not looked at.
    """
    counted: Numbers = np.nonzero(~aborted & ~predictions.reemit)[0]
    if again or not len(counted):
        return
    # One that is doubled is told as such.
    _, first = np.unique(_by_model(predictions)[counted], return_index=True)
    counted = counted[first]
    _, firsts, groups, sizes = np.unique(
        predictions.transactions[counted],
        return_index=True,
        return_inverse=True,
        return_counts=True,
    )
    serving = np.bincount(groups, weights=predictions.serving[counted]).astype(np.int64)
    retired = any(operation.op == "retire" for chain in chains for operation in chain.operations)
    wrong = serving > 1 if retired else serving != 1
    for group in map(int, np.nonzero(wrong & (sizes >= models))[0]):
        yield int(counted[firsts[group]]), int(serving[group])
