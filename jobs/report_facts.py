"""What a report says beyond the monitors' records: calibration, delays, latency, dead letters, control.

Each output is read once as a stream, evaluations twice; what is kept does not grow with it.
"""

import math
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from typing import Any, Final, Literal, NamedTuple

import msgspec
from msgspec import UNSET, Struct, UnsetType

from events.messages import ControlAck, ControlPayload, Source
from jobs import control_messages
from jobs.config import Config
from jobs.errors import Failure
from jobs.monitor_records import MOST_TRACKS, Line, Tally, decoded, lines, require_dates
from models.tasks import label_key

BINS: Final = 10
# Of transactions whose evaluation was replaced, so many are followed: some 50 MB.
MOST_CORRECTED: Final = 300_000
MOST_MESSAGES: Final = 1000
MOST_SPANS: Final = 240
# Older than this, most predictions are those of a replay or a backfill, not of a live stream.
LIVE_MS: Final = 3_600_000
_PER_DECADE: Final = 50
_SHOWN: Final = 200


class Durations:
    """How many durations of each length: fifty bins from a power of ten to the next.

    Examples
    --------
    >>> found = Durations()
    >>> for ms in (0, 1, 100, 110, 1000):
    ...     found.add(ms)
    >>> found.count, round(found.quantile(0.5)), found.longest
    (5, 102, 1000)
    """

    def __init__(self) -> None:
        self.bins: Counter[int] = Counter()
        self.count = 0
        self.longest = 0

    def add(self, ms: int) -> None:
        """One more; what is below 1 ms counts as that."""
        self.bins[math.floor(math.log10(max(ms, 1)) * _PER_DECADE + 1e-9)] += 1
        self.count += 1
        self.longest = max(self.longest, ms)

    def merge(self, other: "Durations") -> None:
        """Those of another, too."""
        self.bins.update(other.bins)
        self.count += other.count
        self.longest = max(self.longest, other.longest)

    def quantile(self, share: float) -> float | None:
        """The least duration that this share of them does not exceed, in ms, to within 2.4%."""
        wanted, seen = share * self.count, 0
        for place, count in sorted(self.bins.items()):
            seen += count
            if seen >= wanted:
                return min(edge(place + 0.5), float(self.longest))
        return None

    def coarse(self, together: int) -> dict[int, int]:
        """Bins that each are so many of these."""
        found: Counter[int] = Counter()
        for place, count in self.bins.items():
            found[place - place % together] += count
        return found


def edge(place: float) -> float:
    """Where a bin of `Durations` begins, in ms."""
    return float(10 ** (place / _PER_DECADE))


# Evaluations


class _Evaluated(Struct, frozen=True):
    id: str
    model: str
    lane: str | None
    prediction: Any
    label: Any
    event_time: int
    delay_ms: int
    source: Source
    late: bool
    leaked: bool
    probabilities: dict[str, float] | None | UnsetType = UNSET


class Calibration:
    """Predicted probabilities beside what came true, in bins of equal width.

    Of two classes it is the probability of true (or 1) and how often the label was that; of others the
    probability of the label that was predicted and how often it was right.

    Attributes
    ----------
    total : list of float
        Per bin the sum of the probabilities.
    """

    def __init__(self) -> None:
        self.of: Literal["true", "predicted"] = "true"
        self.counts = [0] * BINS
        self.hits = [0] * BINS
        self.total = [0.0] * BINS

    @property
    def count(self) -> int:
        return sum(self.counts)

    def add(self, prediction: Any, label: Any, probabilities: dict[str, float]) -> None:
        """A prediction with its true label."""
        positive = _positive(probabilities)
        if positive is None:
            self.of = "predicted"
            positive = label_key(prediction)
        p = probabilities.get(positive, 0.0)
        if not 0 <= p <= 1:
            return
        place = min(int(p * BINS), BINS - 1)
        self.counts[place] += 1
        self.hits[place] += label_key(label) == positive
        self.total[place] += p

    def error(self) -> float:
        """The expected calibration error: the mean distance of bins, each by its count."""
        distances = (abs(t - h) for t, h in zip(self.total, self.hits, strict=True))
        return sum(distances) / self.count


