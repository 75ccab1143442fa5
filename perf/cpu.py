"""CPU time of the threads of running processes, by what they do; Linux only.

CPU time, unlike time on the clock, does not grow when a thread waits for the interpreter lock or for a
core that another program has. Flink names a task's thread after its operators.
"""

import threading
import time
from collections.abc import Collection
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

# The kernel keeps 15 characters of a thread's name. The first that fits.
_STAGES = (
    ("Source", "source"),
    ("LabelJoin", "join"),
    ("OnlineModel", "model"),
    ("predictions", "sink"),
    ("C1 Compiler", "compiler"),
    ("C2 Compiler", "compiler"),
    ("AsyncOperations", "checkpoints"),
)
_OTHER = "other"
STAGES = (*dict.fromkeys(stage for _, stage in _STAGES), _OTHER)


class Sample(NamedTuple):
    """CPU seconds by stage, of all threads up to `at`, seconds since the epoch."""

    at: float
    cpu_s: dict[str, float]


class TooShort(Exception):
    """Nothing can be said of so short a time."""


class Sampler:
    """Samples processes from `with` to its end; a thread that has ended counts as it was last seen.

    Parameters
    ----------
    pids : collection of int
        The processes to look into.
    """

    def __init__(self, pids: Collection[int], every_s: float = 0.05) -> None:
        self._pids = pids
        self._every_s = every_s
        self._seen: dict[Path, tuple[str, float]] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)
        self.samples: list[Sample] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()

    def between(self, begin: float, end: float) -> tuple[Sample, Sample]:
        """The first sample from `begin` on and the last until `end`, seconds since the epoch.

        Raises
        ------
        TooShort
            There are no two samples in between: the run was too short.
        """
        inside = [sample for sample in self.samples if begin <= sample.at <= end]
        if len(inside) < 2:
            raise TooShort(f"{end - begin:.2f} s are too short for samples every {self._every_s} s")
        return inside[0], inside[-1]

    def _run(self) -> None:
        while not self._ended.wait(self._every_s):
            self.samples.append(self._sample())

    def _sample(self) -> Sample:
        for pid in self._pids:
            for thread in Path(f"/proc/{pid}/task").glob("*"):
                try:
                    name = (thread / "comm").read_text().strip()
                    on_cpu_ns = int((thread / "schedstat").read_text().split()[0])
                except OSError:
                    continue  # it has just ended
                self._seen[thread] = (_stage(name), on_cpu_ns / 1e9)
        total = dict.fromkeys(STAGES, 0.0)
        for stage, cpu_s in self._seen.values():
            total[stage] += cpu_s
        return Sample(time.time(), total)


def _stage(thread: str) -> str:
    return next((stage for begin, stage in _STAGES if thread.startswith(begin)), _OTHER)
