"""The rules of the join told a second time, as plainly as possible, to test operators/joining.py.

It knows one transaction id. What happens to that is a list of steps in order of arrival; whatever
happened stays in lists, and every question is answered by looking through them.
"""

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from events.messages import Event, FeatureValue, Label


class Passed(NamedTuple):
    """The watermark has reached this time."""

    time: int


class Ended(NamedTuple):
    """There is no more input."""


Step = Event | Passed | Ended


@dataclass(frozen=True)
class Rules:
    """The settings of `[join]`, times in milliseconds, and `lane_by`."""

    label_timeout: int
    retention: int
    on_timeout: str = "drop"
    assumed_label: Label = False
    late_labels: str = "learn"
    corrections: str = "ignore"
    lane_by: str | None = None


class Request(NamedTuple):
    """Predict what came as step `number`; the features as JSON text."""

    number: int
    lane: str | None
    ts: int
    features: str


class Example(NamedTuple):
    """Evaluate with the label of step `number` (None: an assumed one); learn if there are features."""

    number: int | None
    lane: str | None
    source: str
    label: Label
    weight: float | None
    late: bool
    features: str | None
    event_time: int
    label_time: int
    last: bool
    replaces: tuple[Label | None, bool] = (None, False)  # a label; whether it was assumed


class Dead(NamedTuple):
    """What came as step `number` goes to the dead letters."""

    number: int
    reason: str


class Forget(NamedTuple):
    """No example of this transaction will follow."""

    lane: str | None


Outcome = Request | Example | Dead | Forget


class Numbered(NamedTuple):
    """An event and the number of the step it came as."""

    number: int
    event: Event


def as_json(value: dict[str, FeatureValue] | FeatureValue) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def same_label(one: tuple[Label, float | None], other: tuple[Label, float | None]) -> bool:
    """Value and weight are equal: 1 is 1.0, but it is not True; without a weight it is 1."""
    weights = [1 if weight is None else weight for _, weight in (one, other)]
    same_kind = isinstance(one[0], bool) == isinstance(other[0], bool)
    return one[0] == other[0] and same_kind and weights[0] == weights[1]


@dataclass
class Transaction:
    """What is known of one transaction."""

    features: Event | None = None
    waiting: list[Numbered] = field(default_factory=list)
    examples: list[Example] = field(default_factory=list)
    timed_out: bool = False

    def truths(self) -> list[Example]:
        return [example for example in self.examples if example.source != "assumed"]


