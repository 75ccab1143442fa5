"""The rules of the join: what a feature event, a label or the passing of time does to a transaction.

Plain Python; the Flink function around it (`operators/label_join.py`) keeps `Held` in keyed state.
Outcomes are decided from event times; timers only say that time has passed.
"""

from collections.abc import Callable
from hashlib import blake2b
from typing import Any, Final, Literal, NamedTuple

from msgspec import Struct

from events.features import encode_features
from events.messages import Event, Label, Source
from events.reasons import Reason
from models.tasks import label_key
from operators import items
from operators.items import Example, Item, Origin, Request


class JoinSettings(Struct, frozen=True):
    """How long to wait for labels and what to do with those that come late, twice or never."""

    label_timeout_ms: int
    retention_ms: int
    on_timeout: Literal["drop", "assume"] = "drop"
    assumed_label: bool | int | float | str | None = None
    late_labels: Literal["learn", "drop"] = "learn"
    corrections: Literal["ignore", "learn"] = "ignore"


class Waiting(NamedTuple):
    """Labels whose features have not come; ends `retention` after `ts`, the first one's time.

    `labels` holds `(ts, label, weight, input, position, raw)` in order of arrival; more than one only
    where corrections are learned.
    """

    ts: int
    labels: tuple[tuple[int, Label, float | None, str | None, str | None, bytes | None], ...]


class Open(NamedTuple):
    """A transaction whose features are known; ends `retention` after `ts`.

    `features` is None once nothing can need them; `label` is the latest true label, None before
    one; `forgotten` says that OnlineModel was told that no evaluation will come.
    """

    ts: int
    lane: str | None
    features: bytes | None
    digest: bytes
    label: Label | None = None
    weight: float | None = None
    timed_out: bool = False
    assumed: bool = False
    forgotten: bool = False


Held = Waiting | Open | None


class Send(NamedTuple):
    """An item for the model of a lane."""

    lane: str | None
    item: Item


class Refuse(NamedTuple):
    """A record for the dead letters."""

    reason: Reason
    detail: str
    origin: Origin


Count = Literal["duplicates", "timeouts", "unlabelled", "corrections"]
Outcome = Send | Refuse | Count

# What a named tuple's own constructor does, at a third of its cost.
_new: Callable[..., Any] = tuple.__new__
_WAITING: Final = 0
_OPEN: Final = 1


def to_plain(held: Waiting | Open) -> tuple[Any, ...]:
    """What is stored: plain tuples outlive a renamed class."""
    return (_WAITING if isinstance(held, Waiting) else _OPEN, *held)


def from_plain(stored: tuple[Any, ...] | None) -> Held:
    """The inverse of `to_plain`; None where nothing is stored."""
    if stored is None:
        return None
    held: Held = _new(Waiting if stored[0] == _WAITING else Open, stored[1:])
    return held


