"""What became of control messages: acks, the control log, and what has no answer yet."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct

from events.messages import ControlAck, ControlPayload, DeadLetter
from jobs import control_messages, reading_kafka
from jobs.config import Config
from jobs.control_sending import require_input
from jobs.errors import Failure
from jobs.reading_inputs import files_of, lines_of
from jobs.reading_outputs import texts
from jobs.settings import KafkaInput
from operators.plain import Record
from operators.roles import Roles

_Key = tuple[str, int]


class Event(Struct, frozen=True):
    """A message: its ack, and if it passed the gate, as it stands in the control log.

    All that an ack would say and its issuer has not said is None where there is no ack yet.
    """

    issuer: str
    seq: int
    op: str
    model: str
    accepted: bool | None
    reason: str | None
    version: str | None
    at: int | None
    message: dict[str, Any] | None


class Deployed(Struct, frozen=True):
    """A model and the last operation on it; all of that is None where none was asked for."""

    model: str
    role: str
    weight: float | None
    op: str | None = None
    issuer: str | None = None
    seq: int | None = None
    at: int | None = None
    version: str | None = None


class Pending(NamedTuple):
    """A message in the input that has no ack."""

    issuer: str
    seq: int
    op: str
    model: str
    position: str


def acks(config: Config) -> Iterator[ControlAck]:
    """Every ack that is final, in the order written.

    Raises
    ------
    Failure
        There is no `[control_acks]`, or it cannot be read.
    """
    if not config.control_acks:
        raise Failure("the configuration has no [control_acks]: the job's answers are kept nowhere")
    for text in texts(config, "control_acks"):
        yield msgspec.json.decode(text, type=ControlAck)


def passed(config: Config) -> Iterator[ControlPayload]:
    """The messages in the control log: those that the gate let through, in the order written.

    Raises
    ------
    Failure
        It cannot be read, or holds something else.
    """
    for text in texts(config, "control_log"):
        line = text if isinstance(text, str) else text.decode()
        yield control_messages.read_message(line).payload


def history(config: Config) -> list[Event]:
    """Every message that was decided, once, in the order of time; those without an ack at the end.

    Raises
    ------
    Failure
        As `acks` and `passed`.
    """
    logged: dict[_Key, ControlPayload] = {}
    if config.sinks("control_log"):
        for payload in passed(config):
            logged.setdefault((payload.issuer, payload.seq), payload)
    # The same again is an answer to the same message again, or an output written at least once.
    decided = sorted(dict.fromkeys(acks(config)), key=lambda ack: ack.at)
    events = []
    for ack in decided:
        found = logged.get((ack.issuer, ack.seq))
        # Refused, it may be another message that took the number of one that was accepted.
        same = found is not None and (ack.accepted or (ack.op, ack.model) == _what(found))
        message = msgspec.to_builtins(found) if same else None
        events.append(Event(**msgspec.structs.asdict(ack), message=message))
    answered = {(ack.issuer, ack.seq) for ack in decided}
    for key, payload in logged.items():
        if key not in answered:
            message = msgspec.to_builtins(payload)
            events.append(Event(*key, *_what(payload), None, None, None, None, message))
    return events


def _what(payload: ControlPayload) -> tuple[str, str]:
    return payload.op, payload.model


def deployed(config: Config) -> list[Deployed]:
    """Every model that is configured or was deployed since, and not retired, with its last operation.

    By what was accepted. That a model expired, or was taken out of serving by itself, is in the learn
    log only.

    Raises
    ------
    Failure
        As `history`; there is no `[control_log]`.
    """
    if not config.sinks("control_log"):
        raise Failure("the configuration has no [control_log], which says who was deployed as what")
    roles = Roles()
    roles.follow({model.name: model.role for model in config.models})
    last: dict[str, Event] = {}
    for event in history(config):
        if not event.accepted or event.message is None:
            continue
        payload = msgspec.convert(event.message, ControlPayload)
        if roles.refusal(payload) is None:
            roles.apply(payload)
            last[payload.model] = event
    return [
        Deployed(name, role, (roles.split or {}).get(name), *_operation(last.get(name)))
        for name, role in roles.roles.items()
    ]


def _operation(event: Event | None) -> tuple[Any, ...]:
    return () if event is None else (event.op, event.issuer, event.seq, event.at, event.version)


def pending(config: Config) -> list[Pending]:
    """Messages for this job in its input that were neither answered nor refused as a dead letter.

    Raises
    ------
    Failure
        The input cannot be read.
    """
    done = {(ack.issuer, ack.seq) for ack in acks(config)}
    refused = _refused(config)
    found = []
    for record in _messages(config):
        if record.raw is None or record.position in refused:
            continue
        try:
            payload = control_messages.read_message(record.raw.decode()).payload
        except (Failure, UnicodeDecodeError):
            continue  # a dead letter, once the job has come to it
        if payload.job == config.job.name and (payload.issuer, payload.seq) not in done:
            found.append(
                Pending(payload.issuer, payload.seq, payload.op, payload.model, record.position)
            )
    return found


def _messages(config: Config) -> Iterator[Record]:
    source = require_input(config)
    if isinstance(source, KafkaInput):
        for partition in reading_kafka.streams("control", source):
            yield from partition
        return
    for file in files_of(source):
        yield from lines_of(file, "control")


def _refused(config: Config) -> set[str | None]:
    """Where the dead letters of control messages came from."""
    if not config.dead_letters:
        return set()
    letters = (msgspec.json.decode(text, type=DeadLetter) for text in texts(config, "dead_letters"))
    return {letter.position for letter in letters if letter.source == "control"}
