"""One model of one lane: what it is told to be, and its life in memory."""

import logging
from typing import Any, Literal, NamedTuple

import msgspec
from msgspec import Struct

from events.features import decode_features
from events.messages import Label
from models import tasks
from models.purity import Purity, names_in
from models.tasks import LabelType
from state.learnlog import Entry
from state.snapshots import SnapshotPolicy, SnapshotSettings
from state.versions import version_name

logger = logging.getLogger(__name__)

Role = Literal["champion", "challenger", "shadow"]


class ModelSettings(Struct, frozen=True):
    """One model: what it is asked and taught, and when it is given up on.

    Attributes
    ----------
    origin : JSON value
        What its genesis is made of: the stored spec, or the digest of a pickled object.
    labels : LabelType or None
        The type of its labels; None: that of the first one learned.
    learn_only : label or None
        Anomaly: learn only examples with this label.
    margin_below : float or None
        Classification: learn only where the model was wrong, or where its two most probable labels
        lie closer than this.
    max_failures, failure_window : int
        More than `max_failures` raising examples among the last `failure_window` freeze the model.
    """

    name: str
    task: tasks.TaskName
    role: Role
    origin: Any
    purity: Purity
    labels: LabelType | None = None
    learn_on: Literal["label", "arrival"] = "label"
    learn_only: Label | None = None
    margin_below: float | None = None
    reemit: bool = False
    max_failures: int = 10
    failure_window: int = 1000
    snapshot: SnapshotSettings = SnapshotSettings()


class Version(NamedTuple):
    """What a model that starts from an artifact has behind it."""

    model: str
    lane: str | None
    n: int
    head: bytes
    label_type: LabelType | None
    names: frozenset[str]
    environment: dict[str, str]


class Deployment(NamedTuple):
    """A model to start: its settings, the pickled River object, and what that has learned."""

    settings: ModelSettings
    pickled: bytes
    since: Version | None = None


class LiveModel:
    """One model of one lane in memory."""

    def __init__(self, settings: ModelSettings, lane: str | None) -> None:
        self.settings = settings
        self.lane = lane
        self.task = tasks.task_for(settings.task)
        self.label_type: LabelType | None = settings.labels
        self.names: set[str] = set()
        self.policy = SnapshotPolicy(settings.snapshot)
        self.chunks = 0
        self.failed = 0
        self.recent_failures: tuple[int, ...] = ()
        self.frozen = False

    def put(self, model: Any, n: int, learned: int, head: bytes) -> None:
        """Make `model` the live one, after `n` examples; `learned` never goes back."""
        self.model = model
        self.ask = self.task.asker(model)
        self.teach = self.task.teacher(model)
        self.n = n
        self.learned = learned
        self.at(head)

    def at(self, head: bytes) -> None:
        self.head = head
        self.version = version_name(self.settings.name, self.lane, self.n, head)

    def request_changes(self, features: dict[str, Any]) -> bool:
        """Whether being asked about these features may change the model, which then is logged."""
        purity = self.settings.purity
        if purity is Purity.PURE:
            return False
        if purity is Purity.ALWAYS or not self.names:
            return True
        return not self.names.issuperset(names_in(features))

    def apply(self, entry: Entry) -> None:
        """Repeat what an entry did to the model."""
        if entry.kind not in ("example", "request"):
            return
        features = decode_features(bytes(entry.features))
        if entry.kind == "request":
            self.ask(features)
        else:
            self.teach(features, entry.label, entry.weight)
            self.taught(entry.label)
        self.saw(features)

    def taught(self, label: Label | None) -> None:
        self.n += 1
        self.learned += 1
        if self.label_type is None and label is not None:
            self.label_type = tasks.type_of(label)

    def saw(self, features: dict[str, Any]) -> None:
        if self.settings.purity is Purity.NAMES:
            self.names.update(names_in(features))


def kept_settings(stored: ModelSettings, configured: ModelSettings | None) -> ModelSettings:
    """A restored model stays what it is; how it is watched and kept follows the configuration."""
    if configured is None:
        logger.warning("model %r is in state but not configured; it goes on", stored.name)
        # The configuration names a champion, and there is one.
        role: Role = "challenger" if stored.role == "champion" else stored.role
        return msgspec.structs.replace(stored, role=role)
    if configured.origin != stored.origin:
        logger.warning("model %r has another spec in state; state wins", stored.name)
    return msgspec.structs.replace(
        configured, task=stored.task, origin=stored.origin, purity=stored.purity
    )
