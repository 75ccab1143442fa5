"""One model of one lane: what it is told to be, and its life in memory."""

import logging
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

import msgspec
from msgspec import Struct

from events.features import decode_features
from events.messages import Label
from models import tasks
from models.purity import Purity, changes, names_in
from models.tasks import LabelType
from operators.roles import Role
from state.artifacts import Manifest, Seen
from state.learnlog import Entry
from state.snapshots import SnapshotPolicy, SnapshotSettings
from state.versions import version_name

if TYPE_CHECKING:
    from operators.keeping import Mark

logger = logging.getLogger(__name__)


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
        More than `max_failures` raising examples among the last `failure_window` freeze the model; as
        many requests that it cannot answer, while it learns as many, take it out of serving.
    max_predict_ms : float or None
        A request that takes longer counts as one that it cannot answer.
    retain : int
        So many of its last versions can be gone back to.
    by_message : bool
        Deployed by a message: what the configuration says under its name is about another model.
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
    max_predict_ms: float | None = None
    retain: int = 0
    by_message: bool = False


class Version(NamedTuple):
    """What a model that starts from an artifact has behind it."""

    model: str
    lane: str | None
    n: int
    head: bytes
    label_type: LabelType | None
    names: frozenset[str]
    environment: dict[str, str]

    @classmethod
    def of_manifest(cls, manifest: Manifest) -> Self:
        """What an artifact has behind it."""
        return cls(
            manifest.model,
            manifest.lane,
            manifest.n,
            bytes.fromhex(manifest.head),
            manifest.label_type,  # type: ignore[arg-type]
            frozenset(manifest.names),
            manifest.environment,
        )


class Deployment(NamedTuple):
    """A model to start: its settings, the pickled River object, and what that has learned."""

    settings: ModelSettings
    pickled: bytes
    since: Version | None = None


class Pinned(NamedTuple):
    """The version that a model answers as while it learns: its snapshot, and a copy of its own."""

    mark: "Mark"
    copy: "LiveModel"
    pickled: bytes


class LiveModel:
    """One model of one lane in memory."""

    def __init__(self, settings: ModelSettings, lane: str | None) -> None:
        self.settings = settings
        self.lane = lane
        self.task = tasks.task_for(settings.task)
        self.label_type: LabelType | None = settings.labels
        self.names: set[str] = set()
        self.policy = SnapshotPolicy(settings.snapshot)
        self.failed = 0
        self.recent_failures: tuple[int, ...] = ()
        self.frozen = False
        self.unanswered = 0
        self.recent_unanswered: tuple[int, ...] = ()
        self.pinned: Pinned | None = None
        # The span of what it has learned.
        self.first: Seen | None = None
        self.last: Seen | None = None
        # Where its state lies, see operators/keeping.py.
        self.mark: Mark | None = None
        self.kept: list[Mark] = []
        self.snapshot_bytes = 0
        self.slot = 0
        self.in_slot = 0

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
        return purity is not Purity.PURE and changes(purity, self.names, features)

    def apply(self, entry: Entry) -> None:
        """Repeat what an entry did to the model."""
        if entry.kind not in ("example", "request"):
            return
        features = decode_features(bytes(entry.features))
        if entry.kind == "request":
            self.ask(features)
        else:
            self.teach(features, entry.label, entry.weight)
            assert entry.id is not None and entry.event_time is not None, "it is an example"
            self.taught(entry.label, entry.id, entry.event_time)
        self.saw(features, asked=entry.kind == "request")

    def taught(self, label: Label | None, id: str, event_time: int) -> None:
        self.n += 1
        self.learned += 1
        self.last = Seen(id, event_time)
        if self.first is None:
            self.first = self.last
        if self.label_type is None and label is not None:
            self.label_type = tasks.type_of(label)

    def saw(self, features: dict[str, Any], asked: bool = False) -> None:
        """Remember what was new of an example, or of a request that changed the model."""
        purity = self.settings.purity
        if purity is Purity.NAMES or (purity is Purity.FIRST and asked):
            self.names.update(names_in(features))


def kept_settings(stored: ModelSettings, configured: ModelSettings | None) -> ModelSettings:
    """A restored model stays what it is; how it is watched and kept follows the configuration."""
    if configured is None or stored.by_message:
        return stored
    if configured.origin != stored.origin:
        logger.warning("model %r has another spec in state; state wins", stored.name)
    return msgspec.structs.replace(
        configured, task=stored.task, origin=stored.origin, purity=stored.purity
    )
