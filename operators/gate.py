"""Which control messages count: one verdict and one ack for each, in the order in which they came.

A verdict depends on the message and on what the gate knows: the last `seq` of each issuer, and which
models there are. What is accepted goes on to the models as an `items.Operation`.
"""

import base64
import binascii
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import msgspec
from msgspec import Struct

from events.control import ControlMessage, read_control
from events.limits import Limits
from events.messages import ControlPayload, Rejected, SignedControl
from events.reasons import Reason
from models import specs
from models.purity import Purity
from models.tasks import usual_labels
from operators.items import Item, Operation, Origin, control, repeat
from operators.live import ModelSettings
from operators.operating import ack, control_letter, read_payload
from operators.roles import Role, Roles
from operators.scratch import Scratch, Trial
from state.artifacts import ArtifactError, Manifest, read_artifact
from state.signing import CONTROL, SigningKey, TrustedKeys
from state.versions import parse_version

# How many messages of an issuer are remembered, for those that come again.
REMEMBERED = 100
_BASE64 = "base64:"


class GateSettings(Struct, frozen=True):
    """What of a job's configuration bears on its control messages.

    Attributes
    ----------
    ordered : bool
        Whether messages take effect at an event time.
    models : dict
        What settings a deployed model has besides those of its message: a `ModelSettings` of any
        name, as plain data.
    """

    job: str
    limits: Limits
    filed: dict[str, Role]
    ordered: bool = False
    min_ts: int = 0
    laned: bool = False
    trusted_keys: tuple[str, ...] = ()
    require_signatures: bool = False
    signing_key_file: str | None = None
    models: dict[str, Any] = {}


class Outlet(Protocol):
    """Where the gate's verdicts go."""

    def send(self, lane: str | None, item: Item) -> None:
        """An operation for the models: of every lane (None), or of one."""

    def ack(self, text: str) -> None:
        """An answer."""

    def log(self, text: str) -> None:
        """An accepted message, for the control log."""

    def letter(self, text: str) -> None:
        """A dead letter."""


class Known(Struct):
    """What is known of an issuer: `recent` is seq -> digest of the payload, and the gate's ack."""

    last: int = -1
    recent: dict[int, tuple[str, str | None]] = {}


class _Waiting(NamedTuple):
    """A message that is accepted, but for its trial."""

    message: ControlMessage
    origin: Origin
    time: int
    settings: ModelSettings
    artifact: bytes | None
    trial: Trial


