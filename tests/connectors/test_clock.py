"""Clock in real jobs; the oracle is the rule in plain Python."""

import random
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pyflink.common import Types
from pyflink.datastream import DataStream, KeyedProcessFunction, MapFunction
from pyflink.java_gateway import get_gateway

from connectors import files, keying
from jobs.waiting import wait_until
from tests.connectors.sources import FINE, OUT_OF_ORDER, Record, collected, source
from tests.patience import PATIENCE_S

pytestmark = pytest.mark.cluster

Make = Callable[..., Any]
Times = dict[str, list[int]]

TRAIL = 50
CHECKPOINTS = {
    "execution.checkpointing.interval": "10 ms",
    "restart-strategy.type": "fixed-delay",
    "restart-strategy.fixed-delay.attempts": "1",
    "restart-strategy.fixed-delay.delay": "0 ms",
}


def write(path: Path, times: Iterable[int]) -> None:
    """One event a line; its id is the file's name and the line's index."""
    lines = [f'{{"id":"{path.name}-{i}","ts":{ts}}}\n' for i, ts in enumerate(times)]
    path.write_text("".join(lines))


def verdicts(times: Times, trail: int = TRAIL) -> dict[str, int]:
    """Each file by itself: further behind the highest before it than `trail` is out of order."""
    found = {}
    for name, sequence in times.items():
        highest = None
        for i, ts in enumerate(sequence):
            late = highest is not None and ts < highest - trail
            found[f"{name}-{i}"] = OUT_OF_ORDER if late else FINE
            if not late:
                highest = ts if highest is None else max(highest, ts)
    return found


def sources(env: Any, folder: Path, names: Iterable[str], **settings: Any) -> DataStream:
    streams = [
        source(env, folder / name, input_name=name, max_out_of_orderness_ms=TRAIL, **settings)
        for name in names
    ]
    return streams[0].union(*streams[1:])


def random_times(seed: int, count: int) -> Times:
    """Two inputs, their times shaken by up to three times what is allowed, far from each other."""
    drawn = random.Random(seed)
    return {
        "features": [1_000_000 + 10 * i - drawn.randrange(3 * TRAIL) for i in range(count)],
        "labels": [1_000 + 7 * i - drawn.randrange(3 * TRAIL) for i in range(count)],
    }


@pytest.mark.parametrize("punctuated", [True, False])
def test_a_record_is_out_of_order_by_the_times_of_its_own_file(
    flink_env: Make, tmp_path: Path, punctuated: bool
) -> None:
    times = random_times(seed=11, count=400)
    for name, sequence in times.items():
        write(tmp_path / name, sequence)
    stream = sources(flink_env(parallelism=2), tmp_path, times, punctuated=punctuated)
    found = {record.key: record.verdict for record in collected(keying.clock(stream, TRAIL))}
    expected = verdicts(times)
    assert found == expected
    assert set(expected.values()) == {FINE, OUT_OF_ORDER}


def test_a_record_out_of_order_keeps_everything_but_its_verdict(
    flink_env: Make, tmp_path: Path
) -> None:
    write(tmp_path / "in", [1000, 900])
    _, late = collected(keying.clock(source(flink_env(), tmp_path / "in"), TRAIL))
    raw = b'{"id":"in-1","ts":900}'
    assert late == Record("in-1", OUT_OF_ORDER, 900, "features", f"{tmp_path / 'in'}:2", raw)


def test_a_record_that_is_out_of_order_or_range_raises_no_time(
    flink_env: Make, tmp_path: Path
) -> None:
    far = 4_000_000_000_000
    write(tmp_path / "in", [1000, far, 5, 951, 950, 949])
    stream = source(flink_env(), tmp_path / "in", min_ts=10, max_out_of_orderness_ms=TRAIL)
    found = [record.verdict for record in collected(keying.clock(stream, TRAIL))]
    bad_ts = 2
    assert found == [FINE, bad_ts, bad_ts, FINE, FINE, OUT_OF_ORDER]


def test_a_clock_that_refuses_nothing_lets_every_record_count(
    flink_env: Make, tmp_path: Path
) -> None:
    write(tmp_path / "in", [1000, 5, 2000])
    stream = source(flink_env(), tmp_path / "in")
    found = [record.verdict for record in collected(keying.clock(stream, 0, refuse=False))]
    assert found == [FINE, FINE, FINE]


class Timers(KeyedProcessFunction):
    """Sets a timer `later` behind each record's time, and says what woke it."""

    def __init__(self, later: int) -> None:
        self._later = later

    def process_element(self, value: Any, ctx: Any) -> Iterator[str]:
        ctx.timer_service().register_event_time_timer(value[1] + self._later)
        return iter(())

    def on_timer(self, timestamp: int, ctx: Any) -> Iterator[str]:
        yield f"{ctx.get_current_key()} {ctx.timer_service().current_watermark()}"


def test_the_end_of_input_comes_behind_the_highest_time_seen(
    flink_env: Make, tmp_path: Path
) -> None:
    write(tmp_path / "features", [1000, 3000])
    write(tmp_path / "labels", [2980])
    stream = keying.clock(sources(flink_env(), tmp_path, ["features", "labels"]), TRAIL)
    keyed = keying.key_rows(stream, Types.STRING(), Types.PICKLED_BYTE_ARRAY())
    with keyed.process(Timers(20), output_type=Types.STRING()).execute_and_collect() as woken:
        found = dict(line.split() for line in woken)
    end = 2**63 - 1
    # 2980 + 20 was reached by features' 3000; 3000 + 20 by nothing but the end.
    assert found.keys() == {"features-0", "labels-0", "features-1"}
    assert int(found["features-0"]) <= 3000
    assert (int(found["labels-0"]), int(found["features-1"])) == (3000, end)


