"""A model as bytes: its envelope, its chunks, and when to take the next snapshot.

A model's state is a snapshot and the log of entries since; restoring replays the log. A snapshot
stalls the stream for as long as pickling takes, a long log makes recovery slow: `SnapshotPolicy`
weighs one against the other by what they were measured to cost.
"""

import os
import pickle
import platform
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib import import_module
from typing import Any

from msgspec import Struct

from state import tables

FORMAT = 1
# One put to RocksDB or one element of a checkpoint; small enough not to need a copy of a large
# model in one piece on the Java heap.
CHUNK_BYTES = 1 << 20

# Pickle goes down the trees of a model, a few calls a node. A Hoeffding tree's splitter that is fed a
# feature which only ever rises, a date, is a chain: 300 values are too many for Python's usual 1000
# calls, which River itself does not need. A call takes less than 1 KiB of C stack.
_DEEP_CALLS = 50_000
_DEEP_STACK_BYTES = 128 << 20
_going_deep = threading.Lock()


class StateFormatError(Exception):
    """A snapshot that this release cannot read; the message says what to do."""


class SnapshotSettings(Struct, frozen=True):
    """When a model is written as a whole.

    Attributes
    ----------
    every : int or None
        After so many entries; None weighs measured costs.
    overhead : float
        Share of the time spent learning that snapshots may take.
    max_replay_ms : int
        A replay is kept below this, whatever `overhead` says: so recovery takes seconds.
    max_entries : int
        The log never has more entries than this.
    """

    every: int | None = None
    overhead: float = 0.02
    max_replay_ms: int = 8_000
    max_entries: int = 100_000


class SnapshotPolicy:
    """Decides after each entry of one model; costs are in nanoseconds, as measured.

    A model that grows makes longer and longer pauses. The next one is expected to be longer than the
    last by as much, for each second of learning, as that was longer than the one before it.
    """

    def __init__(self, settings: SnapshotSettings) -> None:
        self._settings = settings
        self._pause_ns = 0
        self._growth = 0.0
        self._replay_ns = 0
        self.entries = 0

    def entry(self, cost_ns: int) -> bool:
        """Count an entry that took `cost_ns` to apply; True if a snapshot is due."""
        self.entries += 1
        self._replay_ns += cost_ns
        settings = self._settings
        if settings.every is not None:
            return self.entries >= settings.every
        pause_ns = self._pause_ns + self._growth * self._replay_ns
        return (
            self._replay_ns * settings.overhead >= pause_ns
            or self._replay_ns >= settings.max_replay_ms * 1_000_000
            or self.entries >= settings.max_entries
        )

    def taken(self, pause_ns: int) -> None:
        """A snapshot was taken and held the stream up for `pause_ns`."""
        longer_ns = max(pause_ns - self._pause_ns, 0)
        self._growth = longer_ns / self._replay_ns if self._replay_ns else 0.0
        self._pause_ns = pause_ns
        self.replayed()

    def replayed(self) -> None:
        """The log begins again at its first entry; what a snapshot costs stays as last measured."""
        self._replay_ns = 0
        self.entries = 0


@cache
def environment() -> dict[str, str]:
    """What the floats of a model depend on besides its entries.

    Of libraries it is the version that this process has imported, whatever is installed by now.
    """
    return {
        "python": platform.python_version(),
        "river": import_module("river").__version__,
        "numpy": import_module("numpy").__version__,
        "machine": platform.machine(),
        # Sets of strings, and what River makes of their order, are equal under equal seeds only.
        "hashseed": os.environ.get("PYTHONHASHSEED", "random"),
    }


def pickle_model(model: Any) -> bytes:
    """Plain pickle, by module name: whoever restores it needs the same libraries, not our code."""
    try:
        return tables.dumps(model)
    except RecursionError:
        return _pickle_deep(model)


def _pickle_deep(model: Any) -> bytes:
    """In a thread with the stack for it; the limit on calls is the whole process's."""

    def pickle_it() -> bytes:
        usual = sys.getrecursionlimit()
        sys.setrecursionlimit(_DEEP_CALLS)
        try:
            return tables.dumps(model)
        finally:
            sys.setrecursionlimit(usual)

    with _going_deep:
        usual = threading.stack_size(_DEEP_STACK_BYTES)
        try:
            with ThreadPoolExecutor(1) as deep:
                return deep.submit(pickle_it).result()
        finally:
            threading.stack_size(usual)


def unpickle_model(data: bytes, written_under: Mapping[str, str]) -> Any:
    """The model of `pickle_model`; bytes come from the job's own state or a checked artifact only.

    Raises
    ------
    StateFormatError
        If this River, numpy or Python cannot read it.
    """
    try:
        return pickle.loads(data)
    except Exception as error:
        raise StateFormatError(
            f"a snapshot written under {_shown(written_under)} cannot be read under "
            f"{_shown(environment())}: {error!r}; `riverrun version rebuild` makes the model again "
            "from its learn log, as an artifact for a new start; or start from the old environment"
        ) from error


def _shown(env: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in env.items())


def split(data: bytes, size: int = CHUNK_BYTES) -> Iterator[bytes]:
    """Cut into pieces of at most `size` bytes."""
    return (data[start : start + size] for start in range(0, len(data), size))


def join(chunks: Iterable[bytes]) -> bytes:
    """What `split` cut."""
    return b"".join(chunks)
