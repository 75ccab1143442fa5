"""What a monitor knows of one model in one role: metrics whose truth comes late.

Plain Python. All of it follows from the observations in their order: its clock is the highest time seen.
"""

from typing import Any

from msgspec import UNSET, UnsetType
from river import stats

from events.messages import Delays, Metrics
from models.metrics import DEFAULTS, Measured, Pair, misfit
from models.tasks import TaskName
from operators.comparing import Comparisons, loss
from operators.drifts import BINARY, Seen
from operators.monitor_settings import DriftSettings, MonitorSettings
from operators.observing import BEFORE_ALL_TIME, Evaluated, Predicted, model_and_role
from operators.telling import Tell, Teller, watched


class Counts:
    """How many transactions there were, and what came for them."""

    def __init__(self) -> None:
        self.predicted = self.labelled = self.assumed = 0
        self.late = self.corrected = self.leaked = 0
        self.scored = self.above = 0

    def observe(self, seen: Evaluated) -> None:
        """A label came; one that replaces a true label makes no other transaction labelled."""
        first_truth = seen.source == "label" or seen.replaces_assumed
        self.labelled += first_truth
        self.assumed += (seen.source == "assumed") - seen.replaces_assumed
        self.late += seen.late
        self.corrected += seen.source == "correction"
        self.leaked += seen.leaked

    @property
    def unlabelled(self) -> float | None:
        """Share of the predictions whose truth is not known."""
        return 1 - self.labelled / self.predicted if self.predicted else None


class Scope:
    """Metrics and counts of some transactions; `n` evaluations."""

    def __init__(self, measured: Measured) -> None:
        self.measured = measured
        self.counts = Counts()
        self.n = 0
        self.touched = True

    def count(self, pair: Pair, before: Pair | None) -> None:
        """An evaluation; it takes the place of the one before."""
        if before is not None:
            self.measured.revert(before)
            self.n -= 1
        self.measured.update(pair)
        self.n += 1


class Window:
    """Metrics of the last evaluations, as River's `utils.Rolling`; a correction keeps its place."""

    def __init__(self, measured: Measured, size: int) -> None:
        self.measured = measured
        self._size = size
        # By number, the oldest first; a transaction's id -> the number of its last one.
        self._pairs: dict[int, tuple[str, Pair]] = {}
        self._numbers: dict[str, int] = {}
        self._next = 0

    @property
    def n(self) -> int:
        """Evaluations in it."""
        return len(self._pairs)

    def count(self, id: str, pair: Pair, correction: bool) -> None:
        """An evaluation; a correction of one that has left is not counted."""
        if correction:
            self._correct(id, pair)
            return
        if self.n == self._size:
            self._drop(self._next - self._size)
        self.measured.update(pair)
        self._pairs[self._next] = id, pair
        self._numbers[id] = self._next
        self._next += 1

    def _drop(self, oldest: int) -> None:
        id, pair = self._pairs.pop(oldest)
        self.measured.revert(pair)
        if self._numbers[id] == oldest:
            del self._numbers[id]

    def _correct(self, id: str, pair: Pair) -> None:
        number = self._numbers.get(id)
        if number is not None:
            self.measured.revert(self._pairs[number][1])
            self.measured.update(pair)
            self._pairs[number] = id, pair


class Waits:
    """How long true labels took."""

    def __init__(self) -> None:
        self.mean, self.max = stats.Mean(), stats.Max()
        self.quantiles = {q: stats.Quantile(q) for q in (0.5, 0.9, 0.99)}

    def update(self, delay_ms: int) -> None:
        """One more."""
        for stat in (self.mean, self.max, *self.quantiles.values()):
            stat.update(delay_ms)

    def get(self) -> Delays:
        """What is known of them."""
        if not self.mean.n:
            return Delays(None, None, None, None, None)
        found = (stat.get() for stat in (self.mean, *self.quantiles.values(), self.max))
        return Delays(*(None if value is None else float(value) for value in found))


