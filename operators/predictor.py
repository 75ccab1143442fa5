"""Predictor: the Flink function that answers requests from published versions, by transaction id.

Versions come by way of the join, a copy for each subtask, and none is in Flink's state: who starts reads
the versions topic again.
"""

import pickle
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

from pyflink.datastream import KeyedProcessFunction, RuntimeContext

from operators import batching
from operators.batching import AtOnce, Follow, Reply
from operators.collecting import spare_what_is_loaded
from operators.gauges import BY_MODELS, Gauges, add_reasons, dead_letters, in_us
from operators.items import Item, asked_of_item
from operators.queued import arrived
from operators.serving import PREDICTIONS, SAID, Serving, ServingSettings
from operators.standing_back import Background
from state import names, snapshots

SIDES = (names.DEAD_LETTERS, names.SAID)
_DEAD_LETTERS, _SAID = range(len(SIDES))

# How soon a request that waits is looked at again, where few do. Where many do, one looks at so many a
# second that there is time for a version to come in.
_LOOK_AGAIN_MS = 100
_LOOKS_PER_MS = 2
_SWITCH_S = 0.000_5

# Requests of one id; a second one is of another transaction, which came before there was any version.
Held = tuple[Item, ...]


class Predictor(KeyedProcessFunction):
    """Answers each request with the newest versions; before there is one of each model it waits.

    Main output: predictions; side outputs: dead letters, what was said.

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
        self._held = runtime_context.get_state(names.HELD_REQUESTS)
        # How many wait, as far as is known: a timer tells of each.
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
        self._background = Background(self._settings.background_nice)
        self._background.start()
        batching.opened(self)

    def close(self) -> None:
        self._background.close()
        self._serving.loader.close()

    def run(self, batch: bytes) -> bytes:
        """Handle a batch; what goes in and out is described in operators/batching.py."""
        stored, records, _, _ = pickle.loads(batch)
        held: list[Held] = [() if each is None else pickle.loads(each) for each in stored]
        reply = Reply()
        each = iter(records)
        for place, record in zip(each, each, strict=True):
            for item in batching.items_of(record):
                held[place] = self._come(item, place, held[place], reply)
        return reply.written()

    def show(self) -> None:
        """Show what metrics have changed."""
        self._gauges.show()

    def process_element(self, value: Item | str, ctx: Any) -> Iterable[Any]:
        raise NotImplementedError("records come in batches")

    def on_timer(self, timestamp: int, ctx: Any) -> Iterable[Any]:
        self._gauges.woken(ctx)
        held: Held = self._held.value() or ()
        follow = AtOnce(SIDES, ctx, self._held)
        if held and not self._serving.ready:
            self._wait(0, held, follow)
        elif held:
            self._held.clear()
            self._waiting.discard(held[0][1])
            for item in held:
                self._answer(item, follow)
        return follow.out

    def _come(self, item: Item | str, place: int, held: Held, follow: Follow) -> Held:
        """A request, or a record of the versions topic; what waits then."""
        if isinstance(item, str):
            self._serving.take(arrived(item)[2])
        elif self._serving.ready or len(self._waiting) >= self._settings.hold_limit:
            self._answer(item, follow)
        else:
            held = (*held, item)
            follow.put(place, held)
            self._wait(place, held, follow)
        return held

    def _wait(self, place: int, held: Held, follow: Follow) -> None:
        self._waiting.add(held[0][1])
        soon = max(_LOOK_AGAIN_MS, len(self._waiting) // _LOOKS_PER_MS)
        follow.wake(place, time.time_ns() // 1_000_000 + soon)

    def _answer(self, item: Item, follow: Follow) -> None:
        for address, text in self._serving.answer(asked_of_item(item)):
            if address == PREDICTIONS:
                follow.emit(text)
            else:
                follow.side(_SAID if address == SAID else _DEAD_LETTERS, text)


def _age_ms(created: int) -> int:
    return max(time.time_ns() // 1_000_000 - created, 0) if created else 0
