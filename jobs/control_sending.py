"""A control message into the input that a job reads it from."""

import time
import uuid
from pathlib import Path
from typing import Final
from urllib.parse import quote

from connectors.jars import MissingJars
from connectors.kafka_errors import KafkaError
from events.messages import ControlPayload
from jobs import environment, kafka_clients
from jobs.config import Config
from jobs.errors import Failure
from jobs.settings import FileInput, Input, KafkaInput

# Enough for milliseconds until the year 33658, so that names sort as numbers do.
_DIGITS: Final = 15
_BY_HAND: Final = "`riverrun control sign` prints the message, to be put there by hand"


def require_input(config: Config) -> Input:
    """Where control messages go.

    Raises
    ------
    Failure
        The configuration has no `[control]`.
    """
    if config.control is None:
        raise Failure("the configuration has no [control]: its job takes no control messages")
    return config.control


def send(config: Config, payload: ControlPayload, message: str, topic: str | None = None) -> str:
    """Append a message to `[control]`; it is there, whole, on return.

    Parameters
    ----------
    message
        The record: the payload's text, or its signed form.
    topic
        One of several that `[control]` reads.

    Returns
    -------
    str
        Its place: a file, or topic-partition-offset.

    Raises
    ------
    Failure
        It cannot be written there.
    """
    source = require_input(config)
    if isinstance(source, KafkaInput):
        return _to_topic(source, payload, message, topic)
    if topic is not None:
        raise Failure("[control] is a folder of files: leave out --topic")
    return _to_files(source, payload, message)


def _to_topic(source: KafkaInput, payload: ControlPayload, message: str, topic: str | None) -> str:
    name = _topic(source, topic)
    servers = kafka_clients.servers(source)
    environment.prepare()
    # Only now: importing PyFlink fixes where it looks for Flink.
    from connectors import kafka_writer

    try:
        # All of one issuer's go to one partition, so they keep their order.
        partition, offset = kafka_writer.append(
            servers,
            kafka_clients.properties(source),
            name,
            payload.issuer.encode(),
            message.encode(),
        )
    except MissingJars as error:
        raise Failure(f"the Kafka connector is missing: {error}") from None
    except KafkaError as error:
        raise Failure(f"[control] {error}") from None
    return f"{name}-{partition}-{offset}"


def _topic(source: KafkaInput, wanted: str | None) -> str:
    if wanted is not None:
        if not kafka_clients.topics_among(source, {wanted}).count(wanted):
            raise Failure(f"[control] reads no topic {wanted!r}")
        return wanted
    named = kafka_clients.topics(source)
    if len(named) != 1:
        raise Failure("[control] reads more than one topic: say which with --topic")
    return named[0]


def _to_files(source: FileInput, payload: ControlPayload, message: str) -> str:
    path = Path(source.path)
    if "://" in source.path:
        raise Failure(f"[control] is at {source.path}, which is no local folder: {_BY_HAND}")
    if path.is_file():
        if source.watch:
            raise Failure(
                f"{path} is a file, and a job does not see what is appended to it: "
                "make the path of [control] a folder"
            )
        return _appended(path, message)
    if not path.is_dir() and not source.watch:
        raise Failure(f"no file or folder {path}")
    return _new_file(path, payload, message)


def _appended(path: Path, message: str) -> str:
    try:
        with path.open("r+b") as file:
            end = file.seek(0, 2)
            if end:
                file.seek(end - 1)
                unfinished = file.read(1) != b"\n"
                file.write(b"\n" * unfinished)
            file.write(f"{message}\n".encode())
    except OSError as error:
        raise Failure(f"{path} cannot be written: {error.strerror}") from error
    return str(path)


def _new_file(folder: Path, payload: ControlPayload, message: str) -> str:
    """A file that appears whole, with a name behind those that are there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        behind = max((_moment(file) + 1 for file in folder.iterdir()), default=0)
        moment = max(time.time_ns() // 1_000_000, behind)
        issuer = quote(payload.issuer, safe="")[:100]
        name = f"{moment:0{_DIGITS}}-{issuer}-{payload.seq}-{uuid.uuid4().hex[:8]}.jsonl"
        # A reader leaves names alone that begin with a dot.
        part = folder / f".{name}"
        part.write_text(f"{message}\n", encoding="utf-8", newline="\n")
        part.rename(folder / name)
    except OSError as error:
        raise Failure(f"{folder} cannot be written: {error.strerror}") from error
    return str(folder / name)


def _moment(file: Path) -> int:
    """What a name made here begins with; 0 for any other."""
    digits, dash, _ = file.name.partition("-")
    return int(digits) if dash and len(digits) == _DIGITS and digits.isdecimal() else 0
