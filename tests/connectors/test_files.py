"""File sources and sinks in real jobs."""

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pyflink.common import Types
from pyflink.datastream import KeyedProcessFunction, MapFunction

from connectors import files, keying
from tests.connectors.sources import FINE, NO_TS, OUT_OF_ORDER, Record, collected, scattered, source

pytestmark = pytest.mark.cluster

Make = Callable[..., Any]

CHECKPOINTS = {
    "execution.checkpointing.interval": "10 ms",
    "restart-strategy.type": "fixed-delay",
    "restart-strategy.fixed-delay.attempts": "1",
    "restart-strategy.fixed-delay.delay": "0 ms",
}


def event(id: str, ts: int) -> bytes:
    return b'{"id":"%s","ts":%d}' % (id.encode(), ts)


def raws(records: Iterator[Record]) -> list[bytes | None]:
    return [record.raw for record in records]


def test_the_lines_of_a_file_keep_their_order_and_their_bytes(
    flink_env: Make, tmp_path: Path
) -> None:
    path = tmp_path / "a b%20é.jsonl"
    lines = [event("a", 1), b'{"id":"\xff\xfe"}\r', b"", b"nul \x00 nul", b" ", event("é", 2)]
    path.write_bytes(b"\n".join(lines))
    invalid = lines[1].removesuffix(b"\r")
    assert list(collected(source(flink_env(), path))) == [
        Record("a", FINE, 1, "features", f"{path}:1", lines[0]),
        Record(scattered(invalid), NO_TS, 0, "features", f"{path}:2", invalid),
        Record(scattered(lines[3]), NO_TS, 0, "features", f"{path}:4", lines[3]),
        Record(scattered(b" "), NO_TS, 0, "features", f"{path}:5", b" "),
        Record("é", FINE, 2, "features", f"{path}:6", lines[5]),
    ]


def test_a_folder_is_read_in_name_order_whatever_order_it_was_filled_in(
    flink_env: Make, tmp_path: Path
) -> None:
    names = [f"{i:03}.jsonl" for i in range(60)] + ["sub/a.jsonl", "sub/b.jsonl"]
    (tmp_path / "sub").mkdir()
    for name in random.Random(5).sample(names, len(names)):
        (tmp_path / name).write_bytes(b"%b 1\n%b 2" % (name.encode(), name.encode()))
    (tmp_path / ".hidden.jsonl").write_bytes(b"hidden")
    (tmp_path / "_hidden.jsonl").write_bytes(b"hidden")
    (tmp_path / "030-empty.jsonl").touch()
    expected = [f"{name} {line}".encode() for name in names for line in (1, 2)]
    assert raws(collected(source(flink_env(), tmp_path))) == expected


def test_subtasks_share_out_the_files_and_read_each_once(flink_env: Make, tmp_path: Path) -> None:
    for i in range(20):
        (tmp_path / f"{i:02}").write_bytes(b"%d" % i)
    found = raws(collected(source(flink_env(parallelism=2), tmp_path)))
    assert sorted(map(int, filter(None, found))) == list(range(20))


def test_a_watched_folder_gives_files_that_come_later(flink_env: Make, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "b").write_bytes(b"second")
    (folder / "a").write_bytes(b"first")
    stream = source(flink_env(), folder, watch=True, watch_interval_ms=20)
    records = collected(stream)
    assert [next(records).raw, next(records).raw] == [b"first", b"second"]
    written = tmp_path / "0"
    written.write_bytes(b"third\nfourth\n")
    written.rename(folder / "0")
    assert [next(records).raw, next(records).raw] == [b"third", b"fourth"]
    records.close()


