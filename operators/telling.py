"""What a monitor tells: alerts, each with an id of its own."""

import time
from collections.abc import Callable, Iterable
from typing import Any, Literal, NamedTuple

from msgspec import UNSET, Struct

from events.messages import Alert
from operators import drifts
from operators.drifts import Change, Drift, Seen
from operators.monitor_settings import DriftSettings
from operators.observing import model_and_role

Told = Literal["metrics", "alerts"]
Tell = Callable[[Told, Struct], None]


def nowhere(told: Told, record: Struct) -> None:
    """What is restored has been told before."""


class Teller:
    """Alerts of a monitor about one thing.

    The number alone would come again where a monitor begins anew, so an id has the transaction, too.
    """

    def __init__(self, monitor: str, key: str, tell: Tell) -> None:
        self.monitor = monitor
        self.key = key
        self.tell = tell
        self.told = 0

    def __getstate__(self) -> tuple[str, str, int]:
        return self.monitor, self.key, self.told

    def __setstate__(self, kept: tuple[str, str, int]) -> None:
        self.monitor, self.key, self.told = kept
        self.tell = nowhere

    def alert(self, kind: Any, detail: str, seen: Seen, **more: Any) -> None:
        """Say it."""
        self.told += 1
        model, role = model_and_role(self.key)
        alert = Alert(
            f"{self.monitor}/{self.key}/{self.told}/{seen.id}",
            kind,
            model or None,
            None,
            detail,
            seen.id,
            seen.time,
            time.time_ns() // 1_000_000,
            self.monitor,
            role or UNSET,
            **more,
        )
        self.tell("alerts", alert)

    def change(self, settings: DriftSettings, change: Change, seen: Seen) -> None:
        """Say that a stream of values has changed, or is as before."""
        what = f"feature {settings.feature}" if settings.on == "feature" else settings.on
        how = "went from" if change.kind == "drift" else "came back from"
        self.alert(
            change.kind,
            f"{what} {how} {change.before:.6g} to {change.after:.6g}",
            seen,
            on=settings.on,
            feature=settings.feature or UNSET,
            detector=settings.detector,
            before=change.before,
            after=change.after,
            fresh=change.fresh,
            usual_version=change.usual_version or UNSET,
        )


class Watched(NamedTuple):
    """A detector on a stream of values, and its settings."""

    settings: DriftSettings
    drift: Drift


def watched(wanted: Iterable[DriftSettings], seed_name: str) -> list[Watched]:
    """The detectors that were asked for, before the first value."""
    return [
        Watched(
            settings,
            Drift(
                drifts.detector(settings.detector, settings.params, f"{seed_name}/{place}"),
                settings.quiet,
                settings.on == "error",
            ),
        )
        for place, settings in enumerate(wanted)
    ]
