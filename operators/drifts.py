"""One of River's drift detectors on one stream of values: when it changed, and whether that is over."""

import logging
from collections import deque
from itertools import islice
from typing import Any, Final, Literal, NamedTuple

from events.messages import FreshData
from models import specs

logger = logging.getLogger(__name__)

NUMERIC: Final = ("ADWIN", "KSWIN", "PageHinkley")
# They take errors of 0 and 1.
BINARY: Final = ("DDM", "EDDM", "FHDDM", "HDDMA", "HDDMW")

# They are given 1 where a prediction is right. (River's own text says the reverse of what it does: it
# tells when the share of ones falls.)
_OF_SUCCESS: Final = ("FHDDM",)

# How often within `quiet` values it is looked whether a change is over.
_LOOKS: Final = 20

# How much of the stream is remembered to find where it changed.
REMEMBERED: Final = 2000


class Seen(NamedTuple):
    """A value of the stream, and the transaction that it is from."""

    value: float
    id: str
    time: int
    version: str | None


class Change(NamedTuple):
    """What there is to tell of a stream.

    Attributes
    ----------
    before, after : float
        Means before and since.
    fresh : FreshData
        What came since.
    usual_version : str or None
        Of the last transaction before.
    """

    kind: Literal["drift", "recovered"]
    before: float
    after: float
    fresh: FreshData
    usual_version: str | None


def detector(name: str, params: dict[str, Any], seed_name: str) -> Any:
    """One of River's detectors by the name of its class.

    Raises
    ------
    specs.SpecError
        There is none of that name, or it does not take these parameters.
    """
    package = "river.drift.binary" if name in BINARY else "river.drift"
    return specs.part({"class": f"{package}.{name}", "params": params}, seed_name)


class Drift:
    """Tells of changes once each, and when they are over.

    Where a change happened is not what a detector says, which notices it later, but the place where
    the values since the change before fall apart most clearly into two means (the split that leaves
    the smallest sum of squares). What lies before that place is forgotten.

    A detector that raises is given nothing more, which is logged.

    Parameters
    ----------
    quiet
        For so many values after a change, or its end, no other is told of; the mean of so many says
        whether it is over: it is once it has come back more than half of the way.
    rises_only
        Whether a fall is no change: of errors it is good news.
    """

    def __init__(self, detector: Any, quiet: int, rises_only: bool) -> None:
        self.detector = detector
        self.stopped = False
        self._quiet = quiet
        self._look_every = max(quiet // _LOOKS, 1)
        self._rises_only = rises_only
        name = type(detector).__name__
        self._of_success = name in _OF_SUCCESS
        # It tells of rises alone, so what it tells of is one, however much a fall before it stands out.
        self._only_rises = name in BINARY and not getattr(detector, "two_sided_test", False)
        self.seen: deque[Seen] = deque(maxlen=max(REMEMBERED, 2 * quiet))
        self.changed: tuple[float, float] | None = None  # before, after
        self.since: int | None = None  # values since the last change, told of or not

    def update(self, seen: Seen) -> Change | None:
        """One more value."""
        if self.stopped:
            return None
        self.seen.append(seen)
        detected = self._detects(seen.value)
        if self.since is not None:
            self.since += 1
            if self.since < self._quiet:
                return None
            if self.changed is not None and self.since % self._look_every == 0:
                first = len(self.seen) - self._quiet
                now = _mean([seen.value for seen in islice(self.seen, first, None)])
                if self._is_back(now):
                    return self._recovered(now, first)
        return self._change() if detected else None

    def _detects(self, value: float) -> bool:
        try:
            self.detector.update(1 - value if self._of_success else value)
            return bool(self.detector.drift_detected)
        except Exception as error:  # whatever River raises of what a stream brings
            self.stopped = True
            logger.warning(
                "%s looks for no drift any more: %r", type(self.detector).__name__, error
            )
            return False

    def _is_back(self, now: float) -> bool:
        """Whether the change that was told of last is over, by the mean of now."""
        if self.changed is None:
            return False
        before, after = self.changed
        return (after - now) / (after - before) > 1 / 2

    def _recovered(self, now: float, place: int) -> Change:
        assert self.changed is not None, "there was a change"
        told = self._told("recovered", self.changed[1], now, place)
        self.changed, self.since = None, 0
        self._forget(place)
        return told

    def _change(self) -> Change | None:
        place = self._place()
        if place is None:
            return None
        values = [seen.value for seen in self.seen]
        before, after = _mean(values[:place]), _mean(values[place:])
        if self._is_back(after):
            return self._recovered(after, place)
        if before == after:
            return None
        told = None
        if not self._rises_only or after > before:
            told = self._told("drift", before, after, place)
            self.changed = before, after
        # A detector may find the same change, a fall too, again and again.
        self.since = 0
        self._forget(place)
        return told

    def _place(self) -> int | None:
        """Where the values changed; None of too few, and where only falls are found for a rise."""
        values = [seen.value for seen in self.seen]
        begin = 0
        while (split := best_split(values[begin:])) is not None:
            place = begin + split
            if not self._only_rises or _mean(values[place:]) > _mean(values[begin:place]):
                self._forget(begin)
                return split
            begin = place
        return None

    def _forget(self, place: int) -> None:
        for _ in range(place):
            self.seen.popleft()

    def _told(
        self, kind: Literal["drift", "recovered"], before: float, after: float, place: int
    ) -> Change:
        first, last = self.seen[place], self.seen[-1]
        fresh = FreshData(first.id, first.time, last.time, len(self.seen) - place)
        usual = self.seen[place - 1].version if place else None
        return Change(kind, before, after, fresh, usual)


def best_split(values: list[float]) -> int | None:
    """Where values fall apart most clearly into two means; None of fewer than two.

    >>> best_split([0.0, 0.1, 0.0, 0.9, 1.0])
    3
    """
    n, total = len(values), sum(values)
    best, place, so_far = -1.0, None, 0.0
    for k in range(1, n):
        so_far += values[k - 1]
        # The sum of squares between the two groups, less a constant.
        between = (so_far - k * total / n) ** 2 / (k * (n - k))
        if between > best:
            best, place = between, k
    return place


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
