"""Evaluator: the Flink function around operators/evaluating.py, keyed by transaction id."""

from collections.abc import Callable, Iterable
from typing import Any

import msgspec
from pyflink.datastream import KeyedProcessFunction, RuntimeContext

from models.tasks import TaskName
from operators.evaluating import Matched, Matching
from operators.gauges import Gauges
from operators.queued import arrived, queued_of
from operators.roles import Role
from state import names


class Evaluator(KeyedProcessFunction):
    """Takes what predictors said and records of the learn queue; main output: evaluations.

    Side output: observations, where `roles` are given.

    Parameters
    ----------
    wait_ms : int
        How long an outcome waits, by the clock, for what was said of its transaction.
    """

    def __init__(
        self,
        model_tasks: dict[str, TaskName],
        wait_ms: int,
        roles: dict[str, Role] | None = None,
    ) -> None:
        self._model_tasks = model_tasks
        self._roles = roles
        self._wait_ms = wait_ms

    def open(self, runtime_context: RuntimeContext) -> None:
        matching = self._matching = Matching(self._model_tasks, self._roles)
        self._state = runtime_context.get_state(names.MATCHED)
        self._bad = self._unmatched = 0
        numbers: dict[str, Callable[[], int]] = {
            "evaluations": lambda: matching.evaluations,
            "leaked": lambda: matching.leaked,
            "unmatched": lambda: self._unmatched,
            "not_queued": lambda: self._bad,
        }
        self._gauges = Gauges(runtime_context, numbers)

    def process_element(self, value: str, ctx: Any) -> Iterable[Any]:
        self._gauges.changing(ctx)
        stored = self._state.value()
        held = Matched() if stored is None else Matched(*stored)
        out: list[str] = []
        # What is said is JSON, a record of the queue begins with its offset.
        if value.startswith("{"):
            now_held = self._matching.on_said(held, value, out)
        else:
            offset, _, text = arrived(value)
            try:
                item = queued_of(text)
            except msgspec.DecodeError:
                self._bad += 1
                return ()
            now_held = self._matching.on_outcome(held, offset, item, out)
        if now_held is None or now_held == Matched():
            if stored is not None:
                self._state.clear()
        else:
            if now_held.said is None and not now_held.until:
                timers = ctx.timer_service()
                until = timers.current_processing_time() + self._wait_ms
                timers.register_processing_time_timer(until)
                now_held = now_held._replace(until=until)
            self._state.update(tuple(now_held))
        observed = [(names.OBSERVATIONS, text) for text in self._matching.observed]
        self._matching.observed.clear()
        return [*out, *observed]

    def on_timer(self, timestamp: int, ctx: Any) -> Iterable[Any]:
        self._gauges.woken(ctx)
        stored = self._state.value()
        if stored is not None:
            held = Matched(*stored)
            if held.said is None and held.until <= timestamp:
                self._state.clear()
                self._unmatched += 1
        return ()
