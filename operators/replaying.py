"""A learn log walked from its beginnings: each version's model, rebuilt, in one pass.

Models learn here by the very code of a running job (`operators.live`), so a version is what it was,
to the last bit, where Python, River, numpy and the machine are the same. Whoever wants to know
something of a version says so beforehand and is called when the walk is there; no more models are kept
than go back, fork off or start from one another.
"""

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from hashlib import sha256
from typing import Any, Literal, NamedTuple, Protocol

import msgspec
import numpy as np

from events.features import decode_features
from models import tasks
from models.tasks import Answer, LabelType
from operators.live import LiveModel, ModelSettings
from state import snapshots
from state.artifacts import Seen
from state.chains import (
    Branch,
    Chain,
    Chains,
    NoRecord,
    Step,
    Tree,
    entry_digest,
    entry_of,
    erased_digest,
    follow,
    forest,
    link_of,
)
from state.learnlog import Entry
from state.versions import version_name

# Why there is no model: contents were replaced by their digest; what is needed is not known; the walk
# was told to begin later; nobody asks any more.
EVERY = 1000  # records between two calls of a progress function
Lost = Literal["erased", "unknown", "before", "done"]


class Beginning(NamedTuple):
    """A version that a chain begins at, and how to make its model.

    Attributes
    ----------
    make : callable
        Gives a River object of its own at each call.
    environment : dict or None
        Under which it was made; None where that is not known.
    """

    settings: ModelSettings
    lane: str | None
    make: Callable[[], Any]
    n: int
    head: bytes
    label_type: LabelType | None = None
    names: frozenset[str] = frozenset()
    environment: dict[str, str] | None = None
    first: Seen | None = None
    last: Seen | None = None

    @property
    def version(self) -> str:
        return version_name(self.settings.name, self.lane, self.n, self.head)

    def live(self) -> LiveModel:
        """The model, as it is at this version."""
        live = LiveModel(self.settings, self.lane)
        live.put(self.make(), self.n, self.n, self.head)
        live.label_type = live.label_type or self.label_type
        live.names = set(self.names)
        live.first, live.last = self.first, self.last
        return live


class Beginnings(Protocol):
    """Where chains may begin."""

    def of(self, chain: Chain, version: str) -> Beginning | None:
        """The beginning of this name, of the configuration, a deployment or an artifact."""

    def deployed(
        self, chain: Chain, fields: Mapping[str, Any], since: Beginning | None
    ) -> Beginning | None:
        """What a deploy entry begins; `since` is the version it names, where the walk came by it."""

    def start(self, version: str) -> Beginning | None:
        """The artifact of this version that the walk is to begin at."""


class Outcome(NamedTuple):
    """What came of asking: an answer, or why there is none."""

    answer: Answer
    error: str | None


NO_ANSWER = Answer(None, None, None)


def asked(live: LiveModel, features: dict[str, Any]) -> Outcome:
    """Ask as a job does: what raises, or is not finite, is no answer."""
    try:
        answer = live.ask(features)
    except Exception as error:
        return Outcome(NO_ANSWER, f"{type(error).__name__}: {error}")
    if not tasks.finite(answer):
        return Outcome(NO_ANSWER, f"the model answered {answer}")
    return Outcome(answer, None)


class Own:
    """The request that the next entry is about: asking it is that entry, so it happens once."""

    def __init__(self, live: LiveModel, entry: Entry) -> None:
        self.entry = entry
        self._live = live
        self._outcome: Outcome | None = None

    def outcome(self) -> Outcome:
        """What the model says; whoever else asks this version asks before."""
        if self._outcome is None:
            features = decode_features(bytes(self.entry.features))
            self._outcome = asked(self._live, features)
            self._live.saw(features, asked=True)
        return self._outcome


class Kept(NamedTuple):
    """A version that is gone back to later; `begin` None where there is no model, and why."""

    begin: Beginning | None
    head: bytes | None
    lost: Lost | None
    foreign: bool


def kept(live: LiveModel) -> Beginning:
    """The version that a model is at, to be made again."""
    pickled, here = snapshots.pickle_model(live.model), snapshots.environment()
    return Beginning(
        live.settings,
        live.lane,
        partial(snapshots.unpickle_model, pickled, here),
        live.n,
        live.head,
        live.label_type,
        frozenset(live.names),
        here,
        live.first,
        live.last,
    )


def copied(live: LiveModel) -> LiveModel:
    """Another model that is as this one."""
    copy = kept(live).live()
    copy.learned = live.learned
    return copy


