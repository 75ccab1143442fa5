"""Predictor: the Flink function that answers requests from published versions, by transaction id.

Versions come by broadcast, and none is in Flink's state: who starts reads the versions topic again.
"""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from pyflink.common import Row
from pyflink.datastream import KeyedBroadcastProcessFunction, RuntimeContext

from operators.asking import arrived, asked_of
from operators.collecting import spare_what_is_loaded
from operators.gauges import BY_MODELS, Gauges, add_reasons, dead_letters, in_us
from operators.serving import Serving, ServingSettings
from state import names, snapshots

# How soon a request that waits is looked at again, where few do. Where many do, one looks at so many a
# second that there is time for a version to come in.
_LOOK_AGAIN_MS = 100
_LOOKS_PER_MS = 2
_SWITCH_S = 0.000_5


class Predictor(KeyedBroadcastProcessFunction):
    """Answers each request with the newest versions; before there is one of each model it waits.

    Main output: `Row(address, text)`, see `operators.serving`. A timer of such a function has no
    side outputs.

    Parameters
    ----------
    pickled : list of bytes
        The models as the job begins with them: what they import is imported before anything is asked.
    """

    def __init__(self, settings: ServingSettings, pickled: list[bytes]) -> None:
        self._settings = settings
        self._pickled = pickled

    def open(self, runtime_context: RuntimeContext) -> None:
        for pickled in self._pickled:
            snapshots.unpickle_model(pickled, snapshots.environment())
        # A prediction waits no longer than that for a thread that loads, between two of its calls.
        sys.setswitchinterval(_SWITCH_S)
        serving = self._serving = Serving(self._settings)
        self._held = runtime_context.get_state(names.HELD_REQUEST)
        # Ids of the requests that wait, as far as they are known: a timer tells of each.
        self._waiting: set[str] = set()
        numbers: dict[str, Callable[[], int]] = {
            "predictions": lambda: serving.predictions,
            "predict_us": lambda: serving.predicting.mean() // 1000,
            "versions_loaded": lambda: serving.swaps,
            "versions_skipped": lambda: serving.loader.skipped,
            "versions_failed": lambda: serving.loader.failed,
            "versions_refused": lambda: serving.assembler.refused,
            "version_age_ms": lambda: _age_ms(serving.oldest_created),
            "longest_pause_us": lambda: serving.loader.longest_ns // 1000,
            "held_requests": lambda: len(self._waiting),
            **dead_letters(serving.dead_letters),
        }
        recent = {"predict_us": in_us(serving.predicting), **serving.waits.summaries()}
        self._gauges = Gauges(runtime_context, numbers, recent)
        add_reasons(self._gauges, serving.dead_letters, BY_MODELS)
        spare_what_is_loaded()
        serving.loader.start()

    def close(self) -> None:
        self._serving.loader.close()

    def process_broadcast_element(self, value: tuple[str, str], ctx: Any) -> Iterable[Any]:
        self._serving.take(arrived(value[1])[2])
        return ()

    def process_element(self, value: str, ctx: Any) -> Iterable[Any]:
        self._gauges.changing(ctx)
        if not self._serving.ready and len(self._waiting) < self._settings.hold_limit:
            self._held.update(value)
            self._wait(ctx)
            return ()
        return self._answer(value)

    def on_timer(self, timestamp: int, ctx: Any) -> Iterator[Any]:
        self._gauges.woken(ctx)
        held = self._held.value()
        if held is None:
            return
        if not self._serving.ready:
            self._wait(ctx)
            return
        self._held.clear()
        self._waiting.discard(ctx.get_current_key())
        yield from self._answer(held)

    def _wait(self, ctx: Any) -> None:
        self._waiting.add(ctx.get_current_key())
        timers = ctx.timer_service()
        soon = max(_LOOK_AGAIN_MS, len(self._waiting) // _LOOKS_PER_MS)
        timers.register_processing_time_timer(timers.current_processing_time() + soon)

    def _answer(self, value: str) -> list[Any]:
        return [Row(*addressed) for addressed in self._serving.answer(asked_of(value))]


def _age_ms(created: int) -> int:
    return max(time.time_ns() // 1_000_000 - created, 0) if created else 0
