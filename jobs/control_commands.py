"""`riverrun control send`: from what was asked for to a message, and waiting for its answer."""

import base64
import getpass
import time
import tomllib
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from events.control import FIELDS
from events.messages import ControlAck, ControlPayload
from jobs import control_messages
from jobs.config import Config
from jobs.control_history import acks
from jobs.control_keys import load_key
from jobs.errors import Failure
from jobs.job_keys import parsed
from jobs.reading import nearest
from jobs.waiting import TimedOut, wait_until
from state.artifacts import ArtifactError, Manifest, read_artifact
from state.signing import SigningKey, TrustedKeys
from state.versions import parse_version

Warn = Callable[[str], None]

INLINE: Final = "base64:"
_POLL_S: Final = 0.3


class Wish(NamedTuple):
    """An operation as it is asked for at the command line; what is None is left out, or filled in."""

    op: str
    model: str | None = None
    task: str | None = None
    role: str | None = None
    spec: Path | None = None
    artifact: str | None = None
    from_version: str | None = None
    version: str | None = None
    weights: str | None = None
    effective_at: str | None = None
    expires_at: str | None = None
    issuer: str | None = None
    seq: int | None = None
    by_path: bool = False


class Made(NamedTuple):
    """A message to send: its payload, and the record, signed or not."""

    payload: ControlPayload
    record: str


def names_file(what: str) -> bool:
    """Whether this is a file, or standard input, and no operation.

    >>> names_file("deploy"), names_file("deploy.json"), names_file("-")
    (False, True, True)
    """
    return what == "-" or (what not in FIELDS and ("." in what or "/" in what))


def compose(config: Config, wish: Wish, key: SigningKey | None, warn: Warn) -> Made:
    """The message that does what is asked for.

    An artifact is part of the message where that stays within `[limits] record_bytes`; otherwise, or
    with `by_path`, it is named by its path.

    Parameters
    ----------
    key
        What signs it; None leaves it unsigned.
    warn
        Told what the job may refuse.

    Raises
    ------
    Failure
        Something is missing, is wrong, or cannot be read.
    """
    if wish.op not in FIELDS:
        raise Failure(f"no operation {wish.op!r} ({nearest(wish.op, FIELDS)}), and no file")
    fields = _fields(config, wish)
    if wish.artifact is None:
        return finish(config, control_messages.payload_text(fields), key, warn)
    if "://" in wish.artifact:
        text = control_messages.payload_text({**fields, "artifact": wish.artifact})
        return finish(config, text, key, warn)
    path = Path(wish.artifact)
    try:
        read_artifact(path, trusted_keys(config))
    except ArtifactError as error:
        warn(f"the job takes artifacts that a trusted key has signed: {error}")
    inline = {**fields, "artifact": INLINE + base64.b64encode(path.read_bytes()).decode()}
    text = control_messages.payload_text(inline)
    limit = config.limits.record_bytes
    if wish.by_path or len(_record(text, key).encode()) > limit:
        if not wish.by_path:
            warn(f"{path} does not fit into [limits] record_bytes ({limit:,}): sent by its path")
        text = control_messages.payload_text({**fields, "artifact": str(path.absolute())})
    return finish(config, text, key, warn)


def finish(config: Config, text: str, key: SigningKey | None, warn: Warn) -> Made:
    """A message of this payload, which is signed to the byte, or of a message that is signed already.

    Raises
    ------
    Failure
        The text is no control message, it is for another job, or it must be signed and is not.
    """
    message = control_messages.read_message(text)
    payload = message.payload
    if payload.job != config.job.name:
        raise Failure(f"the message is for job {payload.job!r}; this one is {config.job.name!r}")
    if message.key_id is not None and key is not None:
        raise Failure("the message is signed already: leave out --key")
    key_id = message.key_id if key is None else key.key_id
    if key_id is None and config.security.require_signatures:
        raise Failure("[security] require_signatures is true: sign the message with --key FILE")
    if key_id is not None:
        _look_at_key(config, key_id, payload.issuer, warn)
    record = _record(text, key)
    size, limit = len(record.encode()), config.limits.record_bytes
    if size > limit:
        warn(f"the message has {size:,} bytes, and the job refuses more than {limit:,}")
    return Made(payload, record)


def _record(text: str, key: SigningKey | None) -> str:
    """In one line, as every record; in a signed form the payload is one string."""
    one_line = msgspec.json.format(text, indent=-1)
    return one_line if key is None else control_messages.sign(text, key)


def _look_at_key(config: Config, key_id: str, issuer: str, warn: Warn) -> None:
    trusted = trusted_keys(config)
    if key_id not in trusted:
        warn(f"the key {key_id} is not among [security] trusted_keys: the job will refuse it")
    elif trusted.issuer(key_id) not in (None, issuer):
        owner = trusted.issuer(key_id)
        warn(f"the key {key_id} signs for {owner!r}, not for {issuer!r}: the job will refuse it")


