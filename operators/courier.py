"""A thread that sends alerts, so that whoever makes them never waits for their receiver."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Protocol

from operators.delivering import Answer, Deliveries, Ended, Verdict, Waiting

logger = logging.getLogger(__name__)


class Posts(Protocol):
    """What sends one alert and says what came of it."""

    def post(self, id: str, text: str) -> Answer: ...

    def abort(self) -> None: ...


class Courier:
    """Sends what it is handed, in a thread of its own; all methods return at once but `finish`.

    Parameters
    ----------
    name : str
        What the receiver is called in the log.
    clock : callable
        Seconds that only rise.
    """

    def __init__(
        self,
        name: str,
        receiver: Posts,
        deliveries: Deliveries,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._receiver = receiver
        self._deliveries = deliveries
        self._clock = clock
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="alerts", daemon=True)

    def start(self) -> None:
        """From now on alerts are sent."""
        self._thread.start()

    def close(self) -> None:
        """Send no more; what is being sent is broken off."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._receiver.abort()

    def hand(self, number: int, id: str, text: str) -> None:
        """One more alert; numbers rise."""
        with self._changed:
            self._deliveries.add(number, id, text)
            self._changed.notify_all()

    @property
    def waiting(self) -> int:
        """How many are not delivered yet."""
        return len(self._deliveries)

    def taken(self) -> list[Ended]:
        """Alerts that need not be kept any more, since this was last asked."""
        with self._changed:
            ended = self._deliveries.taken()
        for alert in ended:
            if alert.why is not None:
                logger.warning("%s: alert %s is given up: %s", self._name, alert.id, alert.why)
        return ended

    def finish(self, timeout_s: float) -> None:
        """Wait until all is delivered, so many seconds at most; then give up the rest."""
        until = self._clock() + timeout_s
        with self._changed:
            self._deliveries.hurry()
            self._changed.notify_all()
            while self._deliveries and (left := until - self._clock()) > 0 and not self._closed:
                self._changed.wait(left)
            self._deliveries.give_up_all("the input has ended, and it was not delivered in time")

    def _run(self) -> None:
        while (alert := self._next()) is not None:
            try:
                answer = self._receiver.post(alert.id, alert.text)
            except Exception as error:
                # Nothing that can be thought of; alerts behind it must not wait for ever.
                answer = Answer(None, type(error).__name__)
            self._answered(alert, answer)

    def _next(self) -> Waiting | None:
        """Wait for the next that is to be sent; None once this was closed."""
        with self._changed:
            while not self._closed:
                now = self._clock()
                alert = self._deliveries.next(now)
                if alert is not None:
                    return alert
                self._changed.wait(self._deliveries.wait_s(now))
            return None

    def _answered(self, alert: Waiting, answer: Answer) -> None:
        with self._changed:
            if self._closed:
                return
            failing = self._deliveries.failing
            now = self._clock()
            found = self._deliveries.answered(alert.number, answer, now)
            failures, count = self._deliveries.failing, len(self._deliveries)
            wait_s = self._deliveries.wait_s(now) or 0.0
            self._changed.notify_all()
        if found is Verdict.DELIVERED:
            if failing:
                said = "%s: alerts are delivered again, after %d tries that failed"
                logger.warning(said, self._name, failing)
        elif failures & (failures - 1) == 0:  # 1, 2, 4, 8: a receiver may be down for days
            said = "%s: alert %s was not delivered: %s; %d wait, the next try is in %.1f s"
            logger.warning(said, self._name, alert.id, answer, count, wait_s)
