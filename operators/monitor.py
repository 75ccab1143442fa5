"""Monitor: the Flink function around operators/monitoring.py, keyed by model and role."""

import time
from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Struct
from pyflink.datastream import KeyedProcessFunction, RuntimeContext

from events.messages import Metrics
from operators.gauges import Numbers
from operators.monitor_gauges import MonitorGauges
from operators.monitor_settings import MonitorSettings
from operators.monitors import Monitors
from operators.observing import Retired, read
from operators.telling import Told
from operators.verdicts import MAX_WATERMARK
from state import names
from state.snapshots import SnapshotPolicy, SnapshotSettings


class Monitor(KeyedProcessFunction):
    """Takes observations; main output: metrics; side output: alerts; all JSON text.

    State is what the monitors know of a key, pickled, and the observations since.
    """

    def __init__(self, settings: tuple[MonitorSettings, ...], retention_ms: int) -> None:
        self._settings = settings
        self._retention_ms = retention_ms

    def open(self, runtime_context: RuntimeContext) -> None:
        self._kept = runtime_context.get_state(names.MONITORED)
        self._since = runtime_context.get_list_state(names.OBSERVED_SINCE)
        self._monitors: dict[str, Monitors] = {}
        self._policies: dict[str, SnapshotPolicy] = {}
        self._out: list[Any] = []
        self._observations = self._alerts = 0
        numbers: Numbers = {
            "observations": lambda: self._observations,
            "alerts": lambda: self._alerts,
        }
        self._gauges = MonitorGauges(runtime_context, numbers, self._known)

    def process_element(self, value: str, ctx: Any) -> Iterable[Any]:
        begun = time.perf_counter_ns()
        key = ctx.get_current_key()
        seen = read(value)
        self._out = []
        if isinstance(seen, Retired) and key not in self._monitors and self._kept.value() is None:
            return self._out  # in this role it never was
        monitors = self._monitors_of(key, ctx)
        if isinstance(seen, Retired):
            monitors.retire()
            self._snapshot(monitors, self._policies[key])
            del self._monitors[key], self._policies[key]
            return self._out
        monitors.observe(seen)
        self._since.add(value)
        policy = self._policies[key]
        if policy.entry(time.perf_counter_ns() - begun):
            self._snapshot(monitors, policy)
        self._observations += 1
        self._gauges.seen(key, ctx)
        return self._out

    def on_timer(self, timestamp: int, ctx: Any) -> Iterable[Any]:
        """Metrics are to be shown, or else the input has ended: there is no other timer."""
        self._out = []
        if self._gauges.woken(ctx):
            return self._out
        self._monitors_of(ctx.get_current_key(), ctx).tell()
        return self._out

    def _monitors_of(self, key: str, ctx: Any) -> Monitors:
        found = self._monitors.get(key)
        if found is None:
            policy = self._policies[key] = SnapshotPolicy(SnapshotSettings())
            kept, since = self._kept.value(), self._since.get()
            found = Monitors(self._settings, self._retention_ms, key, self._tell, kept, since or ())
            self._monitors[key] = found
            self._snapshot(found, policy)
            ctx.timer_service().register_event_time_timer(MAX_WATERMARK)
        return found

    def _snapshot(self, monitors: Monitors, policy: SnapshotPolicy) -> None:
        begun = time.perf_counter_ns()
        self._kept.update(monitors.kept())
        self._since.clear()
        policy.taken(time.perf_counter_ns() - begun)

    def _known(self, key: str) -> list[Metrics]:
        monitors = self._monitors.get(key)
        return [] if monitors is None else monitors.now()

    def _tell(self, told: Told, record: Struct) -> None:
        self._alerts += told == "alerts"
        text = msgspec.json.encode(record).decode()
        self._out.append(text if told == "metrics" else (names.ALERTS, text))
