"""`riverrun version`: artifacts looked at, checked, compared, and made of a learn log."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from events.features import decode_features
from jobs.beginnings import KnownBeginnings, opened
from jobs.config import Config
from jobs.errors import Failure
from jobs.job_keys import signing_key
from jobs.learn_logs import LearnLog
from jobs.lines import Lines
from jobs.prequential import Prequential
from jobs.settings import StoredSink
from models.purity import Purity
from models.tasks import in_label_type, task_for
from operators.collecting import seldom_collecting
from operators.exporting import manifest_of
from operators.live import LiveModel
from operators.replaying import Own, Replay, Standing, asked, kept
from state.artifacts import Artifact, ArtifactError, Manifest, signed_by, write_artifact
from state.chains import Chain, entry_of, forest, link_of
from state.learnlog import Entry
from state.signing import TrustedKeys
from state.snapshots import environment, pickle_model, unpickle_model
from state.versions import parse_version

Progress = Callable[[int], None]
# How many of the last examples' features an artifact and its version from the log are both asked about.
COMPARED = 1000


class Shown(Struct, frozen=True):
    """An artifact; `signed_by` is what it says, believed by nobody yet; sizes in bytes."""

    manifest: Manifest
    signed_by: str | None
    model_bytes: int


def show(path: Path) -> Shown:
    """What stands in an artifact; its model stays unread.

    Raises
    ------
    Failure
        It is none, or was changed.
    """
    artifact = opened(path, None)
    return Shown(artifact.manifest, _signer(path), len(artifact.pickled))


def _signer(path: Path) -> str | None:
    try:
        return signed_by(path)
    except ArtifactError as error:
        raise Failure(str(error)) from None


# Making


class _Target:
    """Watches a walk until it is at one version."""

    def __init__(self, log: LearnLog, number: int | None, measures: bool) -> None:
        self._log = log
        self._number = number
        self._measures = measures
        self._prequential: Prequential | None = None
        self.standing: Standing | None = None
        self.breaks: list[tuple[int, str]] = []
        self.recent: list[bytes] = []

    def begin(self, repeated: Mapping[int, int]) -> None:
        if self._number is not None:
            self._number = repeated.get(self._number, self._number)

    def last(self, numbers: Any) -> int:
        return 0 if self._number not in numbers else numbers.index(self._number) + 1

    def at(self, number: int, standing: Standing, own: Own | None) -> None:
        if number == self._number:
            standing_then = Standing(standing.version, standing.head, standing.live)
            if standing.live is not None and standing.head is not None:
                standing.live.at(standing.head)
                # The walk goes on, and this one stays.
                standing_then.live = kept(standing.live).live()
                standing_then.live.learned = standing.live.learned
            standing_then.lost = standing.lost
            self.standing = standing_then

    def learns(self, live: LiveModel, entry: Entry) -> None:
        features = bytes(entry.features)
        self.recent.append(features)
        if len(self.recent) > 2 * COMPARED:
            del self.recent[:COMPARED]
        x = decode_features(features)
        pure = live.settings.purity in (Purity.PURE, Purity.FIRST) and not live.request_changes(x)
        if self._measures and pure:
            if self._prequential is None:
                self._prequential = Prequential(live.settings.task)
            answer, error = asked(live, x)
            if error is None:
                self._prequential.update(entry.label, answer, live.label_type)

    def broken(self, number: int, version: str, detail: str) -> None:
        self.breaks.append((number, f"{self._log.lines.position(number)}, {version}: {detail}"))

    def metrics(self) -> dict[str, float]:
        return {} if self._prequential is None else self._prequential.get()


class Made(Struct, frozen=True):
    """A version made of a learn log: what is known of it, and its model's bytes."""

    manifest: Manifest
    pickled: bytes


class Learned(Struct, frozen=True):
    """A version as a learn log has it."""

    live: LiveModel
    metrics: dict[str, float]
    recent: list[bytes]


def export(
    config: Config,
    version: str | None,
    learn_logs: Iterable[StoredSink],
    *,
    artifacts: Iterable[Path] = (),
    trusted: TrustedKeys | None = None,
    unpickle: bool = True,
    model: Any = None,
    progress: Progress | None = None,
) -> Made:
    """Make a version again from the learn log.

    Parameters
    ----------
    version
        Its name; `NAME` or `NAME/LANE` for the newest of a model; None for that of the champion.
    artifacts
        Versions to start at instead of the beginnings of their chains, or that a model was deployed
        from.
    unpickle
        Whether an artifact may stand for what it was made of; else only the learn log counts.
    model : River estimator, optional
        Stands for the spec of the one model that has none.

    Raises
    ------
    Failure
        The version is not in the log, or cannot be made again.
    """
    found = [opened(path, trusted) for path in artifacts]
    with seldom_collecting(), Lines() as lines:
        log = LearnLog(lines, learn_logs, progress)
        beginnings = KnownBeginnings(
            config,
            log.chains,
            artifacts=found,
            starts=found,
            model=model,
            unpickle=unpickle,
            probe_all=True,
        )
        name = _name(config, log, beginnings, version)
        starts = [artifact.manifest.version for artifact in found]
        learned = _learned(log, beginnings, name, progress, starts, measures=True)
    live = learned.live
    pickled = pickle_model(live.model)
    return Made(manifest_of(live, pickled, learned.metrics), pickled)


