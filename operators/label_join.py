"""LabelJoin: the Flink functions around `operators/joining.py`, keyed by transaction id."""

import pickle
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from pyflink.datastream import KeyedProcessFunction, RuntimeContext

from events.decode import Decoder
from events.letters import dead_letter
from events.messages import Event, Rejected
from events.reasons import Reason, Stage
from operators import batching
from operators.batching import AtOnce, Follow, Reply
from operators.gauges import Gauges, in_thread_mode
from operators.items import EXAMPLE, RANK_FEATURES, RANK_LABEL, RANK_TIMEOUT, Origin
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
SIDES = (names.DEAD_LETTERS,)


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

    Main output: `Row(lane, item)`, or in batches a list of items; side output: dead letters.

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
        batching.opened(self)

    # Many records at once

    def run(self, batch: bytes) -> bytes:
        """Handle a batch; what goes in and out is described in operators/batching.py."""
        stored, records, _, watermark = pickle.loads(batch)
        before = [None if held is None else from_plain(pickle.loads(held)) for held in stored]
        now = before.copy()
        woken: set[int] = set()
        reply = Reply()
        each = iter(records)
        for place, record in zip(each, each, strict=True):
            if type(record) is tuple:
                now[place] = self._passed(now[place], record[1], record[0], watermark, reply)
                woken.add(place)
            else:
                now[place] = self._record(now[place], pickle.loads(record), reply)
        for place, (held, now_held) in enumerate(zip(before, now, strict=True)):
            if held is not now_held or place in woken:
                self._keep(place, held, now_held, reply, woken=place in woken)
        return reply.written()

    def show(self) -> None:
        """Show what metrics have changed."""
        self._gauges.show()

    # One record at a time

    def process_element(self, value: tuple[Any, ...], ctx: Any) -> Iterable[Any]:
        self._gauges.changing(ctx)
        follow = AtOnce(SIDES, ctx, self._held)
        held = from_plain(self._held.value())
        self._keep(0, held, self._record(held, value, follow), follow)
        return follow.out

    def on_timer(self, timestamp: int, ctx: Any) -> Iterable[Any]:
        if self._gauges.woken(ctx):
            return ()
        self._gauges.changing(ctx)
        return self._on_event_time(timestamp, ctx)

    def _on_event_time(self, timestamp: int, ctx: Any) -> list[Any]:
        follow = AtOnce(SIDES, ctx, self._held)
        held = from_plain(self._held.value())
        watermark = ctx.timer_service().current_watermark()
        now_held = self._passed(held, ctx.get_current_key(), timestamp, watermark, follow)
        self._keep(0, held, now_held, follow, woken=True)
        return follow.out

    # What happens to a transaction

    def _record(self, held: Held, value: tuple[Any, ...], follow: Follow) -> Held:
        """A record of this transaction arrived."""
        self._records += 1
        decoded = self._decode(value)
        origin = Origin(*value[2:5])
        if isinstance(decoded, Rejected):
            self._letter(Stage.DECODE, decoded.reason, decoded.detail, decoded.id, origin, follow)
            return held
        out: list[Outcome] = []
        held = self._join.on_event(held, decoded, origin, out)
        self._tell(out, decoded.id, follow)
        return held

    def _decode(self, value: tuple[Any, ...]) -> Event | Rejected:
        verdict, ts, _, _, raw, key = value
        if verdict:
            refused = refusal(verdict, ts)
            if refused is not None:
                return refused
        decoded = self._decoder.decode(raw)
        if isinstance(decoded, Event) and decoded.id != key:
            return Rejected(Reason.KEY_MISMATCH, f"it was routed by {key!r}", decoded.id)
        return decoded

    def _passed(self, held: Held, id: str, now: int, watermark: int, follow: Follow) -> Held:
        """Event time reached `now`: only what is known from the input may be assumed."""
        out: list[Outcome] = []
        if watermark == MAX_WATERMARK:
            self._join.on_input_end(held, id, out)
            held = None
        else:
            held = self._join.on_time(held, id, now, out)
        self._tell(out, id, follow)
        return held

    def _keep(
        self, place: int, held: Held, now_held: Held, follow: Follow, woken: bool = False
    ) -> None:
        """Store what is held now, and be woken when that has something due.

        `woken`: a timer has just fired, so none may be left, even where `held` is what it was.
        """
        if now_held is None:
            if held is not None:
                follow.clear(place)
                self._pending -= 1
            return
        if held is None:
            self._pending += 1
        if now_held is not held:
            follow.put(place, to_plain(now_held))
        wake, before = self._join.wake(now_held), self._join.wake(held)
        if woken or wake != before:
            assert wake is not None, "something is held"
            follow.set_timer(place, wake)
            # It would find nothing due, at the price of a record.
            if self._only_timers and before is not None and not woken:
                follow.delete_timer(place, before)

    def _tell(self, outcomes: list[Outcome], id: str, follow: Follow) -> None:
        """Pass these on; counts go to the gauges."""
        for outcome in outcomes:
            if isinstance(outcome, Send):
                # What was predicted of it is evaluated then.
                wants = id if outcome.item[0] == EXAMPLE else None
                follow.send(outcome.lane or "", outcome.item, wants)
            elif isinstance(outcome, Refuse):
                self._letter(Stage.JOIN, outcome.reason, outcome.detail, id, outcome.origin, follow)
            else:
                self._counts[outcome] += 1

    def _letter(
        self,
        stage: Stage,
        reason: Reason,
        detail: str,
        id: str | None,
        origin: Origin,
        follow: Follow,
    ) -> None:
        """A dead letter, where anybody reads them; it is counted in any case."""
        self._dead[reason] += 1
        if not self._written:
            return
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
        follow.side(0, letter)