class Join:
    """The join's rules under one configuration.

    Every method takes what is held of a transaction, appends what follows to `out`, and returns what
    to hold next. Nothing here keeps state of its own.
    """

    def __init__(self, settings: JoinSettings, lane_by: str | None = None) -> None:
        self._settings = settings
        self._lane_by = lane_by
        learns_corrections = settings.corrections == "learn"
        assumes = settings.on_timeout == "assume"
        self._keep_after_label = learns_corrections
        self._keep_after_timeout = (
            learns_corrections if assumes else settings.late_labels == "learn"
        )
        self._last_after_label = not learns_corrections

    def on_event(self, held: Held, event: Event, origin: Origin, out: list[Outcome]) -> Held:
        """A record of this transaction arrived."""
        features, lane_by = event.features, self._lane_by
        # First of all, as a record that is refused must not end the transaction before it.
        if features is not None and lane_by is not None and lane_by not in features:
            detail = f"no feature {lane_by!r}, which lane_by names"
            out.append(Refuse(Reason.MISSING_LANE, detail, origin))
            return held
        if held is not None and event.ts > held.ts + self._settings.retention_ms:
            self._end(held, event.id, out)
            held = None
        if features is None:
            return self._on_label(held, event, origin, out)
        return self._on_features(held, event, features, origin, out)

    def on_time(self, held: Held, id: str, now: int, out: list[Outcome]) -> Held:
        """Event time has reached `now`, in ms: do what is due."""
        if held is None:
            return None
        settings = self._settings
        if isinstance(held, Open) and now >= held.ts + settings.label_timeout_ms:
            held = self._time_out(held, id, out)
        if now > held.ts + settings.retention_ms:
            self._end(held, id, out)
            return None
        return held

    def on_input_end(self, held: Held, id: str, out: list[Outcome]) -> None:
        """The input has ended: release, but let no time pass; a lone label is handed back."""
        if isinstance(held, Waiting):
            _orphan(held, "the input ended before its features came", out)
        elif held is not None:
            if held.label is None and not held.timed_out:
                out.append("unlabelled")
            self._forget(held, id, out)

    def wake(self, held: Held) -> int | None:
        """When `on_time` has something to do, ms since the epoch; None: nothing is held."""
        if held is None:
            return None
        if isinstance(held, Open) and held.label is None and not held.timed_out:
            return held.ts + self._settings.label_timeout_ms
        return held.ts + self._settings.retention_ms + 1

    def _on_features(
        self,
        held: Held,
        event: Event,
        features: dict[str, Any],
        origin: Origin,
        out: list[Outcome],
    ) -> Held:
        lane = None if self._lane_by is None else label_key(features[self._lane_by])
        text = encode_features(features)
        digest = _digest(event.ts, text)

        if isinstance(held, Open):
            if digest != held.digest:
                detail = f"differs from the features of time {held.ts} that were predicted"
                out.append(Refuse(Reason.DUPLICATE_FEATURES, detail, origin))
                return held
            out.append("duplicates")
            return held if event.label is None else self._on_label(held, event, origin, out)

        asked = Request(event.id, event.ts, text, origin.input, origin.position)
        out.append(Send(lane, items.request(asked)))
        opened = Open(event.ts, lane, text, digest)
        if isinstance(held, Waiting):
            for ts, label, weight, input, position, raw in held.labels:
                waited = Origin(input, position, raw)
                opened = self._on_waited(opened, event.id, ts, label, weight, waited, out)
        if event.label is not None:
            opened = self._settle(
                opened, event.id, event.ts, event.label, event.weight, origin, out
            )
        return opened

    def _on_waited(
        self,
        opened: Open,
        id: str,
        ts: int,
        label: Label,
        weight: float | None,
        origin: Origin,
        out: list[Outcome],
    ) -> Open:
        """A label that came before the features that `opened` was made of."""
        if ts > opened.ts + self._settings.retention_ms:
            detail = "the features that came are older by more than retention"
            out.append(Refuse(Reason.ORPHAN_LABEL, detail, origin))
            return opened
        return self._settle(opened, id, ts, label, weight, origin, out)

    def _on_label(self, held: Held, event: Event, origin: Origin, out: list[Outcome]) -> Held:
        label = event.label
        assert label is not None, "an event has features or a label"
        arrived = (event.ts, label, event.weight, *origin)
        if held is None:
            return Waiting(event.ts, (arrived,))
        if isinstance(held, Open):
            return self._settle(held, event.id, event.ts, label, event.weight, origin, out)
        _, latest, latest_weight, *_ = held.labels[-1]
        if _same(label, event.weight, latest, latest_weight):
            out.append("duplicates")
            return held
        if self._settings.corrections == "learn":
            return held._replace(labels=(*held.labels, arrived))
        out.append(Refuse(Reason.CONFLICTING_LABEL, f"{latest!r} came first", origin))
        return held

    def _settle(
        self,
        held: Open,
        id: str,
        ts: int,
        label: Label,
        weight: float | None,
        origin: Origin,
        out: list[Outcome],
    ) -> Open:
        """A true label for a transaction whose features are known."""
        settings = self._settings
        late = ts > held.ts + settings.label_timeout_ms
        if late:
            held = self._time_out(held, id, out)

        source: Source
        replaced: tuple[Any, ...] = ()
        if held.label is not None:
            if _same(label, weight, held.label, held.weight):
                out.append("duplicates")
                return held
            if settings.corrections == "ignore":
                out.append(Refuse(Reason.CONFLICTING_LABEL, f"{held.label!r} came first", origin))
                return held
            source, learn = "correction", True
            replaced = (held.label, False)
        elif held.assumed:
            source = "correction"
            replaced = (settings.assumed_label, True)
            learn = settings.corrections == "learn" and not _same(
                label, weight, settings.assumed_label, None
            )
        elif late and settings.late_labels == "drop":
            detail = f"{ts - held.ts} ms after its features"
            out.append(Refuse(Reason.LATE_LABEL, detail, origin))
            return held
        elif held.features is None:
            # Let go at the timeout; with `late_labels = "learn"` only before an upgrade set that.
            out.append(Refuse(Reason.LATE_LABEL, "its features are no longer kept", origin))
            return held
        else:
            source, learn = "label", True

        if source == "correction":
            out.append("corrections")
        example = Example(
            id,
            held.ts,
            held.features if learn else None,
            label,
            weight,
            ts,
            source,
            late,
            self._last_after_label,
            origin.input,
            origin.position,
            *replaced,
        )
        out.append(Send(held.lane, items.example(example)))
        return Open(
            held.ts,
            held.lane,
            held.features if self._keep_after_label else None,
            held.digest,
            label,
            weight,
            held.timed_out,
            held.assumed,
            self._last_after_label,
        )

    def _time_out(self, held: Open, id: str, out: list[Outcome]) -> Open:
        """No label came within `label_timeout`; once a transaction."""
        if held.label is not None or held.timed_out:
            return held
        settings = self._settings
        out.append("timeouts")
        kept = held.features if self._keep_after_timeout else None
        if settings.on_timeout == "assume":
            example = Example(
                id,
                held.ts,
                held.features,
                settings.assumed_label,
                None,
                held.ts + settings.label_timeout_ms,
                "assumed",
                False,
                False,
                None,
                None,
            )
            out.append(Send(held.lane, items.example(example)))
            return held._replace(timed_out=True, assumed=True, features=kept)
        held = held._replace(timed_out=True, features=kept)
        return held if settings.late_labels == "learn" else self._forget(held, id, out)

    def _end(self, held: Waiting | Open, id: str, out: list[Outcome]) -> None:
        """`retention` is over: whatever comes next is a new transaction."""
        if isinstance(held, Waiting):
            _orphan(held, f"no features within {self._settings.retention_ms} ms", out)
            return
        self._forget(self._time_out(held, id, out), id, out)

    def _forget(self, held: Open, id: str, out: list[Outcome]) -> Open:
        if held.forgotten:
            return held
        out.append(Send(held.lane, items.forget(id)))
        return held._replace(forgotten=True)


def _orphan(held: Waiting, detail: str, out: list[Outcome]) -> None:
    for _, _, _, input, position, raw in held.labels:
        out.append(Refuse(Reason.ORPHAN_LABEL, detail, Origin(input, position, raw)))


def _digest(ts: int, features: bytes) -> bytes:
    """16 bytes that tell a repeated feature event from a different one."""
    return blake2b(features, digest_size=16, key=ts.to_bytes(8, "big", signed=True)).digest()


def _same(label: Any, weight: float | None, other: Any, other_weight: float | None) -> bool:
    """Equal as JSON: `true` is not 1, and 1 is 1.0; no weight is the weight 1."""
    booleans = isinstance(label, bool) == isinstance(other, bool)
    return booleans and label == other and (weight or 1) == (other_weight or 1)