def test_a_watched_folder_moves_time_by_one_file_alone(flink_env: Make, tmp_path: Path) -> None:
    """At any parallelism: who has no file to read holds nothing up."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a").write_bytes(event("one", 1000))
    stream = source(flink_env(parallelism=2), tmp_path / "in", watch=True, watch_interval_ms=20)
    with watermarks(stream).execute_and_collect() as found:
        assert next(found).startswith("one at ")
        (tmp_path / "written").write_bytes(event("two", 2000))
        (tmp_path / "written").rename(tmp_path / "in" / "b")
        seen: list[str] = []
        while "one timer 1000" not in seen:
            seen.append(next(found))


def test_a_path_that_does_not_exist_is_an_error_at_once(flink_env: Make, tmp_path: Path) -> None:
    path = tmp_path / "none.jsonl"
    with pytest.raises(FileNotFoundError, match=f"labels: there is no file or folder {path}"):
        source(flink_env(), path, input_name="labels")


def test_a_file_cannot_be_watched(flink_env: Make, tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.touch()
    with pytest.raises(NotADirectoryError, match="only a folder can be watched"):
        source(flink_env(), path, watch=True)


@pytest.mark.parametrize(("hold", "verdict"), [(True, FINE), (False, OUT_OF_ORDER)])
def test_holding_keeps_the_watermark_behind_files_that_are_not_begun(
    flink_env: Make, tmp_path: Path, hold: bool, verdict: int
) -> None:
    (tmp_path / "a").write_bytes(event("later", 1000))
    (tmp_path / "b").write_bytes(event("earlier", 10))
    stream = source(flink_env(), tmp_path, hold_until_last_file=hold)
    verdicts = {record.key: record.verdict for record in collected(keying.clock(stream, 0))}
    assert verdicts == {"later": FINE, "earlier": verdict}


class Watermarks(KeyedProcessFunction):
    """Yields each record's id and the watermark that it met, and a timer at its time."""

    def process_element(self, value: Any, ctx: Any) -> Iterator[str]:
        ctx.timer_service().register_event_time_timer(value[1])
        yield f"{ctx.get_current_key()} at {ctx.timer_service().current_watermark()}"

    def on_timer(self, timestamp: int, ctx: Any) -> Iterator[str]:
        yield f"{ctx.get_current_key()} timer {timestamp}"


def watermarks(stream: Any) -> Any:
    keyed = keying.key_rows(stream, Types.STRING(), Types.PICKLED_BYTE_ARRAY())
    return keyed.process(Watermarks(), output_type=Types.STRING())