def _positive(probabilities: dict[str, float]) -> str | None:
    if probabilities.keys() <= {"false", "true"}:
        return "true"
    return "1" if probabilities.keys() <= {"0", "1"} else None


class Evaluated:
    """The evaluations of one model."""

    def __init__(self) -> None:
        self.sources: Counter[str] = Counter()
        self.late = self.leaked = 0
        self.delays = Durations()
        self.calibration = Calibration()

    def add(self, found: _Evaluated) -> None:
        """One evaluation that no other replaces."""
        self.sources[found.source] += 1
        self.late += found.late
        self.leaked += found.leaked
        if found.source == "assumed":
            return  # what nobody has seen calibrates nothing
        self.delays.add(found.delay_ms)
        if found.probabilities and found.prediction is not None and not found.leaked:
            self.calibration.add(found.prediction, found.label, found.probabilities)


class Evaluations(NamedTuple):
    """`corrected_more`: more evaluations were replaced than are followed; those count twice."""

    models: dict[str, Evaluated]
    corrected_more: bool


_evaluated = msgspec.json.Decoder(_Evaluated).decode


def evaluations(config: Config, tally: Tally) -> Evaluations:
    """What the evaluations come to, each transaction once with its newest label.

    Raises
    ------
    Failure
        They cannot be read.
    """
    newest: dict[int, int] = {}
    more = False
    for number, line in enumerate(lines(config, "evaluations")):
        # Few are corrections: most lines need not be decoded for this.
        if b'"correction"' in line.text:
            for found in decoded(iter((line,)), _evaluated, Tally()):
                if found.source != "correction":
                    continue
                if _place(found) in newest or len(newest) < MOST_CORRECTED:
                    newest[_place(found)] = number
                else:
                    more = True
    models: dict[str, Evaluated] = {}
    for number, found in _numbered(lines(config, "evaluations"), tally):
        if newest and newest.get(_place(found), number) != number:
            continue
        model = models.get(found.model)
        if model is None:
            if len(models) >= MOST_TRACKS:
                continue
            model = models[found.model] = Evaluated()
        model.add(found)
    return Evaluations(models, more)


def _numbered(found: Iterator[Line], tally: Tally) -> Iterator[tuple[int, _Evaluated]]:
    for number, line in enumerate(found):
        for record in decoded(iter((line,)), _evaluated, tally):
            yield number, record


def _place(found: _Evaluated) -> int:
    return hash((found.model, found.lane, found.id, found.event_time))


# Predictions


class _Predicted(Struct, frozen=True):
    model: str
    event_time: int
    predicted_at: int
    reemit: bool = False


class Latency:
    """The time from a transaction's event time to its prediction.

    Attributes
    ----------
    soon : int
        Predictions within an hour of their transactions.
    spans : dict
        Begin of a span of event time, `width_ms` long -> durations of its transactions.
    early : int
        Predictions before their transactions, by the clocks of those who say so.
    """

    def __init__(self, width_ms: int = 60_000) -> None:
        self.width_ms = width_ms
        self.models: Counter[str] = Counter()
        self.count = self.soon = self.early = 0
        self.whole = Durations()
        self.spans: dict[int, Durations] = {}
        self.first_at = self.last_at = 0

    @property
    def live(self) -> bool:
        """Whether most predictions are of a live stream."""
        return self.soon * 2 > self.count

    def add(self, found: _Predicted) -> None:
        """One prediction."""
        if found.model in self.models or len(self.models) < MOST_TRACKS:
            self.models[found.model] += 1
        self.count += 1
        at = found.predicted_at
        self.first_at = min(self.first_at or at, at)
        self.last_at = max(self.last_at, at)
        took = at - found.event_time
        self.early += took < 0
        self.soon += abs(took) <= LIVE_MS
        self.whole.add(took)
        begin = found.event_time - found.event_time % self.width_ms
        self.spans.setdefault(begin, Durations()).add(took)
        while len(self.spans) > MOST_SPANS:
            self._widen()

    def _widen(self) -> None:
        self.width_ms *= 2
        before, self.spans = self.spans, {}
        for begin, durations in before.items():
            wide = self.spans.setdefault(begin - begin % self.width_ms, Durations())
            wide.merge(durations)