class Standing:
    """Where a walk is.

    Attributes
    ----------
    live : LiveModel or None
        The model; None where it is `lost`.
    quiet : bool
        Before the version that the walk is to begin at.
    aborted : bool
        On a way that ended: an attempt that was given up.
    foreign : bool
        It was made under another Python, River, numpy, machine or hash seed than this process has.
    """

    def __init__(self, version: str, head: bytes | None, live: LiveModel | None) -> None:
        self.version = version
        self.head = head
        self.live = live
        self.lost: Lost | None = None if live is not None else "unknown"
        self.quiet = False
        self.aborted = False
        self.foreign = False
        self.environment: dict[str, str] | None = None
        # After a head that does not follow: what would.
        self.meant: bytes | None = None

    def lose(self, why: Lost) -> None:
        self.live, self.lost = None, why

    def fork(self) -> "Standing":
        """Another one, from here."""
        other = Standing(self.version, self.head, None if self.live is None else copied(self.live))
        other.lost, other.foreign, other.quiet = self.lost, self.foreign, self.quiet
        other.environment, other.meant = self.environment, self.meant
        other.aborted = True
        return other


class Watcher(Protocol):
    """Who wants to know something of versions."""

    def begin(self, repeated: Mapping[int, int]) -> None:
        """Before all: records that are there once more -> those that are walked in their stead."""

    def last(self, numbers: "array[int]") -> int:
        """How many of these records there are up to the last whose version it asks about; 0: none."""

    def at(self, number: int, standing: Standing, own: Own | None) -> None:
        """The walk is at the version after this record; `own` is asked next, if anything is."""

    def learns(self, live: LiveModel, entry: Entry) -> None:
        """An example is about to be learned."""

    def broken(self, number: int, version: str, detail: str) -> None:
        """The chain is broken at this record."""


class Log(Protocol):
    """A learn log that has been read once."""

    chains: Chains
    read: Callable[[int], bytes]

    def number_of(self, version: str) -> int | None:
        """The record that leads to this version."""


class Done(NamedTuple):
    """What a walk met; `forks` are attempts that were given up."""

    entries: int
    chains: int
    forks: int
    repeated: int
    erased: int


class _Place(NamedTuple):
    """A tree, the chain it is of, and the versions from elsewhere that it needs."""

    chain: Chain
    tree: Tree
    unlinked: set[int]
    needs: list[str]