def test_the_last_file_moves_the_watermark_again(flink_env: Make, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(event("one", 1000))
    (tmp_path / "b").write_bytes(b"\n".join([event("two", 500), event("three", 800)]))
    (tmp_path / "c-is-empty").touch()
    stream = source(flink_env(), tmp_path, hold_until_last_file=True, max_out_of_orderness_ms=100)
    with watermarks(stream).execute_and_collect() as found:
        seen = list(found)
    none = -(2**63)
    # The watermark trails the last file's first record: 500 - 100 - 1.
    assert seen[:3] == [f"one at {none}", f"two at {none}", "three at 399"]


def test_only_times_that_were_read_and_are_in_range_move_the_watermark(
    flink_env: Make, tmp_path: Path
) -> None:
    path = tmp_path / "in.jsonl"
    far = 4_000_000_000_000
    lines = [event("ok", 2000), event("late", 1), event("far", far), b'{"id":"none"}', b"broken"]
    path.write_bytes(b"\n".join([*lines, event("end", 2000)]))
    with watermarks(source(flink_env(), path, min_ts=1000)).execute_and_collect() as found:
        met = [line for line in found if line.startswith("end at")]
    assert met == ["end at 1999"]


def test_an_input_without_records_holds_nothing_back_once_it_is_idle(
    flink_env: Make, tmp_path: Path
) -> None:
    for name in ("features", "labels"):
        (tmp_path / name).mkdir()
    (tmp_path / "features" / "a").write_bytes(event("one", 1000) + b"\n" + event("two", 2000))
    env = flink_env(settings={"pipeline.auto-watermark-interval": "10 ms"})
    inputs = [
        source(env, tmp_path / name, input_name=name, watch=True, idle_timeout_ms=timeout)
        for name, timeout in (("features", None), ("labels", 50))
    ]
    with watermarks(inputs[0].union(inputs[1])).execute_and_collect() as found:
        assert next(line for line in found if "timer" in line) == "one timer 1000"


class FailOnce(MapFunction):
    """Raises once, when a checkpoint that knows of a record is complete; notes each attempt."""

    def __init__(self, checkpoints: Path, notes: Path) -> None:
        self._checkpoints = checkpoints
        self._notes = notes

    def open(self, runtime_context: Any) -> None:
        self._attempt = len(self._notes.read_text().split()) if self._notes.exists() else 0
        self._begun_after: int | None = None

    def map(self, value: Any) -> str:
        raw = value[1][4].decode()
        if self._begun_after is None:
            # One more may be under way, begun before this record was read.
            self._begun_after = 1 + max(self._numbers("chk-*"), default=0)
            with self._notes.open("a") as notes:
                notes.write(f"{raw}\n")
        if self._attempt == 0 and raw.endswith("00"):
            complete = max(self._numbers("chk-*/_metadata"), default=0)
            if complete > self._begun_after:
                raise RuntimeError("injected")
        return raw

    def _numbers(self, pattern: str) -> list[int]:
        """Numbers of the checkpoints that have such a file."""
        found = self._checkpoints.glob(f"*/{pattern}")
        return [int(str(path).rpartition("chk-")[2].partition("/")[0]) for path in found]


def test_a_job_that_fails_in_mid_file_goes_on_where_its_checkpoint_was(
    flink_env: Make, tmp_path: Path
) -> None:
    folder, out, notes = tmp_path / "in", tmp_path / "out", tmp_path / "notes"
    folder.mkdir()
    lines = [f"{i:06}" for i in range(60_000)]
    for name, part in (("a", lines[:50_000]), ("b", lines[50_000:])):
        (folder / name).write_text("\n".join(part))
    checkpoints = tmp_path / "checkpoints"
    env = flink_env(settings={**CHECKPOINTS, "execution.checkpointing.dir": checkpoints.as_uri()})
    stream = source(env, folder).map(FailOnce(checkpoints, notes), output_type=Types.STRING())
    files.file_sink(
        stream,
        path=out,
        prefix="part",
        uid="sink",
        name="out",
        roll_interval_ms=20,
        roll_size_bytes=4096,
    )
    env.execute("fails once")
    first, second = notes.read_text().split()
    assert (first, second > first) == (lines[0], True)
    assert list(files.read_parts(out)) == lines
    assert len(list(out.glob("part-*.jsonl"))) > 2


class Raw(MapFunction):
    def map(self, value: Any) -> str:
        return value[1][4].decode()


def test_a_sink_keeps_the_order_of_a_stream_of_one_subtask(flink_env: Make, tmp_path: Path) -> None:
    lines = [f"{i}" for i in range(3000)]
    (tmp_path / "in").write_text("\n".join(lines))
    env = flink_env(parallelism=2)
    stream = source(env, tmp_path / "in", parallelism=1).map(Raw(), output_type=Types.STRING())
    files.file_sink(
        stream.set_parallelism(1),
        path=tmp_path / "out",
        prefix="part",
        uid="sink",
        name="out",
        roll_interval_ms=1000,
        roll_size_bytes=1 << 20,
    )
    env.execute("one subtask")
    assert list(files.read_parts(tmp_path / "out")) == lines


def test_parts_are_read_by_writer_and_number_without_unfinished_ones(tmp_path: Path) -> None:
    written = {
        "part-0ld-9.jsonl": (10, "1\n"),
        "part-0ld-10.jsonl": (12, "2\n"),
        "part-new-0.jsonl": (11, "3\n4"),
        "part-new-2.jsonl": (11, "\u2028\r5\n"),
        ".part-new-3.jsonl.inprogress.77": (13, "unfinished\n"),
        "other.jsonl": (1, "no part\n"),
        "part-new-0.csv": (1, "no part\n"),
    }
    for name, (modified_s, text) in written.items():
        (tmp_path / name).write_bytes(text.encode())
        os.utime(tmp_path / name, (modified_s, modified_s))
    assert list(files.read_parts(tmp_path)) == ["1", "2", "3", "4", "\u2028\r5"]
