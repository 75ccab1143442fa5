"""A producer that does not wait for anybody."""

import threading
import time
from typing import Self

from tests.kafka.topics import Topics


class Producing:
    """A producer that goes on in a thread, record by record, until all are sent."""

    def __init__(self, topics: Topics, events: list[dict], per_second: float) -> None:
        self._topics, self._events, self._pause = topics, events, 1 / per_second
        self._thread = threading.Thread(target=self._run)
        self.sent = 0
        self.error: BaseException | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join()
        assert self.error is None, self.error

    def _run(self) -> None:
        try:
            for event in self._events:
                name = "features" if "features" in event else "labels"
                self._topics.send(name, [event], partition=None)
                self.sent += 1
                time.sleep(self._pause)
        except BaseException as error:
            self.error = error