class ModelMonitor:
    """One monitor's view of one model in one role.

    Parameters
    ----------
    retention_ms
        After which no label of a transaction can come any more.
    begun : int
        Transactions of this time or before are left out: some were predicted before this view began.
    """

    def __init__(
        self,
        settings: MonitorSettings,
        retention_ms: int,
        key: str,
        task: TaskName,
        tell: Tell,
        begun: int = BEFORE_ALL_TIME,
    ) -> None:
        self._settings = settings
        self.retention_ms = retention_ms
        self._task = task
        self._begun = begun
        self.teller = Teller(settings.name, key, tell)
        # A model that is deployed while the job runs may be of a task that they do not fit.
        wanted = settings.metrics or DEFAULTS[task]
        fit = [spec for spec in wanted if misfit(spec, task) is None]
        self._blank = Measured(fit, settings.positive, f"monitor {settings.name} of {key}")
        self.all = Scope(self._blank.blank())
        self.window = Window(self._blank.blank(), settings.window)
        self.spans: dict[int, Scope] = {}
        self.waits = Waits()
        self.comparisons = Comparisons(settings.confidence, settings.window)
        self.watched = watched((w for w in settings.drift if _looks_at(w, task)), key)
        self.clock = BEFORE_ALL_TIME
        self.since = 0
        self.last: tuple[str, str] | None = None  # version, transaction

    def predicted(self, seen: Predicted) -> None:
        """The model was asked."""
        if seen.time <= self._begun:
            return
        span = self._span(seen.time)
        for counts in (self.all.counts, *([span.counts] if span else [])):
            counts.predicted += 1
            if self._task == "anomaly" and seen.value is not None:
                counts.scored += 1
                counts.above += seen.value > self._settings.threshold
        if span:
            span.touched = True
        if seen.value is not None:
            self._look("prediction", Seen(seen.value, seen.transaction, seen.time, seen.version))
        self._seen(seen.time, seen)

    def evaluated(self, seen: Evaluated) -> None:
        """The truth came."""
        if seen.time <= self._begun:
            return
        span = self._span(seen.time)
        scopes = [self.all, *([span] if span else [])]
        for scope in scopes:
            scope.counts.observe(seen)
            scope.touched = True
        if not seen.leaked:
            pair = seen.pair(seen.label)
            before = seen.pair(seen.replaces) if seen.source == "correction" else None
            for scope in scopes:
                scope.count(pair, before)
            self.window.count(seen.transaction, pair, before is not None)
            error = loss(pair, self._task)
            self._compare(seen, error, before)
            if error is not None and before is None:
                at = Seen(error, seen.transaction, seen.time, seen.version)
                self._look("error", at)
        if seen.source == "label" or seen.replaces_assumed:
            self.waits.update(seen.label_time - seen.time)
        self._seen(max(seen.time, seen.label_time), seen)

    def _compare(self, seen: Evaluated, error: float | None, before: Pair | None) -> None:
        champion, task = seen.champion, self._task
        if champion is None:
            return
        its = loss(Pair(seen.label, champion.prediction), task)
        if error is None or its is None:
            return
        if before is None:
            self.comparisons.update(champion.model, seen.time, error - its)
            return
        was, its_was = loss(before, task), loss(Pair(before.label, champion.prediction), task)
        if was is not None and its_was is not None:
            self.comparisons.correct(champion.model, was - its_was, error - its)

    def _look(self, on: str, seen: Seen) -> None:
        for settings, drift in self.watched:
            if settings.on == on:
                change = drift.update(seen)
                if change is not None:
                    self.teller.change(settings, change, seen)

    def _span(self, time: int) -> Scope | None:
        """The transactions of a span of event time; None once nothing of it is kept."""
        begin = time - time % self._settings.event_window_ms
        span = self.spans.get(begin)
        if span is None and not self._is_over(begin):
            span = self.spans[begin] = Scope(self._blank.blank())
        return span

    def _is_over(self, begin: int) -> bool:
        return begin + self._settings.event_window_ms + self.retention_ms <= self.clock

    def _seen(self, time: int, seen: Predicted | Evaluated) -> None:
        self.last = seen.version, seen.transaction
        self.clock = max(self.clock, time)
        self.since += 1
        if self.since >= self._settings.every:
            self.tell()

    def tell(self) -> None:
        """Say what is known, of what has changed since it was said last."""
        self.since = 0
        for record in self.now():
            self.teller.tell("metrics", record)
        for begin, span in sorted(self.spans.items()):
            over = self._is_over(begin)
            if span.touched or over:
                end = begin + self._settings.event_window_ms
                of_span = self._of(span, "event_time", begin=begin, end=end, closed=over)
                self.teller.tell("metrics", of_span)
                span.touched = False
            if over:
                del self.spans[begin]

    def now(self) -> tuple[Metrics, Metrics]:
        """What is known of all evaluations, and of the window."""
        delays, versus = self.waits.get(), self.comparisons.get() or UNSET
        window = self.window
        return (
            self._of(self.all, "all", delay_ms=delays, versus=versus),
            self._record("window", window.n, window.measured.values()),
        )

    def _rate(self, counts: Counts) -> float | None | UnsetType:
        if self._task != "anomaly":
            return UNSET
        return counts.above / counts.scored if counts.scored else None

    def _of(self, scope: Scope, name: Any, **more: Any) -> Metrics:
        counts = scope.counts
        return self._record(
            name,
            scope.n,
            scope.measured.values(),
            predicted=counts.predicted,
            labelled=counts.labelled,
            assumed=counts.assumed,
            late=counts.late,
            corrected=counts.corrected,
            leaked=counts.leaked,
            unlabelled=counts.unlabelled,
            rate=self._rate(counts),
            **more,
        )

    def _record(self, scope: Any, n: int, values: dict[str, Any], **more: Any) -> Metrics:
        model, role = model_and_role(self.teller.key)
        version, id = self.last or (None, None)
        monitor = self.teller.monitor
        return Metrics(monitor, model, role, scope, version, id, self.clock, n, values, **more)


def _looks_at(drift: DriftSettings, task: TaskName) -> bool:
    """Whether a detector is about models of a task: some take right and wrong only."""
    if drift.on == "feature":
        return False
    return drift.detector not in BINARY or (drift.on == "error" and task == "classification")
