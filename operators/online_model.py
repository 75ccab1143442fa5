"""OnlineModel: the Flink functions around `operators/learning.py`, keyed by lane."""

import pickle
from collections import OrderedDict
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from pyflink.datastream import KeyedProcessFunction, RuntimeContext

from events.reasons import Reason
from operators import batching
from operators.batching import AtOnce, Follow, Reply
from operators.collecting import spare_what_is_loaded
from operators.gauges import Gauges
from operators.items import Item
from operators.learning import Lane, Out, Output, Stats
from operators.live import Deployment
from state import names
from state.snapshots import environment

SIDES = (names.EVALUATIONS, names.LEARN_LOG, names.DEAD_LETTERS)
_PLACES: dict[Output, int] = {"evaluations": 0, "learn_log": 1, "dead_letters": 2}

_TOTALS = (
    "predictions",
    "examples",
    "evaluations",
    "skipped",
    "unmatched",
    "snapshots",
    "rebuilds",
)


class KeyedStore:
    """The state of the current key as a `operators.learning.Store`.

    Entries of the log wait until `write_log`; in a batch, predictions come and go with it.
    """

    def __init__(self, context: RuntimeContext) -> None:
        self._context = context
        self._models = context.get_map_state(names.MODELS)
        self._failures = context.get_map_state(names.FAILURES)
        self._snapshots = context.get_map_state(names.SNAPSHOTS)
        self._predictions = context.get_map_state(names.PREDICTIONS)
        self._logs: dict[str, Any] = {}
        self._entries: dict[str, list[bytes]] = {}
        # In a batch: what state holds, and what is to be there.
        self._found: dict[str, bytes | None] | None = None
        self._said: dict[str, list[tuple[Any, ...]] | None] = {}

    def begin(self, found: list[Any]) -> None:
        """A batch comes with these predictions: id, what was said of it, and so on."""
        self._found = dict(zip(found[::2], found[1::2], strict=True))

    def end(self, reply: Reply) -> None:
        """The batch has been handled."""
        for id, said in self._said.items():
            if said is not None:
                reply.put_entry(id, said)
            else:
                reply.remove_entry(id)
        self._said.clear()
        self.write_log()

    def write_log(self) -> None:
        """Hand Flink what was appended: many entries cost it what one does."""
        for name, entries in self._entries.items():
            self._log(name).add_all(entries)
        self._entries.clear()

    def models(self) -> dict[str, dict[str, Any]]:
        return dict(self._models.items())

    def put_model(self, name: str, meta: dict[str, Any]) -> None:
        self._models.put(name, meta)

    def failures(self, name: str) -> tuple[int, tuple[int, ...], bool] | None:
        found: tuple[int, tuple[int, ...], bool] | None = self._failures.get(name)
        return found

    def put_failures(self, name: str, failures: tuple[int, tuple[int, ...], bool]) -> None:
        self._failures.put(name, failures)

    def snapshot(self, name: str, chunks: int) -> Iterable[bytes]:
        return [self._snapshots.get(f"{name}/{place}") for place in range(chunks)]

    def put_snapshot(self, name: str, chunks: list[bytes], replaced: int) -> None:
        for place, chunk in enumerate(chunks):
            self._snapshots.put(f"{name}/{place}", chunk)
        for place in range(len(chunks), replaced):
            self._snapshots.remove(f"{name}/{place}")

    def log(self, name: str) -> Iterable[bytes]:
        self.write_log()
        return list(self._log(name).get())

    def append(self, name: str, entry: bytes) -> None:
        self._entries.setdefault(name, []).append(entry)

    def clear_log(self, name: str) -> None:
        self._entries.pop(name, None)
        self._log(name).clear()

    def predictions(self, id: str) -> list[tuple[Any, ...]] | None:
        if id in self._said:
            return self._said[id]
        found: list[tuple[Any, ...]] | None
        if self._found is None:
            found = self._predictions.get(id)
        else:
            stored = self._found.get(id)
            found = None if stored is None else pickle.loads(stored)
        return found

    def put_predictions(self, id: str, said: list[tuple[Any, ...]]) -> None:
        if self._found is None:
            self._predictions.put(id, said)
        else:
            self._said[id] = said

    def forget(self, id: str) -> None:
        if self._found is None:
            self._predictions.remove(id)
        else:
            self._said[id] = None

    def _log(self, name: str) -> Any:
        if name not in self._logs:
            self._logs[name] = self._context.get_list_state(names.learned_since(name))
        return self._logs[name]


