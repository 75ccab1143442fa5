"""Alerts on their way to a receiver: which is sent next, when, and what an answer means.

Plain Python that waits for nothing: times are seconds of whatever clock the caller has, given to each call.
"""

import random
from collections.abc import Iterable
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Final, NamedTuple

# An alert is about a kilobyte: ten megabytes of state.
MOST_PENDING: Final = 10_000
# A receiver that turns an alert down will do so again, unless somebody is just mending it.
REFUSED_TRIES: Final = 3
# After so many failures of one alert others pass it: a receiver that fails on one alone gets the rest.
TRIES_IN_TURN: Final = 5
FIRST_WAIT_S: Final = 0.5
# What a receiver asks for counts up to here, or up to the longest backoff where that is more.
LONGEST_ASKED_S: Final = 3600.0

_TRY_AGAIN: Final = frozenset({408, 429})


class Answer(NamedTuple):
    """What came of one try.

    Attributes
    ----------
    status : int or None
        Of HTTP; None where no answer came.
    problem : str
        Why none came. It is logged, so it holds nothing of URL or headers.
    asked_s : float or None
        How long the receiver asks to be left alone (`Retry-After`), in seconds.
    """

    status: int | None
    problem: str = ""
    asked_s: float | None = None

    def __str__(self) -> str:
        return self.problem if self.status is None else f"status {self.status}"


class Verdict(Enum):
    """What an answer means for the alert."""

    DELIVERED = "delivered"
    AGAIN = "again"
    REFUSED = "refused"


def verdict(answer: Answer) -> Verdict:
    """Delivered, to be sent again, or turned down by who understood it.

    >>> [verdict(Answer(status)).value for status in (204, 503, 429, None, 404, 301)]
    ['delivered', 'again', 'again', 'again', 'refused', 'refused']
    """
    status = answer.status
    if status is None or status in _TRY_AGAIN or 500 <= status < 600:
        return Verdict.AGAIN
    return Verdict.DELIVERED if 200 <= status < 300 else Verdict.REFUSED


def asked_s(header: str | None, now_s: float) -> float | None:
    """Seconds that a `Retry-After` asks for: a number, or a date; None for what is neither.

    Parameters
    ----------
    now_s : float
        Seconds since the epoch.

    >>> asked_s("120", 0.0), asked_s("Thu, 01 Jan 1970 00:01:00 GMT", 45.0), asked_s("soon", 0.0)
    (120.0, 15.0, None)
    """
    text = (header or "").strip()
    if text.isascii() and text.isdigit():
        # More digits than any sensible time has: as long as may be.
        return float(text) if len(text) < 10 else LONGEST_ASKED_S
    try:
        return max(parsedate_to_datetime(text).timestamp() - now_s, 0.0)
    except (ValueError, OverflowError):
        return None


def backoff_s(failures: int, longest_s: float, fraction: float) -> float:
    """How long to wait after so many failures in a row: twice as long each time, up to `longest_s`.

    Parameters
    ----------
    failures : int
        At least 1.
    fraction : float in [0, 1)
        By chance, so that many who lost the same receiver do not come back at once: the wait is
        between half of it and all.

    >>> [backoff_s(failures, 60.0, 0.0) for failures in (1, 2, 3, 100)]
    [0.25, 0.5, 1.0, 30.0]
    """
    # 2 ** 1024 is no float, and nothing is longer than 2 ** 40 s.
    whole = min(FIRST_WAIT_S * 2.0 ** min(failures - 1, 40), longest_s)
    return whole * (1 + fraction) / 2


class Ended(NamedTuple):
    """An alert that need not be kept: it was delivered, or `why` not.

    Attributes
    ----------
    refused : bool
        Whether the receiver turned it down; else there was no time or no place for it any more.
    """

    number: int
    id: str
    text: str
    why: str | None = None
    refused: bool = False


class Waiting:
    """An alert that is not delivered yet: `number` is its place in the order of their making."""

    def __init__(self, number: int, id: str, text: str) -> None:
        self.number = number
        self.id = id
        self.text = text
        self.failures = 0
        self.refusals = 0
        self.rests_until = float("-inf")


