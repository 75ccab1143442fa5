"""Predict, learn, evaluate, recover: what OnlineModel does with one item, in plain Python.

A `Lane` holds the live models of one lane over a `Store`, the state of the current key. Whatever a
model is, the store has it too: a snapshot and the entries since. So a live model may be dropped from
memory at any time and be rebuilt, equal to the last bit.
"""

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, NamedTuple, Protocol, cast, get_args

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from events.features import decode_features, input_digest
from events.letters import dead_letter
from events.messages import Alert, ControlPayload, Evaluation, Label, Prediction, Rejected, Source
from events.reasons import Reason, Stage
from models import tasks
from models.tasks import Answer, Asker
from operators import observing
from operators.items import (
    CONTROL,
    EXAMPLE,
    REPEAT,
    REQUEST,
    Example,
    Item,
    Operation,
    Request,
    asked_of_item,
)
from operators.keeping import Keeper, Snapshots
from operators.live import Deployment, LiveModel, ModelSettings, Pinned, Version, kept_settings
from operators.observing import FEATURES_KEY, Evaluated, Features, Predicted, Retired, Said, key_of
from operators.operating import control_letter, operate
from operators.recent import Recent, Waits
from operators.roles import Role, Roles
from state import snapshots
from state.learnlog import Entry, decode_entry, encode_entry, log_record, op_text
from state.versions import advance, genesis, version_name

logger = logging.getLogger(__name__)

# How many acks of an issuer are kept, for messages that come again.
ACKS_KEPT = 100


class Store(Snapshots, Protocol):
    """State of one lane; every value is a plain dict, tuple, number or bytes."""

    def record(self) -> dict[str, Any]: ...
    def put_record(self, record: dict[str, Any]) -> None: ...
    def held(self, place: int) -> Item: ...
    def put_held(self, place: int, item: Item) -> None: ...
    def remove_held(self, place: int) -> None: ...
    def predictions(self, id: str) -> list[tuple[Any, ...]] | None: ...
    def put_predictions(self, id: str, said: list[tuple[Any, ...]]) -> None: ...
    def forget(self, id: str) -> None: ...


class Out(NamedTuple):
    """Which outputs are written; what is not is not encoded either."""

    predictions: bool = True
    evaluations: bool = True
    learn_log: bool = True
    dead_letters: bool = True
    control_acks: bool = True
    control_log: bool = True
    versions: bool = True
    alerts: bool = True
    observations: bool = False
    features_observed: bool = False

    @property
    def evaluates(self) -> bool:
        """Whether what was predicted is kept until the truth comes."""
        return self.evaluations or self.observations


# What a named tuple's own constructor does, at a third of its cost.
_new: Callable[..., Any] = tuple.__new__

Output = Literal[
    "predictions",
    "evaluations",
    "learn_log",
    "dead_letters",
    "control_acks",
    "control_log",
    "versions",
    "alerts",
]
# What the monitor is told goes nowhere else.
Emitted = Output | Literal["observations"]
Emit = Callable[[Emitted, str], None]
# What orders control messages.
Place = tuple[int, str]
Publish = Callable[[LiveModel], Iterable[str]]