class OnlineModel(KeyedProcessFunction):
    """Runs the models of each lane on its items, in the order in which they come.

    Main output: predictions; side outputs: evaluations, learn log, dead letters; all JSON text.

    Parameters
    ----------
    live_lanes : int
        How many lanes' models are alive in memory at once; the others are in state only.
    submitted_under : dict
        `state.snapshots.environment()` of the client.
    """

    def __init__(
        self,
        deployments: list[Deployment],
        out: Out,
        laned: bool,
        live_lanes: int,
        raw_bytes: int,
        submitted_under: dict[str, str],
    ) -> None:
        self._submitted_under = submitted_under
        self._deployments = deployments
        self._out = out
        self._laned = laned
        self._live_lanes = live_lanes
        self._raw_bytes = raw_bytes

    def open(self, runtime_context: RuntimeContext) -> None:
        self._check_environment()
        self._store = KeyedStore(runtime_context)
        self._lanes: OrderedDict[str | None, Lane] = OrderedDict()
        self._follow: Follow
        self._stats = stats = Stats()
        numbers: dict[str, Callable[[], int]] = {
            **{total: partial(getattr, stats, total) for total in _TOTALS},
            "predict_us": lambda: stats.predict_ns // 1000,
            "learn_us": lambda: stats.learn_ns // 1000,
            "snapshot_ms": lambda: stats.snapshot_ns // 1_000_000,
            "label_delay_ms": lambda: stats.label_delay_ms,
            "live_lanes": lambda: len(self._lanes),
            "learned": self._learned,
            **{
                f"dead_letters_{reason}": partial(stats.dead_letters.__getitem__, reason)
                for reason in Reason
            },
        }
        self._gauges = Gauges(runtime_context, numbers)
        spare_what_is_loaded()
        batching.opened(self)

    # Many items at once

    def run(self, batch: bytes) -> bytes:
        """Handle a batch of one lane; what goes in and out is described in operators/batching.py."""
        (key,), records, found, _ = pickle.loads(batch)
        reply = self._follow = Reply()
        self._store.begin(found)
        lane = self._lane(key)
        for record in records[1::2]:
            for item in pickle.loads(record):
                lane.handle(item)
        self._store.end(reply)
        return reply.written()

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

    def _on_event_time(self, timestamp: int, ctx: Any) -> Iterable[Any]:
        return ()

    def _handle(self, items: Iterable[Item], ctx: Any) -> list[Any]:
        lane = self._lane(ctx.get_current_key())
        follow = self._follow = AtOnce(SIDES, ctx)
        for item in items:
            lane.handle(item)
        self._store.write_log()
        return follow.out

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
                self._raw_bytes,
            )
            if len(self._lanes) > self._live_lanes:
                # State has all that this lane learned: nothing is written here.
                self._lanes.popitem(last=False)
        elif self._laned:
            self._lanes.move_to_end(key)
        return lane

    def _emit(self, output: Output, record: str) -> None:
        if output == "predictions":
            self._follow.emit(record)
        else:
            self._follow.side(_PLACES[output], record)

    def _learned(self) -> int:
        return sum(live.n for lane in self._lanes.values() for live in lane.live.values())


class OrderedOnlineModel(OnlineModel):
    """Holds items until the watermark passes, then handles them by (time, rank, id, index)."""

    def open(self, runtime_context: RuntimeContext) -> None:
        super().open(runtime_context)
        self._held = runtime_context.get_map_state(names.HELD_ITEMS)

    def process_element(self, value: tuple[Any, ...], ctx: Any) -> Iterable[Any]:
        # A list would be read and written whole for every item of a busy millisecond.
        time = value[0]
        count = self._held.get(f"{time}") or 0
        self._held.put(f"{time}/{count}", value)
        self._held.put(f"{time}", count + 1)
        if count == 0:
            ctx.timer_service().register_event_time_timer(time)
        return ()

    def _on_event_time(self, timestamp: int, ctx: Any) -> Iterable[Any]:
        count = self._held.get(f"{timestamp}") or 0
        items = [self._held.get(f"{timestamp}/{place}") for place in range(count)]
        items.sort(key=lambda held: held[:4])
        out = self._handle((item for *_, item in items), ctx)
        for place in range(count):
            self._held.remove(f"{timestamp}/{place}")
        self._held.remove(f"{timestamp}")
        return out