class Deliveries:
    """What waits for one receiver, oldest first, one at a time.

    A failure is taken for the receiver's: nothing is sent until the backoff is over, and then the same
    alert again. One that has failed `TRIES_IN_TURN` times rests a while longer, and others pass it.

    Parameters
    ----------
    longest_wait_s : float
        The longest backoff.
    most : int
        How many may wait; beyond that the oldest is given up.

    Attributes
    ----------
    delivered, failures, given_up : int
        Alerts delivered, tries that failed, and alerts that were refused or too many.
    failing : int
        Tries that failed since one last succeeded.
    """

    def __init__(
        self,
        longest_wait_s: float,
        most: int = MOST_PENDING,
        chance: random.Random | None = None,
    ) -> None:
        self._longest_wait_s = longest_wait_s
        self._most = most
        self._chance = chance or random.Random()
        self._waiting: dict[int, Waiting] = {}
        self._sending: int | None = None
        self._quiet_until = float("-inf")
        self._asked_until = float("-inf")
        self._ended: list[Ended] = []
        self.delivered = 0
        self.failures = 0
        self.given_up = 0
        self.failing = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def waiting(self) -> Iterable[Waiting]:
        """All that is not delivered yet, oldest first."""
        return self._waiting.values()

    def add(self, number: int, id: str, text: str) -> None:
        """One more; numbers rise."""
        self._waiting[number] = Waiting(number, id, text)
        if len(self._waiting) > self._most:
            # What is being sent may arrive yet.
            oldest = next(alert for alert in self.waiting() if alert.number != self._sending)
            self._give_up(oldest, f"more than {self._most:,} alerts wait, and it was the oldest")

    def next(self, now: float) -> Waiting | None:
        """Whose turn it is; None where nothing is to be sent now, or an answer is being waited for."""
        if self._sending is not None or now < max(self._quiet_until, self._asked_until):
            return None
        for alert in self.waiting():
            if alert.rests_until <= now:
                self._sending = alert.number
                return alert
        return None

    def wait_s(self, now: float) -> float | None:
        """How long until there may be something to send; None: until something is added or answered."""
        if self._sending is not None or not self._waiting:
            return None
        soonest = min(alert.rests_until for alert in self.waiting())
        return max(soonest, self._quiet_until, self._asked_until, now) - now

    def answered(self, number: int, answer: Answer, now: float) -> Verdict:
        """What came of the try that `next` began."""
        self._sending = None
        found = verdict(answer)
        alert = self._waiting.get(number)
        if found is Verdict.DELIVERED:
            self.failing = 0
            self._quiet_until = float("-inf")
            if alert is not None:
                self.delivered += 1
                self._end(Ended(alert.number, alert.id, alert.text))
                if alert.failures:
                    # It failed too, so the receiver was down, and that of the others was not theirs.
                    self._begin_anew()
            return found
        self.failures += 1
        self.failing += 1
        self._quiet_until = now + self._backoff_s(self.failing)
        if answer.asked_s is not None:
            longest = max(LONGEST_ASKED_S, self._longest_wait_s)
            self._asked_until = now + min(answer.asked_s, longest)
        if alert is not None:
            self._failed(alert, answer, found)
        return found

    def _failed(self, alert: Waiting, answer: Answer, found: Verdict) -> None:
        alert.failures += 1
        if found is Verdict.REFUSED:
            alert.refusals += 1
            if alert.refusals >= REFUSED_TRIES:
                why = f"the receiver refused it {alert.refusals} times, the last with {answer}"
                self._give_up(alert, why, refused=True)
                return
        if alert.failures >= TRIES_IN_TURN:
            # Longer than all must wait: in between, another has its turn.
            quiet_until = max(self._quiet_until, self._asked_until)
            alert.rests_until = quiet_until + self._backoff_s(alert.failures)

    def hurry(self) -> None:
        """There is little time left: what backs off is tried now, unless the receiver asked for peace."""
        self.failing = 0
        self._quiet_until = float("-inf")
        self._begin_anew()

    def give_up_all(self, why: str) -> None:
        """Nothing more will be sent."""
        for alert in list(self.waiting()):
            self._give_up(alert, why)

    def taken(self) -> list[Ended]:
        """Those that have ended since this was last asked."""
        ended, self._ended = self._ended, []
        return ended

    def _begin_anew(self) -> None:
        for alert in self.waiting():
            alert.failures = 0
            alert.rests_until = float("-inf")

    def _give_up(self, alert: Waiting, why: str, *, refused: bool = False) -> None:
        self.given_up += 1
        self._end(Ended(alert.number, alert.id, alert.text, why, refused))

    def _end(self, ended: Ended) -> None:
        del self._waiting[ended.number]
        self._ended.append(ended)

    def _backoff_s(self, failures: int) -> float:
        return backoff_s(failures, self._longest_wait_s, self._chance.random())
