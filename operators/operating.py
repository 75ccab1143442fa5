"""What control messages do to the models of one lane.

The gate has let them through, which knows what is deployed; here is what only a lane knows: which
versions are retained, what is frozen or pinned. An operation that cannot be done changes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from events.letters import dead_letter
from events.messages import ControlAck, ControlPayload, Rejected
from events.reasons import Reason, Stage
from models import specs
from operators.items import Operation
from operators.live import Deployment, LiveModel, ModelSettings, Version
from state.artifacts import read_artifact
from state.learnlog import op_text
from state.snapshots import pickle_model
from state.versions import parse_version

if TYPE_CHECKING:
    from operators.learning import Lane

read_payload: Callable[[bytes], ControlPayload] = msgspec.json.Decoder(ControlPayload).decode


def operate(lane: Lane, operation: Operation) -> ControlAck | None:
    """Do it, or say why not; the ack, where this lane is to give it."""
    payload = read_payload(operation.text)
    refused = lane.roles.refusal(payload) or _DO[payload.op](lane, payload, operation)
    if isinstance(refused, Rejected):
        lane.refused(payload, operation.text, refused)
    if not operation.acks:
        return None
    version = None
    if not isinstance(refused, Rejected) and lane.name is None:
        version = refused
    return ack(payload, refused.reason if isinstance(refused, Rejected) else None, version)


def ack(payload: ControlPayload, reason: Reason | None, version: str | None = None) -> ControlAck:
    """The answer to a payload, of now."""
    return ControlAck(
        payload.issuer,
        payload.seq,
        payload.op,
        payload.model,
        reason is None,
        reason,
        version,
        time.time_ns() // 1_000_000,
    )


def control_letter(raw: bytes | None, refused: Rejected, limit: int, **where: str | None) -> str:
    """The dead letter of a control message that was refused."""
    return dead_letter(
        Stage.CONTROL,
        refused.reason,
        refused.detail,
        source=where.get("source", "control"),
        position=where.get("position"),
        id=None,
        raw=raw,
        limit=limit,
        model=where.get("model"),
    )


# Each gives the version that it led to, or why it cannot be done.


def _deploy(lane: Lane, payload: ControlPayload, operation: Operation) -> str | Rejected:
    if isinstance(payload.from_version, str):
        deployment = _of_version(lane, payload)
        if isinstance(deployment, Rejected):
            return deployment
    else:
        assert operation.settings is not None, "the gate has tried it"
        settings = msgspec.json.decode(operation.settings, type=ModelSettings)
        try:
            deployment = (
                Deployment(settings, pickle_model(specs.build(settings.origin, settings.name)))
                if operation.artifact is None
                else artifact_deployment(settings, operation.artifact)
            )
        except (
            Exception
        ) as error:  # the trial was elsewhere: nothing that a model does stops the job
            reason = Reason.BAD_SPEC if operation.artifact is None else Reason.BAD_ARTIFACT
            return Rejected(reason, f"{type(error).__name__}: {error}")
    champion = lane.live.get(lane.roles.champion or "")
    lane.roles.apply(payload)
    role = lane.roles.roles[payload.model]
    live = lane.deploy(deployment, role, seq=payload.seq)
    if isinstance(payload.feed_from, int) and champion is not None:
        lane.feed(live, champion, payload.feed_from)
    lane.answer_held()
    return live.version


def artifact_deployment(settings: ModelSettings, artifact: bytes) -> Deployment:
    """A model that goes on from a file, whose signature has been checked."""
    manifest, pickled, _ = read_artifact(artifact)
    return Deployment(settings, pickled, Version.of_manifest(manifest))


def _of_version(lane: Lane, payload: ControlPayload) -> Deployment | Rejected:
    """A new model that goes on from a retained version of another."""
    wanted = payload.from_version
    assert isinstance(wanted, str), "it was asked for"
    found = _version(lane, wanted, None)
    if isinstance(found, Rejected):
        return found
    origin = {"head": found.head.hex()}
    settings = msgspec.structs.replace(
        found.settings, name=payload.model, origin=origin, by_message=True
    )
    if isinstance(payload.task, str) and payload.task != settings.task:
        return Rejected(Reason.NOT_APPLICABLE, f"{wanted} is for {settings.task}")
    since = Version(
        found.settings.name,
        found.lane,
        found.n,
        found.head,
        found.label_type,
        frozenset(found.names),
        lane.environment,
    )
    return Deployment(settings, pickle_model(found.model), since)


def _version(lane: Lane, version: str, model: str | None) -> LiveModel | Rejected:
    """A copy of a retained version; of this model, where one is named."""
    try:
        named = parse_version(version).model
    except ValueError as error:
        return Rejected(Reason.UNKNOWN_VERSION, str(error))
    live = lane.live.get(named)
    if model is not None and named != model:
        return Rejected(Reason.UNKNOWN_VERSION, f"{version} is not one of {model}")
    found = None if live is None else lane.keeper.find(live, version)
    if live is None or found is None:
        return Rejected(Reason.UNKNOWN_VERSION, f"{version} is not among the versions retained")
    return lane.keeper.at(live, found)


def _rollback(lane: Lane, payload: ControlPayload, operation: Operation) -> str | Rejected:
    assert isinstance(payload.version, str), "read_control sees to it"
    found = _version(lane, payload.version, payload.model)
    if isinstance(found, Rejected):
        return found
    live = lane.live[payload.model]
    before = live.version
    live.put(found.model, found.n, live.learned, live.head)
    # Its entry counts from here, and comes after what was there.
    live.version = before
    live.label_type, live.names = found.label_type, found.names
    live.first, live.last = found.first, found.last
    _enter(lane, live, payload, version=found.version, head=found.head.hex())
    lane.keeper.snapshot(live, begins=True)
    return live.version


def _pin(lane: Lane, payload: ControlPayload, operation: Operation) -> str | Rejected:
    assert isinstance(payload.version, str), "read_control sees to it"
    found = _version(lane, payload.version, payload.model)
    if isinstance(found, Rejected):
        return found
    live = lane.live[payload.model]
    lane.keeper.pin(live, found)
    _enter(lane, live, payload, version=found.version, head=found.head.hex())
    return found.version


def _unpin(lane: Lane, payload: ControlPayload, operation: Operation) -> str | Rejected:
    live = lane.live[payload.model]
    if live.pinned is None:
        return Rejected(Reason.NOT_APPLICABLE, f"{payload.model} is not pinned")
    lane.keeper.unpin(live)
    return _enter(lane, live, payload)


def _freeze(lane: Lane, payload: ControlPayload, operation: Operation) -> str | Rejected:
    live = lane.live[payload.model]
    if live.frozen:
        return Rejected(Reason.NOT_APPLICABLE, f"{payload.model} is frozen")
    live.frozen = True
    lane.put_failures(live)
    return _enter(lane, live, payload)


def _unfreeze(lane: Lane, payload: ControlPayload, operation: Operation) -> str | Rejected:
    live = lane.live[payload.model]
    if not live.frozen and payload.model not in lane.roles.suspended:
        return Rejected(Reason.NOT_APPLICABLE, f"{payload.model} is not frozen")
    live.frozen = False
    live.recent_failures = live.recent_unanswered = ()
    lane.put_failures(live)
    lane.roles.apply(payload)
    return _enter(lane, live, payload)


def _role(lane: Lane, payload: ControlPayload, operation: Operation) -> str | Rejected:
    """`promote`, `split`: only roles change."""
    lane.roles.apply(payload)
    weights = {"weights": payload.weights} if payload.op == "split" else {}
    return _enter(lane, lane.live[payload.model], payload, **weights)


def _retire(lane: Lane, payload: ControlPayload, operation: Operation) -> str | Rejected:
    return lane.retire(payload.model, payload.seq)


def _publish(lane: Lane, payload: ControlPayload, operation: Operation) -> str | Rejected:
    if not lane.publishes:
        detail = "versions go nowhere: [versions] and [security] signing_key_file are needed"
        return Rejected(Reason.NOT_APPLICABLE, detail)
    live = lane.live[payload.model]
    _enter(lane, live, payload)
    lane.publish(live)
    return live.version


def _enter(lane: Lane, live: LiveModel, payload: ControlPayload, **fields: Any) -> str:
    lane.enter(live, op_text(payload.op, fields), payload.seq)
    return live.version


_DO: dict[str, Callable[[Lane, ControlPayload, Operation], str | Rejected]] = {
    "deploy": _deploy,
    "promote": _role,
    "rollback": _rollback,
    "pin": _pin,
    "unpin": _unpin,
    "freeze": _freeze,
    "unfreeze": _unfreeze,
    "split": _role,
    "retire": _retire,
    "publish": _publish,
}