def write(made: Made, path: Path, config: Config) -> str | None:
    """Write a version to a new file, signed where the job has a key; that key's id.

    Raises
    ------
    Failure
        The file exists, or cannot be written.
    """
    if path.exists():
        raise Failure(f"{path} exists: name a file that does not")
    key = signing_key(config)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_artifact(path, made.manifest, made.pickled, key)
    except OSError as error:
        raise Failure(f"{path} cannot be written: {error.strerror}") from error
    return None if key is None else key.key_id


def _name(config: Config, log: LearnLog, beginnings: KnownBeginnings, version: str | None) -> str:
    """The whole name of a version, of which the newest is meant where there is no @."""
    if version is None:
        version = next(model.name for model in config.models if model.role == "champion")
    if "@" in version:
        return version
    chain = next((chain for chain in log.chains if chain.place == version), None)
    if chain is not None:
        return chain.runs[-1].last
    beginning = beginnings.first(Chain(version, None))
    if beginning is None:
        known = ", ".join(chain.place for chain in log.chains) or "none"
        raise Failure(f"the learn log has no model {version!r}; it has {known}")
    return beginning.version


def _learned(
    log: LearnLog,
    beginnings: KnownBeginnings,
    version: str,
    progress: Progress | None,
    starts: Iterable[str] = (),
    *,
    measures: bool,
) -> Learned:
    try:
        named = parse_version(version)
    except ValueError as error:
        raise Failure(str(error)) from None
    number = log.number_of(version)
    if number is None:
        beginning = beginnings.of(Chain(named.model, named.lane), version)
        if beginning is None:
            raise Failure(f"{version} is not in the learn log")
        return Learned(beginning.live(), {}, [])
    if log.unreadable:
        first, why = log.unreadable[0]
        raise Failure(f"{log.lines.position(first)}: {why}")
    target = _Target(log, number, measures)
    # One behind the version that is wanted is no help.
    before = [start for start in starts if (log.number_of(start) or 0) <= number]
    Replay(log, beginnings, target, starts=before, progress=progress).run()
    standing = target.standing
    chain = log.chains.find(named.model, named.lane)
    of_chain = set() if chain is None else {n for run in chain.runs for n in run.numbers}
    for place, told in target.breaks:
        if place in of_chain and place <= number:
            raise Failure(f"the chain is broken at {told}")
    if standing is not None and standing.lost == "erased":
        raise Failure(
            f"{version} cannot be made again: contents of an entry before it were erased. An artifact "
            "from behind that entry can stand for it: --from"
        )
    if standing is None or standing.live is None:
        raise Failure(f"{version} cannot be made again: what its chain begins at is not known")
    return Learned(standing.live, target.metrics(), target.recent[-COMPARED:])


# Checking


class Check(Struct, frozen=True):
    """Something that was looked at; `passed` None where it could not be."""

    what: str
    passed: bool | None
    detail: str


def verify(
    path: Path,
    trusted: TrustedKeys | None,
    config: Config | None = None,
    learn_logs: Iterable[StoredSink] = (),
    *,
    progress: Progress | None = None,
) -> Iterator[Check]:
    """Check an artifact: that it is whole, who signed it, and that the learn log leads to it.

    Its model is unpickled only where a trusted key has signed it.

    Parameters
    ----------
    trusted
        Keys of which one must have signed it; None: nobody is trusted.
    config
        Of the job whose learn log it is.
    """
    try:
        artifact = opened(path, None)
    except Failure as error:
        yield Check("whole", False, str(error))
        return
    manifest = artifact.manifest
    yield Check("whole", True, f"the model's digest is {manifest.sha256}")
    signed = _signature(path, trusted)
    yield signed
    if config is None:
        return
    with seldom_collecting(), Lines() as lines:
        log = LearnLog(lines, learn_logs, progress)
        beginnings = KnownBeginnings(config, log.chains, probe_all=True)
        try:
            learned = _learned(log, beginnings, manifest.version, progress, measures=False)
        except Failure as error:
            yield Check("in the learn log", False, str(error))
            return
        same_head = learned.live.head.hex() == manifest.head
        yield Check(
            "in the learn log",
            same_head,
            f"its chain leads to {manifest.version}"
            if same_head
            else f"the log has head {learned.live.head.hex()}, the artifact {manifest.head}",
        )
        if not same_head:
            return
        yield _compared(artifact, learned, signed.passed is True)


