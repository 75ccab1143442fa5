"""Models as bytes, and when to write them."""

import pickle
import sys
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from river import datasets, linear_model, tree

from state import snapshots
from state.snapshots import (
    CHUNK_BYTES,
    SnapshotPolicy,
    SnapshotSettings,
    StateFormatError,
    join,
    pickle_model,
    split,
    unpickle_model,
)

MS = 1_000_000  # ns


def due_after(settings: SnapshotSettings, pause_ns: int, cost_ns: int, most: int = 10_000) -> int:
    """How many entries of this cost there are before a snapshot is due, twice in a row."""
    policy = SnapshotPolicy(settings)
    counts = []
    for _ in range(2):
        policy.taken(pause_ns)
        assert policy.entries == 0
        counts.append(next(n for n in range(1, most) if policy.entry(cost_ns)))
        assert policy.entries == counts[-1]
    assert counts[0] == counts[1]
    return counts[0]


@pytest.mark.parametrize("every", [1, 7, 1000])
def test_a_fixed_number_of_entries_whatever_they_cost(every: int) -> None:
    assert due_after(SnapshotSettings(every=every), 240 * MS, 1) == every
    assert due_after(SnapshotSettings(every=every), 0, 10**12) == every


@pytest.mark.parametrize(
    ("settings", "pause_ns", "cost_ns", "entries"),
    [
        # A pause of 2 ms is 2 % of 100 ms of learning.
        (SnapshotSettings(), 2 * MS, 1 * MS, 100),
        (SnapshotSettings(overhead=0.5), 2 * MS, 1 * MS, 4),
        # The pause of an ARF, 240 ms, would be 2 % of 12 s; a replay may take 8 s.
        (SnapshotSettings(), 240 * MS, 10 * MS, 800),
        (SnapshotSettings(max_replay_ms=100), 240 * MS, 10 * MS, 10),
        # A linear model: a thousand entries a millisecond, but never more than so many.
        (SnapshotSettings(max_entries=300), 1 * MS, 1000, 300),
        (SnapshotSettings(), 1 * MS, 10_000, 5000),
        # Nothing is known of what a pause costs: find out.
        (SnapshotSettings(), 0, 1000, 1),
    ],
)
def test_the_pause_is_weighed_against_the_replay(
    settings: SnapshotSettings, pause_ns: int, cost_ns: int, entries: int
) -> None:
    assert due_after(settings, pause_ns, cost_ns) == entries


def test_a_replay_begins_the_count_anew_and_keeps_what_a_pause_costs() -> None:
    policy = SnapshotPolicy(SnapshotSettings(overhead=0.5))
    policy.taken(2 * MS)
    assert [policy.entry(MS) for _ in range(3)] == [False, False, False]
    policy.replayed()
    assert policy.entries == 0
    assert [policy.entry(MS) for _ in range(4)] == [False, False, False, True]


def test_the_pause_of_a_growing_model_is_expected_to_grow() -> None:
    policy = SnapshotPolicy(SnapshotSettings(overhead=0.02))
    policy.taken(1 * MS)
    for _ in range(100):
        policy.entry(1 * MS)
    # 1 ms longer after 100 ms: the next one is expected at 2 ms and 1 % of the time since.
    policy.taken(2 * MS)
    assert next(n for n in range(1, 1000) if policy.entry(1 * MS)) == 200
    # No longer growing: 2 % of 100 ms again.
    policy.taken(2 * MS)
    assert next(n for n in range(1, 1000) if policy.entry(1 * MS)) == 100


@given(st.lists(st.integers(0, 50 * MS), min_size=300, max_size=300), st.integers(0, 100 * MS))
def test_neither_bound_is_ever_passed(costs: list[int], pause_ns: int) -> None:
    policy = SnapshotPolicy(SnapshotSettings(max_replay_ms=200, max_entries=40, overhead=0.1))
    policy.taken(pause_ns)
    since: list[int] = []
    for cost in costs:
        before = sum(since)
        since.append(cost)
        if policy.entry(cost):
            policy.taken(pause_ns)
            since = []
        else:
            assert len(since) < 40
            assert before + cost < 200 * MS
            assert sum(since) * 0.1 < pause_ns


# Chunks


@given(st.binary(max_size=200), st.integers(1, 70))
def test_chunks_join_to_what_was_split(data: bytes, size: int) -> None:
    chunks = list(split(data, size))
    assert join(chunks) == data
    assert all(len(chunk) == size for chunk in chunks[:-1])
    assert all(0 < len(chunk) <= size for chunk in chunks)


def test_a_chunk_is_a_mebibyte() -> None:
    assert [len(chunk) for chunk in split(bytes(2 * CHUNK_BYTES + 1))] == [1 << 20, 1 << 20, 1]


# Pickles


def test_a_pickle_names_modules_of_river_only() -> None:
    data = pickle_model(linear_model.LogisticRegression())
    for module in (b"state.", b"models.", b"operators.", b"__main__", b"cloudpickle"):
        assert module not in data
    assert b"river.linear_model.log_reg" in data


@pytest.mark.parametrize(
    "data", [b"", b"garbage", pickle.dumps(1)[:-1], b"\x80\x05cno_such_module\nX\n."]
)
def test_bytes_that_cannot_be_read_say_what_to_do(data: bytes) -> None:
    with pytest.raises(StateFormatError) as error:
        unpickle_model(data, {"python": "3.9.1", "river": "0.20"})
    assert "written under python 3.9.1, river 0.20" in str(error.value)
    assert f"python {snapshots.environment()['python']}" in str(error.value)
    assert "start from the old environment" in str(error.value)


def test_a_model_deeper_than_python_usually_goes_is_written() -> None:
    """A regression tree keeps a feature that only rises, a date, as a chain; River copes with it."""
    model = tree.HoeffdingTreeRegressor()
    rows = list(datasets.TrumpApproval())
    for x, y in rows[:799]:
        model.learn_one(x, y)
    with pytest.raises(RecursionError):
        pickle.dumps(model)
    limit, stack = sys.getrecursionlimit(), threading.stack_size()
    twin = unpickle_model(pickle_model(model), {})
    assert (sys.getrecursionlimit(), threading.stack_size()) == (limit, stack)
    for x, y in rows[799:]:
        assert twin.predict_one(x) == model.predict_one(x)
        twin.learn_one(x, y)
        model.learn_one(x, y)


class Endless:
    """Deeper than any stack."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Endless, (Endless(),)


def test_a_model_without_an_end_raises_and_does_not_take_the_process_down() -> None:
    limit = sys.getrecursionlimit()
    with pytest.raises(RecursionError):
        pickle_model(Endless())
    assert sys.getrecursionlimit() == limit