def trusted_keys(config: Config) -> TrustedKeys:
    """The keys that the job trusts, its own among them where its file can be read here.

    Raises
    ------
    Failure
        An entry of `[security] trusted_keys` is no key.
    """
    entries = list(config.security.trusted_keys)
    own = config.security.signing_key_file
    if own is not None and Path(own).exists():
        entries.append(load_key(Path(own)).public)
    return parsed(entries, "[security] trusted_keys")


def _fields(config: Config, wish: Wish) -> dict[str, Any]:
    """All of the payload but its artifact."""
    manifest = _manifest(wish.artifact) if wish.artifact and "://" not in wish.artifact else None
    weights = None if wish.weights is None else _weights(wish.weights)
    model = wish.model or _model(wish, manifest, weights)
    task = wish.task or (manifest.task if manifest is not None else None)
    fields = {
        "job": config.job.name,
        "issuer": wish.issuer or login_name(),
        "seq": time.time_ns() // 1_000_000 if wish.seq is None else wish.seq,
        "op": wish.op,
        "model": model,
        "task": task,
        "role": wish.role,
        "spec": None if wish.spec is None else _spec(wish.spec, model),
        "from_version": wish.from_version,
        "version": wish.version,
        "weights": weights,
        "effective_at": None if wish.effective_at is None else _time(wish.effective_at),
        "expires_at": None if wish.expires_at is None else _time(wish.expires_at),
    }
    return {name: value for name, value in fields.items() if value is not None}


def login_name() -> str:
    """Who sends, where that is not said.

    Raises
    ------
    Failure
        This user has no name, as in some containers.
    """
    try:
        return getpass.getuser()
    except (KeyError, ImportError, OSError):
        raise Failure("your user has no login name: say who asks with --issuer NAME") from None


def _model(wish: Wish, manifest: Manifest | None, weights: Mapping[str, float] | None) -> str:
    """What the operation is about, where that is not said."""
    if manifest is not None:
        return manifest.model
    if weights:
        return next(iter(weights))
    if (version := wish.version or wish.from_version) is not None:
        try:
            return parse_version(version).model
        except ValueError as error:
            raise Failure(str(error)) from None
    raise Failure(f"{wish.op} of which model? Say so with --model NAME")


def _manifest(path: str) -> Manifest:
    try:
        return read_artifact(Path(path)).manifest
    except ArtifactError as error:
        raise Failure(str(error)) from None


def _spec(path: Path, model: str) -> Any:
    """The spec in a file, itself or under the name `spec`."""
    # Only where there is one: importing River takes a second.
    from models.specs import SpecError, stored

    try:
        content = path.read_bytes()
        found = (
            tomllib.loads(content.decode())
            if path.suffix == ".toml"
            else msgspec.json.decode(content)
        )
    except OSError as error:
        raise Failure(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, msgspec.DecodeError) as error:
        raise Failure(f"{path} holds no spec: {error}") from error
    if isinstance(found, dict) and found.keys() == {"spec"}:
        found = found["spec"]
    try:
        stored(found, model)
    except SpecError as error:
        raise Failure("\n".join(f"{path}: {problem}" for problem in error.problems)) from None
    return found


def _weights(text: str) -> dict[str, float]:
    """`a=95,b=5`, in percent."""
    weights: dict[str, float] = {}
    for part in text.split(","):
        model, equals, number = part.strip().rpartition("=")
        try:
            if not (equals and model) or model in weights:
                raise ValueError
            weights[model] = int(number) if number.isdecimal() else float(number)
        except ValueError:
            raise Failure(f"--weights {text}: NAME=PERCENT,NAME=PERCENT is expected") from None
    if sum(weights.values()) != 100:
        raise Failure(f"--weights {text}: they sum to {sum(weights.values()):g}, 100 is expected")
    return weights


def _time(text: str) -> int:
    """Milliseconds since the epoch, or a time as ISO 8601 has it, with its zone."""
    try:
        return int(text)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise ValueError
    except ValueError:
        raise Failure(
            f"{text!r} is no time: milliseconds since 1970, or 2027-01-31T09:30:00Z, is expected"
        ) from None
    return round(moment.timestamp() * 1000)


def wait_for_ack(
    config: Config, payload: ControlPayload, known: int, timeout_s: float
) -> ControlAck:
    """The job's answer to a message that was sent.

    Parameters
    ----------
    known
        How many answers to this issuer and seq there were before it was sent; see `answers`.
    timeout_s
        Seconds before it is given up.

    Raises
    ------
    Failure
        None came in time.
    """

    def newest() -> ControlAck | None:
        found = answers(config, payload)
        return found[-1] if len(found) > known else None

    try:
        return wait_until(newest, "the answer", timeout_s=timeout_s, every_s=_POLL_S)
    except TimedOut:
        raise Failure(
            f"the message was sent, and no answer came within {timeout_s:g} s: does job "
            f"{config.job.name!r} run? `riverrun control list` shows whether it comes later"
        ) from None


def answers(config: Config, payload: ControlPayload) -> list[ControlAck]:
    """The acks that there are for an issuer and seq.

    Raises
    ------
    Failure
        The configuration has no `[control_acks]`, or it cannot be read.
    """
    return [ack for ack in acks(config) if (ack.issuer, ack.seq) == (payload.issuer, payload.seq)]
