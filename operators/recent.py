"""How large something was lately: percentiles over the last values, at the price of an append each."""

import struct
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Final, NamedTuple

from operators.items import Request

# Of how many the mean is.
_MEAN_OF: Final = 64

# Enough that the 99th percentile is one of ten values; sorted in 0.1 ms, when metrics are shown.
SIZE: Final = 1024


class Summary(NamedTuple):
    """Of the last values, by nearest rank; all 0 before there is one."""

    p50: int
    p99: int
    max: int


class Recent:
    """The last `SIZE` values of something.

    Attributes
    ----------
    add : callable
        Takes one more.

    Examples
    --------
    >>> recent = Recent()
    >>> for value in range(1, 201):
    ...     recent.add(value)
    >>> recent.summary()
    Summary(p50=100, p99=198, max=200)
    """

    def __init__(self) -> None:
        self._values: deque[int] = deque(maxlen=SIZE)
        self.add = self._values.append

    def mean(self) -> int:
        """Of the last 64, or of all where there are fewer; 0 before there is one."""
        last = list(islice(reversed(self._values), _MEAN_OF))
        return sum(last) // len(last) if last else 0

    def summary(self) -> Summary:
        """What is known now."""
        return _summary(self._values)


def _summary(values: Iterable[int]) -> Summary:
    ordered = sorted(values)
    if not ordered:
        return Summary(0, 0, 0)
    last = len(ordered) - 1
    # The nearest rank of a share q among n values is the ceiling of q * n.
    return Summary(ordered[last // 2], ordered[-(-99 * (last + 1) // 100) - 1], ordered[last])


# When the source had a record, and Kafka's timestamp of it (0 where there is none), ms since the epoch:
# as bytes, since a number of that size costs Python's pickle as much as all else of it.
_read_stamps: Final = struct.Struct("<qq").unpack
_MS: Final = 1_000_000


class Messaging:
    """How long records took to their source, in ms: ingested less produced, by their stamps.

    Attributes
    ----------
    add : callable
        Takes the stamps of one more record.
    """

    def __init__(self) -> None:
        self._stamps: deque[bytes] = deque(maxlen=SIZE)
        self.add = self._stamps.append

    def summary(self) -> Summary:
        """Of the last records, as far as somebody has stamped them."""
        both = map(_read_stamps, self._stamps)
        return _summary([ingested - produced for ingested, produced in both if produced])


class Waits:
    """How long requests waited for their answers, in ms, by the clock of whoever answers.

    What they were is kept as it comes, and worked out when it is shown.
    """

    def __init__(self) -> None:
        # Now, in ns; event time, in ms; stamps.
        self._answered: deque[tuple[int, int, bytes]] = deque(maxlen=SIZE)
        self._keep = self._answered.append

    def answered(self, asked: Request) -> None:
        """Every model has been asked; what has no stamps is of a backtest, or of an earlier release."""
        if asked.stamps:
            self._keep((time.time_ns(), asked.time, asked.stamps))

    def backlog(self) -> Summary:
        """Since the source had the record."""
        return _summary([now - ingested for now, _, ingested, _ in self._read()])

    def latency(self) -> Summary:
        """Since it was produced; where nobody knows, since the source had it."""
        return _summary([now - (produced or at) for now, _, at, produced in self._read()])

    def end_to_end(self) -> Summary:
        """Since its event time."""
        return _summary([now - time for now, time, _, _ in self._read()])

    def summaries(self) -> dict[str, Callable[[], Summary]]:
        """By their names in metrics."""
        return {
            "backlog_ms": self.backlog,
            "latency_ms": self.latency,
            "end_to_end_ms": self.end_to_end,
        }

    def _read(self) -> Iterator[tuple[int, int, int, int]]:
        for now, time_, stamps in self._answered:
            yield (now // _MS, time_, *_read_stamps(stamps))