class Stats:
    """What metrics tell of the models of a subtask; totals since this process began.

    Attributes
    ----------
    predicting, learning, snapshotting : Recent
        How long each took, in nanoseconds.
    learned : dict
        Model -> examples that it has learned.
    changed_at : dict
        Model -> when there was a new version of it, in whichever lane, ms since the epoch; as of the
        last look.
    """

    def __init__(self) -> None:
        self.predictions = 0
        self.examples = 0
        self.evaluations = 0
        self.skipped = 0
        self.unmatched = 0
        self.snapshots = 0
        self.rebuilds = 0
        self.label_delay_ms = 0
        self.suspensions = 0
        self.held = 0
        self.dead_letters: dict[Reason, int] = dict.fromkeys(Reason, 0)
        self.predicting, self.learning, self.snapshotting = Recent(), Recent(), Recent()
        self.waits = Waits()
        self.learned: dict[str, int] = {}
        self.changed_at: dict[str, int] = {}
        self._versions: dict[str, int] = {}
        self._looked: dict[str, int] = {}

    def snapshot_took(self, took_ns: int) -> None:
        """One more snapshot."""
        self.snapshots += 1
        self.snapshotting.add(took_ns)

    def took_part(self, model: str) -> None:
        """A model is there, and will be shown from now on."""
        self.learned.setdefault(model, 0)
        self._versions.setdefault(model, 0)

    def changed(self, model: str) -> None:
        """There is a new version of it; a clock is not asked for each."""
        self._versions[model] += 1

    def look(self) -> None:
        """Note which models have changed since the last look."""
        now = time.time_ns() // 1_000_000
        for model, versions in self._versions.items():
            if self._looked.get(model) != versions:
                self._looked[model] = versions
                self.changed_at[model] = now


def smooth(mean: int, value: int) -> int:
    """Running mean over about the last 64 values."""
    return value if mean == 0 else mean + (value - mean >> 6)


class LaneSettings(Struct, frozen=True):
    """What all lanes of a job have in common.

    Attributes
    ----------
    raw_bytes : int
        Where the text of a dead letter is cut.
    hold_limit : int
        How many items wait while there is no model; what comes beyond is a dead letter.
    signing_key_file : str or None
        The key that versions are signed with when `publish` asks for them; None: they go nowhere.
    part_bytes : int
        Where their files are cut.
    """

    raw_bytes: int
    hold_limit: int = 0
    signing_key_file: str | None = None
    part_bytes: int = 500_000


