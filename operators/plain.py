"""The whole flow in plain Python, without Flink: the same cores, one record after the other.

A backtest runs on it, and tests compare the job with it.
"""

import heapq
import time
from collections.abc import Callable, Iterable
from typing import Any, Literal, NamedTuple

import msgspec
from msgspec import Struct

from events.decode import Decoder, TimeRange
from events.letters import dead_letter
from events.messages import Event, Rejected
from events.reasons import Reason, Stage
from operators import observing
from operators.acting import Acting, follows
from operators.action_settings import ActionSettings
from operators.gate import Gate, GateSettings
from operators.items import RANK_CONTROL, RANK_FEATURES, RANK_LABEL, Item, Origin, effective
from operators.joining import Held, Join, JoinSettings, Outcome, Refuse, Send
from operators.learning import (
    Emit,
    Emitted,
    Lane,
    LaneSettings,
    Out,
    Place,
    Publish,
    Stats,
    place_of,
)
from operators.live import Deployment
from operators.monitor_settings import MonitorSettings
from operators.monitors import Monitors
from operators.observing import Retired
from operators.scratch import Scratch, TrialLimits
from operators.telling import Told
from operators.verdicts import Verdict, refusal
from state.memory import MemoryStore

Written = Emitted | Literal["metrics"]
Write = Callable[[Written, str], None]


class FlowSettings(Struct, frozen=True):
    """What of a job's configuration bears on its results; times in ms."""

    join: JoinSettings
    times: TimeRange
    max_out_of_orderness_ms: int
    ordered: bool = False
    lane_by: str | None = None
    live_lanes: int = 1000
    hold_limit: int = 0
    gate: GateSettings | None = None
    trial: TrialLimits = TrialLimits()
    monitors: tuple[MonitorSettings, ...] = ()
    actions: ActionSettings | None = None


class Record(NamedTuple):
    """A record as it was read; `partition` is the file, or the topic's partition, it came from.

    `control`: whether it is for the gate.
    """

    input: str
    partition: str
    position: str
    raw: bytes | None
    control: bool = False


class _Time(Struct):
    ts: Any = None


_BEFORE_ALL_TIME = -(1 << 63)

_read_time: Callable[[bytes], _Time] = msgspec.json.Decoder(_Time).decode


