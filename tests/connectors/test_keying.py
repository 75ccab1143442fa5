"""Keyed streams whose key comes from Java or from a Python operator, in both execution modes."""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pyflink.common import Row, Types
from pyflink.datastream import KeyedProcessFunction
from pyflink.datastream.state import ValueStateDescriptor

from connectors import keying
from tests.connectors.sources import source, write_ids

pytestmark = pytest.mark.cluster

TEXT, PICKLED = Types.STRING(), Types.PICKLED_BYTE_ARRAY()
IDS = ["a", "é", "😀", "a\0b", "z" * 300]


class Count(KeyedProcessFunction):
    """Counts the records of a key in state; a timer behind them all passes the count on."""

    def open(self, runtime_context: Any) -> None:
        self._count = runtime_context.get_state(ValueStateDescriptor("count", PICKLED))

    def process_element(self, value: Any, ctx: Any) -> Iterator[Row]:
        verdict, _, name, position, _, id, _ = value
        assert (verdict, name, position.rpartition(":")[0][-3:]) == (0, "features", "/in")
        assert id == ctx.get_current_key()
        self._count.update((self._count.value() or 0) + 1)
        ctx.timer_service().register_event_time_timer(10_000)
        return iter(())

    def on_timer(self, timestamp: int, ctx: Any) -> Iterator[Row]:
        count = self._count.value()
        yield Row("even" if count % 2 == 0 else "odd", (ctx.get_current_key(), count))


class Collect(KeyedProcessFunction):
    """The second hop: says by which key it got what."""

    def process_element(self, value: Any, ctx: Any) -> Iterator[Any]:
        yield ctx.get_current_key(), *value


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("mode", ["thread", "process"])
def test_state_and_timers_are_by_the_key_of_the_row(
    flink_env: Callable[..., Any], tmp_path: Path, mode: str, in_place: bool
) -> None:
    expected = Counter({id: count for count, id in enumerate(IDS, 1)})
    write_ids(tmp_path / "in", expected)
    checkpoints = tmp_path / "checkpoints"
    # With checkpoints a bounded job ends with one that has every key in it.
    settings = {
        "execution.checkpointing.interval": "50 ms",
        "execution.checkpointing.dir": checkpoints.as_uri(),
        "execution.checkpointing.externalized-checkpoint-retention": "RETAIN_ON_CANCELLATION",
    }
    env = flink_env(parallelism=1 if in_place else 2, mode=mode, settings=settings)
    rows = source(env, tmp_path / "in", parallelism=1)
    counted = keying.key_rows(rows, TEXT, PICKLED).process(
        Count(), output_type=Types.ROW([TEXT, PICKLED])
    )
    keyed = keying.key_rows(counted, TEXT, PICKLED, in_place=in_place)
    collected = keyed.process(Collect())
    with collected.execute_and_collect() as found:
        seen = {id: (parity, count) for parity, id, count in found}
    assert seen == {
        id: ("even" if count % 2 == 0 else "odd", count) for id, count in expected.items()
    }
