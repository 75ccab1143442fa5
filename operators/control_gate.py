"""ControlGate: the Flink function around `operators/gate.py`, one subtask under one key.

While a model is tried in a process of its own, messages behind it wait in state and the stream goes on.
By event time it cannot: the message takes effect at a time that the watermark must not pass.
"""

import time
from collections import deque
from collections.abc import Iterable
from typing import Any

from pyflink.common import Row
from pyflink.datastream import KeyedProcessFunction, RuntimeContext, TimeDomain

from operators.gate import Gate, GateSettings
from operators.items import Item, Origin, effective
from operators.learning import Out
from operators.operating import control_letter
from operators.scratch import Scratch, Sources, TrialLimits
from operators.verdicts import MAX_WATERMARK, Verdict, refusal
from state import names

SIDES = (names.CONTROL_ACKS, names.CONTROL_LOG, names.DEAD_LETTERS)
# What goes to the models travels under this key through the join.
KEY = "\0control"
_LOOK_EVERY_MS = 20


class ControlGate(KeyedProcessFunction):
    """Judges the records of the control stream.

    Main output: `Row(KEY, (Verdict.CONTROL, time, lane, item))` for LabelJoin to pass on; side outputs:
    acks, control log, dead letters.
    """

    def __init__(
        self, settings: GateSettings, limits: TrialLimits, sources: Sources, out: Out
    ) -> None:
        self._settings = settings
        self._limits = limits
        self._sources = sources
        self._out = out

    def open(self, runtime_context: RuntimeContext) -> None:
        self._state = runtime_context.get_state(names.GATE)
        self._waiting = runtime_context.get_list_state(names.GATE_WAITING)
        self._gate: Gate | None = None
        self._trying = False
        self._outlet = _Outlet(self._out)

    def close(self) -> None:
        if self._gate is not None:
            self._gate.close()

    def process_element(self, value: tuple[Any, ...], ctx: Any) -> Iterable[Any]:
        verdict, ts, input_name, position, raw, *_ = value
        refused = refusal(verdict, ts)
        if refused is not None:
            # Only its beginning is here.
            limit = self._settings.limits.raw_bytes
            letter = control_letter(raw, refused, limit, source=input_name, position=position)
            self._outlet.letter(letter)
            return self._outlet.taken()
        return self._go_on(ctx, [(input_name, position, raw)])

    def on_timer(self, timestamp: int, ctx: Any) -> Iterable[Any]:
        # By event time it fires at the end of input only: there is no later.
        last = ctx.time_domain() is TimeDomain.EVENT_TIME
        return self._go_on(ctx, [], last)

    def _go_on(self, ctx: Any, came: list[tuple[Any, ...]], last: bool = False) -> list[Any]:
        """Judge what waits, then what came; a record that is being tried waits in front of all.

        So it stays in state until its verdict is there, and a restored job tries it again.
        """
        gate, clock = self._opened(), _clock()
        before = list(self._waiting.get())
        waiting = deque([*before, *came])
        while waiting:
            if self._trying:
                self._trying = not gate.tried(clock, wait=last)
            else:
                self._trying = not self._judged(gate, Origin(*waiting[0]), clock, ctx)
            if not self._trying:
                waiting.popleft()
            elif not last:
                timers = ctx.timer_service()
                timers.register_processing_time_timer(clock + _LOOK_EVERY_MS)
                timers.register_event_time_timer(MAX_WATERMARK)
                break
        if before or waiting:
            self._waiting.update(list(waiting))
        due = gate.due(MAX_WATERMARK if last else clock)
        if due is not None:
            ctx.timer_service().register_processing_time_timer(due)
            ctx.timer_service().register_event_time_timer(MAX_WATERMARK)
        self._state.update(gate.plain())
        return self._outlet.taken()

    def _judged(self, gate: Gate, origin: Origin, clock: int, ctx: Any) -> bool:
        ordered = self._settings.ordered
        now = ctx.timer_service().current_watermark() if ordered else clock
        return gate.judge(origin, now, clock) or (ordered and gate.tried(clock, wait=True))

    def _opened(self) -> Gate:
        if self._gate is None:
            scratch = Scratch(self._limits, self._sources)
            self._gate = Gate(self._settings, self._state.value() or {}, scratch, self._outlet)
        return self._gate


class _Outlet:
    """What the gate says, as PyFlink takes it; only what somebody reads."""

    def __init__(self, out: Out) -> None:
        self._out = out
        self._said: list[Any] = []

    def taken(self) -> list[Any]:
        said, self._said = self._said, []
        return said

    def send(self, lane: str | None, item: Item) -> None:
        self._said.append(Row(KEY, (Verdict.CONTROL.value, effective(item), lane, item)))

    def ack(self, text: str) -> None:
        if self._out.control_acks:
            self._said.append((names.CONTROL_ACKS, text))

    def log(self, text: str) -> None:
        if self._out.control_log:
            self._said.append((names.CONTROL_LOG, text))

    def letter(self, text: str) -> None:
        if self._out.dead_letters:
            self._said.append((names.DEAD_LETTERS, text))


def _clock() -> int:
    return time.time_ns() // 1_000_000