class Oracle:
    """Plays the steps of one transaction id.

    Attributes
    ----------
    outcomes : list of list of Outcome
        What each step led to.
    counts : Counter
        `duplicates`, `timeouts`, `corrections`, `unlabelled`.
    transaction : Transaction or None
        The one that is open.
    """

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.outcomes: list[list[Outcome]] = []
        self.counts: Counter[str] = Counter()
        self.transaction: Transaction | None = None

    def play(self, step: Step) -> list[Outcome]:
        """What this step leads to."""
        self.outcomes.append([])
        if isinstance(step, Event):
            self._event(Numbered(len(self.outcomes) - 1, step))
        elif isinstance(step, Passed):
            self._time_passes(step.time)
        else:
            self._input_ends()
        return self.outcomes[-1]

    def _emit(self, outcome: Outcome) -> None:
        self.outcomes[-1].append(outcome)

    def _event(self, came: Numbered) -> None:
        event, lane_by = came.event, self.rules.lane_by
        if event.features is not None and lane_by is not None and lane_by not in event.features:
            self._emit(Dead(came.number, "missing_lane"))
            return
        if self.transaction is not None and event.ts > self._last_moment():
            self._time_passes(event.ts)
        if self.transaction is None:
            self.transaction = Transaction()
        if event.features is None:
            self._label(came)
        elif self.transaction.features is None:
            self._first_features(came)
        else:
            self._features_again(came)

    def _first_features(self, came: Numbered) -> None:
        event = came.event
        labels = self.transaction.waiting
        self.transaction.waiting = []
        self.transaction.features = event
        self._emit(Request(came.number, self._lane(), event.ts, as_json(event.features)))
        if event.label is not None:
            labels = [*labels, came]
        for label in labels:
            if label.event.ts > self._last_moment():
                self._emit(Dead(label.number, "orphan_label"))
            else:
                self._label(label)

    def _features_again(self, came: Numbered) -> None:
        again, known = came.event, self.transaction.features
        if again.ts != known.ts or as_json(again.features) != as_json(known.features):
            self._emit(Dead(came.number, "duplicate_features"))
            return
        self.counts["duplicates"] += 1
        if again.label is not None:
            self._label(came)

    def _label(self, came: Numbered) -> None:
        if self.transaction.features is None:
            self._label_without_features(came)
            return
        late = came.event.ts > self._timeout_time()
        if late:
            self._timeout()
        label = (came.event.label, came.event.weight)
        truths = self.transaction.truths()
        learns_corrections = self.rules.corrections == "learn"
        if truths:
            if same_label(label, (truths[-1].label, truths[-1].weight)):
                self.counts["duplicates"] += 1
            elif learns_corrections:
                self._example("correction", came, late, learned=True)
            else:
                self._emit(Dead(came.number, "conflicting_label"))
        elif self.transaction.examples:  # an assumed one
            differs = not same_label(label, (self.rules.assumed_label, None))
            self._example("correction", came, late, learned=differs and learns_corrections)
        elif self._given_up() or (late and self.rules.late_labels == "drop"):
            self._emit(Dead(came.number, "late_label"))
        else:
            self._example("label", came, late, learned=True)

    def _label_without_features(self, came: Numbered) -> None:
        waiting, label = self.transaction.waiting, (came.event.label, came.event.weight)
        if waiting and same_label(label, (waiting[-1].event.label, waiting[-1].event.weight)):
            self.counts["duplicates"] += 1
        elif waiting and self.rules.corrections == "ignore":
            self._emit(Dead(came.number, "conflicting_label"))
        else:
            waiting.append(came)

    def _example(self, source: str, came: Numbered, late: bool, learned: bool) -> None:
        if source == "correction":
            self.counts["corrections"] += 1
        before = self.transaction.examples[-1] if source == "correction" else None
        example = Example(
            number=came.number,
            lane=self._lane(),
            source=source,
            label=came.event.label,
            weight=came.event.weight,
            late=late,
            features=as_json(self.transaction.features.features) if learned else None,
            event_time=self.transaction.features.ts,
            label_time=came.event.ts,
            last=source != "assumed" and self.rules.corrections == "ignore",
            replaces=(before.label, before.source == "assumed") if before else (None, False),
        )
        self.transaction.examples.append(example)
        self._emit(example)

    def _time_passes(self, time: int) -> None:
        if self.transaction is None:
            return
        if self.transaction.features is not None and time >= self._timeout_time():
            self._timeout()
        if time > self._last_moment():
            self._end()

    def _timeout(self) -> None:
        if self.transaction.timed_out or self.transaction.examples:
            return
        self.transaction.timed_out = True
        self.counts["timeouts"] += 1
        if self.rules.on_timeout == "assume":
            label = Event("", self._timeout_time(), None, self.rules.assumed_label, None)
            self._example("assumed", Numbered(None, label), late=False, learned=True)
        elif self._given_up():
            self._emit(Forget(self._lane()))

    def _input_ends(self) -> None:
        if self.transaction is None:
            return
        known = self.transaction.features is not None
        if known and not self.transaction.examples and not self.transaction.timed_out:
            self.counts["unlabelled"] += 1
        self._end()

    def _end(self) -> None:
        for label in self.transaction.waiting:
            self._emit(Dead(label.number, "orphan_label"))
        told = self._given_up() or any(example.last for example in self.transaction.examples)
        if self.transaction.features is not None and not told:
            self._emit(Forget(self._lane()))
        self.transaction = None

    def _given_up(self) -> bool:
        """Timed out where neither a late label nor an assumed one is learned: nothing more can be."""
        never_learns = self.rules.on_timeout == "drop" and self.rules.late_labels == "drop"
        return never_learns and self.transaction.timed_out

    def _timeout_time(self) -> int:
        return self.transaction.features.ts + self.rules.label_timeout

    def _last_moment(self) -> int:
        """The last time at which an event still belongs to the open transaction."""
        first = self.transaction.features or self.transaction.waiting[0].event
        return first.ts + self.rules.retention

    def _lane(self) -> str | None:
        if self.rules.lane_by is None:
            return None
        value = self.transaction.features.features[self.rules.lane_by]
        return value if isinstance(value, str) else as_json(value)
