"""What follows from alerts, verdicts and the passing of event time: control messages of the job's own.

Plain Python. Rules never act by themselves: each message goes through ControlGate like any other, and is
acknowledged, logged and audited like any other. All of it follows from the records in their order.
"""

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

import msgspec
from msgspec import UNSET, Struct

from events.messages import Alert, Metrics
from models.tasks import TaskName
from operators.action_settings import ActionSettings, ModelSpec, Schedule, Trigger

_read_alert = msgspec.json.Decoder(Alert).decode
_read_metrics = msgspec.json.Decoder(Metrics).decode


class _Cause(Struct, frozen=True):
    """Why something is done: about which model, and what of it a message can name."""

    model: str
    clock: int
    fresh_since: int | None = None
    version: str | None = None


class Acting:
    """The rules of a job, and what they have done so far.

    Parameters
    ----------
    kept
        What `kept` has returned before.
    """

    def __init__(self, settings: ActionSettings, kept: Mapping[str, Any] | None = None) -> None:
        self._settings = settings
        kept = kept or {}
        self._clock: int | None = kept.get("clock")
        self._champion: str | None = kept.get("champion")
        self._seqs: dict[str, int] = dict(kept.get("seqs", {}))
        # Of each rule: at which event times it acted, and how often in all.
        self._acted: dict[str, list[int]] = {n: list(t) for n, t in kept.get("acted", {}).items()}
        self._times: dict[str, int] = dict(kept.get("times", {}))
        # What rules have deployed, so that it can be deployed anew.
        self._specs = {**settings.specs}
        for name, (task, spec) in kept.get("specs", {}).items():
            self._specs[name] = ModelSpec(task, spec)
        self.suppressed = 0

    def kept(self) -> dict[str, Any]:
        """What has been done, as plain data."""
        return {
            "clock": self._clock,
            "champion": self._champion,
            "seqs": self._seqs,
            "acted": self._acted,
            "times": self._times,
            "specs": {
                name: tuple(spec)
                for name, spec in self._specs.items()
                if name not in self._settings.specs
            },
        }

    def alert(self, alert: Alert) -> list[str]:
        """What an alert leads to: payloads, JSON text."""
        if alert.event_time is None:
            return []
        payloads = self._time_passes(alert.event_time)
        model = alert.model or self._champion
        if model is None:
            return payloads
        fresh = None if alert.fresh is UNSET else alert.fresh.event_time
        version = None if alert.usual_version is UNSET else alert.usual_version
        cause = _Cause(model, max(alert.event_time, self._clock or 0), fresh, version)
        for rule in self._settings.triggers:
            if self._is_about(rule, alert, model):
                payloads += self._act(rule, cause)
        return payloads

    def metrics(self, metrics: Metrics) -> list[str]:
        """What a record of metrics leads to."""
        payloads = self._time_passes(metrics.clock)
        if metrics.role == "champion":
            self._champion = metrics.model
        if metrics.versus is UNSET or metrics.model == self._champion:
            return payloads
        cause = _Cause(metrics.model, metrics.clock)
        for rule in self._settings.triggers:
            if (
                rule.on == metrics.versus.verdict
                and metrics.versus.model == self._champion
                and fnmatchcase(metrics.model, rule.model)
                and rule.monitor in (None, metrics.monitor)
            ):
                payloads += self._act(rule, cause)
        return payloads

    @staticmethod
    def _is_about(rule: Trigger, alert: Alert, model: str) -> bool:
        return (
            rule.on == alert.kind
            and fnmatchcase(model, rule.model)
            and alert.role in (UNSET, rule.role)
            and rule.monitor in (None, alert.monitor)
            and rule.feature in (None, alert.feature)
            and rule.detector in (None, alert.detector)
        )

    def _time_passes(self, time: int) -> list[str]:
        before, self._clock = self._clock, max(time, self._clock or time)
        payloads: list[str] = []
        if before is not None:
            for schedule in self._settings.schedules:
                if self._clock // schedule.every_ms > before // schedule.every_ms:
                    cause = _Cause(schedule.model, self._clock)
                    payloads += self._say(schedule, f"schedule:{schedule.name}", cause)
        return payloads

    def _act(self, rule: Trigger, cause: _Cause) -> Iterator[str]:
        """Within the bounds of the rule."""
        acted = self._acted.setdefault(rule.name, [])
        acted[:] = [time for time in acted if time > cause.clock - rule.period_ms]
        if len(acted) >= rule.at_most or (acted and cause.clock < acted[-1] + rule.cooldown_ms):
            self.suppressed += 1
            return
        said = list(self._say(rule, f"trigger:{rule.name}", cause))
        if said:
            acted.append(cause.clock)
        yield from said

    def _say(self, rule: Trigger | Schedule, issuer: str, cause: _Cause) -> Iterator[str]:
        """The message; none where the rule asks for what is not known."""
        fields: dict[str, Any] = {"model": cause.model}
        if rule.do == "deploy":
            made = self._to_deploy(rule, issuer, cause)
            if made is None:
                return
            fields = made
        elif rule.do == "rollback":
            if cause.version is None:
                return
            fields["version"] = cause.version
        # It rises even if the job is begun anew beside its old messages.
        seq = self._seqs[issuer] = max(self._seqs.get(issuer, 0) + 1, cause.clock)
        payload = {"job": self._settings.job, "issuer": issuer, "seq": seq, "op": rule.do, **fields}
        yield msgspec.json.encode(payload).decode()

    def _to_deploy(
        self, rule: Trigger | Schedule, issuer: str, cause: _Cause
    ) -> dict[str, Any] | None:
        known = self._specs.get(cause.model)
        spec: dict[str, Any] | None = rule.spec or (known and known.spec)
        task: TaskName | None = rule.task or (known and known.task)
        if spec is None or task is None:
            return None
        count = self._times[issuer] = self._times.get(issuer, 0) + 1
        name = rule.deploy_as.format(model=cause.model, n=count)
        self._specs[name] = ModelSpec(task, spec)
        fields: dict[str, Any] = {"model": name, "task": task, "role": "challenger", "spec": spec}
        if isinstance(rule, Trigger) and rule.feed and cause.fresh_since is not None:
            fields["feed_from"] = cause.fresh_since
        if rule.expires_after_ms is not None:
            fields["expires_at"] = cause.clock + rule.expires_after_ms
        return fields


def follows(acting: Acting, text: str) -> list[str]:
    """What follows from a record of a monitor, by what it begins with."""
    if text.startswith('{"alert":'):
        return acting.alert(_read_alert(text))
    # Data quality has no scope, and the other scopes compare nothing.
    return acting.metrics(_read_metrics(text)) if '"scope":"all"' in text else []
