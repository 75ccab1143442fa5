"""LabelJoin: the Flink functions around `operators/joining.py`, keyed by transaction id."""

import pickle
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from pyflink.datastream import KeyedProcessFunction, OutputTag, RuntimeContext

from events.decode import Decoder
from events.letters import dead_letter
from events.messages import Event, Rejected
from events.reasons import Reason, Stage
from operators import batching
from operators.batching import AtOnce, Follow, Reply
from operators.gauges import (
    BEFORE_MODELS,
    Gauges,
    add_reasons,
    dead_letters,
    in_thread_mode,
    in_us,
)
from operators.items import (
    EXAMPLE,
    RANK_CONTROL,
    RANK_FEATURES,
    RANK_LABEL,
    RANK_TIMEOUT,
    REQUEST,
    Origin,
    stamped,
)
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
from operators.recent import Messaging, Recent
from operators.verdicts import MAX_WATERMARK, Verdict, refusal
from state import names

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
    every_lane : sequence of str
        Keys of the model's operator that reach each of its subtasks, whatever lanes it has.
    """

    # Whether nothing but what is held sets timers.
    _only_timers = True
    _sides: tuple[OutputTag, ...] = SIDES

    def __init__(
        self,
        settings: JoinSettings,
        decoder: Decoder,
        lane_by: str | None,
        written: bool,
        every_lane: Sequence[str] = ("",),
    ) -> None:
        self._every_lane = every_lane
        self._join = Join(settings, lane_by)
        self._written = written
        self._decoder = decoder

    def open(self, runtime_context: RuntimeContext) -> None:
        self._held = runtime_context.get_state(names.HELD)
        self._records = self._labels = 0
        # Of the record whose request is being made.
        self._stamps = b""
        self._processing, self._messaging = Recent(), Messaging()
        self._pending = _restored(runtime_context)
        self._counts = dict.fromkeys(("duplicates", "timeouts", "unlabelled", "corrections"), 0)
        self._dead = dict.fromkeys(Reason, 0)
        numbers: dict[str, Callable[[], int]] = {
            "records": lambda: self._records,
            "labels": lambda: self._labels,
            "pending_transactions": lambda: self._pending,
            **{count: partial(self._counts.__getitem__, count) for count in self._counts},
            **dead_letters(self._dead),
        }
        recent = {"processing_us": in_us(self._processing), "messaging_ms": self._messaging.summary}
        self._gauges = Gauges(runtime_context, numbers, recent)
        add_reasons(self._gauges, self._dead, BEFORE_MODELS)
        batching.opened(self)

    # Many records at once

    def run(self, batch: bytes) -> bytes:
        """Handle a batch; what goes in and out is described in operators/batching.py."""
        begun = time.perf_counter_ns()
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
        written = reply.written()
        self._processing.add((time.perf_counter_ns() - begun) // (len(records) // 2))
        return written

    def show(self) -> None:
        """Show what metrics have changed."""
        self._gauges.show()

    # One record at a time

    def process_element(self, value: tuple[Any, ...], ctx: Any) -> Iterable[Any]:
        self._gauges.changing(ctx)
        begun = time.perf_counter_ns()
        follow = AtOnce(self._sides, ctx, self._held)
        held = from_plain(self._held.value())
        self._keep(0, held, self._record(held, value, follow), follow)
        self._processing.add(time.perf_counter_ns() - begun)
        return follow.out

    def on_timer(self, timestamp: int, ctx: Any) -> Iterable[Any]:
        if self._gauges.woken(ctx):
            return ()
        self._gauges.changing(ctx)
        return self._on_event_time(timestamp, ctx)

    def _on_event_time(self, timestamp: int, ctx: Any) -> list[Any]:
        follow = AtOnce(self._sides, ctx, self._held)
        held = from_plain(self._held.value())
        watermark = ctx.timer_service().current_watermark()
        now_held = self._passed(held, ctx.get_current_key(), timestamp, watermark, follow)
        self._keep(0, held, now_held, follow, woken=True)
        return follow.out

    # What happens to a transaction

    def _record(self, held: Held, value: tuple[Any, ...], follow: Follow) -> Held:
        """A record of this transaction arrived, or a message on its way from the gate."""
        if value[0] == Verdict.CONTROL:
            self._pass_on(value, follow)
            return held
        read = self._read(value, follow)
        return held if read is None else self._happened(held, *read, follow)

    def _pass_on(self, value: tuple[Any, ...], follow: Follow) -> None:
        _, _, lane, item = value
        for key in self._every_lane if lane is None else (lane,):
            follow.send(key, item)

    def _read(self, value: tuple[Any, ...], follow: Follow) -> tuple[Event, Origin] | None:
        """What a record means; None where it means nothing, and is a dead letter by now."""
        self._records += 1
        self._stamps = stamps = value[6]
        self._messaging.add(stamps)
        decoded = self._decode(value)
        origin = Origin(*value[2:5])
        if isinstance(decoded, Rejected):
            reason, detail, id = decoded
            self._letter(Stage.DECODE, reason, detail, id, origin, follow)
            return None
        self._labels += decoded.label is not None
        return decoded, origin

    def _happened(self, held: Held, event: Event, origin: Origin, follow: Follow) -> Held:
        out: list[Outcome] = []
        held = self._join.on_event(held, event, origin, out)
        self._tell(out, event.id, follow)
        return held

    def _decode(self, value: tuple[Any, ...]) -> Event | Rejected:
        verdict, ts, _, _, raw, key, _ = value
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
                item = outcome.item
                if item[0] == REQUEST:
                    # It follows from the record of its features, which is being handled.
                    follow.send(outcome.lane or "", stamped(item, self._stamps))
                else:
                    # What was predicted of it is evaluated then.
                    follow.send(outcome.lane or "", item, id if item[0] == EXAMPLE else None)
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


# An event, where it came from, and the stamps of its record.
_Due = tuple[Event, Origin, bytes]


class _Ranked(AtOnce):
    """Items go with what orders them across transactions."""

    def __init__(self, time: int, id: str, ctx: Any, state: Any) -> None:
        super().__init__(SIDES, ctx, state)
        self._time = time
        self._id = id

    def at(self, rank: int) -> None:
        """The items that follow are of this rank."""
        self._rank = rank
        self._index = 0

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
        if value[0] == Verdict.CONTROL:
            # It takes effect at its own time, ahead of all else.
            ranked = _Ranked(value[1], value[3][1], ctx, self._held)
            ranked.at(RANK_CONTROL)
            self._pass_on(value, ranked)
            return ranked.out
        follow = AtOnce(SIDES, ctx)
        read = self._read(value, follow)
        if read is not None:
            event, origin = read
            early = self._early.value() or []
            rank = RANK_LABEL if event.features is None else RANK_FEATURES
            early.append((event.ts, rank, origin.raw, *origin[:2], tuple(event), self._stamps))
            self._early.update(early)
            ctx.timer_service().register_event_time_timer(event.ts)
        return follow.out

    def _on_event_time(self, timestamp: int, ctx: Any) -> list[Any]:
        id = ctx.get_current_key()
        watermark = ctx.timer_service().current_watermark()
        before = held = from_plain(self._held.value())
        begun = time.perf_counter_ns()
        labels, features = self._due(timestamp)
        follow = _Ranked(timestamp, id, ctx, self._held)
        follow.at(RANK_LABEL)
        for event, origin, _ in labels:
            held = self._happened(held, event, origin, follow)
        follow.at(RANK_TIMEOUT)
        held = self._passed(held, id, timestamp, watermark, follow)
        follow.at(RANK_FEATURES)
        for event, origin, stamps in features:
            self._stamps = stamps
            held = self._happened(held, event, origin, follow)
        self._keep(0, before, held, follow, woken=True)
        self._processing.add(time.perf_counter_ns() - begun)
        return follow.out

    def _due(self, now: int) -> tuple[list[_Due], list[_Due]]:
        """Labels and features whose time has come, each ordered by their bytes."""
        early = self._early.value()
        if not early:
            return [], []
        due: dict[int, list[_Due]] = {RANK_LABEL: [], RANK_FEATURES: []}
        # Those in the state of an earlier release have no stamps.
        for ts, rank, raw, input_name, position, event, *stamps in sorted(early):
            if ts <= now:
                origin = Origin(input_name, position, raw)
                due[rank].append((Event(*event), origin, stamps[0] if stamps else b""))
        later = [event for event in early if event[0] > now]
        if later:
            self._early.update(later)
        else:
            self._early.clear()
        return due[RANK_LABEL], due[RANK_FEATURES]
