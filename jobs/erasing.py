"""`riverrun erase`: what stands of a transaction is taken out, and the chains stay whole.

In the learn log the digest of an entry stands for its contents, so every head still follows. In the
inputs a line keeps its length, as a job that goes on from a checkpoint counts in bytes. Files are
written whole or not at all, and keep their times, by which part files are ordered.
"""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import msgspec
from msgspec import Struct

from events.decode import Decoder
from events.features import encode_features, input_digest
from events.messages import Event
from jobs import reading_inputs, reading_kafka, reading_outputs
from jobs.config import Config
from jobs.errors import Failure
from jobs.settings import FileSink, KafkaInput, KafkaSink
from state.chains import NoRecord, link_of
from state.learnlog import erased_record

_OUTPUTS = ("predictions", "evaluations", "dead_letters")

# What becomes of a line: itself, another, or None where it goes.
_Change = Callable[[bytes], bytes | None]
_IsOf = Callable[[bytes], bool]


class Place(Struct, frozen=True):
    """Where records of a transaction were, or are: an output or input, and its file or topic."""

    what: str
    where: str
    records: int


class Erased(Struct, frozen=True):
    """What `erase` changed, and where the transaction still stands."""

    erased: list[Place]
    left: list[Place]


def erase(config: Config, id: str, *, everything: bool = False, out: Path | None = None) -> Erased:
    """Replace what the learn log holds of a transaction by its digest.

    Done again it changes nothing.

    Parameters
    ----------
    everything
        Also take it out of the files of inputs, predictions, evaluations and dead letters.
    out
        A new file for a learn log that is in Kafka, without the transaction.

    Raises
    ------
    Failure
        The learn log is in Kafka, where nothing can be replaced, and there is no `out`; something
        cannot be read or written.
    """
    topics = [sink for sink in config.sinks("learn_log") if isinstance(sink, KafkaSink)]
    _require_possible(id, topics, out)
    erased: list[Place] = []
    left: list[Place] = []
    for sink in config.sinks("learn_log"):
        if isinstance(sink, FileSink):
            files = reading_outputs.files_of(sink)
            erased += _changed("learn_log", files, _without(id), write=True)
    for topic in topics:
        left += _standing("learn_log", topic, _entry_of(id))
    if topics and out is not None:
        erased.append(_copied(topics[0], id, out))

    elsewhere = erased if everything else left
    for name, source in config.inputs():
        if isinstance(source, KafkaInput):
            left += _standing(name, source, _event_of(id))
        elif name != "control":
            change = _blank(config.decoder(), id)
            elsewhere += _changed(name, reading_inputs.files_of(source), change, everything)
    for output in _OUTPUTS:
        for sink in config.stored(output):
            if isinstance(sink, KafkaSink):
                left += _standing(output, sink, _said_of(id))
            else:
                files = reading_outputs.files_of(sink) if Path(sink.path).exists() else []
                elsewhere += _changed(output, files, _left_out(_said_of(id)), everything)
    return Erased(erased, left)


def _require_possible(id: str, topics: list[KafkaSink], out: Path | None) -> None:
    if not id:
        raise Failure("--id is empty")
    if topics and out is None:
        raise Failure(
            f"the learn log is in topic {topics[0].topic}, and nothing in a topic can be replaced: "
            "write it to a file without the transaction, --out FILE, keep that for audits, and delete "
            "the topic's records or let them expire"
        )
    if out is not None and not topics:
        raise Failure("--out is for a learn log that is in Kafka; this one's files are changed")
    if out is not None and out.exists():
        raise Failure(f"{out} exists: name a file that does not")


# Which records are the transaction's


class _Record(Struct):
    id: str | None = None
    raw: str | None = None


_read_record = msgspec.json.Decoder(_Record).decode


def _entry_of(id: str) -> _IsOf:
    def is_of(record: bytes) -> bool:
        try:
            return _read_record(record).id == id
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return False

    return is_of


# An input's record has its id where an entry has.
_event_of = _entry_of


def _said_of(id: str) -> _IsOf:
    """Predictions and evaluations by their id, dead letters also by what was refused."""
    quoted = msgspec.json.encode(id).decode()

    def is_of(record: bytes) -> bool:
        try:
            said = _read_record(record)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return False
        return said.id == id or (said.raw is not None and quoted in said.raw)

    return is_of


# What becomes of them


def _without(id: str) -> _Change:
    """In a learn log: the digest of the entry."""
    is_of = _entry_of(id)

    def change(line: bytes) -> bytes:
        if not is_of(line):
            return line
        try:
            link_of(line)
        except NoRecord as error:
            raise Failure(f"what the learn log has of {id!r} is no record: {error}") from None
        return erased_record(line.decode()).encode()

    return change


def _blank(decoder: Decoder, id: str) -> _Change:
    """In an input: the digest that predictions name their features by, padded; else spaces."""
    is_of = _event_of(id)

    def change(line: bytes) -> bytes:
        if not is_of(line):
            return line
        event, digest = decoder.decode(line), b""
        if isinstance(event, Event) and event.features is not None:
            named = input_digest(id, encode_features(event.features))
            digest = msgspec.json.encode({"erased": named})
        return (digest if len(digest) <= len(line) else b"").ljust(len(line))

    return change


def _left_out(is_of: _IsOf) -> _Change:
    """In an output: nothing."""
    return lambda line: None if is_of(line) else line


# Files


def _changed(what: str, files: Iterable[Path], change: _Change, write: bool) -> list[Place]:
    """The files that have lines to be changed; they are, if `write`, once all have been looked at."""
    counts = {file: sum(change(text) != text for text, _ in _lines(file)) for file in files}
    found = {file: count for file, count in counts.items() if count}
    for file in found if write else ():
        _rewrite(file, change)
    return [Place(what, str(file), count) for file, count in found.items()]


def _rewrite(file: Path, change: _Change) -> None:
    part = file.with_name(f".{file.name}.erasing")
    before = file.stat()
    with part.open("wb") as written:
        for text, end in _lines(file):
            changed = change(text)
            if changed is not None:
                written.write(changed + end)
        written.flush()
        os.fsync(written.fileno())
    shutil.copystat(file, part)
    os.utime(part, ns=(before.st_atime_ns, before.st_mtime_ns))
    part.replace(file)


def _lines(file: Path) -> Iterator[tuple[bytes, bytes]]:
    """Each line, and what ends it."""
    with file.open("rb") as lines:
        for line in lines:
            text = line.rstrip(b"\r\n")
            yield text, line[len(text) :]


# Topics


def _standing(what: str, connection: KafkaInput | KafkaSink, is_of: _IsOf) -> Iterator[Place]:
    """How many records of the transaction each topic holds."""
    counts: dict[str, int] = {}
    for partition in reading_kafka.streams(what, connection):
        for record in partition:
            if record.raw is not None and is_of(record.raw):
                topic = record.partition.rpartition("-")[0]
                counts[topic] = counts.get(topic, 0) + 1
    for topic, count in counts.items():
        yield Place(what, f"topic {topic}", count)


def _copied(sink: KafkaSink, id: str, out: Path) -> Place:
    """The learn log as a file, one partition behind the other, without the transaction."""
    change, count = _without(id), 0
    part = out.with_name(f".{out.name}.erasing")
    with part.open("wb") as written:
        for partition in reading_kafka.streams("learn_log", sink):
            for record in partition:
                if record.raw is not None:
                    changed = change(record.raw) or b""
                    count += changed != record.raw
                    written.write(changed + b"\n")
    part.replace(out)
    return Place("learn_log", str(out), count)