class Lane:
    """The live models of one lane, and what happens to them.

    Parameters
    ----------
    emit : callable
        Takes the name of an output and a record's JSON text.
    publish : callable, optional
        Makes the records of a version for the output `versions`.
    """

    def __init__(
        self,
        name: str | None,
        deployments: list[Deployment],
        store: Store,
        out: Out,
        emit: Emit,
        stats: Stats,
        settings: LaneSettings,
        publish: Publish | None = None,
    ) -> None:
        self.name = name
        self.environment = snapshots.environment()
        self.keeper = Keeper(store, stats.snapshot_took)
        self._store = store
        self._out = out
        self._emit = emit
        self._stats = stats
        self._settings = settings
        self._publish = publish
        self.live: dict[str, LiveModel] = {}
        self.roles = Roles()
        self._held = (0, 0)
        self._acks: dict[str, dict[int, str]] = {}
        self._caught_up = (-1, "")
        self._load(deployments)

    # What arrives

    def request(self, asked: Request) -> None:
        """Predict with every model; keep what was said where an evaluation may come."""
        if self._retire_expired(asked.time) and not self.live:
            self._hold((REQUEST, *asked))
            return
        digest = input_digest(asked.id, asked.features)
        serving = self.roles.serving(asked.id) if self.roles.split else self._champion
        said: list[tuple[Any, ...]] = []
        if self._out.features_observed:
            features = Features(FEATURES_KEY, asked.id, asked.time, Raw(asked.features))
            self._emit("observations", observing.write(features))
        # As they are when it is asked: a model that cannot answer may lose its role by that.
        roles = dict(self.roles.roles) if self._out.observations else None
        for live in tuple(self.live.values()):
            answer = self._predict(live, asked, digest, serving)
            said.append((live.settings.name, *answer))
            if roles is not None:
                said[-1] = self._observe_request(live, asked, answer, roles[live.settings.name])
            if live.settings.learn_on == "arrival":
                self._learn(live, _at_arrival(asked), asked.features)
        if self._out.evaluates:
            self._store.put_predictions(asked.id, said)
        self._stats.waits.answered(asked)

    def example(self, labelled: Example) -> None:
        """Evaluate what was predicted, then learn where features are given."""
        id, label, features = labelled.id, labelled.label, labelled.features
        delay = max(labelled.label_time - labelled.time, 0)
        self._stats.label_delay_ms = smooth(self._stats.label_delay_ms, delay)
        said = self._store.predictions(id) if self._out.evaluates else None
        if self._out.evaluates and said is None:
            self._stats.unmatched += 1
        for live in self.live.values():
            if live.label_type is not None and not tasks.conforms(label, live.label_type):
                detail = f"{label!r} is not {live.label_type}, the type of the labels before it"
                self._dead(Stage.LEARN, Reason.LABEL_TYPE, detail, live, labelled)
                continue
            self._evaluate(live, said, labelled)
            if features is not None and live.settings.learn_on == "label":
                self._learn(live, labelled, features)
        if labelled.last and said is not None:
            self._store.forget(id)

    def forget(self, id: str) -> None:
        """No evaluation of this transaction can come any more."""
        if self._out.evaluates:
            self._store.forget(id)

    def handle(self, item: Item) -> None:
        """One item of `operators.items`."""
        kind = item[0]
        if kind == CONTROL:
            self.control(Operation(*item[2:]))
        elif kind == REPEAT:
            self._repeat(item[2], item[3])
        elif not self.live:
            self._hold(item)
        elif kind == REQUEST:
            self.request(asked_of_item(item))
        elif kind == EXAMPLE:
            self.example(_new(Example, item[1:]))
        else:
            self.forget(item[1])

    # Control

    def catch_up(self, controls: Sequence[tuple[Place, Item]], now: int) -> None:
        """Do what messages to all lanes say that this one has not done yet, up to event time `now`.

        Parameters
        ----------
        controls
            In order of their places.
        """
        if not controls or controls[-1][0] <= self._caught_up:
            return
        for place, item in controls:
            if place > self._caught_up and place[0] <= now:
                self._caught_up = place
                self.handle(item)

    def control(self, operation: Operation) -> None:
        """Do what a message says, as the next thing that happens in this lane."""
        self._retire_expired(operation.time)
        ack = operate(self, operation)
        if ack is not None:
            text = _encode(ack)
            acks = self._acks.setdefault(ack.issuer, {})
            acks[ack.seq] = text
            while len(acks) > ACKS_KEPT:
                del acks[next(iter(acks))]
            self._answer(text)
        self._put_record()

    def refused(self, payload: ControlPayload, text: bytes, refused: Rejected) -> None:
        """What this lane could not do."""
        self._stats.dead_letters[refused.reason] += 1
        if self._out.dead_letters:
            letter = control_letter(text, refused, self._settings.raw_bytes, model=payload.model)
            self._emit("dead_letters", letter)

    def deploy(self, deployment: Deployment, role: Role, seq: int | None) -> LiveModel:
        """Another model, in a job that runs."""
        settings = msgspec.structs.replace(deployment.settings, role=role)
        live = self._deploy(deployment._replace(settings=settings), late=True, seq=seq)
        self._settle()
        return live

    def feed(self, live: LiveModel, other: LiveModel, since: int) -> None:
        """Teach a new model what is retained of another's examples, from an event time in ms on."""
        for data in self.keeper.entries(other):
            entry = decode_entry(data)
            if entry.kind != "example" or entry.event_time is None or entry.event_time < since:
                continue
            features = bytes(entry.features)
            if entry.label is None or observing.conforms(entry.label, live.label_type):
                self._learn(live, _of_entry(entry, features), features)

    def retire(self, name: str, seq: int | None) -> str:
        """The model goes; its last version."""
        live = self.live[name]
        self.enter(live, "retire", seq)
        self.keeper.remove(live)
        del self.live[name]
        if self._out.observations:
            for role in get_args(Role):
                gone = Retired(key_of(name, role))
                self._emit("observations", observing.write(gone))
        self.roles.retire(name)
        self._settle()
        return live.version

    def enter(self, live: LiveModel, op: str, seq: int | None) -> None:
        """A control entry; `op` as `state.learnlog.op_text` writes it."""
        entry = Entry("control", live.settings.name, self.name, live.n, op=op, seq=seq)
        self._append(live, entry, 0)
        self._settle()

    @property
    def publishes(self) -> bool:
        """Whether versions go anywhere."""
        return self._publish is not None

    def publish(self, live: LiveModel) -> None:
        """Write the present version where versions go."""
        assert self._publish is not None, "versions go somewhere"
        for record in self._publish(live):
            self._emit("versions", record)

    def put_failures(self, live: LiveModel) -> None:
        """Keep how often it failed, and whether it learns."""
        failures = live.failed, live.recent_failures, live.frozen
        unanswered = live.unanswered, live.recent_unanswered
        self._store.put_failures(live.settings.name, (*failures, *unanswered))

    def answer_held(self) -> None:
        """What came before any model was there."""
        first, next_ = self._held
        self._held = (0, 0)
        for place in range(first, next_):
            item = self._store.held(place)
            self._store.remove_held(place)
            self._stats.held -= 1
            self.handle(item)

    def _repeat(self, issuer: str, seq: int) -> None:
        text = self._acks.get(issuer, {}).get(seq)
        if text is not None:
            self._answer(text)

    def _answer(self, ack: str) -> None:
        if self._out.control_acks:
            self._emit("control_acks", ack)

    @property
    def holding(self) -> int:
        """How many items wait for a model."""
        return self._held[1] - self._held[0]

    def end_of_input(self) -> None:
        """No model will come for what is held."""
        first, next_ = self._held
        for place in range(first, next_):
            self._without_model(self._store.held(place), "none came before the input ended")
            self._store.remove_held(place)
            self._stats.held -= 1
        self._held = (0, 0)
        self._put_record()

    def _hold(self, item: Item) -> None:
        """There is no model: keep it until there is one, within the bound."""
        first, next_ = self._held
        if next_ - first < self._settings.hold_limit:
            self._store.put_held(next_, item)
            self._held = (first, next_ + 1)
            self._stats.held += 1
            self._put_record()
        else:
            self._without_model(item, f"{next_ - first} items are held")

    def _without_model(self, item: Item, detail: str) -> None:
        if item[0] == REQUEST:
            self._dead(Stage.PREDICT, Reason.NO_MODEL, detail, None, asked_of_item(item))
        elif item[0] == EXAMPLE:
            self._dead(Stage.LEARN, Reason.NO_MODEL, detail, None, Example(*item[1:]))

    def _retire_expired(self, time: int) -> bool:
        """Retire what is to go at this event time; whether there was any."""
        if self._expires is None or time < self._expires:
            return False
        for name in self.roles.expired(time):
            self.retire(name, None)
        self._put_record()
        return True

    def _settle(self) -> None:
        """What is looked at for each request, from the roles."""
        self._champion = self.roles.champion
        self._expires = min(self.roles.expires.values(), default=None)

    def _put_record(self) -> None:
        self._store.put_record(
            {
                "roles": self.roles.plain(),
                "held": self._held,
                "caught_up": self._caught_up,
                "acks": self._acks,
            }
        )

    # Predict

    def _predict(
        self,
        live: LiveModel,
        asked: Request,
        digest: str,
        serving: str | None,
        reemit: bool = False,
    ) -> tuple[str, Any, Any, Any]:
        """Ask, emit the prediction, and return `(version, prediction, probabilities, score)`."""
        x = decode_features(asked.features)
        if live.pinned is None:
            version, logged = live.version, live.request_changes(x)
            answer, failure, took = self._ask(live.ask, x)
        else:
            version, logged = live.pinned.copy.version, False
            answer, failure, took = self._ask(self._asked_pinned(live.pinned, x), x)
        error: str | UnsetType = UNSET
        if failure is not None:
            reason, error = failure
            self._dead(Stage.PREDICT, reason, error, live, asked)
        if logged:
            if failure is not None and failure[0] is Reason.PREDICT_FAILED:
                self._rebuild(live)
            else:
                entry = Entry(
                    "request", live.settings.name, self.name, live.n, asked.id,
                    Raw(asked.features), event_time=asked.time,
                )  # fmt: skip
                live.saw(x, asked=True)
                self._append(live, entry, took)
        prediction, probabilities, score = tasks.in_label_type(answer, live.label_type)
        if self._out.predictions:
            task = live.settings.task
            record = Prediction(
                asked.id,
                live.settings.name,
                self.name,
                version,
                live.settings.name == serving,
                prediction,
                asked.time,
                time.time_ns() // 1_000_000,
                digest,
                probabilities if task == "classification" else UNSET,
                score if task == "anomaly" else UNSET,
                error,
                reemit or UNSET,
            )
            self._emit("predictions", _encode(record))
        self._stats.predictions += 1
        limit = live.settings.max_predict_ms
        if failure is not None or (limit is not None and took > limit * 1e6):
            detail = error if failure is not None else f"it took {took / 1e6:.1f} ms"
            self._unanswered(live, asked, serving, str(detail))
        return version, prediction, probabilities, score

    def _asked_pinned(self, pinned: Pinned, x: dict[str, Any]) -> Asker:
        """A version answers as it was: if being asked changes it, a copy is."""
        copy = pinned.copy
        if not copy.request_changes(x):
            return copy.ask
        return copy.task.asker(snapshots.unpickle_model(pinned.pickled, pinned.mark.environment))

    def _unanswered(
        self, live: LiveModel, asked: Request, serving: str | None, detail: str
    ) -> None:
        """It could not answer in time; one that keeps failing is taken out of serving."""
        settings = live.settings
        name = settings.name
        live.unanswered += 1
        # Counted by what is in state: how many requests there were is not.
        place = live.learned + live.unanswered
        begin = place - settings.failure_window
        live.recent_unanswered = (*(p for p in live.recent_unanswered if p > begin), place)
        self.put_failures(live)
        may_serve = name == serving or (self.roles.split or {}).get(name)
        if not may_serve or name in self.roles.suspended:
            return
        if len(live.recent_unanswered) <= settings.max_failures:
            return
        live.recent_unanswered = ()
        self.put_failures(live)
        instead = self.roles.suspend(name)
        if instead is not None:
            self._stats.suspensions += 1
            self.enter(live, op_text("suspend", {"reason": detail}), None)
            self._put_record()
        if self._out.alerts:
            said = f"{detail}; {instead} serves" if instead else f"{detail}; no other can serve"
            kind: Literal["suspended", "failing"] = "suspended" if instead else "failing"
            alert = Alert(
                f"{kind}/{name}/{self.name or ''}/{place}",
                kind,
                name,
                self.name,
                said,
                asked.id,
                asked.time,
                time.time_ns() // 1_000_000,
            )
            self._emit("alerts", _encode(alert))

    def _ask(self, ask: Asker, x: dict[str, Any]) -> tuple[Answer, tuple[Reason, str] | None, int]:
        """The answer, why there is none, and how many nanoseconds it took."""
        begun = time.perf_counter_ns()
        try:
            answer = ask(x)
        except Exception as error:
            return NO_ANSWER, (Reason.PREDICT_FAILED, _shown(error)), 0
        took = time.perf_counter_ns() - begun
        self._stats.predicting.add(took)
        if not tasks.finite(answer):
            failure = (Reason.PREDICTION_NOT_FINITE, f"the model answered {answer}")
            return NO_ANSWER, failure, took
        return answer, None, took

    # Evaluate

    def _evaluate(
        self, live: LiveModel, said: list[tuple[Any, ...]] | None, labelled: Example
    ) -> None:
        name = live.settings.name
        for each in said or ():
            if each[0] != name:
                continue
            if self._out.evaluations:
                self._emit_evaluation(live, each, labelled)
            if self._out.observations and len(each) > len(_SAID):
                self._observe_outcome(live, said or [], each, labelled)

    def _emit_evaluation(self, live: LiveModel, said: tuple[Any, ...], labelled: Example) -> None:
        _, version, prediction, probabilities, score = said[: len(_SAID)]
        record = Evaluation(
            labelled.id,
            live.settings.name,
            self.name,
            version,
            prediction,
            labelled.label,
            labelled.time,
            labelled.label_time,
            labelled.label_time - labelled.time,
            cast("Source", labelled.source),  # what is learned at arrival has no label
            labelled.late,
            False,
            probabilities if live.settings.task == "classification" else UNSET,
            score if live.settings.task == "anomaly" else UNSET,
        )
        self._emit("evaluations", _encode(record))
        self._stats.evaluations += 1

    # Observe

    def _observe_request(
        self, live: LiveModel, asked: Request, answer: tuple[Any, ...], role: Role
    ) -> tuple[Any, ...]:
        """Tell the monitor; what is kept until the truth comes says in which role it was said."""
        name, task = live.settings.name, live.settings.task
        version, *said = answer
        seen = Predicted(
            key_of(name, role), asked.id, asked.time, version, task, observing.value(task, *said)
        )
        self._emit("observations", observing.write(seen))
        return name, *answer, role

    def _observe_outcome(
        self, live: LiveModel, said: list[Any], own: tuple[Any, ...], labelled: Example
    ) -> None:
        name, version, prediction, probabilities, score, role = own
        source, replaces, replaces_assumed = observing.truth(labelled, live.label_type)
        champion = None
        if role != "champion":
            of_champion = (each for each in said if each[-1] == "champion")
            champion = next((Said(each[0], each[2]) for each in of_champion), None)
        seen = Evaluated(
            key_of(name, role),
            labelled.id,
            labelled.time,
            version,
            live.settings.task,
            prediction,
            probabilities,
            score,
            labelled.label,
            labelled.label_time,
            source,
            labelled.late,
            False,
            replaces,
            replaces_assumed,
            champion,
        )
        self._emit("observations", observing.write(seen))

    # Learn

    def _learn(self, live: LiveModel, labelled: Example, features: bytes) -> None:
        settings, label, weight = live.settings, labelled.label, labelled.weight
        if settings.learn_only is not None and label != settings.learn_only:
            self._stats.skipped += 1
            return
        if live.frozen:
            detail = "it is frozen: it failed too often, or a message said so"
            self._dead(Stage.LEARN, Reason.MODEL_FROZEN, detail, live, labelled)
            return
        if settings.margin_below is not None and self._sure(live, features, label):
            self._stats.skipped += 1
            return
        entry = Entry(
            "example", settings.name, self.name, live.n + 1, labelled.id, Raw(features),
            label, weight, labelled.source, labelled.time,
        )  # fmt: skip
        x = decode_features(features)
        begun = time.perf_counter_ns()
        try:
            live.teach(x, label, weight)
        except Exception as error:
            self._dead(Stage.LEARN, Reason.LEARN_FAILED, _shown(error), live, labelled)
            self._failed(live)
            return
        took = time.perf_counter_ns() - begun
        live.taught(label, labelled.id, labelled.time)
        live.saw(x)
        self._append(live, entry, took)
        stats = self._stats
        stats.examples += 1
        stats.learned[settings.name] += 1
        stats.learning.add(took)
        if settings.reemit:
            again = Request(labelled.id, labelled.time, features, labelled.input, labelled.position)
            digest = input_digest(again.id, features)
            self._predict(live, again, digest, self.roles.serving(again.id), reemit=True)

    def _sure(self, live: LiveModel, features: bytes, label: Label | None) -> bool:
        """Right, and by a margin: nothing to learn from, as passive-aggressive pipelines have it."""
        x = decode_features(features)
        if live.request_changes(x):
            return False
        answer, failure, _ = self._ask(live.ask, x)
        if failure is not None or not answer.probabilities:
            return False
        prediction, _, _ = tasks.in_label_type(answer, live.label_type)
        first, second, *_ = *sorted(answer.probabilities.values(), reverse=True), 0.0, 0.0
        margin = live.settings.margin_below
        assert margin is not None, "only asked where a margin is set"
        return prediction == label and first - second >= margin

    def _append(self, live: LiveModel, entry: Entry, took_ns: int) -> None:
        """Enter what has just changed the model in its chain, its state and the learn log."""
        data = encode_entry(entry)
        parent = live.version
        live.at(advance(live.head, data))
        self._stats.changed(live.settings.name)
        self.keeper.append(live, data)
        if self._out.learn_log:
            self._emit("learn_log", log_record(data, parent, live.version, live.head))
        if live.policy.entry(took_ns):
            self.keeper.snapshot(live)

    def _failed(self, live: LiveModel) -> None:
        """The model raised in the middle of learning: put it back, and give up on it in time."""
        self._rebuild(live)
        settings = live.settings
        live.failed += 1
        offered = live.learned + live.failed
        begin = offered - settings.failure_window
        live.recent_failures = (
            *(failure for failure in live.recent_failures if failure > begin),
            offered,
        )
        if len(live.recent_failures) > settings.max_failures:
            live.frozen = True
            self.enter(live, "freeze", None)
        self.put_failures(live)

    # Recovery

    def _load(self, deployments: list[Deployment]) -> None:
        """Bring to life what state holds; state wins over the configuration."""
        stored, record = self._store.models(), self._store.record()
        configured = {deployment.settings.name: deployment.settings for deployment in deployments}
        self._held = record.get("held", (0, 0))
        self._caught_up = record.get("caught_up", self._caught_up)
        self._acks = record.get("acks", {})
        self._stats.held += self.holding
        # One order, whatever order state hands its models out in.
        order = (
            *(name for name in configured if name in stored),
            *sorted(stored.keys() - configured.keys()),
        )
        kept = {
            name: kept_settings(
                msgspec.convert(stored[name]["settings"], ModelSettings), configured.get(name)
            )
            for name in order
        }
        before = {name: settings.role for name, settings in kept.items()}
        if record:
            self.roles = Roles.of_plain(record["roles"])
        elif before:
            self.roles = Roles(before, filed=before)
        for name in self.roles.filed.keys() & self.roles.roles.keys() - configured.keys():
            logger.warning("model %r is in state but not configured; it goes on", name)
        new = self.roles.follow({name: settings.role for name, settings in configured.items()})
        for name, meta in stored.items():
            live = self.live[name] = LiveModel(kept[name], self.name)
            self.keeper.restore(live, meta)
            if self._enter_environment(live, meta["environment"]):
                self.keeper.snapshot(live)
        for deployment in deployments:
            if deployment.settings.name in new:
                self._deploy(deployment, late=bool(stored or record))
        self.live = {name: self.live[name] for name in self.roles.roles}
        for name in self.live:
            self._stats.took_part(name)
        self._settle()
        if new or not record:
            self._put_record()

    def _deploy(self, deployment: Deployment, late: bool, seq: int | None = None) -> LiveModel:
        settings, pickled, since = deployment
        name = settings.name
        live = self.live[name] = LiveModel(settings, self.name)
        self._stats.took_part(name)
        model = snapshots.unpickle_model(pickled, self.environment)
        if since is None:
            live.put(model, 0, 0, genesis(settings.origin, name, self.name))
        else:
            # Under its own name and lane a version goes on; under another it begins a chain.
            own = (since.model, since.lane) == (name, self.name)
            head = since.head if own else genesis(_origin_of(since), name, self.name)
            live.put(model, since.n, since.n, head)
            live.label_type = live.label_type or since.label_type
            live.names = set(since.names)
        self.keeper.snapshot(live)
        if late:
            self.enter(live, op_text("deploy", _deployed(deployment, self.name)), seq)
        if since is not None:
            self._enter_environment(live, since.environment)
        return live

    def _enter_environment(self, live: LiveModel, before: dict[str, str]) -> bool:
        """Floats may differ from here on, where a model comes from another environment."""
        if self.environment == before:
            return False
        shown = msgspec.json.encode(self.environment).decode()
        entry = Entry("environment", live.settings.name, self.name, live.n, op=shown)
        self._append(live, entry, 0)
        return True

    def _rebuild(self, live: LiveModel) -> None:
        """As before the item that raised; then a snapshot, so that the next rebuild is a load."""
        self.keeper.rebuild(live)
        self._stats.rebuilds += 1
        if live.policy.entries:
            self.keeper.snapshot(live)

    # Dead letters

    def _dead(
        self,
        stage: Stage,
        reason: Reason,
        detail: str,
        live: LiveModel | None,
        item: Request | Example,
    ) -> None:
        """The record that came is gone by now; `raw` is the same event written anew."""
        self._stats.dead_letters[reason] += 1
        if not self._out.dead_letters:
            return
        event: dict[str, Any] = {"id": item.id}
        if item.features is not None:
            event["features"] = Raw(item.features)
        if isinstance(item, Example) and item.label is not None:
            event["label"] = item.label
        event["ts"] = item.time
        if isinstance(item, Example) and item.weight is not None:
            event["weight"] = item.weight
        letter = dead_letter(
            stage,
            reason,
            detail,
            source=item.input,
            position=item.position,
            id=item.id,
            raw=msgspec.json.encode(event),
            limit=self._settings.raw_bytes,
            model=None if live is None else live.settings.name,
        )
        self._emit("dead_letters", letter)


