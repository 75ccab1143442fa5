"""Predict, learn, evaluate, recover: what OnlineModel does with one item, in plain Python.

A `Lane` holds the live models of one lane over a `Store`, the state of the current key. Whatever a
model is, the store has it too: a snapshot and the entries since. So a live model may be dropped from
memory at any time and be rebuilt, equal to the last bit.
"""

import time
from collections.abc import Callable, Iterable
from typing import Any, Literal, NamedTuple, Protocol, cast

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from events.features import decode_features, input_digest
from events.letters import dead_letter
from events.messages import Evaluation, Label, Prediction, Source
from events.reasons import Reason, Stage
from models import tasks
from models.tasks import Answer, LabelType
from operators.items import EXAMPLE, REQUEST, Example, Item, Request
from operators.live import Deployment, LiveModel, ModelSettings, kept_settings
from state import snapshots
from state.learnlog import Entry, decode_entry, encode_entry, log_record
from state.versions import advance, genesis


class Store(Protocol):
    """State of one lane; every value is a plain dict, tuple, number or bytes."""

    def models(self) -> dict[str, dict[str, Any]]: ...
    def put_model(self, name: str, meta: dict[str, Any]) -> None: ...
    def failures(self, name: str) -> tuple[int, tuple[int, ...], bool] | None: ...
    def put_failures(self, name: str, failures: tuple[int, tuple[int, ...], bool]) -> None: ...
    def snapshot(self, name: str, chunks: int) -> Iterable[bytes]: ...
    def put_snapshot(self, name: str, chunks: list[bytes], replaced: int) -> None: ...
    def log(self, name: str) -> Iterable[bytes]: ...
    def append(self, name: str, entry: bytes) -> None: ...
    def clear_log(self, name: str) -> None: ...
    def predictions(self, id: str) -> list[tuple[Any, ...]] | None: ...
    def put_predictions(self, id: str, said: list[tuple[Any, ...]]) -> None: ...
    def forget(self, id: str) -> None: ...


class Out(NamedTuple):
    """Which outputs are written; what is not is not encoded either."""

    predictions: bool = True
    evaluations: bool = True
    learn_log: bool = True
    dead_letters: bool = True


# What a named tuple's own constructor does, at a third of its cost.
_new: Callable[..., Any] = tuple.__new__

Output = Literal["predictions", "evaluations", "learn_log", "dead_letters"]
Emit = Callable[[Output, str], None]


class Stats:
    """Totals since this process began, read by metrics; times are running means in nanoseconds."""

    def __init__(self) -> None:
        self.predictions = 0
        self.examples = 0
        self.evaluations = 0
        self.skipped = 0
        self.unmatched = 0
        self.snapshots = 0
        self.rebuilds = 0
        self.predict_ns = 0
        self.learn_ns = 0
        self.snapshot_ns = 0
        self.label_delay_ms = 0
        self.dead_letters: dict[Reason, int] = dict.fromkeys(Reason, 0)


def smooth(mean: int, value: int) -> int:
    """Running mean over about the last 64 values."""
    return value if mean == 0 else mean + (value - mean >> 6)