class _Ranked(AtOnce):
    """Items go with what orders them across transactions."""

    def __init__(self, time: int, id: str, ctx: Any, state: Any) -> None:
        super().__init__(SIDES, ctx, state)
        self._time = time
        self._id = id

    def at(self, rank: int) -> "_Ranked":
        """The items that follow are of this rank."""
        self._rank = rank
        self._index = 0
        return self

    def send(self, key: str, item: Any, wants: str | None = None) -> None:
        super().send(key, (self._time, self._rank, self._id, self._index, item))
        self._index += 1


class OrderedLabelJoin(LabelJoin):
    """Handles events in the order of their times, whatever order they come in.

    Main output: `Row(lane, (time, rank, id, index, item))`, which OnlineModel orders across
    transactions.
    """

    _only_timers = False

    def open(self, runtime_context: RuntimeContext) -> None:
        super().open(runtime_context)
        self._early = runtime_context.get_state(names.EARLY)

    def process_element(self, value: tuple[Any, ...], ctx: Any) -> Iterable[Any]:
        self._gauges.changing(ctx)
        self._records += 1
        event = self._decode(value)
        origin = Origin(*value[2:5])
        if isinstance(event, Rejected):
            follow = AtOnce(SIDES, ctx)
            self._letter(Stage.DECODE, event.reason, event.detail, event.id, origin, follow)
            return follow.out
        early = self._early.value() or []
        rank = RANK_LABEL if event.features is None else RANK_FEATURES
        early.append((event.ts, rank, origin.raw, *origin[:2], tuple(event)))
        self._early.update(early)
        ctx.timer_service().register_event_time_timer(event.ts)
        return ()

    def _on_event_time(self, timestamp: int, ctx: Any) -> list[Any]:
        id = ctx.get_current_key()
        watermark = ctx.timer_service().current_watermark()
        before = from_plain(self._held.value())
        labels, features = self._due(timestamp)
        follow = _Ranked(timestamp, id, ctx, self._held)
        held = self._happened(before, labels, follow.at(RANK_LABEL))
        held = self._passed(held, id, timestamp, watermark, follow.at(RANK_TIMEOUT))
        held = self._happened(held, features, follow.at(RANK_FEATURES))
        self._keep(0, before, held, follow, woken=True)
        return follow.out

    def _happened(self, held: Held, events: list[tuple[Event, Origin]], follow: Follow) -> Held:
        for event, origin in events:
            out: list[Outcome] = []
            held = self._join.on_event(held, event, origin, out)
            self._tell(out, event.id, follow)
        return held

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