def _signature(path: Path, trusted: TrustedKeys | None) -> Check:
    key_id = _signer(path)
    if key_id is None:
        return Check("signed", None if trusted is None else False, "nobody has signed it")
    if trusted is None:
        return Check("signed", None, f"by {key_id}; give --config or --trusted-key to check it")
    try:
        opened(path, trusted)
    except Failure as error:
        return Check("signed", False, str(error))
    return Check("signed", True, f"by {key_id}, which is trusted")


def _compared(artifact: Artifact, learned: Learned, trusted: bool) -> Check:
    """Whether the artifact's model says what the version made of the log says."""
    what = "says the same"
    if not trusted:
        return Check(what, None, "its model is not unpickled: no trusted key has signed it")
    manifest, live = artifact.manifest, learned.live
    ask = task_for(manifest.task).asker(unpickle_model(artifact.pickled, manifest.environment))
    if environment() != manifest.environment:
        return Check(what, None, "it was made under another environment; floats may differ")
    for place, features in enumerate(learned.recent):
        said, _ = asked(live, decode_features(features))
        try:
            answer = ask(decode_features(features))
        except Exception as error:
            return Check(what, False, f"it raises {type(error).__name__}: {error}")
        if in_label_type(answer, live.label_type) != in_label_type(said, live.label_type):
            return Check(what, False, f"not of the features of example {place + 1} of the last")
    return Check(what, True, f"of the features of the last {len(learned.recent)} examples")


# Comparing


class Difference(Struct, frozen=True):
    """A field of two artifacts, or a place in their specs."""

    field: str
    one: Any
    other: Any


class Between(Struct, frozen=True):
    """What a learn log has between two versions: entries by kind, and the span of examples."""

    entries: dict[str, int]
    first: str | None
    last: str | None


def diff(one: Path, other: Path) -> list[Difference]:
    """Where two artifacts differ: manifests, specs place by place, sizes. No model is unpickled.

    Raises
    ------
    Failure
        One is none, or was changed.
    """
    first, second = show(one), show(other)
    return [
        Difference(name, a.get(name), b.get(name))
        for a, b in [(_flat(first), _flat(second))]
        for name in dict.fromkeys([*a, *b])
        if a.get(name) != b.get(name)
    ]


def _flat(shown: Shown) -> dict[str, Any]:
    manifest = msgspec.to_builtins(shown.manifest)
    found: dict[str, Any] = {}
    for name, value in manifest.items():
        found.update(_leaves(name, value))
    return {**found, "signed_by": shown.signed_by, "model_bytes": shown.model_bytes}


def _leaves(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    inner: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, dict):
        inner = value.items()
    elif isinstance(value, list) and path != "names":
        inner = enumerate(value)
    else:
        yield path, value
    for key, each in inner:
        yield from _leaves(f"{path}.{key}", each)


def between(
    config: Config,
    one: Path,
    other: Path,
    learn_logs: Iterable[StoredSink],
    progress: Progress | None,
) -> Between:
    """What was done between two versions of one chain.

    Raises
    ------
    Failure
        They are of two models or lanes, or the log does not have them one behind the other.
    """
    first, second = show(one).manifest, show(other).manifest
    if (first.model, first.lane) != (second.model, second.lane):
        raise Failure(f"{first.version} and {second.version} are of two chains")
    with Lines() as lines:
        log = LearnLog(lines, learn_logs, progress)
        chain = log.chains.find(first.model, first.lane)
        beginnings = KnownBeginnings(config, log.chains)
        numbers = [] if chain is None else _between(log, chain, beginnings, first, second)
        entries: dict[str, int] = {}
        ids: list[str] = []
        for number in numbers:
            record = log.read(number)
            entry = entry_of(record, link_of(record))
            entries[entry.kind] = entries.get(entry.kind, 0) + 1
            if entry.kind == "example" and entry.id is not None:
                ids = [ids[0], entry.id] if ids else [entry.id]
    return Between(entries, ids[0] if ids else None, ids[-1] if ids else None)


def _between(
    log: LearnLog, chain: Chain, beginnings: KnownBeginnings, first: Manifest, second: Manifest
) -> list[int]:
    def begins_at(version: str) -> bool:
        return beginnings.of(chain, version) is not None

    for tree in forest(chain, log.read, begins_at).trees:
        places = {tree.parent: 0}
        for place, number in enumerate(tree.trunk.numbers, 1):
            places[link_of(log.read(number)).version] = place
        begin, end = places.get(first.version), places.get(second.version)
        if begin is not None and end is not None:
            return list(tree.trunk.numbers[min(begin, end) : max(begin, end)])
    raise Failure(f"the learn log has no way from {first.version} to {second.version}")