def _predicted(text: bytes) -> _Predicted:
    found = msgspec.json.decode(text, type=_Predicted)
    require_dates(found.event_time, found.predicted_at)
    return found


def latency(config: Config, tally: Tally) -> Latency:
    """When predictions were made; those sent again are left out.

    Raises
    ------
    Failure
        They cannot be read.
    """
    whole = Latency()
    for found in decoded(lines(config, "predictions"), _predicted, tally):
        if not found.reemit:
            whole.add(found)
    return whole


# Dead letters


class _Refused(Struct, frozen=True):
    stage: str
    reason: str
    detail: str
    position: str | None


class Refusals(NamedTuple):
    """Dead letters of a reason: how many, and the first."""

    stage: str
    reason: str
    records: int
    position: str | None
    detail: str


def dead_letters(config: Config, tally: Tally) -> list[Refusals]:
    """By reason, the most frequent first.

    Raises
    ------
    Failure
        They cannot be read.
    """
    read = msgspec.json.Decoder(_Refused).decode
    counts: Counter[tuple[str, str]] = Counter()
    first: dict[tuple[str, str], _Refused] = {}
    for found in decoded(lines(config, "dead_letters"), read, tally):
        key = found.stage, found.reason
        if key in counts or len(counts) < MOST_MESSAGES:
            counts[key] += 1
            first.setdefault(key, found)
    return [
        Refusals(*key, count, first[key].position, first[key].detail[:_SHOWN])
        for key, count in counts.most_common()
    ]


# Control messages


class Message(NamedTuple):
    """A control message.

    Attributes
    ----------
    effective : int or None
        Event time at which it took effect, by the control log.
    accepted : bool or None
        None without an answer.
    at : int or None
        When it was answered, by the job's clock.
    """

    issuer: str
    seq: int
    op: str
    model: str
    effective: int | None
    accepted: bool | None
    reason: str | None
    version: str | None
    at: int | None


def control(config: Config, tallies: dict[str, Tally]) -> list[Message]:
    """The newest control messages, in the order of their answers; those without one at the end.

    Raises
    ------
    Failure
        Acks or control log cannot be read.
    """
    logged: dict[tuple[str, int], ControlPayload] = {}
    answered: deque[ControlAck] = deque(maxlen=MOST_MESSAGES)
    if config.control_log:
        tally = tallies.setdefault("control_log", Tally())
        for payload in decoded(lines(config, "control_log"), _payload, tally):
            logged[payload.issuer, payload.seq] = payload
            if len(logged) > MOST_MESSAGES:
                del logged[next(iter(logged))]
    if config.control_acks:
        tally = tallies.setdefault("control_acks", Tally())
        read = msgspec.json.Decoder(ControlAck).decode
        answered.extend(decoded(lines(config, "control_acks"), read, tally))
    return list(_messages(answered, logged))


def _messages(
    answered: Iterable[ControlAck], logged: dict[tuple[str, int], ControlPayload]
) -> Iterator[Message]:
    answered_for: set[tuple[str, int]] = set()
    for ack in sorted(dict.fromkeys(answered), key=lambda ack: ack.at):
        key = ack.issuer, ack.seq
        payload = logged.get(key)
        # Refused, it may be another message that took the number of one that was accepted.
        if payload is not None and not ack.accepted:
            payload = payload if (payload.op, payload.model) == (ack.op, ack.model) else None
        if payload is not None:
            answered_for.add(key)
        effective = _effective(payload) if payload is not None else None
        yield Message(
            ack.issuer,
            ack.seq,
            ack.op,
            ack.model,
            effective,
            ack.accepted,
            ack.reason,
            ack.version,
            ack.at,
        )
    for payload in (logged[key] for key in logged if key not in answered_for):
        yield Message(
            payload.issuer,
            payload.seq,
            payload.op,
            payload.model,
            _effective(payload),
            None,
            None,
            None,
            None,
        )


def _effective(payload: ControlPayload) -> int | None:
    return payload.effective_at if isinstance(payload.effective_at, int) else None


def _payload(text: bytes) -> ControlPayload:
    try:
        return control_messages.read_message(text.decode()).payload
    except Failure as error:
        raise msgspec.DecodeError(str(error)) from None
