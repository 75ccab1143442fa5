"""Trainer: the Flink function that learns from the learn queue and publishes versions, one a model."""

import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from pyflink.datastream import RuntimeContext

from operators.batching import AtOnce
from operators.gauges import Gauges
from operators.items import EXAMPLE, FORGET
from operators.online_model import SIDES, OnlineModel
from operators.publishing import Publisher, PublishSettings
from operators.queued import arrived, queued_of
from operators.standing_back import Background, StandingBack
from state import names
from state.signing import SigningKey


class Trainer(OnlineModel):
    """Learns what the learn queue says, as OnlineModel does, under a key of its own.

    Main output: records of published versions; side outputs as OnlineModel's.

    Parameters
    ----------
    publishing : PublishSettings
    arguments
        Of `OnlineModel`, with one model.
    """

    def __init__(self, publishing: PublishSettings, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._publishing = publishing

    def open(self, runtime_context: RuntimeContext) -> None:
        self._publisher: Publisher | None = None
        self._lag_ms = 0
        self._publish_ms = 0
        self._bad = 0
        self._woken_at = 0
        self._published = runtime_context.get_state(names.PUBLISHED)
        # First, as a thread's niceness is that of the threads it starts.
        self._background = Background(self._publishing.background_nice)
        self._background.start()
        self._standing_back = StandingBack(self._publishing.nice)
        self._key = SigningKey.load(Path(self._publishing.signing_key_file))
        super().open(runtime_context)
        numbers: dict[str, Callable[[], int]] = {
            "lag_ms": lambda: self._lag_ms,
            "publish_ms": lambda: self._publish_ms,
            "not_queued": lambda: self._bad,
            "learned_to": partial(self._of_publisher, "learned_to", -1),
            "skipped_by_lag": partial(self._of_publisher, "skipped", 0),
            "views_published": partial(self._of_publisher, "views", 0),
            "whole_published": partial(self._of_publisher, "whole", 0),
        }
        self._own_gauges = Gauges(runtime_context, numbers)

    def close(self) -> None:
        self._background.close()
        super().close()

    def process_element(self, value: Any, ctx: Any) -> Iterable[Any]:
        self._gauges.changing(ctx)
        return self._step(value, ctx)

    def on_timer(self, timestamp: int, ctx: Any) -> Iterable[Any]:
        if self._gauges.woken(ctx):
            self._own_gauges.show()
        return self._step("", ctx)

    def _step(self, value: str, ctx: Any) -> list[Any]:
        """Learn a record, if there is one, and publish what is due."""
        lane = self._lane(ctx.get_current_key())
        publisher = self._publisher
        if publisher is None:
            publisher = Publisher(self._publishing, self._key, self._published.value())
            self._publisher = publisher
        follow = self._follow = AtOnce(SIDES, ctx, entries=self._store.entries)
        [live] = lane.live.values()
        now = time.time_ns() // 1_000_000
        if value:
            self._learn(value, lane, publisher, now)
        if publisher.due(live, now):
            begun = time.perf_counter_ns()
            for record in publisher.publish(live, now):
                follow.emit(record)
            self._publish_ms = (time.perf_counter_ns() - begun) // 1_000_000
        else:
            self._wake(publisher.wake(live, now), now, ctx)
        self._store.end(follow)
        self._published.update(publisher.plain())
        return follow.out

    def _learn(self, value: str, lane: Any, publisher: Publisher, now: int) -> None:
        offset, queued, text = arrived(value)
        self._lag_ms = max(now - queued, 0)
        features = None
        try:
            item = queued_of(text)
        except msgspec.DecodeError:
            # Nobody but the join of this job writes here.
            self._bad += 1
        else:
            if item[0] != FORGET and publisher.learns(item[1], queued, now):
                lane.handle(item)
                self._standing_back.rest()
                features = item[3] if item[0] == EXAMPLE else None
        publisher.saw(offset, features)

    def _wake(self, at: int | None, now: int, ctx: Any) -> None:
        """One timer at a time."""
        if at is not None and self._woken_at <= now:
            self._woken_at = at
            ctx.timer_service().register_processing_time_timer(at)

    def _of_publisher(self, name: str, default: int) -> int:
        number: int = getattr(self._publisher, name, default)
        return number
