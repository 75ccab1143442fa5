"""What is kept of one lane's models: snapshots, the entries since, and the versions before.

A model's state is its last snapshot and the entries since. To go back to any of its last `retain`
versions there are one or two older snapshots besides, and the entries between: the log lies in two
slots, each of which begins at a snapshot. When the newer slot alone holds enough versions, the older
one and its snapshot go; the next snapshot then begins it anew. After a rollback a snapshot is taken
that stays as long as its slot, for no entries lead from what was before to what is after.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, Protocol

import msgspec
from msgspec import Struct

from operators.live import LiveModel, Pinned
from state import snapshots
from state.artifacts import Seen
from state.learnlog import decode_entry
from state.versions import SHOWN_DIGITS, advance, parse_version

# Snapshots are numbered; what a model is pinned to stands under this number.
PINNED = -1


class Snapshots(Protocol):
    """State of one lane, as far as it is about models."""

    def models(self) -> dict[str, dict[str, Any]]: ...
    def put_model(self, name: str, meta: dict[str, Any]) -> None: ...
    def remove_model(self, name: str) -> None: ...
    def failures(self, name: str) -> tuple[Any, ...] | None: ...
    def put_failures(self, name: str, failures: tuple[Any, ...]) -> None: ...
    def snapshot(self, name: str, chunks: int, generation: int = 0) -> Iterable[bytes]: ...
    def put_snapshot(
        self, name: str, chunks: list[bytes], replaced: int, generation: int = 0
    ) -> None: ...
    def log(self, name: str, slot: int = 0) -> Iterable[bytes]: ...
    def append(self, name: str, entry: bytes, slot: int = 0) -> None: ...
    def clear_log(self, name: str, slot: int = 0) -> None: ...


class Mark(Struct, frozen=True):
    """A snapshot, and where it stands in the log: `offset` entries into `slot`.

    `begins`: the entries before it do not lead to it.
    """

    n: int
    learned: int
    head: bytes
    label_type: Any
    names: list[str]
    chunks: int
    environment: dict[str, str]
    generation: int = 0
    slot: int = 0
    offset: int = 0
    begins: bool = False
    first: Seen | None = None
    last: Seen | None = None


class Found(NamedTuple):
    """A retained version: the last snapshot before it, and the entries from there."""

    mark: Mark
    entries: list[bytes]


class Keeper:
    """Writes the models of one lane to state, and reads them back.

    Parameters
    ----------
    took : callable
        Told how long each snapshot took, in nanoseconds.
    """

    def __init__(self, store: Snapshots, took: Callable[[int], None]) -> None:
        self._store = store
        self._took = took

    def append(self, live: LiveModel, entry: bytes) -> None:
        """One more entry of what has just changed the model."""
        self._store.append(live.settings.name, entry, live.slot)
        live.in_slot += 1
        if len(live.kept) and live.kept[0].slot != live.slot and self._enough(live):
            self._drop_older(live)
            self._put(live)

    def snapshot(self, live: LiveModel, *, begins: bool = False) -> None:
        """Write the model as it is.

        Parameters
        ----------
        begins
            It cannot be made from what was before.
        """
        begun = time.perf_counter_ns()
        name, before = live.settings.name, live.mark
        chunks = list(snapshots.split(snapshots.pickle_model(live.model)))
        generation = replaced = 0
        if before is not None and not live.settings.retain and not live.kept:
            # Nothing is ever gone back to: it takes the place of the one before.
            generation, replaced = before.generation, before.chunks
            self._store.clear_log(name, live.slot)
            live.in_slot = 0
        elif before is not None:
            generation = before.generation + 1
            self._make_room(live, before)
        self._store.put_snapshot(name, chunks, replaced, generation)
        live.mark = Mark(
            live.n,
            live.learned,
            live.head,
            live.label_type,
            sorted(live.names),
            len(chunks),
            snapshots.environment(),
            generation,
            live.slot,
            live.in_slot,
            begins,
            live.first,
            live.last,
        )
        self._put(live)
        took = time.perf_counter_ns() - begun
        live.policy.taken(took)
        live.snapshot_bytes = sum(map(len, chunks))
        self._took(took)

    def restore(self, live: LiveModel, meta: Mapping[str, Any]) -> None:
        """The last snapshot and the entries since."""
        name = live.settings.name
        live.kept = [_mark(kept) for kept in meta.get("kept", ())]
        live.mark = mark = _mark(meta)
        live.slot = mark.slot
        failures = self._store.failures(name)
        if failures is not None:
            live.failed, live.recent_failures, live.frozen, *unanswered = failures
            live.unanswered, live.recent_unanswered = unanswered or (0, ())
        entries = list(self._store.log(name, mark.slot))
        live.in_slot = len(entries)
        live.policy.replayed()
        self._replay(live, Found(mark, entries[mark.offset :]), live.policy.entry)
        pinned = meta.get("pinned")
        if pinned is not None:
            mark = _mark(pinned)
            live.pinned = self._pinned(live, mark, self._pickled(name, mark))

    def rebuild(self, live: LiveModel) -> None:
        """As it was before the item that raised."""
        self.restore(live, self._store.models()[live.settings.name])

    def find(self, live: LiveModel, version: str) -> Found | None:
        """One of the versions that are retained; None for any other."""
        try:
            wanted = parse_version(version)
        except ValueError:
            return None
        if (wanted.model, wanted.lane) != (live.settings.name, live.lane):
            return None

        def names(n: int, head: bytes) -> bool:
            return n == wanted.n and head.hex()[:SHOWN_DIGITS] == wanted.digits

        assert live.mark is not None, "it is live"
        marks = [*live.kept, live.mark]
        for mark in marks:
            if names(mark.n, mark.head):
                return Found(mark, [])
        for begin in marks:
            if begin.offset:
                continue
            entries, head = list(self._store.log(live.settings.name, begin.slot)), begin.head
            for place, data in enumerate(entries, 1):
                head = advance(head, data)
                if head.hex()[:SHOWN_DIGITS] == wanted.digits and decode_entry(data).n == wanted.n:
                    nearest = max(
                        (m for m in marks if m.slot == begin.slot and m.offset <= place),
                        key=lambda m: m.offset,
                    )
                    return Found(nearest, entries[nearest.offset : place])
        return None

    def entries(self, live: LiveModel) -> list[bytes]:
        """All that is retained of its log, in order."""
        name = live.settings.name
        slots = [1 - live.slot, live.slot] if live.kept else [live.slot]
        return [entry for slot in slots for entry in self._store.log(name, slot)]

    def at(self, live: LiveModel, found: Found) -> LiveModel:
        """Another copy of the model, as it was at that version."""
        copy = LiveModel(live.settings, live.lane)
        self._replay(copy, found, lambda _: False)
        return copy

    def pin(self, live: LiveModel, version: LiveModel) -> None:
        """Let the model answer as `version`, whatever it learns."""
        name = live.settings.name
        pickled = snapshots.pickle_model(version.model)
        chunks = list(snapshots.split(pickled))
        replaced = live.pinned.mark.chunks if live.pinned else 0
        self._store.put_snapshot(name, chunks, replaced, PINNED)
        mark = Mark(
            version.n,
            version.learned,
            version.head,
            version.label_type,
            sorted(version.names),
            len(chunks),
            snapshots.environment(),
            PINNED,
        )
        live.pinned = self._pinned(live, mark, pickled)
        self._put(live)

    def unpin(self, live: LiveModel) -> None:
        """Let the model answer as it is."""
        assert live.pinned is not None, "it is pinned"
        self._store.put_snapshot(live.settings.name, [], live.pinned.mark.chunks, PINNED)
        live.pinned = None
        self._put(live)

    def remove(self, live: LiveModel) -> None:
        """Nothing is kept of it."""
        name = live.settings.name
        assert live.mark is not None, "it is live"
        for mark in (*live.kept, live.mark):
            self._drop(name, mark)
        if live.pinned is not None:
            self._drop(name, live.pinned.mark)
        for slot in (0, 1):
            self._store.clear_log(name, slot)
        self._store.remove_model(name)

    # The rest

    def _make_room(self, live: LiveModel, before: Mark) -> None:
        """Decide where the next snapshot stands, and what is kept of those before."""
        if before.offset and not before.begins:
            self._drop(live.settings.name, before)
        else:
            live.kept.append(before)
        if self._enough(live):
            self._drop_older(live)
            live.slot, live.in_slot = 1 - live.slot, 0
            if not live.settings.retain:
                self._drop_older(live)

    def _enough(self, live: LiveModel) -> bool:
        """Whether the present slot alone holds as many versions as are wanted."""
        return live.in_slot >= live.settings.retain

    def _replay(self, live: LiveModel, found: Found, count: Callable[[int], object]) -> None:
        mark = found.mark
        live.label_type = mark.label_type or live.settings.labels
        live.names = set(mark.names)
        live.first, live.last = mark.first, mark.last
        pickled = self._pickled(live.settings.name, mark)
        live.snapshot_bytes = len(pickled)
        live.put(
            snapshots.unpickle_model(pickled, mark.environment), mark.n, mark.learned, mark.head
        )
        head = mark.head
        for data in found.entries:
            begun = time.perf_counter_ns()
            live.apply(decode_entry(data))
            head = advance(head, data)
            count(time.perf_counter_ns() - begun)
        live.at(head)

    def _pinned(self, live: LiveModel, mark: Mark, pickled: bytes) -> Pinned:
        copy = LiveModel(live.settings, live.lane)
        copy.label_type = mark.label_type or live.settings.labels
        copy.names = set(mark.names)
        copy.put(
            snapshots.unpickle_model(pickled, mark.environment), mark.n, mark.learned, mark.head
        )
        return Pinned(mark, copy, pickled)

    def _pickled(self, name: str, mark: Mark) -> bytes:
        return snapshots.join(self._store.snapshot(name, mark.chunks, mark.generation))

    def _drop(self, name: str, mark: Mark) -> None:
        self._store.put_snapshot(name, [], mark.chunks, mark.generation)

    def _drop_older(self, live: LiveModel) -> None:
        """The snapshots of the other slot, and the entries in it."""
        older = [mark for mark in live.kept if mark.slot != live.slot]
        for mark in older:
            self._drop(live.settings.name, mark)
            self._store.clear_log(live.settings.name, mark.slot)
        live.kept = [mark for mark in live.kept if mark.slot == live.slot]

    def _put(self, live: LiveModel) -> None:
        assert live.mark is not None, "there is a snapshot"
        meta = {
            "format": snapshots.FORMAT,
            "settings": msgspec.to_builtins(live.settings),
            **_plain(live.mark),
        }
        if live.kept:
            meta["kept"] = [_plain(mark) for mark in live.kept]
        if live.pinned is not None:
            meta["pinned"] = _plain(live.pinned.mark)
        self._store.put_model(live.settings.name, meta)


def _plain(mark: Mark) -> dict[str, Any]:
    return msgspec.to_builtins(mark, builtin_types=(bytes,))


def _mark(stored: Mapping[str, Any]) -> Mark:
    return msgspec.convert(
        {field: stored[field] for field in Mark.__struct_fields__ if field in stored},
        Mark,
        builtin_types=(bytes,),
    )
