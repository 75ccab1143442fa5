"""The chains in a learn log, from its text alone: what follows what, where a chain forks, what is broken.

Records come in the order in which files or partitions have them. An at-least-once log holds some of
them twice, and some of attempts that were given up: those show as a fork, two records with one parent.
"""

import re
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct

from state.learnlog import Entry, decode_entry, parse_op
from state.versions import SHOWN_DIGITS, parse_version, place_of

# As `learnlog.log_record` writes it; no version holds a character that JSON escapes.
_TAIL = re.compile(rb',"parent":"([^"\\]*)","version":"([^"\\]*)","head":"([0-9a-f]{64})"\}')
_ERASED = re.compile(rb',"erased":"([0-9a-f]{64})"$')
_EXAMPLE = b'{"kind":"example",'


class NoRecord(ValueError):
    """A text that is no record of a learn log; the message says why."""


class Link(NamedTuple):
    """What ties a record to the others; `cut` is where the text of its entry ends."""

    parent: str
    version: str
    head: bytes
    cut: int


def link_of(record: bytes) -> Link:
    """The link of a record, from its text.

    Raises
    ------
    NoRecord
        It ends in none.
    """
    cut = record.rfind(b',"parent":')
    found = _TAIL.fullmatch(record, cut) if cut >= 0 else None
    if found is None:
        raise NoRecord("it does not end in parent, version and head")
    parent, version, head = found.groups()
    try:
        return Link(parent.decode(), version.decode(), bytes.fromhex(head.decode()), cut)
    except UnicodeDecodeError as error:
        raise NoRecord("a version is ASCII") from error


def _ends_of(record: bytes) -> tuple[str, str]:
    """Parent and version, as a record has them where it is one: what is no record has none that fit."""
    parts = record[record.rfind(b',"parent":') :].split(b'"', 8)
    if len(parts) != 9:
        raise NoRecord("it does not end in parent, version and head")
    return parts[3].decode("latin-1"), parts[7].decode("latin-1")


def erased_digest(record: bytes, link: Link) -> bytes | None:
    """The digest that stands for an entry's contents; None where they are there."""
    # The last field of an entry is a number or null: no quote ends it.
    if record[link.cut - 1 : link.cut] != b'"':
        return None
    found = _ERASED.search(record, 0, link.cut)
    return None if found is None else bytes.fromhex(found[1].decode())


def entry_digest(record: bytes, link: Link) -> bytes:
    """SHA-256 of the entry's bytes, as it goes into the chain."""
    return erased_digest(record, link) or sha256(record[: link.cut] + b"}").digest()


def entry_of(record: bytes, link: Link) -> Entry:
    """The entry, whether its contents are there or not.

    Raises
    ------
    NoRecord
        Its text is none.
    """
    try:
        return decode_entry(record[: link.cut] + b"}")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise NoRecord(f"its entry cannot be read: {error}") from error


class Step(NamedTuple):
    """A record that follows from the one before it: its entry, and where that leads."""

    entry: Entry
    version: str
    head: bytes


