"""Alerts by what they are about: from a change to its recovery."""

from collections.abc import Iterable

from events.messages import Alert


class Stream:
    """What is told about one thing, such as the error of a model by one detector.

    Attributes
    ----------
    name : str
        What it is, in words.
    open : int or None
        When the alert came, in ms, that has not recovered yet.
    moments : list of int
        Alerts that nothing recovers from.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.open: int | None = None
        self.moments: list[int] = []
        self._closed: list[tuple[int, int]] = []

    def add(self, alert: Alert, time: int) -> None:
        """The next alert."""
        if alert.kind in ("suspended", "failing"):
            self.moments.append(time)
        elif alert.kind == "recovered":
            if self.open is not None:
                self._closed.append((self.open, time))
            self.open = None
        elif self.open is None:
            self.open = time

    def spans(self, end: int) -> list[tuple[int, int]]:
        """From each alert to its recovery, or to `end`."""
        still = [] if self.open is None else [(self.open, max(end, self.open))]
        return [*self._closed, *still]


def streams(alerts: Iterable[Alert], *, with_monitor: bool) -> list[Stream]:
    """In the order of their first alerts; alerts that name no time of an event stand at their own.

    Parameters
    ----------
    with_monitor
        Names have that of the monitor, and alerts of two monitors are two things.
    """
    found: dict[str, Stream] = {}
    for alert in alerts:
        name = name_of(alert, with_monitor=with_monitor)
        stream = found.setdefault(name, Stream(name))
        stream.add(alert, alert.at if alert.event_time is None else alert.event_time)
    return list(found.values())


def name_of(alert: Alert, *, with_monitor: bool = True) -> str:
    """What an alert is about, the same for a change and for its recovery."""
    monitor = f", {alert.monitor}" if with_monitor and isinstance(alert.monitor, str) else ""
    role = f" ({alert.role})" if isinstance(alert.role, str) else ""
    if isinstance(alert.on, str):
        about = f"{alert.model}{role}: {alert.on}"
        if isinstance(alert.feature, str):
            about = f"feature {alert.feature}"
        return f"{about} by {alert.detector}{monitor}"
    if isinstance(alert.feature, str):
        # Of data quality, the detail begins with what is odd: "missing in 50% of 1000 transactions".
        return f"feature {alert.feature} {alert.detail.partition(' in ')[0]}{monitor}"
    return f"{alert.model}{role} {alert.kind}{monitor}"