class Lane:
    """The live models of one lane, and what happens to them.

    Parameters
    ----------
    emit : callable
        Takes the name of an output and a record's JSON text.
    raw_bytes : int
        Where the text of a dead letter is cut.
    """

    def __init__(
        self,
        lane: str | None,
        deployments: list[Deployment],
        store: Store,
        out: Out,
        emit: Emit,
        stats: Stats,
        raw_bytes: int,
    ) -> None:
        self._lane = lane
        self._store = store
        self._out = out
        self._emit = emit
        self._stats = stats
        self._raw_bytes = raw_bytes
        self.live: dict[str, LiveModel] = {}
        self._load(deployments)

    # What arrives

    def request(self, asked: Request) -> None:
        """Predict with every model; keep what was said where an evaluation may come."""
        digest = input_digest(asked.id, asked.features)
        said = []
        for live in self.live.values():
            answer = self._predict(live, asked, digest)
            said.append((live.settings.name, *answer))
            if live.settings.learn_on == "arrival":
                self._learn(live, _at_arrival(asked), asked.features)
        if self._out.evaluations:
            self._store.put_predictions(asked.id, said)

    def example(self, labelled: Example) -> None:
        """Evaluate what was predicted, then learn where features are given."""
        id, label, features = labelled.id, labelled.label, labelled.features
        delay = max(labelled.label_time - labelled.time, 0)
        self._stats.label_delay_ms = smooth(self._stats.label_delay_ms, delay)
        said = self._store.predictions(id) if self._out.evaluations else None
        if self._out.evaluations and said is None:
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
        if self._out.evaluations:
            self._store.forget(id)

    def handle(self, item: Item) -> None:
        """One item of `operators.items`."""
        kind = item[0]
        if kind == REQUEST:
            self.request(_new(Request, item[1:]))
        elif kind == EXAMPLE:
            self.example(_new(Example, item[1:]))
        else:
            self.forget(item[1])

    # Predict

    def _predict(
        self, live: LiveModel, asked: Request, digest: str, reemit: bool = False
    ) -> tuple[str, Any, Any, Any]:
        """Ask, emit the prediction, and return `(version, prediction, probabilities, score)`."""
        version = live.version
        x = decode_features(asked.features)
        logged = live.request_changes(x)
        answer, failure, took = self._ask(live, x)
        error: str | UnsetType = UNSET
        if failure is not None:
            reason, error = failure
            self._dead(Stage.PREDICT, reason, error, live, asked)
        if logged:
            if failure is not None and failure[0] is Reason.PREDICT_FAILED:
                self._rebuild(live)
            else:
                entry = Entry(
                    "request", live.settings.name, self._lane, live.n, asked.id,
                    Raw(asked.features), event_time=asked.time,
                )  # fmt: skip
                live.saw(x)
                self._append(live, entry, took)
        prediction, probabilities, score = _in_label_type(answer, live.label_type)
        if self._out.predictions:
            task = live.settings.task
            record = Prediction(
                asked.id,
                live.settings.name,
                self._lane,
                version,
                live.settings.role == "champion",
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
        return version, prediction, probabilities, score

    def _ask(
        self, live: LiveModel, x: dict[str, Any]
    ) -> tuple[Answer, tuple[Reason, str] | None, int]:
        """The answer, why there is none, and how many nanoseconds it took."""
        begun = time.perf_counter_ns()
        try:
            answer = live.ask(x)
        except Exception as error:
            return NO_ANSWER, (Reason.PREDICT_FAILED, _shown(error)), 0
        took = time.perf_counter_ns() - begun
        self._stats.predict_ns = smooth(self._stats.predict_ns, took)
        if not tasks.finite(answer):
            failure = (Reason.PREDICTION_NOT_FINITE, f"the model answered {answer}")
            return NO_ANSWER, failure, took
        return answer, None, took

    # Evaluate

    def _evaluate(
        self, live: LiveModel, said: list[tuple[Any, ...]] | None, labelled: Example
    ) -> None:
        name = live.settings.name
        for model, version, prediction, probabilities, score in said or ():
            if model != name:
                continue
            record = Evaluation(
                labelled.id,
                name,
                self._lane,
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

    # Learn

    def _learn(self, live: LiveModel, labelled: Example, features: bytes) -> None:
        settings, label, weight = live.settings, labelled.label, labelled.weight
        if settings.learn_only is not None and label != settings.learn_only:
            self._stats.skipped += 1
            return
        if live.frozen:
            detail = "it failed too often"
            self._dead(Stage.LEARN, Reason.MODEL_FROZEN, detail, live, labelled)
            return
        if settings.margin_below is not None and self._sure(live, features, label):
            self._stats.skipped += 1
            return
        entry = Entry(
            "example", settings.name, self._lane, live.n + 1, labelled.id, Raw(features),
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
        live.taught(label)
        live.saw(x)
        self._append(live, entry, took)
        self._stats.examples += 1
        self._stats.learn_ns = smooth(self._stats.learn_ns, took)
        if settings.reemit:
            again = Request(labelled.id, labelled.time, features, labelled.input, labelled.position)
            self._predict(live, again, input_digest(again.id, features), reemit=True)

    def _sure(self, live: LiveModel, features: bytes, label: Label | None) -> bool:
        """Right, and by a margin: nothing to learn from, as passive-aggressive pipelines have it."""
        x = decode_features(features)
        if live.request_changes(x):
            return False
        answer, failure, _ = self._ask(live, x)
        if failure is not None or not answer.probabilities:
            return False
        prediction, _, _ = _in_label_type(answer, live.label_type)
        first, second, *_ = *sorted(answer.probabilities.values(), reverse=True), 0.0, 0.0
        margin = live.settings.margin_below
        assert margin is not None, "only asked where a margin is set"
        return prediction == label and first - second >= margin

    def _append(self, live: LiveModel, entry: Entry, took_ns: int) -> None:
        """Enter what has just changed the model in its chain, its state and the learn log."""
        data = encode_entry(entry)
        parent = live.version
        live.at(advance(live.head, data))
        self._store.append(live.settings.name, data)
        if self._out.learn_log:
            self._emit("learn_log", log_record(data, parent, live.version, live.head))
        if live.policy.entry(took_ns):
            self._snapshot(live)

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
            self._append(live, Entry("control", settings.name, self._lane, live.n, op="freeze"), 0)
        self._store.put_failures(settings.name, (live.failed, live.recent_failures, live.frozen))

    # Snapshots, recovery

    def _load(self, deployments: list[Deployment]) -> None:
        """Bring to life what state holds; state wins over the configuration."""
        stored = self._store.models()
        configured = {deployment.settings.name: deployment.settings for deployment in deployments}
        for name, meta in stored.items():
            settings = msgspec.convert(meta["settings"], ModelSettings)
            live = LiveModel(kept_settings(settings, configured.get(name)), self._lane)
            self.live[name] = live
            self._restore(live, meta)
            if self._enter_environment(live, meta["environment"]):
                self._snapshot(live)
        for deployment in deployments:
            if deployment.settings.name not in stored:
                self._deploy(deployment, late=bool(stored))
        # One order, whatever order state hands its models out in.
        order = (*configured, *sorted(stored.keys() - configured.keys()))
        self.live = {name: self.live[name] for name in order}

    def _deploy(self, deployment: Deployment, late: bool) -> None:
        settings, pickled, since = deployment
        name = settings.name
        live = self.live[name] = LiveModel(settings, self._lane)
        model = snapshots.unpickle_model(pickled, snapshots.environment())
        if since is None:
            live.put(model, 0, 0, genesis(settings.origin, name, self._lane))
        else:
            # Under its own name and lane a version goes on; under another it begins a chain.
            own = (since.model, since.lane) == (name, self._lane)
            origin = {"head": since.head.hex()}
            head = since.head if own else genesis(origin, name, self._lane)
            live.put(model, since.n, since.n, head)
            live.label_type = live.label_type or since.label_type
            live.names = set(since.names)
        self._snapshot(live)
        if late:
            self._append(live, Entry("control", name, self._lane, live.n, op="deploy"), 0)
        if since is not None:
            self._enter_environment(live, since.environment)

    def _enter_environment(self, live: LiveModel, before: dict[str, str]) -> bool:
        """Floats may differ from here on, where a model comes from another environment."""
        now = snapshots.environment()
        if now == before:
            return False
        shown = msgspec.json.encode(now).decode()
        self._append(
            live, Entry("environment", live.settings.name, self._lane, live.n, op=shown), 0
        )
        return True

    def _restore(self, live: LiveModel, meta: dict[str, Any]) -> None:
        """The last snapshot and the entries since."""
        name = live.settings.name
        pickled = snapshots.join(self._store.snapshot(name, meta["chunks"]))
        live.label_type = meta["label_type"] or live.settings.labels
        live.names = set(meta["names"])
        live.chunks = meta["chunks"]
        live.put(
            snapshots.unpickle_model(pickled, meta["environment"]),
            meta["n"], meta["learned"], meta["head"],
        )  # fmt: skip
        live.failed, live.recent_failures, live.frozen = self._store.failures(name) or (
            0,
            (),
            False,
        )
        live.policy.replayed()
        head = live.head
        for data in self._store.log(name):
            begun = time.perf_counter_ns()
            live.apply(decode_entry(data))
            head = advance(head, data)
            live.policy.entry(time.perf_counter_ns() - begun)
        live.at(head)

    def _rebuild(self, live: LiveModel) -> None:
        """As before the item that raised; then a snapshot, so that the next rebuild is a load."""
        self._restore(live, self._store.models()[live.settings.name])
        self._stats.rebuilds += 1
        if live.policy.entries:
            self._snapshot(live)

    def _snapshot(self, live: LiveModel) -> None:
        begun = time.perf_counter_ns()
        name = live.settings.name
        chunks = list(snapshots.split(snapshots.pickle_model(live.model)))
        self._store.put_snapshot(name, chunks, live.chunks)
        live.chunks = len(chunks)
        meta = {
            "format": snapshots.FORMAT,
            "environment": snapshots.environment(),
            "settings": msgspec.to_builtins(live.settings),
            "n": live.n,
            "learned": live.learned,
            "head": live.head,
            "label_type": live.label_type,
            "names": sorted(live.names),
            "chunks": live.chunks,
        }
        self._store.put_model(name, meta)
        self._store.clear_log(name)
        took = time.perf_counter_ns() - begun
        live.policy.taken(took)
        self._stats.snapshots += 1
        self._stats.snapshot_ns = smooth(self._stats.snapshot_ns, took)

    # Dead letters

    def _dead(
        self, stage: Stage, reason: Reason, detail: str, live: LiveModel, item: Request | Example
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
            limit=self._raw_bytes,
            model=live.settings.name,
        )
        self._emit("dead_letters", letter)


NO_ANSWER = Answer(None, None, None)


def _at_arrival(asked: Request) -> Example:
    """What an anomaly detector learns that does not wait for labels."""
    id, time, features, input, position = asked
    return Example(id, time, features, None, None, time, "arrival", False, True, input, position)


def _in_label_type(answer: Answer, label_type: LabelType | None) -> tuple[Any, Any, Any]:
    """The answer in the type that labels have, probabilities under JSON keys."""
    prediction, probabilities, score = answer
    if label_type is not None:
        prediction = tasks.as_label(prediction, label_type)
    if probabilities is not None:
        probabilities = {
            tasks.label_key(label if label_type is None else tasks.as_label(label, label_type)): p
            for label, p in probabilities.items()
        }
    return prediction, probabilities, score


def _shown(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _encode(record: Struct) -> str:
    return msgspec.json.encode(record).decode()