class Gate:
    """Judges control messages, one after the other.

    Parameters
    ----------
    state : mapping
        What `plain` gave, or nothing.
    scratch : Scratch
        Where specs are tried.
    """

    def __init__(
        self, settings: GateSettings, state: Mapping[str, Any], scratch: Scratch, outlet: Outlet
    ) -> None:
        self._settings = settings
        self._scratch = scratch
        self._outlet = outlet
        self._key = (
            SigningKey.load(Path(settings.signing_key_file)) if settings.signing_key_file else None
        )
        own = (self._key.public,) if self._key else ()
        self._trusted = TrustedKeys((*settings.trusted_keys, *own))
        # With lanes, what the operations that have taken effect have made of the models, and those
        # that will: when, in which order, the payload.
        self._roles = Roles.of_plain(state["roles"]) if state else Roles()
        self._roles.follow(settings.filed)
        self._ahead: list[tuple[int, str, bytes]] = list(state.get("ahead", ()))
        self._issuers = msgspec.convert(state.get("issuers", {}), dict[str, Known])
        self._accepted: int = state.get("accepted", 0)
        # Without event time, what is to take effect later: when, where, what.
        self._postponed: list[tuple[int, str | None, Item]] = list(state.get("postponed", ()))
        self._waiting: _Waiting | None = None

    def plain(self) -> dict[str, Any]:
        """What is kept: a message that is being tried is not in it."""
        return {
            "roles": self._roles.plain(),
            "ahead": self._ahead,
            "issuers": msgspec.to_builtins(self._issuers),
            "accepted": self._accepted,
            "postponed": self._postponed,
        }

    def judge(self, origin: Origin, now: int, clock: int) -> bool:
        """Judge a record.

        Parameters
        ----------
        now : int
            With `ordered` the watermark, else the clock's time; ms.
        clock : int
            The clock's time, ms.

        Returns
        -------
        bool
            Whether all is said. If not, its model is being tried: `tried` says when that has ended,
            and until then no other record may be judged.
        """
        message = read_control(origin.raw, self._settings.limits)
        if isinstance(message, Rejected):
            self._letter(origin, message)
            return True
        refused = self._unauthentic(message)
        if refused is not None:
            # Who it is from is not known, so nothing is remembered of it.
            self._letter(origin, refused, message.payload.model)
            self._outlet.ack(_encode(ack(message.payload, refused.reason)))
            return True
        if self._came_before(message, origin):
            return True
        payload = message.payload
        # At once, where nothing else is said; in event time that is as soon as it can be.
        earliest = max(now + 1, self._settings.min_ts) if self._settings.ordered else clock
        given = payload.effective_at
        time = max(given, earliest) if isinstance(given, int) else earliest
        refused = self._untimely(payload, now, clock)
        if refused is None and self._settings.laned:
            # Without lanes the model's operator says so, which also knows what failed or expired.
            self._settle(now)
            refused = self._at(time, payload).refusal(payload) or self._unfit_for_lanes(payload)
        if refused is not None:
            self._refuse(message, origin, refused)
            return True
        if payload.op != "deploy" or isinstance(payload.from_version, str):
            self._accept(message, time, None, None, clock)
            return True
        prepared = self._prepare(message, origin, time)
        if isinstance(prepared, Rejected):
            self._refuse(message, origin, prepared)
            return True
        self._waiting = prepared
        return False

    def tried(self, clock: int, wait: bool = False) -> bool:
        """Whether the trial has ended, and with it all is said."""
        waiting = self._waiting
        assert waiting is not None, "something is being tried"
        found = waiting.trial.wait() if wait else waiting.trial.result()
        if found is None:
            return False
        self._waiting = None
        if found.problem is not None:
            reason = Reason.BAD_SPEC if waiting.artifact is None else Reason.BAD_ARTIFACT
            self._refuse(waiting.message, waiting.origin, Rejected(reason, found.problem))
            return True
        settings = msgspec.structs.replace(waiting.settings, purity=Purity(found.purity))
        self._accept(waiting.message, waiting.time, settings, waiting.artifact, clock)
        return True

    def due(self, clock: int) -> int | None:
        """Send what was to wait for this time of the clock; when to look again, None for never."""
        while self._postponed and self._postponed[0][0] <= clock:
            _, lane, item = self._postponed.pop(0)
            self._outlet.send(lane, item)
        return self._postponed[0][0] if self._postponed else None

    def close(self) -> None:
        """End what is being tried."""
        if self._waiting is not None:
            self._waiting.trial.stop()

    # Verdicts

    def _unauthentic(self, message: ControlMessage) -> Rejected | None:
        """Why it is not for this job, or not from whom it says; None if it is."""
        payload, settings = message.payload, self._settings
        if message.key_id is None or message.signature is None:
            if settings.require_signatures:
                return Rejected(Reason.UNSIGNED, "only signed messages are accepted")
        elif message.key_id not in self._trusted:
            return Rejected(Reason.UNKNOWN_KEY, f"key {message.key_id} is not trusted")
        elif not self._trusted.verify(CONTROL, message.text, message.key_id, message.signature):
            return Rejected(
                Reason.BAD_SIGNATURE, f"the signature is not one of key {message.key_id}"
            )
        else:
            issuer = self._trusted.issuer(message.key_id)
            if issuer is not None and issuer != payload.issuer:
                return Rejected(
                    Reason.WRONG_ISSUER, f"key {message.key_id} signs for {issuer} only"
                )
        if payload.job != settings.job:
            return Rejected(Reason.WRONG_JOB, f"it is for {payload.job}, this is {settings.job}")
        return None

    def _came_before(self, message: ControlMessage, origin: Origin) -> bool:
        """Whether its number was used before; if so, the answer is given here."""
        payload = message.payload
        known = self._issuers.setdefault(payload.issuer, Known())
        found = known.recent.get(payload.seq)
        if found is not None and found[0] == _digest(message):
            text = found[1]
            if text is not None:
                self._outlet.ack(text)
            else:
                again = repeat(_id(payload), payload.issuer, payload.seq)
                self._outlet.send(_lane(payload), again)
            return True
        refused = None
        if found is not None:
            refused = Rejected(Reason.SEQ_CONFLICT, f"seq {payload.seq} had another payload")
        elif payload.seq <= known.last:
            refused = Rejected(
                Reason.STALE_SEQ, f"seq {payload.seq} is not above {payload.issuer}'s {known.last}"
            )
        if refused is None:
            return False
        # The number is not this message's, so nothing is remembered of it.
        self._letter(origin, refused, payload.model)
        self._outlet.ack(_encode(ack(payload, refused.reason)))
        return True

    def _untimely(self, payload: ControlPayload, now: int, clock: int) -> Rejected | None:
        expires, effective = payload.expires_at, payload.effective_at
        if isinstance(expires, int) and expires <= (now if self._settings.ordered else clock):
            return Rejected(Reason.EXPIRED, f"it expired at {expires}")
        if self._settings.ordered and isinstance(effective, int) and effective <= now:
            return Rejected(Reason.TOO_LATE, f"event time is {now}, after {effective}")
        return None

    def _settle(self, now: int) -> None:
        """What has taken effect by now: no message can come before it any more."""
        while self._ahead and self._ahead[0][0] <= now:
            _take(self._roles, self._ahead.pop(0))

    def _at(self, time: int, payload: ControlPayload) -> Roles:
        """Roles as they will be when a message takes effect, by those accepted so far."""
        roles = Roles.of_plain(self._roles.plain())
        place = time, self._place(payload, self._accepted + 1)
        for ahead in self._ahead:
            if ahead[:2] < place:
                _take(roles, ahead)
        for name in roles.expired(time):
            roles.retire(name)
        return roles

    def _place(self, payload: ControlPayload, number: int) -> str:
        """Orders the messages of one time as the models do them."""
        return _id(payload) if self._settings.ordered else f"{number:020d}"

    def _unfit_for_lanes(self, payload: ControlPayload) -> Rejected | None:
        """With lanes every operation is for all of them, but those that name a version of one."""
        version = payload.version if payload.op in ("rollback", "pin") else None
        if isinstance(version, str) and _lane_of(version) is None:
            return Rejected(Reason.UNKNOWN_VERSION, f"{version} names no lane")
        if payload.op == "deploy" and not isinstance(payload.spec, dict):
            return Rejected(Reason.NOT_APPLICABLE, "with lanes only a spec can be deployed")
        return None

    def _prepare(self, message: ControlMessage, origin: Origin, time: int) -> _Waiting | Rejected:
        """Begin to try what a deploy brings."""
        payload, artifact = message.payload, None
        task: str | None = payload.task if isinstance(payload.task, str) else None
        if isinstance(payload.spec, dict):
            try:
                origin_of_model: Any = specs.stored(payload.spec, payload.model)
            except specs.SpecError as error:
                return Rejected(Reason.BAD_SPEC, str(error))
            labels: str | None = None
        else:
            read = self._artifact(payload)
            if isinstance(read, Rejected):
                return read
            manifest, artifact = read
            if task not in (None, manifest.task):
                return Rejected(Reason.BAD_ARTIFACT, f"it is for {manifest.task}, not for {task}")
            task, origin_of_model, labels = manifest.task, manifest.origin, manifest.label_type
        assert task is not None, "read_control sees to it"
        settings = msgspec.convert(
            {
                **self._settings.models,
                "name": payload.model,
                "task": task,
                "role": payload.role if isinstance(payload.role, str) else "challenger",
                "origin": origin_of_model,
                "purity": Purity.PURE,
                "labels": labels or usual_labels(task),
                "by_message": True,
                # As for a model of the configuration: it scores, then learns at once.
                "learn_on": "arrival" if task == "anomaly" else "label",
            },
            ModelSettings,
        )
        try:
            trial = self._scratch.start(task, payload.model, origin_of_model, artifact)
        except OSError as error:  # no Python, no memory: a job that runs goes on
            reason = Reason.BAD_SPEC if artifact is None else Reason.BAD_ARTIFACT
            return Rejected(reason, f"it could not be tried: {error}")
        return _Waiting(message, origin, time, settings, artifact, trial)

    def _artifact(self, payload: ControlPayload) -> tuple[Manifest, bytes] | Rejected:
        """What a trusted key has signed, in the message itself or in a file that is named there."""
        text = payload.artifact
        assert isinstance(text, str), "read_control sees to it"
        try:
            if text.startswith(_BASE64):
                data = base64.b64decode(text.removeprefix(_BASE64), validate=True)
            else:
                data = Path(text.removeprefix("file://")).read_bytes()
            manifest, _, _ = read_artifact(data, self._trusted)
        except (binascii.Error, OSError, ValueError, ArtifactError) as error:
            return Rejected(Reason.BAD_ARTIFACT, str(error))
        return manifest, data

    # What follows

    def _accept(
        self,
        message: ControlMessage,
        time: int,
        settings: ModelSettings | None,
        artifact: bytes | None,
        clock: int,
    ) -> None:
        payload = message.payload
        self._accepted += 1
        if self._settings.laned:
            self._ahead.append((time, self._place(payload, self._accepted), message.text))
            self._ahead.sort()
        lane = _lane(payload)
        acks = lane is not None or not self._settings.laned
        encoded = None if settings is None else msgspec.json.encode(settings)
        ordered = self._settings.ordered
        operation = Operation(
            self._accepted, time if ordered else 0, message.text, encoded, artifact, acks
        )
        item = control(_id(payload), operation)
        if ordered or time <= clock:
            self._outlet.send(lane, item)
        else:
            self._postponed.append((time, lane, item))
            self._postponed.sort(key=lambda waiting: waiting[0])
        self._outlet.log(self._logged(message, time))
        text = None if acks else _encode(ack(payload, None))
        if text is not None:
            self._outlet.ack(text)
        self._remember(message, text)

    def _refuse(self, message: ControlMessage, origin: Origin, refused: Rejected) -> None:
        text = _encode(ack(message.payload, refused.reason))
        self._letter(origin, refused, message.payload.model)
        self._outlet.ack(text)
        self._remember(message, text)

    def _remember(self, message: ControlMessage, text: str | None) -> None:
        payload = message.payload
        known = self._issuers[payload.issuer]
        known.last = payload.seq
        known.recent[payload.seq] = _digest(message), text
        while len(known.recent) > REMEMBERED:
            del known.recent[next(iter(known.recent))]

    def _logged(self, message: ControlMessage, time: int) -> str:
        """The message as the control log has it: with the time at which it takes effect.

        Signed by the job's own key, where it has one: the log is a control stream itself.
        """
        payload = msgspec.structs.replace(message.payload, effective_at=time)
        text = msgspec.json.encode(payload)
        if self._key is None:
            return text.decode()
        signed = SignedControl(text.decode(), self._key.key_id, self._key.sign(CONTROL, text))
        return _encode(signed)

    def _letter(self, origin: Origin, refused: Rejected, model: str | None = None) -> None:
        letter = control_letter(
            origin.raw,
            refused,
            self._settings.limits.raw_bytes,
            source=origin.input,
            position=origin.position,
            model=model,
        )
        self._outlet.letter(letter)


def _take(roles: Roles, ahead: tuple[int, str, bytes]) -> None:
    """What a message changes, as each lane does it."""
    time, _, text = ahead
    payload = read_payload(text)
    for name in roles.expired(time):
        roles.retire(name)
    if roles.refusal(payload) is None:
        roles.apply(payload)


def _id(payload: ControlPayload) -> str:
    """Orders the messages of one millisecond: by issuer, then by number."""
    return f"{payload.issuer}\0{payload.seq:020d}"


def _digest(message: ControlMessage) -> str:
    return sha256(message.text).hexdigest()


def _lane(payload: ControlPayload) -> str | None:
    """The lane of the version that the operation names; None where it is for all."""
    if payload.op in ("rollback", "pin") and isinstance(payload.version, str):
        return _lane_of(payload.version)
    return None


def _lane_of(version: str) -> str | None:
    try:
        return parse_version(version).lane
    except ValueError:
        return None


def _encode(record: Struct) -> str:
    return msgspec.json.encode(record).decode()