class Replay:
    """Walks every chain of a log.

    Chains are walked one after another, one model in memory at a time, besides the copies that are
    needed later.

    Parameters
    ----------
    starts : iterable of str
        Versions to begin at: what comes before in their chains is checked, but not asked.
    progress : callable, optional
        Told how many records have been walked.
    """

    def __init__(
        self,
        log: Log,
        beginnings: Beginnings,
        watcher: Watcher,
        *,
        starts: Iterable[str] = (),
        progress: Callable[[int], None] | None = None,
    ) -> None:
        self._log = log
        self._beginnings = beginnings
        self._watcher = watcher
        self._progress = progress
        self._here = snapshots.environment()
        self._begin_at = list(starts)
        self._starts: dict[int, str] = {}
        self._repeated: dict[int, int] = {}
        self._keep: dict[int, str] = {}
        self._uses: Counter[str] = Counter()
        self._kept: dict[str, Kept] = {}
        self._walked: set[int] = set()
        self._entries = self._forks = self._erased = 0

    def run(self) -> Done:
        """Walk."""
        places = list(self._places())
        self._watcher.begin(self._repeated)
        self._uses.update(name for place in places for name in place.needs)
        self._keep = keep = self._numbers(self._uses)
        self._starts = self._numbers(self._begin_at)
        wanted = np.array(sorted(keep), dtype=np.int64)
        homes: dict[str, int] = {}
        for index, place in enumerate(places):
            if keep:
                numbers = np.fromiter(place.tree.trunk.all(), dtype=np.int64)
                homes.update((keep[int(n)], index) for n in np.intersect1d(numbers, wanted))
        for index in sorted(range(len(places)), key=lambda i: places[i].tree.trunk.numbers[0]):
            self._ensure(index, places, homes)
        chains = len({id(place.chain) for place in places})
        return Done(self._entries, chains, self._forks, len(self._repeated), self._erased)

    def _numbers(self, versions: Iterable[str]) -> dict[int, str]:
        """The records that lead to them; those that the log does not have are left out."""
        found = ((self._log.number_of(version), version) for version in versions)
        return {self._repeated.get(n, n): version for n, version in found if n is not None}

    def _places(self) -> Iterable[_Place]:
        for chain in self._log.chains:

            def begins_at(version: str, chain: Chain = chain) -> bool:
                return self._beginnings.of(chain, version) is not None

            found = forest(chain, self._log.read, begins_at)
            self._repeated.update(found.repeated)
            for tree in found.trees:
                yield _Place(chain, tree, found.unlinked, _needs(chain, tree))

    def _ensure(self, index: int, places: list[_Place], homes: Mapping[str, int]) -> None:
        """Walk a tree, behind those that it starts from."""
        if index in self._walked:
            return
        self._walked.add(index)
        for name in places[index].needs:
            if name in homes:
                self._ensure(homes[name], places, homes)
        self._walk_tree(places[index])

    # One tree

    def _walk_tree(self, place: _Place) -> None:
        chain, tree, *_ = place
        try:
            standing = self._standing(chain, tree)
            detail = f"nothing is known of {tree.parent}, at which it begins"
        except Exception as error:  # whatever a spec or a pickle makes of this River
            standing, detail = None, f"{tree.parent}, at which it begins, cannot be made: {error}"
        if standing is None:
            standing = Standing(tree.parent, None, None)
            version = link_of(self._log.read(tree.trunk.numbers[0])).version
            self._watcher.broken(tree.trunk.numbers[0], version, detail)
        starts = [number for number in tree.trunk.numbers if number in self._starts]
        if starts:
            standing.quiet = True
            if self._beginnings.start(self._starts[starts[-1]]) is not None:
                standing.lose("before")
        self._walk(place, tree.trunk, standing)

    def _standing(self, chain: Chain, tree: Tree) -> Standing | None:
        """Where a tree begins; None where nothing is known of that."""
        operation = next((o for o in chain.operations if o.number == tree.deploy), None)
        if operation is None or not operation.fields:
            beginning = self._beginnings.of(chain, tree.parent)
        else:
            since, found = operation.fields.get("since"), None
            if isinstance(since, dict):
                found = self._use(str(since.get("version")), str(since.get("head")))
                if found is not None and found.begin is None:
                    standing = Standing(tree.parent, None, None)
                    standing.lost = found.lost
                    return standing
            beginning = self._beginnings.deployed(
                chain, operation.fields, None if found is None else found.begin
            )
        if beginning is None:
            return None
        standing = Standing(beginning.version, beginning.head, beginning.live())
        standing.environment = beginning.environment
        standing.foreign = self._foreign(chain, tree, beginning.environment)
        return standing

    def _foreign(self, chain: Chain, tree: Tree, environment: dict[str, str] | None) -> bool:
        """Whether the chain begins in another environment, as far as the log tells."""
        if environment is not None:
            return environment != self._here
        # One that changes to this was another before.
        numbers = set(tree.trunk.numbers) if chain.environments else set()
        first = next((text for number, text in chain.environments if number in numbers), None)
        return first is not None and _environment(first) == self._here

    def _use(self, version: str, head: str) -> Kept | None:
        """The copy of a version, dropped behind its last use."""
        found = self._kept.get(version)
        self._uses[version] -= 1
        if self._uses[version] <= 0:
            self._kept.pop(version, None)
        if found is not None and (found.head is None or found.head.hex() != head):
            return None
        return found

    def _needed(self, branch: Branch) -> int:
        """How many of its records have to be done, so that every version asked about is there."""
        needed = self._watcher.last(branch.numbers)
        if self._keep:
            numbers = np.frombuffer(branch.numbers, dtype=np.int64)
            found = np.nonzero(np.isin(numbers, list(self._keep)))[0]
            needed = max(needed, int(found[-1]) + 1 if len(found) else 0)
        for place, forks in branch.forks.items():
            if place > needed and any(map(self._needed, forks)):
                needed = place
        return needed

    def _walk(self, place: _Place, branch: Branch, standing: Standing) -> None:
        read, watcher, chain = self._log.read, self._watcher, place.chain
        needed = self._needed(branch)
        previous = -1
        for done, number in enumerate(branch.numbers):
            if done in branch.forks:
                self._walk_forks(place, branch.forks[done], standing)
            if done >= needed and standing.live is not None:
                if previous >= 0:
                    watcher.at(previous, standing, None)
                previous = -1
                standing.lose("done")
            record = read(number)
            step, erased = None, False
            # Of all others the parent is known to be the version before, or they would stand elsewhere.
            if done and standing.head is not None and number not in place.unlinked:
                step = follow(record, standing.head, chain)
            if step is None:
                try:
                    step, erased = self._checked(place, number, record, standing)
                except NoRecord as error:
                    watcher.broken(number, standing.version, str(error))
                    standing.lose("unknown")
                    continue
            entry, own = step.entry, None
            if entry.kind == "request" and standing.live is not None and not erased:
                own = Own(standing.live, entry)
            if previous >= 0:
                watcher.at(previous, standing, own)
            standing.version, standing.head = step.version, step.head
            if erased:
                self._pass_erased(standing)
            else:
                self._do(number, entry, own, standing)
            if number in self._starts:
                self._start(self._starts[number], standing)
            if number in self._keep:
                self._keep_copy(standing)
            previous = number
            if self._progress is not None and done % EVERY == 0:
                self._progress(self._entries + done)
        self._entries += len(branch.numbers)
        if previous >= 0:
            watcher.at(previous, standing, None)
        self._walk_forks(place, branch.forks.get(len(branch.numbers), ()), standing)

    def _walk_forks(self, place: _Place, forks: Iterable[Branch], standing: Standing) -> None:
        for fork in forks:
            self._forks += 1
            self._walk(place, fork, standing.fork())

    def _checked(
        self, place: _Place, number: int, record: bytes, standing: Standing
    ) -> tuple[Step, bool]:
        """A record that does not follow at first sight: what is wrong with it is told.

        Returns
        -------
        (Step, bool)
            As the record has it, and whether its contents were erased.
        """
        link = link_of(record)
        entry = entry_of(record, link)
        digest, chain = entry_digest(record, link), place.chain

        def broken(detail: str) -> None:
            self._watcher.broken(number, link.version, detail)

        if link.parent != standing.version or number in place.unlinked:
            broken(f"its parent is {link.parent}, and {standing.version} is the version before it")
        head = link.head
        if standing.head is not None:
            head = sha256(standing.head + digest).digest()
            if head != link.head and standing.meant is not None:
                head = sha256(standing.meant + digest).digest()
        standing.meant = None
        if head != link.head:
            broken("its head does not follow from its entry")
            standing.meant = head
        named = version_name(chain.model, chain.lane, entry.n, link.head)
        if (named, entry.model, entry.lane) != (link.version, chain.model, chain.lane):
            broken(f"its version is not {named}, as entry and head say")
        erased = erased_digest(record, link) is not None
        if erased and any(value is not None for value in (entry.id, entry.label, entry.op)):
            broken("it is erased, and has contents")
        return Step(entry, link.version, link.head), erased

    def _pass_erased(self, standing: Standing) -> None:
        self._erased += 1
        if standing.lost not in ("before", "done"):
            standing.lose("erased")

    def _do(self, number: int, entry: Entry, own: Own | None, standing: Standing) -> None:
        """What the entry did to the model."""
        live = standing.live
        try:
            if own is not None:
                own.outcome()
            elif entry.kind == "example":
                if live is not None:
                    self._watcher.learns(live, entry)
                    live.apply(entry)
            elif entry.kind == "control":
                self._operate(entry, standing)
            elif entry.kind == "environment":
                standing.environment = _environment(entry.op or "")
                standing.foreign = standing.foreign or standing.environment != self._here
        except Exception as error:
            detail = f"it cannot be done again: {type(error).__name__}: {error}"
            self._watcher.broken(number, standing.version, detail)
            standing.lose("unknown")
        live = standing.live
        if live is not None and live.n != entry.n:
            detail = f"its n is {entry.n}, and {live.n} follows"
            self._watcher.broken(number, standing.version, detail)

    def _operate(self, entry: Entry, standing: Standing) -> None:
        op, _, text = (entry.op or "").partition(" ")
        if op != "rollback":
            return
        target = msgspec.json.decode(text)
        found = self._use(target["version"], target["head"])
        if standing.lost in ("before", "done"):
            return
        learned = 0 if standing.live is None else standing.live.learned
        if found is None or found.begin is None:
            standing.lose((found and found.lost) or "unknown")
            return
        standing.live, standing.lost = found.begin.live(), None
        standing.live.learned = max(learned, standing.live.n)
        elsewhere = standing.environment not in (None, self._here)
        standing.foreign = found.foreign or elsewhere

    def _start(self, version: str, standing: Standing) -> None:
        standing.quiet = False
        artifact = self._beginnings.start(version)
        if artifact is None:
            return
        if artifact.head != standing.head:
            standing.lose("unknown")
            return
        standing.live, standing.lost = artifact.live(), None
        standing.environment = artifact.environment
        standing.foreign = artifact.environment != self._here

    def _keep_copy(self, standing: Standing) -> None:
        live = standing.live
        if live is not None and standing.head is not None:
            live.at(standing.head)
        self._kept[standing.version] = Kept(
            None if live is None else kept(live), standing.head, standing.lost, standing.foreign
        )


def _needs(chain: Chain, tree: Tree) -> list[str]:
    """Versions that this tree goes back to, or starts from."""
    if not chain.operations:
        return []
    numbers = set(tree.trunk.all())
    found = []
    for number, op, fields in chain.operations:
        target: Any = (
            fields if op == "rollback" else fields.get("since") if op == "deploy" else None
        )
        if number in numbers and isinstance(target, dict):
            found.append(str(target.get("version")))
    return found


def _environment(op: str) -> dict[str, str] | None:
    """None where the text is none."""
    try:
        return msgspec.json.decode(op, type=dict[str, str])
    except msgspec.DecodeError:
        return None
