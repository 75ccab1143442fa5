"""Files are handed out between checkpoints only; the enumerator is Flink's own."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from pyflink.java_gateway import get_gateway

from connectors import java_code
from tests.connectors.sources import READING

pytestmark = pytest.mark.cluster


class Folder(NamedTuple):
    """A folder, the enumerator of its files and the context that it sends through."""

    path: Path
    source: Any
    enumerator: Any
    context: Any

    def write(self, *names: str) -> None:
        for name in names:
            (self.path / name).write_bytes(b"{}\n")

    def sent(self) -> list[str]:
        return list(self.context.sent())

    def restored(self, state: Any) -> "Folder":
        context = self.context.getClass().newInstance()
        enumerator = self.source.restoreEnumerator(context, state)
        enumerator.start()
        return self._replace(enumerator=enumerator, context=context)

    def ask(self) -> None:
        """The reader asks for a file."""
        self.enumerator.handleSplitRequest(0, "localhost")


def left(state: Any) -> list[str]:
    """The files that are still to be handed out."""
    return sorted(split.path().getName() for split in state.getSplits().toArray())


@pytest.fixture(scope="module")
def context_class(flink: None) -> Any:
    jvm = get_gateway().jvm
    compiler = jvm.org.codehaus.janino.SimpleCompiler()
    compiler.cook(Path(__file__).with_name("Splits.java").read_text("utf-8"))
    return compiler.getClassLoader().loadClass("Splits")


@pytest.fixture
def folder(
    flink_env: Callable[..., Any], context_class: Any, tmp_path: Path
) -> Callable[..., Folder]:
    def make(*, watch: bool = True) -> Folder:
        flink_env()
        jvm = java_code.jvm()
        source = java_code.new(
            "FolderSource",
            jvm.org.apache.flink.core.fs.Path(str(tmp_path)),
            java_code.new("Lines", READING.envelope("features")),
            jvm.java.time.Duration.ofSeconds(1) if watch else None,
        )
        context = context_class.newInstance()
        enumerator = source.createEnumerator(context)
        enumerator.start()
        return Folder(tmp_path, source, enumerator, context)

    return make


def test_what_is_asked_for_while_a_checkpoint_is_made_is_handed_out_after_it(
    folder: Callable[..., Folder],
) -> None:
    given = folder()
    given.write("a", "b", "c", "d")
    given.context.tick()
    given.ask()
    assert given.sent() == ["a"]

    assert left(given.enumerator.snapshotState(1)) == ["b", "c", "d"]
    given.ask()
    assert given.sent() == []
    given.enumerator.notifyCheckpointComplete(1)
    assert given.sent() == ["b"]

    assert left(given.enumerator.snapshotState(2)) == ["c", "d"]
    given.ask()
    assert given.sent() == []
    given.enumerator.notifyCheckpointAborted(2)
    assert given.sent() == ["c"]

    given.ask()
    assert given.sent() == ["d"]


def test_what_is_found_while_a_checkpoint_is_made_is_handed_out_after_it(
    folder: Callable[..., Folder],
) -> None:
    given = folder()
    given.ask()
    given.context.tick()
    assert given.sent() == []

    given.enumerator.snapshotState(1)
    given.write("a")
    given.context.tick()
    given.write("b")
    given.context.tick()
    assert given.sent() == []
    given.enumerator.notifyCheckpointComplete(1)
    assert given.sent() == ["a"]
    assert left(given.enumerator.snapshotState(2)) == ["b"]


def test_after_a_checkpoint_whose_end_is_not_heard_of_the_next_one_s_end_counts(
    folder: Callable[..., Folder],
) -> None:
    given = folder()
    given.write("a")
    given.context.tick()
    given.enumerator.snapshotState(1)
    given.ask()

    # Flink has begun to count what is sent as sent after the second one.
    assert left(given.enumerator.snapshotState(2)) == ["a"]
    assert given.sent() == []
    given.enumerator.notifyCheckpointAborted(1)
    assert given.sent() == []
    given.enumerator.notifyCheckpointComplete(2)
    assert given.sent() == ["a"]


def test_the_end_of_the_files_is_told_after_a_checkpoint_too(
    folder: Callable[..., Folder], tmp_path: Path
) -> None:
    (tmp_path / "a").write_bytes(b"{}\n")
    given = folder(watch=False)
    given.ask()
    assert given.sent() == ["a"]
    given.enumerator.snapshotState(1)
    given.ask()
    assert given.sent() == []
    given.enumerator.notifyCheckpointComplete(1)
    assert given.sent() == ["no more"]


def test_a_reader_that_registers_anew_has_not_asked_yet(folder: Callable[..., Folder]) -> None:
    given = folder()
    given.ask()
    given.write("a")
    given.enumerator.addReader(0)
    given.context.tick()
    assert given.sent() == []
    given.ask()
    assert given.sent() == ["a"]


def test_what_a_reader_lost_is_handed_out_again_in_its_place(folder: Callable[..., Folder]) -> None:
    given = folder()
    given.write("a", "b", "c")
    given.context.tick()
    splits = given.enumerator.snapshotState(1).getSplits()
    given.enumerator.notifyCheckpointComplete(1)
    given.ask()
    given.ask()
    assert given.sent() == ["a", "b"]
    [second] = [split for split in splits.toArray() if split.path().getName() == "b"]
    given.enumerator.addSplitsBack(java_code.jvm().java.util.List.of(second), 0)
    given.enumerator.addReader(0)
    given.ask()
    given.ask()
    assert given.sent() == ["b", "c"]


def test_a_restored_state_has_what_was_seen_and_what_is_left(
    folder: Callable[..., Folder],
) -> None:
    given = folder()
    given.write("a", "b")
    given.context.tick()
    given.ask()
    assert given.sent() == ["a"]
    serializer = given.source.getEnumeratorCheckpointSerializer()
    state = serializer.serialize(given.enumerator.snapshotState(1))

    restored = given.restored(serializer.deserialize(serializer.getVersion(), state))
    restored.write("c")
    restored.context.tick()
    for _ in range(4):
        restored.ask()
    assert restored.sent() == ["b", "c"]


def test_files_are_told_apart_by_their_paths(folder: Callable[..., Folder]) -> None:
    given = folder()
    given.write("a")
    given.context.tick()
    given.write("b")
    given.context.tick()
    splits = given.enumerator.snapshotState(1).getSplits().toArray()
    assert len({split.splitId() for split in splits}) == 2