def follow(record: bytes, head: bytes, chain: "Chain") -> Step | None:
    """The record, if it is as its entry behind this head makes it; None where anything is otherwise.

    One comparison of text for all that there is to check but the parent, which is that of its run.
    What is wrong, or whether the entry was erased, `link_of` and `entry_of` tell.
    """
    text = record[: record.rfind(b',"parent":')] + b"}"
    try:
        entry = decode_entry(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    next_head = sha256(head + sha256(text).digest()).digest()
    digits = next_head.hex()
    version = f"{chain.place}@{entry.n}-{digits[:SHOWN_DIGITS]}"
    if (
        record.endswith(f',"version":"{version}","head":"{digits}"}}'.encode())
        and entry.model == chain.model
        and entry.lane == chain.lane
    ):
        return _new(Step, (entry, version, next_head))
    return None


# What a named tuple's own constructor does, at a third of its cost.
_new: Callable[..., Any] = tuple.__new__


class Operation(NamedTuple):
    """A control entry: which record it is, what it says."""

    number: int
    op: str
    fields: dict[str, object]


class Run:
    """Records of one chain, each the child of the one before, as they were read."""

    def __init__(self, parent: str, begins: bool) -> None:
        self.parent = parent
        self.begins = begins
        self.numbers = array("q")
        self.last = parent


class Chain:
    """All that a log has of one model in one lane.

    Attributes
    ----------
    place : str
        What its versions' names begin with.
    requests : int
        Entries of requests: being asked has changed the model so often.
    """

    def __init__(self, model: str, lane: str | None) -> None:
        self.model = model
        self.lane = lane
        self.place = place_of(model, lane)
        self.runs: list[Run] = []
        self.operations: list[Operation] = []
        self.environments: list[tuple[int, str]] = []
        self.requests = 0


class Chains:
    """Sorts the records of a learn log by chain while they are read, in any order of its files."""

    def __init__(self) -> None:
        self._by_place: dict[str, Chain] = {}
        # By the version that each chain's latest run has come to.
        self._ends: dict[str, Run] = {}

    def __iter__(self) -> Iterator[Chain]:
        return iter(self._by_place.values())

    def find(self, model: str, lane: str | None) -> Chain | None:
        """The chain of this model in this lane."""
        return self._by_place.get(place_of(model, lane))

    def add(self, number: int, record: bytes) -> str:
        """The record of this number, read next; the version that it leads to.

        Raises
        ------
        NoRecord
            It is none.
        """
        parent, version = _ends_of(record)
        run = self._ends.pop(parent, None)
        if run is None or not record.startswith(_EXAMPLE):
            return self._add(number, record, run)
        run.numbers.append(number)
        run.last = version
        self._ends[version] = run
        return version

    def _add(self, number: int, record: bytes, run: Run | None) -> str:
        """A record that is no example, or does not follow from the latest of its chain."""
        link = link_of(record)
        chain = self._by_place.get(link.version.rpartition("@")[0])
        if chain is None:
            try:
                named = parse_version(link.version)
            except ValueError as error:
                raise NoRecord(str(error)) from error
            chain = Chain(named.model, named.lane)
            self._by_place[chain.place] = chain
        begins = not record.startswith(_EXAMPLE) and self._note(chain, number, record, link)
        latest = chain.runs[-1] if chain.runs else None
        if run is None or begins or run is not latest:
            if latest is not None:
                self._ends.pop(latest.last, None)
            run = Run(link.parent, begins)
            chain.runs.append(run)
        run.numbers.append(number)
        run.last = link.version
        self._ends[link.version] = run
        return link.version

    def _note(self, chain: Chain, number: int, record: bytes, link: Link) -> bool:
        """Remember what is no example; whether a chain begins with it."""
        entry = entry_of(record, link)
        if entry.kind == "request":
            chain.requests += 1
        elif entry.kind == "environment":
            chain.environments.append((number, entry.op or ""))
        elif entry.kind == "control":
            try:
                op, fields = parse_op(entry.op or "")
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise NoRecord(f"its op cannot be read: {error}") from error
            chain.operations.append(Operation(number, op, fields))
            return op == "deploy"
        return False


# Forks


@dataclass
class Branch:
    """Records that follow one another; after `place` of them, `forks[place]` went other ways and ended."""

    numbers: "array[int]"
    forks: "dict[int, list[Branch]]"

    def all(self) -> Iterator[int]:
        """Its records and those of its forks."""
        yield from self.numbers
        for branches in self.forks.values():
            for branch in branches:
                yield from branch.all()


class Tree(Struct):
    """A chain from one beginning: `deploy` is the number of the record that begins it anew, if one does.

    Attributes
    ----------
    parent : str
        The version that it begins at.
    """

    parent: str
    deploy: int | None
    trunk: Branch


class Forest(Struct):
    """A chain, its forks found.

    Attributes
    ----------
    repeated : dict of int
        Records that the log holds once more -> those that stand for them.
    unlinked : set of int
        Records whose parent is no version of the log: taken for children of what was read before them.
    """

    trees: list[Tree]
    repeated: dict[int, int]
    unlinked: set[int]


class _Node:
    """A run among the others: what was repeated of another is left out, `begin` comes after it."""

    def __init__(self, numbers: "array[int]", begin: int = 0) -> None:
        self.numbers = numbers
        self.begin = begin
        self.children: list[tuple[int, _Node]] = []
        # Where the repeated ones stand that come before `begin`.
        self.aliases: list[tuple[_Node, int]] = []
        # The record that was read last, of it and what follows from it.
        self.newest = self.own_newest
        self._parent: _Node | None = None

    @property
    def own_newest(self) -> int:
        return self.numbers[-1] if self.begin < len(self.numbers) else -1

    def attach(self, position: int, child: "_Node") -> None:
        """`child` follows the record at this position."""
        self.children.append((position, child))
        child._parent = self
        node: _Node | None = self
        while node is not None and node.newest < child.newest:
            node.newest = child.newest
            node = node._parent


def forest(chain: Chain, read: Callable[[int], bytes], begins_at: Callable[[str], bool]) -> Forest:
    """Put the runs of a chain together.

    Of two ways that it went on, the one that was read last is the chain, and the other an attempt
    that was given up.

    Parameters
    ----------
    read
        Gives the record of a number.
    begins_at
        Whether a chain can begin at this version.
    """
    if len(chain.runs) == 1:
        [run] = chain.runs
        tree = Tree(run.parent, run.numbers[0] if run.begins else None, Branch(run.numbers, {}))
        return Forest([tree], {}, set())
    return _Joiner(chain, read, begins_at).forest()


class _Joiner:
    def __init__(
        self, chain: Chain, read: Callable[[int], bytes], begins_at: Callable[[str], bool]
    ) -> None:
        self._runs = chain.runs
        self._read = read
        self._begins_at = begins_at
        self._nodes = [_Node(run.numbers) for run in chain.runs]
        self._parents = self._located()
        self._joined: dict[int, bool] = {}
        self._roots: dict[str, _Node] = {}
        self._trees: list[tuple[str, bool, _Node]] = []
        self._repeated: dict[int, int] = {}
        self._unlinked: set[int] = set()

    def forest(self) -> Forest:
        for place in range(len(self._runs)):
            self._join(place)
        trees = []
        for parent, begins, node in self._trees:
            trunk = _branch(node)
            if trunk.numbers:
                trees.append(Tree(parent, trunk.numbers[0] if begins else None, trunk))
        return Forest(trees, self._repeated, self._unlinked)

    def _located(self) -> dict[str, tuple[int, int]]:
        """Where the versions stand that runs begin at."""
        wanted = {run.parent for run in self._runs if not run.begins}
        found: dict[str, tuple[int, int]] = {}
        for place, run in enumerate(self._runs):
            for position, number in enumerate(run.numbers):
                version = link_of(self._read(number)).version
                if version in wanted:
                    found.setdefault(version, (place, position))
        return found

    def _join(self, place: int) -> None:
        if place in self._joined:
            return
        self._joined[place] = False
        run, node = self._runs[place], self._nodes[place]
        if run.begins:
            self._trees.append((run.parent, True, node))
        else:
            self._follow(place, run, node)
        self._joined[place] = True

    def _follow(self, place: int, run: Run, node: _Node) -> None:
        target = self._parents.get(run.parent)
        if target is not None:
            self._join(target[0])
            if target[0] != place and self._joined[target[0]]:
                self._attach(node, *self._resolved(*target))
                return
        if place and not self._begins_at(run.parent):
            self._unlinked.add(run.numbers[0])
            self._join(place - 1)
            if self._joined[place - 1]:
                before = self._nodes[place - 1]
                self._attach(node, *self._resolved(place - 1, len(before.numbers) - 1))
                return
        root = self._roots.get(run.parent)
        if root is None:
            root = self._roots[run.parent] = _Node(array("q"))
            self._trees.append((run.parent, False, root))
        self._attach(node, root, -1)

    def _resolved(self, place: int, position: int) -> tuple[_Node, int]:
        node = self._nodes[place]
        return node.aliases[position] if position < node.begin else (node, position)

    def _attach(self, node: _Node, target: _Node, position: int) -> None:
        """Behind this record of `target`, but for what is there already."""
        while node.begin < len(node.numbers):
            record = self._read(node.numbers[node.begin])
            for other, next_position in _nexts(target, position):
                if self._read(other.numbers[next_position]) == record:
                    target, position = other, next_position
                    break
            else:
                target.attach(position, node)
                return
            node.aliases.append((target, position))
            self._repeated[node.numbers[node.begin]] = target.numbers[position]
            node.begin += 1


def _nexts(node: _Node, position: int) -> Iterator[tuple[_Node, int]]:
    if position + 1 < len(node.numbers):
        yield node, position + 1
    for place, child in node.children:
        if place == position:
            yield child, child.begin


def _branch(node: _Node) -> Branch:
    """From here on, at each fork the way on which the record stands that was read last."""
    numbers = array("q")
    forks: dict[int, list[Branch]] = {}
    while True:
        offset = len(numbers) - node.begin + 1
        onward = None
        for position in sorted({position for position, _ in node.children}):
            here = [child for place, child in node.children if place == position]
            rest = _Node(node.numbers, max(position + 1, node.begin))
            rest.children = [(place, child) for place, child in node.children if place > position]
            best = max(here, key=lambda child: child.newest)
            newest = max([rest.own_newest, *(child.newest for _, child in rest.children)])
            if best.newest > newest:
                onward = best
                ended = [child for child in here if child is not best]
                ended += [rest] if rest.own_newest >= 0 else []
                numbers.extend(node.numbers[node.begin : position + 1])
            else:
                ended = here
            if ended:
                forks[offset + position] = [_branch(each) for each in ended]
            if onward is not None:
                break
        if onward is None:
            numbers.extend(node.numbers[node.begin :])
            return Branch(numbers, forks)
        node = onward
