"""A learn log read once: its records by number, its chains, and which record leads to which version."""

from array import array
from collections.abc import Callable, Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from jobs import reading_outputs
from jobs.lines import Lines
from jobs.settings import StoredSink
from state.chains import Chains, NoRecord, link_of


class LearnLog:
    """All records of the learn logs that were given, in the order given.

    Attributes
    ----------
    unreadable : list of (int, str)
        Numbers of what is no record of a learn log, and why.
    """

    def __init__(
        self,
        lines: Lines,
        sinks: Iterable[StoredSink],
        progress: Callable[[int], None] | None = None,
    ) -> None:
        self.lines = lines
        # The text of a record; a function of its own would be one more call for each.
        self.read: Callable[[int], bytes] = lines.__getitem__
        self.chains = Chains()
        self.unreadable: list[tuple[int, str]] = []
        # Python's own hash of each version's name: the same for the same name within a process.
        self._names = array("q")
        for number, record in self._records(sinks):
            try:
                self._names.append(hash(self.chains.add(number, record)))
            except NoRecord as error:
                self.unreadable.append((number, str(error)))
                self._names.append(0)
            if progress is not None and number % 10_000 == 0:
                progress(number)

    def _records(self, sinks: Iterable[StoredSink]) -> Iterator[tuple[int, bytes]]:
        for sink in sinks:
            yield from reading_outputs.into(self.lines, "learn_log", sink)

    @property
    def names(self) -> NDArray[np.int64]:
        """The hash of the version that each record leads to, by number."""
        return np.frombuffer(self._names, dtype=np.int64) if self._names else np.array([], "q")

    def number_of(self, version: str) -> int | None:
        """The record that leads to this version; where the log has it twice, the first."""
        for number in np.nonzero(self.names == hash(version))[0]:
            if link_of(self.lines[int(number)]).version == version:
                return int(number)
        return None
