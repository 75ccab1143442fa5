"""Records of a learn log put into chains: in any order, twice, with attempts that were given up."""

import json
from hashlib import sha256
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from state.chains import (
    Branch,
    Chain,
    Chains,
    Forest,
    NoRecord,
    entry_digest,
    entry_of,
    erased_digest,
    follow,
    forest,
    link_of,
)
from state.learnlog import erased_record


class Written:
    """Records of one chain by hand: each has a text of its own, and a head that follows."""

    def __init__(self) -> None:
        self.records: list[bytes] = []

    def begin(self, text: str = "") -> tuple[int, bytes]:
        return 0, sha256(text.encode()).digest()

    def name(self, at: tuple[int, bytes]) -> str:
        return f"m@{at[0]}-{at[1].hex()[:12]}"

    def add(self, at: tuple[int, bytes], text: str, **more: Any) -> tuple[int, bytes]:
        """A record behind this one; where it leads."""
        entry = {"kind": "example", "model": "m", "lane": None, "n": at[0] + 1, "id": text, **more}
        body = json.dumps(entry, separators=(",", ":"))
        head = sha256(at[1] + sha256(body.encode()).digest()).digest()
        here = entry["n"], head
        tail = {"parent": self.name(at), "version": self.name(here), "head": head.hex()}
        self.records.append(f"{body[:-1]},{json.dumps(tail, separators=(',', ':'))[1:]}".encode())
        return here

    def line(self, at: tuple[int, bytes], texts: str) -> list[tuple[int, bytes]]:
        """A record for each letter, one behind the other."""
        found = []
        for text in texts:
            at = self.add(at, text)
            found.append(at)
        return found


def put_together(records: list[bytes], known: tuple[str, ...] = ()) -> Forest:
    chains = Chains()
    for number, record in enumerate(records):
        chains.add(number, record)
    [chain] = chains
    return forest(chain, records.__getitem__, known.__contains__)


def ids(records: list[bytes], branch: Branch) -> str:
    return "".join(json.loads(records[number])["id"] for number in branch.numbers)


def shape(records: list[bytes], branch: Branch) -> Any:
    """The letters of a branch, and of what forks off where."""
    forks = {
        place: sorted(str(shape(records, fork)) for fork in found)
        for place, found in sorted(branch.forks.items())
    }
    return (ids(records, branch), forks) if forks else ids(records, branch)


def test_one_behind_the_other() -> None:
    written = Written()
    written.line(written.begin(), "abcde")
    found = put_together(written.records)
    [tree] = found.trees
    assert shape(written.records, tree.trunk) == "abcde"
    assert (tree.parent, tree.deploy) == (written.name(written.begin()), None)
    assert (found.repeated, found.unlinked) == ({}, set())


@given(cuts=st.sets(st.integers(1, 9), max_size=4), data=st.data())
@settings(deadline=None)
def test_pieces_may_be_read_in_any_order(cuts: set[int], data: st.DataObject) -> None:
    written = Written()
    written.line(written.begin(), "abcdefghij")
    pieces = [written.records[a:b] for a, b in pairwise([0, *sorted(cuts), 10])]
    records = [record for piece in data.draw(st.permutations(pieces)) for record in piece]
    found = put_together(records, (written.name(written.begin()),))
    [tree] = found.trees
    assert shape(records, tree.trunk) == "abcdefghij"


@pytest.mark.parametrize(
    ("at", "wanted"),
    [(2, ("abXYZ", {2: ["cde"]})), (0, ("XYZ", {0: ["abcde"]})), (5, "abcdeXYZ")],
    ids=["in the middle", "at the beginning", "at the end"],
)
def test_of_two_ways_the_one_read_last_is_the_chain(at: int, wanted: Any) -> None:
    written = Written()
    begin = written.begin()
    steps = [begin, *written.line(begin, "abcde")]
    written.line(steps[at], "XYZ")
    [tree] = put_together(written.records, (written.name(begin),)).trees
    assert shape(written.records, tree.trunk) == wanted


def test_attempts_of_attempts() -> None:
    written = Written()
    begin = written.begin()
    first = written.line(begin, "abcd")
    second = written.line(first[1], "EFG")
    written.line(second[0], "xy")
    written.line(second[1], "z")
    [tree] = put_together(written.records).trees
    assert shape(written.records, tree.trunk) == ("abEFz", {2: ["cd"], 3: ["xy"], 4: ["G"]})


def test_what_is_there_twice_counts_once() -> None:
    written = Written()
    begin = written.begin()
    steps = written.line(begin, "abcde")
    again = written.records[2:5]
    written.records += again
    written.line(steps[4], "f")
    written.records += [*again, written.records[8]]
    written.line(steps[3], "X")
    found = put_together(written.records)
    [tree] = found.trees
    assert shape(written.records, tree.trunk) == ("abcdX", {4: ["ef"]})
    assert found.repeated == {5: 2, 6: 3, 7: 4, 9: 2, 10: 3, 11: 4, 12: 8}


def test_a_fork_may_be_there_twice_too() -> None:
    written = Written()
    steps = written.line(written.begin(), "abc")
    written.line(steps[0], "XY")
    written.records += written.records[1:3]
    written.records += written.records[3:5]
    written.line(steps[0], "k")
    found = put_together(written.records)
    [tree] = found.trees
    assert shape(written.records, tree.trunk) == ("ak", {1: ["XY", "bc"]})
    assert len(found.repeated) == 4


