"""OnlineModel: the Flink functions around `operators/learning.py`, keyed by lane."""

import pickle
import time
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pyflink.datastream import KeyedProcessFunction, RuntimeContext

from operators import batching
from operators.batching import AtOnce, Follow, Reply
from operators.collecting import spare_what_is_loaded
from operators.controls import AT_ONCE, Controls, is_for_every_lane
from operators.exporting import artifact_records
from operators.gauges import (
    BY_MODELS,
    Gauges,
    Numbers,
    add_reasons,
    dead_letters,
    in_ms,
    in_us,
)
from operators.items import Item
from operators.learning import Emitted, Lane, LaneSettings, Out, Publish, Stats
from operators.live import Deployment
from operators.recent import Recent
from operators.verdicts import MAX_WATERMARK
from state import names
from state.signing import SigningKey
from state.snapshots import environment

# By number, as they are told to Java.
_SIDES: tuple[Emitted, ...] = (
    "evaluations",
    "learn_log",
    "dead_letters",
    "control_acks",
    "versions",
    "alerts",
    "observations",
)
SIDES = tuple(names.SIDE_OUTPUTS[output] for output in _SIDES)
_PLACES = {output: place for place, output in enumerate(_SIDES)}

_TOTALS = (
    "predictions",
    "examples",
    "evaluations",
    "skipped",
    "unmatched",
    "snapshots",
    "rebuilds",
    "suspensions",
    "held",
)


class KeyedStore:
    """The state of the current key as a `operators.learning.Store`.

    Entries of the log, and predictions, wait until `end`: many cost Flink what one does.
    """

    def __init__(self, context: RuntimeContext) -> None:
        self._context = context
        self._models = context.get_map_state(names.MODELS)
        self._lane = context.get_state(names.LANE)
        self._held = context.get_map_state(names.HELD_WITHOUT_MODEL)
        self._failures = context.get_map_state(names.FAILURES)
        self._snapshots = context.get_map_state(names.SNAPSHOTS)
        self._predictions = context.get_map_state(names.PREDICTIONS)
        self._logs: dict[tuple[str, int], Any] = {}
        self._entries: dict[tuple[str, int], list[bytes]] = {}
        # What a batch has brought of state, and what is to be there after it.
        self._found: dict[str, bytes | None] = {}
        self._said: dict[str, list[tuple[Any, ...]] | None] = {}

    @property
    def entries(self) -> Any:
        """The map that predictions lie in."""
        return self._predictions

    def begin(self, found: list[Any]) -> None:
        """These predictions come with a batch: id, what was said of it, and so on."""
        self._found = dict(zip(found[::2], found[1::2], strict=True))

    def end(self, follow: Follow) -> None:
        """All items have been handled."""
        for id, said in self._said.items():
            if said is not None:
                follow.put_entry(id, said)
            else:
                follow.remove_entry(id)
        self._said.clear()
        self._write_log()

    def _write_log(self) -> None:
        """Hand Flink what was appended: many entries cost it what one does."""
        for (name, slot), entries in self._entries.items():
            self._log(name, slot).add_all(entries)
        self._entries.clear()

    def models(self) -> dict[str, dict[str, Any]]:
        return dict(self._models.items())

    def put_model(self, name: str, meta: dict[str, Any]) -> None:
        self._models.put(name, meta)

    def remove_model(self, name: str) -> None:
        self._models.remove(name)
        self._failures.remove(name)

    def failures(self, name: str) -> tuple[Any, ...] | None:
        found: tuple[Any, ...] | None = self._failures.get(name)
        return found

    def put_failures(self, name: str, failures: tuple[Any, ...]) -> None:
        self._failures.put(name, failures)

    def snapshot(self, name: str, chunks: int, generation: int = 0) -> Iterable[bytes]:
        return [self._snapshots.get(_chunk(name, generation, place)) for place in range(chunks)]

    def put_snapshot(
        self, name: str, chunks: list[bytes], replaced: int, generation: int = 0
    ) -> None:
        for place, chunk in enumerate(chunks):
            self._snapshots.put(_chunk(name, generation, place), chunk)
        for place in range(len(chunks), replaced):
            self._snapshots.remove(_chunk(name, generation, place))

    def log(self, name: str, slot: int = 0) -> Iterable[bytes]:
        self._write_log()
        return list(self._log(name, slot).get())

    def append(self, name: str, entry: bytes, slot: int = 0) -> None:
        self._entries.setdefault((name, slot), []).append(entry)

    def clear_log(self, name: str, slot: int = 0) -> None:
        self._entries.pop((name, slot), None)
        self._log(name, slot).clear()

    def record(self) -> dict[str, Any]:
        return self._lane.value() or {}

    def put_record(self, record: dict[str, Any]) -> None:
        self._lane.update(record)

    def held(self, place: int) -> Item:
        return self._held.get(f"{place}")

    def put_held(self, place: int, item: Item) -> None:
        self._held.put(f"{place}", item)

    def remove_held(self, place: int) -> None:
        self._held.remove(f"{place}")

    def predictions(self, id: str) -> list[tuple[Any, ...]] | None:
        if id in self._said:
            return self._said[id]
        found: list[tuple[Any, ...]] | None
        if id in self._found:
            stored = self._found[id]
            found = None if stored is None else pickle.loads(stored)
        else:
            found = self._predictions.get(id)
        return found

    def put_predictions(self, id: str, said: list[tuple[Any, ...]]) -> None:
        self._said[id] = said

    def forget(self, id: str) -> None:
        self._said[id] = None

    def _log(self, name: str, slot: int) -> Any:
        if (name, slot) not in self._logs:
            state = self._context.get_list_state(names.learned_since(name, slot))
            self._logs[name, slot] = state
        return self._logs[name, slot]