class FailOnce(MapFunction):
    """Raises once, when a checkpoint is complete."""

    def __init__(self, checkpoints: Path, failed: Path) -> None:
        self._checkpoints = checkpoints
        self._failed = failed

    def map(self, value: Any) -> Any:
        key, record = value
        looks = record[3].endswith("00") and not self._failed.exists()
        if looks and any(self._checkpoints.glob("*/chk-*/_metadata")):
            self._failed.touch()
            raise RuntimeError("injected")
        return f"{key} {record[0]}"


def test_a_clock_that_was_restored_judges_as_one_that_never_failed(
    flink_env: Make, tmp_path: Path
) -> None:
    times = random_times(seed=12, count=25_000)
    # The highest time is among the first: only a clock that kept it refuses all the rest.
    times["old"] = [10_000_000, *range(2_000_000, 2_025_000)]
    for name, sequence in times.items():
        write(tmp_path / name, sequence)
    checkpoints, failed = tmp_path / "checkpoints", tmp_path / "failed"
    env = flink_env(settings={**CHECKPOINTS, "execution.checkpointing.dir": checkpoints.as_uri()})
    clocked = keying.clock(sources(env, tmp_path, times), TRAIL).uid("clock")
    mapped = clocked.map(FailOnce(checkpoints, failed), output_type=Types.STRING())
    out = tmp_path / "out"
    write_out(mapped, out)
    env.execute("fails once")
    assert failed.exists()
    lines = list(files.read_parts(out))
    expected = verdicts(times)
    assert len(lines) == len(expected)
    found = {key: int(verdict) for key, verdict in map(str.split, lines)}
    assert found == expected


def write_out(stream: DataStream, path: Path) -> None:
    files.file_sink(
        stream,
        path=path,
        prefix="part",
        uid="sink",
        name="out",
        roll_interval_ms=20,
        roll_size_bytes=1 << 20,
    )


class Met(KeyedProcessFunction):
    """Yields each record's id, its verdict and the watermark that it met."""

    def process_element(self, value: Any, ctx: Any) -> Iterator[str]:
        yield f"{ctx.get_current_key()} {value[0]} {ctx.timer_service().current_watermark()}"


def test_a_savepoint_keeps_the_watermark_and_the_files_that_were_read(
    flink_env: Make, tmp_path: Path
) -> None:
    folder, savepoints = tmp_path / "in", tmp_path / "savepoints"
    folder.mkdir()
    write(folder / "a", [1000])
    settings = {
        "execution.checkpointing.interval": "20 ms",
        "execution.checkpointing.dir": (tmp_path / "checkpoints").as_uri(),
    }

    def start(out: Path, **more: str) -> Any:
        env = flink_env(settings={**settings, **more})
        stream = source(
            env, folder, watch=True, watch_interval_ms=20, max_out_of_orderness_ms=TRAIL
        )
        clocked = keying.clock(stream, TRAIL).uid("clock")
        keyed = keying.key_rows(clocked, Types.STRING(), Types.PICKLED_BYTE_ARRAY())
        write_out(keyed.process(Met(), output_type=Types.STRING()).uid("met"), out)
        return env.execute_async("watches")

    def lines(out: Path, count: int) -> list[str]:
        def enough() -> list[str] | None:
            found = list(files.read_parts(out))
            return found if len(found) >= count else None

        return wait_until(enough, f"{count} lines in {out}", timeout_s=PATIENCE_S, every_s=0.05)

    job = start(tmp_path / "first")
    assert lines(tmp_path / "first", 1) == [f"a-0 {FINE} {-(2**63)}"]
    # PyFlink 2.3's own stop_with_savepoint calls a method that Flink no longer has.
    formats = get_gateway().jvm.org.apache.flink.core.execution.SavepointFormatType
    stopped = job._j_job_client.stopWithSavepoint(False, str(savepoints), formats.CANONICAL)
    savepoint = stopped.get()

    # The watermark stands at 1000 - 50 - 1; `b` is a file of its own, so nothing else refuses.
    write(tmp_path / "b", [949, 950])
    (tmp_path / "b").rename(folder / "b")
    job = start(tmp_path / "second", **{"execution.state-recovery.path": savepoint})
    assert lines(tmp_path / "second", 2) == [f"b-0 {OUT_OF_ORDER} 949", f"b-1 {FINE} 949"]
    job.cancel().result()


def test_it_has_no_bound_of_its_own_on_parallelism(flink_env: Make, tmp_path: Path) -> None:
    """Its state in a savepoint of one chain could otherwise not be restored where it stands alone."""
    write(tmp_path / "in", [1])
    env = flink_env(parallelism=2)
    clocked = keying.clock(source(env, tmp_path / "in"), TRAIL)
    transformation = clocked._j_data_stream.getTransformation()
    assert (transformation.getParallelism(), transformation.getMaxParallelism()) == (1, -1)
