"""LabelJoin: the Flink functions around `operators/joining.py`, keyed by transaction id."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

from pyflink.common import Row
from pyflink.datastream import KeyedProcessFunction, RuntimeContext

from events.decode import Decoder
from events.letters import dead_letter
from events.messages import Event, Rejected
from events.reasons import Reason, Stage
from operators.gauges import Gauges, in_thread_mode
from operators.items import RANK_FEATURES, RANK_LABEL, RANK_TIMEOUT, Origin
from operators.joining import (
    Held,
    Join,
    JoinSettings,
    Outcome,
    Refuse,
    Send,
    from_plain,
    to_plain,
)
from operators.verdicts import refusal
from state import names

MAX_WATERMARK = 2**63 - 1


def _restored(context: RuntimeContext) -> int:
    """How many transactions this subtask was restored with.

    Only thread mode can look into its state without a key; in process mode the count begins at 0.
    """
    if not in_thread_mode(context):
        return 0
    from pyflink.fn_execution.embedded.state_impl import JVoidNamespace_INSTANCE

    backend = context.get_keyed_state_backend()
    keys = backend._keyed_state_backend.getKeys(names.HELD.name, JVoidNamespace_INSTANCE)
    return int(keys.count())


class LabelJoin(KeyedProcessFunction):
    """Handles records as they arrive: decodes them, applies the join, sends items to the model.

    Main output: `Row(lane, item)`; side output: dead letters.

    Parameters
    ----------
    written : bool
        Whether dead letters go anywhere. Flink does not know a side output that nobody reads, and
        takes what is sent there for the main one's.
    """

    # Whether nothing but what is held sets timers.
    _only_timers = True

    def __init__(
        self, settings: JoinSettings, decoder: Decoder, lane_by: str | None, written: bool
    ) -> None:
        self._join = Join(settings, lane_by)
        self._written = written
        self._decoder = decoder

    def open(self, runtime_context: RuntimeContext) -> None:
        self._held = runtime_context.get_state(names.HELD)
        self._records = 0
        self._pending = _restored(runtime_context)
        self._counts = dict.fromkeys(("duplicates", "timeouts", "unlabelled", "corrections"), 0)
        self._dead = dict.fromkeys(Reason, 0)
        numbers: dict[str, Callable[[], int]] = {
            "records": lambda: self._records,
            "pending_transactions": lambda: self._pending,
            **{count: partial(self._counts.__getitem__, count) for count in self._counts},
            **{
                f"dead_letters_{reason}": partial(self._dead.__getitem__, reason)
                for reason in Reason
            },
        }
        self._gauges = Gauges(runtime_context, numbers)

    def process_element(self, value: tuple[Any, ...], ctx: Any) -> Iterable[Any]:
        self._gauges.changing(ctx)
        self._records += 1
        decoded = self._decode(value)
        origin = Origin(*value[2:5])
        if isinstance(decoded, Rejected):
            return self._letters(Stage.DECODE, decoded.reason, decoded.detail, decoded.id, origin)
        return self._arrived(decoded, origin, ctx)

    def on_timer(self, timestamp: int, ctx: Any) -> Iterator[Any]:
        if self._gauges.woken(ctx):
            return
        self._gauges.changing(ctx)
        yield from self._on_event_time(timestamp, ctx)

    def _on_event_time(self, timestamp: int, ctx: Any) -> Iterator[Any]:
        id = ctx.get_current_key()
        held = from_plain(self._held.value())
        out: list[Outcome] = []
        now_held = self._passed(held, id, timestamp, out, ctx)
        self._keep(held, now_held, ctx, woken=True)
        yield from self._told(out, id)

    def _decode(self, value: tuple[Any, ...]) -> Event | Rejected:
        verdict, ts, _, _, raw, key = value
        refused = refusal(verdict, ts)
        if refused is not None:
            return refused
        decoded = self._decoder.decode(raw)
        if isinstance(decoded, Event) and decoded.id != key:
            return Rejected(Reason.KEY_MISMATCH, f"it was routed by {key!r}", decoded.id)
        return decoded

    def _arrived(self, event: Event, origin: Origin, ctx: Any) -> Iterable[Any]:
        held = from_plain(self._held.value())
        out: list[Outcome] = []
        now_held = self._join.on_event(held, event, origin, out)
        self._keep(held, now_held, ctx)
        return self._told(out, event.id)

    def _passed(self, held: Held, id: str, now: int, out: list[Outcome], ctx: Any) -> Held:
        """Event time reached `now`: only what is known from the input may be assumed."""
        if ctx.timer_service().current_watermark() == MAX_WATERMARK:
            self._join.on_input_end(held, id, out)
            return None
        return self._join.on_time(held, id, now, out)

    def _keep(self, held: Held, now_held: Held, ctx: Any, woken: bool = False) -> None:
        """Store what is held now, and be woken when that has something due.

        `woken`: a timer has just fired, so none may be left, even where `held` is what it was.
        """
        if now_held is None:
            if held is not None:
                self._held.clear()
                self._pending -= 1
            return
        if held is None:
            self._pending += 1
        if now_held is not held:
            self._held.update(to_plain(now_held))
        wake, before = self._join.wake(now_held), self._join.wake(held)
        if woken or wake != before:
            timers = ctx.timer_service()
            timers.register_event_time_timer(wake)
            # It would find nothing due, at the price of a record.
            if self._only_timers and before is not None and not woken:
                timers.delete_event_time_timer(before)

    def _told(self, outcomes: list[Outcome], id: str) -> list[Any]:
        """What goes out of these; counts go to the gauges."""
        told: list[Any] = []
        for outcome in outcomes:
            if isinstance(outcome, Send):
                told.append(Row(outcome.lane or "", outcome.item))
            elif isinstance(outcome, Refuse):
                told += self._letters(
                    Stage.JOIN, outcome.reason, outcome.detail, id, outcome.origin
                )
            else:
                self._counts[outcome] += 1
        return told

    def _letters(
        self, stage: Stage, reason: Reason, detail: str, id: str | None, origin: Origin
    ) -> tuple[tuple[Any, str], ...]:
        """A dead letter, where anybody reads them; it is counted in any case."""
        self._dead[reason] += 1
        if not self._written:
            return ()
        letter = dead_letter(
            stage,
            reason,
            detail,
            source=origin.input,
            position=origin.position,
            id=id,
            raw=origin.raw,
            limit=self._decoder.limits.raw_bytes,
        )
        return ((names.DEAD_LETTERS, letter),)


class OrderedLabelJoin(LabelJoin):
    """Handles events in the order of their times, whatever order they come in.

    Main output: `Row(lane, (time, rank, id, index, item))`, which OnlineModel orders across
    transactions.
    """

    _only_timers = False

    def open(self, runtime_context: RuntimeContext) -> None:
        super().open(runtime_context)
        self._early = runtime_context.get_state(names.EARLY)

    def _arrived(self, event: Event, origin: Origin, ctx: Any) -> Iterable[Any]:
        early = self._early.value() or []
        rank = RANK_LABEL if event.features is None else RANK_FEATURES
        early.append((event.ts, rank, origin.raw, *origin[:2], tuple(event)))
        self._early.update(early)
        ctx.timer_service().register_event_time_timer(event.ts)
        return ()

    def _on_event_time(self, timestamp: int, ctx: Any) -> Iterator[Any]:
        id = ctx.get_current_key()
        before = from_plain(self._held.value())
        labels, features = self._due(timestamp)
        held = before
        steps: list[tuple[int, list[Outcome]]] = []
        out: list[Outcome] = []
        for event, origin in labels:
            held = self._join.on_event(held, event, origin, out)
        steps.append((RANK_LABEL, out))
        out = []
        held = self._passed(held, id, timestamp, out, ctx)
        steps.append((RANK_TIMEOUT, out))
        out = []
        for event, origin in features:
            held = self._join.on_event(held, event, origin, out)
        steps.append((RANK_FEATURES, out))
        self._keep(before, held, ctx, woken=True)
        for rank, outcomes in steps:
            ordered = [
                outcome._replace(item=(timestamp, rank, id, index, outcome.item))
                if isinstance(outcome, Send)
                else outcome
                for index, outcome in enumerate(outcomes)
            ]
            yield from self._told(ordered, id)

    def _due(self, now: int) -> tuple[list[tuple[Event, Origin]], list[tuple[Event, Origin]]]:
        """Labels and features whose time has come, each ordered by their bytes."""
        early = self._early.value()
        if not early:
            return [], []
        due: dict[int, list[tuple[Event, Origin]]] = {RANK_LABEL: [], RANK_FEATURES: []}
        for ts, rank, raw, input_name, position, event in sorted(early):
            if ts <= now:
                due[rank].append((Event(*event), Origin(input_name, position, raw)))
        later = [event for event in early if event[0] > now]
        if later:
            self._early.update(later)
        else:
            self._early.clear()
        return due[RANK_LABEL], due[RANK_FEATURES]
