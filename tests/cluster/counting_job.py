"""A job without an end: counts the digits that it draws, in keyed state.

What it counts is no matter; it is there to run, checkpoint, fail over and be stopped. Arguments:
its name, the records it draws in a second, and optionally how many of a digit it bears.
"""

import sys
from collections.abc import Iterator

from pyflink.common import Types
from pyflink.datastream import KeyedProcessFunction, RuntimeContext, StreamExecutionEnvironment
from pyflink.datastream.state import ValueStateDescriptor
from pyflink.table import StreamTableEnvironment


class Count(KeyedProcessFunction):  # type: ignore[misc]
    """How often this digit has come."""

    def __init__(self, most: int) -> None:
        self.most = most

    def open(self, runtime_context: RuntimeContext) -> None:
        self.count = runtime_context.get_state(ValueStateDescriptor("count-v1", Types.LONG()))
        self.counted = runtime_context.get_metrics_group().counter("counted")

    def process_element(self, value: int, ctx: KeyedProcessFunction.Context) -> Iterator[int]:
        count = (self.count.value() or 0) + 1
        if count > self.most:
            raise ValueError(f"more than {self.most} of {value}")
        self.count.update(count)
        self.counted.inc()
        yield count


def main(name: str, per_second: int, most: int = 1_000_000_000) -> None:
    """Submit the job."""
    env = StreamExecutionEnvironment.get_execution_environment()
    env.set_parallelism(1)
    env.enable_checkpointing(500)
    tables = StreamTableEnvironment.create(env)
    tables.execute_sql(
        "create table digits (n int) with ('connector' = 'datagen', "
        f"'rows-per-second' = '{per_second}', 'fields.n.min' = '0', 'fields.n.max' = '9')"
    )
    digits = tables.to_data_stream(tables.from_path("digits"))
    counts = (
        digits.map(lambda row: row[0], output_type=Types.INT())
        .key_by(lambda n: n, key_type=Types.INT())
        .process(Count(most), output_type=Types.LONG())
        .name("count digits")
        .disable_chaining()
    )
    counts.filter(lambda count: False).print()
    env.execute(name)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