class PlainFlow:
    """Join and models over records in the order in which they are given.

    Parameters
    ----------
    emit : callable
        Takes the name of an output and a record's JSON text.
    inputs : iterable of str
        Names of the inputs; the slowest holds the watermark. What comes by `control`, or has no id and
        comes by an input that is control, too, is a control message.
    """

    def __init__(
        self,
        settings: FlowSettings,
        decoder: Decoder,
        deployments: list[Deployment],
        out: Out,
        emit: Write,
        inputs: Iterable[str] = ("features",),
        publish: Publish | None = None,
    ) -> None:
        self._settings = settings
        self._decoder = decoder
        self._deployments = deployments
        self._out = out
        self._write = emit
        # What is known of each model in its role, and of the features.
        self._monitors: dict[str, Monitors] = {}
        self._acting = None if settings.actions is None else Acting(settings.actions)
        self._commands: list[str] = []
        self._join = Join(settings.join, settings.lane_by)
        self._held: dict[str, Held] = {}
        self._wakes: list[tuple[int, str]] = []
        self._early: list[tuple[int, int, str, bytes | None, Origin | None, Any]] = []
        self._publish = publish
        # Messages to every lane, in the order of their places.
        self._controls: list[tuple[Place, Item]] = []
        self._gate = None
        if settings.gate is not None:
            self._gate = Gate(
                settings.gate, {}, Scratch(settings.trial), _Outlet(self, self._emit, out)
            )
        self._highest: dict[str, int] = {}
        self._watermarks = dict.fromkeys(inputs, _BEFORE_ALL_TIME)
        self._stores: dict[str | None, MemoryStore] = {}
        self._lanes: dict[str | None, Lane] = {}
        self.stats = Stats()
        self.counts = dict.fromkeys(("duplicates", "timeouts", "unlabelled", "corrections"), 0)
        self.records = 0
        self._top: int | None = None

    def record(self, record: Record) -> None:
        """One record, from wherever it came."""
        self.records += 1
        origin = Origin(record.input, record.position, record.raw)
        if self._gate is not None and record.control:
            self._control(self._gate, origin)
            return
        decoded = self._read(record)
        if isinstance(decoded, Rejected):
            self._refuse(Stage.DECODE, decoded.reason, decoded.detail, decoded.id, origin)
        elif self._settings.ordered:
            rank = RANK_LABEL if decoded.features is None else RANK_FEATURES
            self._early.append((decoded.ts, rank, decoded.id, record.raw, origin, decoded))
        else:
            self._arrived(decoded, origin)
            self._wake_until(self._watermark())
        self._obey()

    def _obey(self) -> None:
        """Do what the job has told itself, as the next thing that comes by the control stream."""
        while self._commands and self._gate is not None:
            raw = self._commands.pop(0).encode()
            self._control(self._gate, Origin("control", None, raw))

    def end(self) -> None:
        """No more records: do what is due at the highest time seen, and release the rest."""
        self._run_early()
        if self._top is not None:
            self._wake_until(self._top)
        for id, held in list(self._held.items()):
            out: list[Outcome] = []
            self._join.on_input_end(held, id, out)
            self._held[id] = None
            self._follow(out, id)
        for name in list(self._stores):
            lane = self.lane(name)
            if lane.holding:
                self._catch_up(lane)
            lane.end_of_input()
        self._obey()
        for monitors in self._monitors.values():
            monitors.tell()

    def _emit(self, output: Written, record: str) -> None:
        if output == "observations":
            self._observe(record)
        else:
            self._write(output, record)

    def _observe(self, text: str) -> None:
        seen = observing.read(text)
        found = self._monitors.get(seen.id)
        if found is None:
            settings = self._settings
            found = Monitors(settings.monitors, settings.join.retention_ms, seen.id, self._tell)
            self._monitors[seen.id] = found
        if isinstance(seen, Retired):
            found.retire()
        else:
            found.observe(seen)

    def _tell(self, told: Told, record: Struct) -> None:
        text = msgspec.json.encode(record).decode()
        self._write(told, text)
        if self._acting is not None:
            self._commands += follows(self._acting, text)

    def lane(self, lane: str | None) -> Lane:
        """The models of a lane, alive."""
        found = self._lanes.pop(lane, None)
        if found is None:
            store = self._stores.setdefault(lane, MemoryStore())
            found = Lane(
                lane,
                self._deployments,
                store,
                self._out,
                self._emit,
                self.stats,
                LaneSettings(self._decoder.limits.raw_bytes, self._settings.hold_limit),
                self._publish,
            )
            if len(self._lanes) >= self._settings.live_lanes:
                left = self._lanes.pop(next(iter(self._lanes)))
                self.stats.held -= left.holding
        self._lanes[lane] = found
        return found

    def send(self, lane: str | None, item: Item) -> None:
        """What the gate lets through: to one lane or, where there are lanes, to every."""
        if self._settings.ordered:
            held = (effective(item), RANK_CONTROL, item[1], None, None, (lane, item))
            self._early.append(held)
        else:
            self._operate(lane, item)

    def _operate(self, lane: str | None, item: Item) -> None:
        if lane is None and self._settings.lane_by is not None:
            self._controls.append((place_of(item), item))
        else:
            found = self.lane(lane)
            self._catch_up(found)
            found.handle(item)

    def _catch_up(self, lane: Lane) -> None:
        if self._controls:
            # Those that are not yet due are not in the list.
            lane.catch_up(self._controls, 1 << 62)

    def _control(self, gate: Gate, origin: Origin) -> None:
        clock = time.time_ns() // 1_000_000
        now = self._watermark() if self._settings.ordered else clock
        if not gate.judge(origin, now, clock):
            gate.tried(clock, wait=True)
        # A backtest waits for no clock.
        gate.due(1 << 62)

    def _read(self, record: Record) -> Event | Rejected:
        """What Java decides in a job, then the decoder."""
        verdict, ts = self._judge(record)
        return refusal(verdict, ts) or self._decoder.decode(record.raw)

    def _judge(self, record: Record) -> tuple[Verdict, int]:
        raw, settings = record.raw, self._settings
        if raw is None:
            return Verdict.NO_TS, 0
        if len(raw) > self._decoder.limits.record_bytes:
            return Verdict.TOO_LARGE, 0
        try:
            ts = _read_time(raw).ts
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return Verdict.NO_TS, 0
        # One that is no long is no time to Java either.
        if type(ts) is not int or not -(1 << 63) <= ts < 1 << 63:
            return Verdict.NO_TS, 0
        if not settings.times.accepts(ts, time.time_ns() // 1_000_000):
            return Verdict.BAD_TS, ts
        highest = self._highest.get(record.partition, ts)
        # Elsewhere records count as they come.
        if settings.ordered and ts < highest - settings.max_out_of_orderness_ms:
            return Verdict.OUT_OF_ORDER, ts
        self._highest[record.partition] = highest = max(ts, highest)
        before = self._watermarks[record.input]
        reached = highest - settings.max_out_of_orderness_ms - 1
        self._watermarks[record.input] = max(before, reached)
        self._top = ts if self._top is None else max(ts, self._top)
        return Verdict.FINE, ts

    def _watermark(self) -> int:
        """The lowest of the inputs' watermarks; an input's never goes back."""
        return min(self._watermarks.values())

    def _arrived(self, event: Event, origin: Origin) -> None:
        out: list[Outcome] = []
        held = self._held.get(event.id)
        self._keep(event.id, held, self._join.on_event(held, event, origin, out))
        self._follow(out, event.id)

    def _keep(self, id: str, held: Held, now_held: Held) -> None:
        if now_held is None:
            self._held.pop(id, None)
            return
        self._held[id] = now_held
        wake = self._join.wake(now_held)
        if wake is not None and wake != self._join.wake(held):
            heapq.heappush(self._wakes, (wake, id))

    def _wake_until(self, now: int) -> None:
        while self._wakes and self._wakes[0][0] <= now:
            wake, id = heapq.heappop(self._wakes)
            held = self._held.get(id)
            out: list[Outcome] = []
            now_held = self._join.on_time(held, id, wake, out)
            # A timer that fired early stands for the later one, too.
            self._keep(id, None, now_held)
            self._follow(out, id)

    def _run_early(self) -> None:
        """Events by (time, kind, id, bytes), timeouts between the labels and the features."""
        self._early.sort(key=lambda held: (*held[:3], held[3] or b""))
        for ts, rank, _, _, origin, event in self._early:
            self._wake_until(ts if rank == RANK_FEATURES else ts - 1)
            if origin is None:
                self._operate(*event)
            else:
                self._arrived(event, origin)
        self._early.clear()

    def _follow(self, out: list[Outcome], id: str) -> None:
        for outcome in out:
            if isinstance(outcome, Send):
                lane = self.lane(outcome.lane)
                self._catch_up(lane)
                lane.handle(outcome.item)
            elif isinstance(outcome, Refuse):
                self._refuse(Stage.JOIN, outcome.reason, outcome.detail, id, outcome.origin)
            else:
                self.counts[outcome] += 1

    def _refuse(
        self, stage: Stage, reason: Reason, detail: str, id: str | None, origin: Origin
    ) -> None:
        self.stats.dead_letters[reason] += 1
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
        self._emit("dead_letters", letter)


class _Outlet:
    """The gate's verdicts, in a plain flow."""

    def __init__(self, flow: PlainFlow, emit: Emit, out: Out) -> None:
        self._flow = flow
        self._emit = emit
        self._out = out

    def send(self, lane: str | None, item: Item) -> None:
        self._flow.send(lane, item)

    def ack(self, text: str) -> None:
        if self._out.control_acks:
            self._emit("control_acks", text)

    def log(self, text: str) -> None:
        if self._out.control_log:
            self._emit("control_log", text)

    def letter(self, text: str) -> None:
        if self._out.dead_letters:
            self._emit("dead_letters", text)