NO_ANSWER = Answer(None, None, None)

# What is kept of an answer; behind it stands the role, where a monitor was told of it.
_SAID = ("model", "version", "prediction", "probabilities", "score")


def _of_entry(entry: Entry, features: bytes) -> Example:
    """An example of another model, to learn it, too; it is not evaluated."""
    assert entry.id is not None and entry.event_time is not None, "an example has both"
    source = cast("Any", entry.source)
    time = entry.event_time
    return Example(
        entry.id, time, features, entry.label, entry.weight, time, source, False, False, None, None
    )


def place_of(item: Item) -> Place:
    """What orders control messages: by event time their time and id, else as they were accepted."""
    _, id, number, time, *_ = item
    return (time, id) if time else (0, f"{number:020d}")


def _at_arrival(asked: Request) -> Example:
    """What an anomaly detector learns that does not wait for labels."""
    id, time, features, input, position, *_ = asked
    return Example(id, time, features, None, None, time, "arrival", False, True, input, position)


def _origin_of(since: Version) -> dict[str, str]:
    """What a chain begins with that another leads to."""
    return {"head": since.head.hex()}


def _deployed(deployment: Deployment, lane: str | None) -> dict[str, Any]:
    """What a deploy entry says of it."""
    settings, _, since = deployment
    origin = settings.origin
    if since is not None and (since.model, since.lane) != (settings.name, lane):
        origin = _origin_of(since)
    return {
        "task": settings.task,
        "role": settings.role,
        "origin": origin,
        "since": since
        and {
            "version": version_name(since.model, since.lane, since.n, since.head),
            "head": since.head.hex(),
            "environment": since.environment,
        },
    }


def _shown(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _encode(record: Struct) -> str:
    return msgspec.json.encode(record).decode()
