"""Records by number: the same to another process as to the one that has read them."""

import pickle
from pathlib import Path

import pytest

from jobs.lines import Lines
from operators.plain import Record


def test_lines_of_files_are_the_same_in_another_process(tmp_path: Path) -> None:
    texts = {"one": b"a\n\nb\r\n", "none": b"", "two": b"\nc\nlast"}
    with Lines() as lines:
        for name, text in texts.items():
            (tmp_path / name).write_bytes(text)
            list(lines.of_file(tmp_path / name))
        read = [lines[number] for number in range(len(lines))]
        with pickle.loads(pickle.dumps(lines)) as other:
            assert read == [b"a", b"b", b"c", b"last"]
            assert [other[number] for number in range(len(other))] == read
            for number in range(len(lines)):
                assert other.position(number) == lines.position(number)
        assert other.position(3) == f"{tmp_path}/two:3"


def test_records_of_a_topic_are_one_processs_own() -> None:
    with Lines() as lines:
        list(lines.of_partition([Record("features", "t-0", "t-0-7", b"a")]))
        assert lines[0] == b"a"
        with pytest.raises(TypeError, match="temporary file"):
            pickle.dumps(lines)
