"""Lines of a file as records, read by the Java reader without a job around it."""

import pickle
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from connectors import java_code
from tests.connectors.sources import TOO_LARGE

pytestmark = pytest.mark.cluster

LIMIT = 12
KEPT = 5


class Line(NamedTuple):
    number: int
    too_large: bool
    raw: bytes


class Read(NamedTuple):
    """A line, and the position that a checkpoint right behind it holds."""

    line: Line
    offset: int
    skipped: int


Reader = Callable[..., Iterator[Read]]


@pytest.fixture(scope="module")
def read(flink: None, tmp_path_factory: pytest.TempPathFactory) -> Reader:
    """Reads bytes as a file; from behind an earlier read if given one."""
    from pyflink.datastream import StreamExecutionEnvironment
    from pyflink.java_gateway import get_gateway

    java_code.attach(StreamExecutionEnvironment.get_execution_environment())
    jvm = get_gateway().jvm
    path = tmp_path_factory.mktemp("lines") / "in.jsonl"

    def split_of(content: bytes) -> Any:
        path.write_bytes(content)
        split = jvm.org.apache.flink.connector.file.src.FileSourceSplit
        located = jvm.org.apache.flink.core.fs.Path(f"file://{path}")
        hosts = get_gateway().new_array(jvm.java.lang.String, 0)
        return split("1", located, 0, len(content), 0, len(content), hosts)

    def lines(
        content: bytes,
        *,
        after: Read | None = None,
        appended: bytes = b"",
        limit: int = LIMIT,
        keep: int = KEPT,
    ) -> Iterator[Read]:
        format = java_code.new("Lines", java_code.new("Envelope", "in", 0, 0, limit, keep, "none"))
        configuration = jvm.org.apache.flink.configuration.Configuration()
        split = split_of(content)
        with path.open("ab") as file:
            file.write(appended)
        if after is None:
            reader = format.createReader(configuration, split)
        else:
            util = jvm.org.apache.flink.connector.file.src.util
            position = util.CheckpointedPosition(after.offset, after.skipped)
            moved = split.updateWithCheckpointedPosition(position)
            reader = format.restoreReader(configuration, moved)
        try:
            while (batch := reader.readBatch()) is not None:
                while (record := batch.next()) is not None:
                    pickled = record.getRecord().getField(1)
                    verdict, _, _, position, raw, *_ = pickle.loads(pickled)
                    file, _, number = position.rpartition(":")
                    assert file == str(path)
                    line = Line(int(number), verdict == TOO_LARGE, raw)
                    yield Read(line, record.getOffset(), record.getRecordSkipCount())
        finally:
            reader.close()

    return lines


def expected(content: bytes, limit: int = LIMIT, keep: int = KEPT) -> list[Line]:
    """The same by Python's own splitting."""
    lines = []
    for number, raw in enumerate(content.split(b"\n"), 1):
        raw = raw.removesuffix(b"\r")
        if len(raw) > limit:
            lines.append(Line(number, True, raw[:keep]))
        elif raw:
            lines.append(Line(number, False, raw))
    return lines


pieces = st.sampled_from([b"\n", b"\r\n", b"\r", b"a", b" ", b"\x00\xff", b"x" * LIMIT, b"{}"])
contents = st.lists(pieces, max_size=12).map(b"".join)


@settings(max_examples=60, deadline=None)
@given(content=contents)
@example(content=b"")
@example(content=b"\n\r\n\n")
@example(content=b"no newline at the end")
@example(content=b"a\nb\r\nc\r")
@example(content=b"x" * LIMIT + b"\r\n" + b"x" * (LIMIT + 1) + b"\n" + b"x" * LIMIT)
def test_lines_end_with_newline_or_return_and_newline_or_the_file(
    read: Reader, content: bytes
) -> None:
    assert [found.line for found in read(content)] == expected(content)


@settings(max_examples=30, deadline=None)
@given(content=contents, at=st.integers(0, 20))
@example(content=b"a\n\n\nb\r\n\nc", at=0)
def test_a_restored_reader_goes_on_right_behind_the_record(
    read: Reader, content: bytes, at: int
) -> None:
    whole = list(read(content))
    for found in whole[at : at + 1]:
        assert list(read(content, after=found)) == whole[at + 1 :]


@pytest.mark.parametrize("length", [64 * 1024 - 1, 64 * 1024, 128 * 1024, 128 * 1024 + 1])
def test_a_line_across_the_edges_of_the_buffer_arrives_whole(read: Reader, length: int) -> None:
    content = b"\n".join([b"a" * length, b"", b"b" * length, b"c"])
    lines = [found.line for found in read(content, limit=1 << 20)]
    assert lines == [
        Line(1, False, b"a" * length),
        Line(3, False, b"b" * length),
        Line(4, False, b"c"),
    ]


def test_of_a_huge_line_the_first_bytes_are_kept_and_the_next_line_is_whole(read: Reader) -> None:
    huge = b"0123456789" * 300_000
    content = b"first\n" + huge + b"\nlast\n" + huge
    assert [found.line for found in read(content)] == [
        Line(1, False, b"first"),
        Line(2, True, b"01234"),
        Line(3, False, b"last"),
        Line(4, True, b"01234"),
    ]


def test_a_limit_larger_than_the_buffer_is_kept_to(read: Reader) -> None:
    limit = 300_000
    content = b"a" * limit + b"\r\n" + b"b" * (limit + 1) + b"\nc"
    lines = [found.line for found in read(content, limit=limit)]
    assert lines == [Line(1, False, b"a" * limit), Line(2, True, b"bbbbb"), Line(3, False, b"c")]


def test_many_empty_lines_are_no_end_of_the_file(read: Reader) -> None:
    [found] = read(b"\n" * 600_000 + b"a")
    assert found == Read(Line(600_001, False, b"a"), 600_001, 600_001)


def test_more_records_than_a_batch_holds_arrive_in_order(read: Reader) -> None:
    content = b"".join(b"%d\n" % i for i in range(2500))
    assert [found.line.raw for found in read(content)] == [b"%d" % i for i in range(2500)]


def test_what_is_appended_after_the_file_was_found_is_not_read(read: Reader) -> None:
    lines = [found.line for found in read(b"a\nb", appended=b"c\nd\n")]
    assert lines == [Line(1, False, b"a"), Line(2, False, b"b")]


def test_blank_lines_are_records(read: Reader) -> None:
    assert [found.line for found in read(b" \n\t\r\n\n ")] == [
        Line(1, False, b" "),
        Line(2, False, b"\t"),
        Line(4, False, b" "),
    ]