def test_thousands_of_attempts_are_no_deep_recursion() -> None:
    written = Written()
    at = written.begin()
    begin = written.name(at)
    for number in range(3000):
        ended, at = written.add(at, f"e{number}"), written.add(at, f"g{number}")
        assert ended != at
    [tree] = put_together(written.records, (begin,)).trees
    assert len(tree.trunk.numbers) == 3000
    assert len(tree.trunk.forks) == 3000


def test_a_deployment_begins_a_tree_of_its_own() -> None:
    written = Written()
    begin = written.begin()
    written.line(begin, "ab")
    deployed = written.add(begin, "D", kind="control", n=0, op="deploy", seq=None)
    written.line(deployed, "xy")
    again = written.add(begin, "E", kind="control", n=0, op='deploy {"task":"regression"}', seq=1)
    written.line(again, "z")
    trees = put_together(written.records).trees
    assert [shape(written.records, tree.trunk) for tree in trees] == ["ab", "Dxy", "Ez"]
    assert [tree.deploy for tree in trees] == [None, 2, 5]


def test_what_hangs_on_nothing_hangs_on_what_was_read_before_it() -> None:
    written = Written()
    begin = written.begin()
    written.line(begin, "abcdef")
    del written.records[3]
    found = put_together(written.records, (written.name(begin),))
    [tree] = found.trees
    assert shape(written.records, tree.trunk) == "abcef"
    assert found.unlinked == {3}


def test_chains_are_told_apart_by_model_and_lane() -> None:
    written, records = Written(), []
    at = {}
    for place, model, lane in (("a", "a", None), ("a/1%2F2", "a", "1/2"), ("a/x", "a", "x")):
        at[place] = (model, lane)
        step = written.add(written.begin(place), "e", model=model, lane=lane)
        records.append(written.records[-1].replace(b'"m@', f'"{place}@'.encode()))
        assert step[0] == 1
    chains = Chains()
    for number, record in enumerate(records):
        chains.add(number, record)
    assert [(chain.place, (chain.model, chain.lane)) for chain in chains] == list(at.items())
    found = chains.find("a", "1/2")
    assert found is not None and list(found.runs[0].numbers) == [1]
    assert chains.find("b", None) is None


def test_entries_that_are_no_examples_are_noted() -> None:
    written = Written()
    at = written.add(written.begin(), "r", kind="request", n=0)
    at = written.add(at, "v", kind="environment", n=0, op='{"river":"0"}')
    written.add(at, "c", kind="control", n=0, op='rollback {"version":"m@0-1"}')
    chains = Chains()
    for number, record in enumerate(written.records):
        chains.add(number, record)
    [chain] = chains
    assert chain.requests == 1
    assert chain.environments == [(1, '{"river":"0"}')]
    assert chain.operations == [(2, "rollback", {"version": "m@0-1"})]


# One record


def record() -> tuple[Written, bytes]:
    written = Written()
    written.add(
        written.begin(), 'a,"parent":"x', features={"é": 1.5}, event_time=0, op=None, seq=None
    )
    return written, written.records[0]


def test_a_link_is_cut_from_the_text() -> None:
    written, text = record()
    link = link_of(text)
    row = json.loads(text)
    assert (link.parent, link.version, link.head.hex()) == (
        row["parent"],
        row["version"],
        row["head"],
    )
    assert link.parent == written.name(written.begin())
    assert entry_of(text, link).id == 'a,"parent":"x'
    assert entry_digest(text, link) == sha256(text[: link.cut] + b"}").digest()


def test_an_erased_record_has_the_same_digest() -> None:
    _, text = record()
    erased = erased_record(text.decode()).encode()
    link = link_of(erased)
    digest = entry_digest(text, link_of(text))
    assert erased_digest(erased, link) == entry_digest(erased, link) == digest
    assert erased_digest(text, link_of(text)) is None
    assert link._replace(cut=0) == link_of(text)._replace(cut=0)
    assert erased_record(erased.decode()).encode() == erased


def test_a_record_follows_or_does_not() -> None:
    written, text = record()
    begin, chain = written.begin(), Chain("m", None)
    step = follow(text, begin[1], chain)
    assert step is not None
    assert (step.version, step.head) == (link_of(text).version, link_of(text).head)
    assert step.entry.id == 'a,"parent":"x'
    for place in range(len(text) - 1):
        other = text[:place] + bytes([text[place] ^ 1]) + text[place + 1 :]
        # Of the parent the run that it is in knows.
        begins = text.rindex(b'"parent"') - 1
        if not begins <= place < text.index(b',"version"', begins):
            assert follow(other, begin[1], chain) is None, other
    assert follow(text, bytes(32), chain) is None
    assert follow(text, begin[1], Chain("m", "1")) is None
    assert follow(erased_record(text.decode()).encode(), begin[1], chain) is None


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{}",
        b'{"parent":"a","version":"b","head":"c"}',
        b'{"a":1,"parent":"a","version":"b","head":"' + b"0" * 64 + b'"}',
        b'{"a":1,"parent":"a","version":"m@1-\xc3\xa9bbbbbbbbbb","head":"' + b"0" * 64 + b'"}',
        b'{"kind":"control","parent":"a","version":"m@1-bbbbbbbbbbbb","head":"' + b"0" * 64 + b'"}',
        b'{"kind":"control","model":"m","lane":null,"n":0,"op":"deploy {","parent":"a",'
        b'"version":"m@1-bbbbbbbbbbbb","head":"' + b"0" * 64 + b'"}',
    ],
)
def test_what_is_no_record_is_refused(text: bytes) -> None:
    chains = Chains()
    with pytest.raises(NoRecord):
        chains.add(0, text)