def _chunk(name: str, generation: int, place: int) -> str:
    """A model's name has no `#`."""
    return f"{name}#{generation}/{place}" if generation else f"{name}/{place}"


class OnlineModel(KeyedProcessFunction):
    """Runs the models of each lane on its items, in the order in which they come.

    Main output: predictions; side outputs: evaluations, learn log, dead letters; all JSON text.

    Parameters
    ----------
    live_lanes : int
        How many lanes' models are alive in memory at once; the others are in state only.
    every_lane : sequence of str
        With lanes: a key of each key group, under which messages to all lanes come.
    submitted_under : dict
        `state.snapshots.environment()` of the client.
    """

    def __init__(
        self,
        deployments: list[Deployment],
        out: Out,
        laned: bool,
        live_lanes: int,
        settings: LaneSettings,
        submitted_under: dict[str, str],
        every_lane: Sequence[str] = (),
    ) -> None:
        self._every_lane = every_lane
        self._submitted_under = submitted_under
        self._deployments = deployments
        self._out = out
        self._laned = laned
        self._live_lanes = live_lanes
        self._settings = settings

    def open(self, runtime_context: RuntimeContext) -> None:
        self._check_environment()
        self._store = KeyedStore(runtime_context)
        self._controls = Controls(runtime_context, self._every_lane)
        self._lanes: OrderedDict[str | None, Lane] = OrderedDict()
        self._follow: Follow
        self._stats = stats = Stats()
        self._processing = Recent()
        # Models whose own numbers are shown.
        self._models: set[str] = set()
        numbers: Numbers = {
            **{total: partial(getattr, stats, total) for total in _TOTALS},
            "predict_us": lambda: stats.predicting.mean() // 1000,
            "learn_us": lambda: stats.learning.mean() // 1000,
            "snapshot_ms": lambda: stats.snapshotting.mean() // 1_000_000,
            "label_delay_ms": lambda: stats.label_delay_ms,
            "live_lanes": lambda: len(self._lanes),
            "learned": self._learned,
            "version_age_ms": self._version_age_ms,
            **dead_letters(stats.dead_letters),
        }
        recent = {
            "predict_us": in_us(stats.predicting),
            "learn_us": in_us(stats.learning),
            "snapshot_ms": in_ms(stats.snapshotting),
            "processing_us": in_us(self._processing),
            **stats.waits.summaries(),
        }
        self._gauges = Gauges(runtime_context, numbers, recent, self._show_models)
        add_reasons(self._gauges, stats.dead_letters, BY_MODELS)
        self._publish: Publish | None = None
        if self._settings.signing_key_file is not None:
            key = SigningKey.load(Path(self._settings.signing_key_file))
            self._publish = partial(artifact_records, key=key, part_bytes=self._settings.part_bytes)
        spare_what_is_loaded()
        batching.opened(self)

    # Many items at once

    def run(self, batch: bytes) -> bytes:
        """Handle a batch of one lane; what goes in and out is described in operators/batching.py."""
        begun = time.perf_counter_ns()
        (key,), records, found, _ = pickle.loads(batch)
        reply = self._follow = Reply()
        self._store.begin(found)
        handled = 0
        for record in records[1::2]:
            if type(record) is tuple:
                self._end(key)  # there is no other timer
            else:
                items = pickle.loads(record)
                handled += len(items)
                self._do(key, items)
        self._wake_at_end(key)
        self._store.end(reply)
        written = reply.written()
        if handled:
            self._processing.add((time.perf_counter_ns() - begun) // handled)
        return written

    def show(self) -> None:
        """Show what metrics have changed."""
        self._gauges.show()

    # One item at a time

    def process_element(self, value: tuple[Any, ...], ctx: Any) -> Iterable[Any]:
        self._gauges.changing(ctx)
        return self._handle([value], ctx)

    def on_timer(self, timestamp: int, ctx: Any) -> Iterable[Any]:
        if self._gauges.woken(ctx):
            return ()
        self._gauges.changing(ctx)
        return self._on_event_time(timestamp, ctx)

    def _on_event_time(self, timestamp: int, ctx: Any) -> list[Any]:
        """The input has ended: there is no other timer."""
        follow = self._follow = AtOnce(SIDES, ctx, entries=self._store.entries)
        self._end(ctx.get_current_key())
        self._store.end(follow)
        return follow.out

    def _handle(self, items: Iterable[Item], ctx: Any, now: int = AT_ONCE) -> list[Any]:
        begun = time.perf_counter_ns()
        follow = self._follow = AtOnce(SIDES, ctx, entries=self._store.entries)
        key = ctx.get_current_key()
        self._do(key, items, now)
        self._wake_at_end(key)
        self._store.end(follow)
        self._processing.add(time.perf_counter_ns() - begun)
        return follow.out

    def _do(self, key: str, items: Iterable[Item], now: int = AT_ONCE) -> None:
        """Handle items of one key: a lane's or, where there are lanes, messages to all of them."""
        if not self._laned:
            lane = self._lane(key)
            for item in items:
                lane.handle(item)
            return
        for item in items:
            if is_for_every_lane(item):
                self._controls.add(item)
            else:
                lane = self._lane(key)
                lane.catch_up(self._controls.known(), now)
                lane.handle(item)

    def _end(self, key: str) -> None:
        lane = self._lane(key)
        if self._laned:
            lane.catch_up(self._controls.known(), AT_ONCE)
        lane.end_of_input()

    def _wake_at_end(self, key: str) -> None:
        """What is held for a model may still be there when the input ends."""
        if self._stats.held and self._lane(key).holding:
            self._follow.set_timer(0, MAX_WATERMARK)

    def _check_environment(self) -> None:
        """A task manager keeps the libraries that it has imported, whatever is installed since."""
        for name in ("python", "river", "numpy"):
            found, wanted = environment()[name], self._submitted_under[name]
            if found != wanted:
                raise RuntimeError(
                    f"this task manager runs {name} {found}, the job was submitted with {wanted}: "
                    "start new task managers"
                )

    def _lane(self, flink_key: str) -> Lane:
        key = flink_key if self._laned else None
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = Lane(
                key,
                self._deployments,
                self._store,
                self._out,
                self._emit,
                self._stats,
                self._settings,
                self._publish,
            )
            if len(self._lanes) > self._live_lanes:
                # State has all that this lane learned: nothing is written here.
                _, left = self._lanes.popitem(last=False)
                self._stats.held -= left.holding
        elif self._laned:
            self._lanes.move_to_end(key)
        return lane

    def _emit(self, output: Emitted, record: str) -> None:
        if output == "predictions":
            self._follow.emit(record)
        else:
            self._follow.side(_PLACES[output], record)

    def _learned(self) -> int:
        return sum(live.n for lane in self._lanes.values() for live in lane.live.values())

    def _version_age_ms(self) -> int:
        """Since the model that has waited longest for a new version had one."""
        changed_at = self._stats.changed_at
        live = {name for lane in self._lanes.values() for name in lane.live}
        oldest = min((changed_at.get(name, 0) for name in live), default=0)
        return max(time.time_ns() // 1_000_000 - oldest, 0) if oldest else 0

    def _snapshot_bytes(self, name: str) -> int:
        """Of the lane in memory where the model's is largest."""
        lanes = self._lanes.values()
        return max(
            (lane.live[name].snapshot_bytes for lane in lanes if name in lane.live), default=0
        )

    def _show_models(self) -> None:
        """Numbers of models that have none yet."""
        stats = self._stats
        stats.look()
        for name in stats.learned.keys() - self._models:
            self._models.add(name)
            numbers: Numbers = {
                "snapshot_bytes": partial(self._snapshot_bytes, name),
                "learned": partial(stats.learned.__getitem__, name),
                "version_changed_at_ms": partial(stats.changed_at.__getitem__, name),
            }
            self._gauges.add({"model": name}, numbers)


class OrderedOnlineModel(OnlineModel):
    """Holds items until the watermark passes, then handles them by (time, rank, id, index)."""

    def open(self, runtime_context: RuntimeContext) -> None:
        super().open(runtime_context)
        self._held = runtime_context.get_map_state(names.HELD_ITEMS)

    def process_element(self, value: tuple[Any, ...], ctx: Any) -> Iterable[Any]:
        if self._laned and is_for_every_lane(value[-1]):
            # Each lane does it at its time, before all else of that time.
            self._controls.add(value[-1])
            return ()
        # A list would be read and written whole for every item of a busy millisecond.
        time = value[0]
        count = self._held.get(f"{time}") or 0
        self._held.put(f"{time}/{count}", value)
        self._held.put(f"{time}", count + 1)
        if count == 0:
            ctx.timer_service().register_event_time_timer(time)
        return ()

    def _on_event_time(self, timestamp: int, ctx: Any) -> list[Any]:
        if timestamp == MAX_WATERMARK:
            return super()._on_event_time(timestamp, ctx)
        count = self._held.get(f"{timestamp}") or 0
        items = [self._held.get(f"{timestamp}/{place}") for place in range(count)]
        items.sort(key=lambda held: held[:4])
        out = self._handle((item for *_, item in items), ctx, timestamp)
        for place in range(count):
            self._held.remove(f"{timestamp}/{place}")
        self._held.remove(f"{timestamp}")
        return out
