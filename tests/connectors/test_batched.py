"""Batched: many records in one call into Python, with state, timers and side outputs as PyFlink has them."""

import pickle
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
from pyflink.common import Types
from pyflink.datastream import KeyedProcessFunction, OutputTag

from connectors import keying
from operators import batching
from operators.batching import Reply
from state.names import PICKLED, TEXT
from tests.connectors.sources import source, write_ids

pytestmark = pytest.mark.cluster

READ, UNREAD = OutputTag("read", TEXT), OutputTag("unread", TEXT)
IDS = ["a", "é", "😀", "a\0b", "z" * 300]
# Stands in the map of each key.
SHARED = "shared"
ROW = Types.ROW([TEXT, PICKLED])


@pytest.fixture(autouse=True)
def by_value() -> Iterator[None]:
    import sys

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


class InBatches(KeyedProcessFunction):
    """A function that is only ever given batches."""

    def process_element(self, value: Any, ctx: Any) -> Iterator[Any]:
        raise AssertionError("a record by itself")

    def show(self) -> None:
        """It has no metrics."""


class Count(InBatches):
    """Counts the records of a key in state; a timer behind them all passes the count on."""

    def open(self, runtime_context: Any) -> None:
        self._batches = 0
        batching.opened(self)

    def run(self, batch: bytes) -> bytes:
        stored, records, found, watermark = pickle.loads(batch)
        assert not found
        self._batches += 1
        counts = [0 if held is None else pickle.loads(held) for held in stored]
        gone = set()
        reply = Reply()
        for place, record in zip(records[::2], records[1::2], strict=True):
            if isinstance(record, tuple):
                time, key = record
                assert time <= watermark
                reply.send(key, (key, counts[place]), wants=SHARED)
                reply.side(0, f"{key} {self._batches}")
                reply.side(1, "nobody reads this")
                gone.add(place)
            else:
                counts[place] += 1
                reply.set_timer(place, 10_000)
                reply.set_timer(place, 11_000)
                reply.delete_timer(place, 11_000)
        for place, count in enumerate(counts):
            if place in gone:
                reply.clear(place)
            else:
                reply.put(place, count)
        return reply.written()


class Collect(InBatches):
    """The second hop: what it got by which key, and what stood in its map of it before."""

    def open(self, runtime_context: Any) -> None:
        batching.opened(self)

    def run(self, batch: bytes) -> bytes:
        (key,), records, found, _ = pickle.loads(batch)
        known = dict(zip(found[::2], found[1::2], strict=True))
        reply = Reply()
        for record in records[1::2]:
            for id, count in pickle.loads(record):
                before = None if known[SHARED] is None else pickle.loads(known[SHARED])
                reply.emit(f"{key}|{id}|{count}|{before}")
                reply.put_entry(SHARED, id)
                reply.put_entry("other", 1)
                reply.remove_entry("other")
        return reply.written()


class Failing(Count):
    def run(self, batch: bytes) -> bytes:
        raise ValueError("a batch that cannot be handled")


def _counted(env: Any, path: Path, function: KeyedProcessFunction, **settings: Any) -> Any:
    rows = keying.key_rows(
        source(env, path, parallelism=1, punctuated=False), TEXT, PICKLED, **settings
    )
    return keying.process_batches(
        rows, function, ROW, sides=[READ, UNREAD], show_every_ms=200, value_state="count"
    )


@pytest.mark.parametrize("in_place", [False, True])
def test_state_timers_and_maps_are_by_key_whatever_the_batches(
    flink_env: Callable[..., Any], tmp_path: Path, in_place: bool
) -> None:
    expected = Counter({id: 300 * count for count, id in enumerate(IDS, 1)})
    write_ids(tmp_path / "in", expected)
    checkpoints = tmp_path / "checkpoints"
    # With checkpoints a bounded job ends with one that has every key in it.
    settings = {
        "execution.checkpointing.interval": "50 ms",
        "execution.checkpointing.dir": checkpoints.as_uri(),
        "pipeline.object-reuse": "true",
    }
    env = flink_env(parallelism=1 if in_place else 2, settings=settings)
    counted = _counted(env, tmp_path / "in", Count(), in_place=in_place)
    keyed = keying.key_rows(counted, TEXT, PICKLED, in_place=in_place)
    collected = keying.process_batches(
        keyed, Collect(), TEXT, sides=[], show_every_ms=200, map_state="known"
    )
    told = keying.side_output(counted, READ)
    both = collected.union(told)
    with both.execute_and_collect() as found:
        seen = list(found)
    rows = [tuple(text.split("|")) for text in seen if "|" in text]
    assert sorted(rows) == sorted((id, id, str(n), "None") for id, n in expected.items())
    batches = {text.split(" ")[0]: int(text.split(" ")[1]) for text in seen if "|" not in text}
    assert batches.keys() == set(IDS)
    # 4,500 records and five timers went in far fewer calls than that.
    assert max(batches.values()) < 2_000


def test_what_a_batch_raises_is_the_job_s_failure(
    flink_env: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "in").write_text('{"id":"a","ts":1}')
    env = flink_env(settings={"restart-strategy.type": "none"})
    with pytest.raises(Exception, match="a batch that cannot be handled"):
        list(_counted(env, tmp_path / "in", Failing()).execute_and_collect())
