"""Where chains begin: in the configuration, with a deploy entry, with an artifact."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec

from jobs.config import Config
from jobs.errors import Failure
from jobs.settings import ModelConfig
from models import specs, tasks
from models.ordering import pickle_in_order
from models.purity import Purity, probe
from models.tasks import LabelType
from operators.live import ModelSettings
from operators.replaying import Beginning
from state.artifacts import Artifact, ArtifactError, Manifest, read_artifact
from state.chains import Chain, Chains
from state.signing import TrustedKeys
from state.snapshots import pickle_model, unpickle_model
from state.versions import genesis, parse_version


def opened(path: Path, trusted: TrustedKeys | None) -> Artifact:
    """An artifact, checked.

    Raises
    ------
    Failure
        It is none, was changed, or is signed by nobody who is trusted.
    """
    try:
        return read_artifact(path, trusted)
    except ArtifactError as error:
        raise Failure(str(error)) from None


class KnownBeginnings:
    """Beginnings that a configuration, the deploy entries of a log and artifacts tell of.

    Parameters
    ----------
    artifacts : iterable of Artifact
        Checked; chains may begin at them, deploy entries may name them.
    starts : iterable of Artifact
        Those at which the walk is to begin, whatever the log has before them.
    model : River estimator, optional
        Stands for the spec of the one model that has none.
    unpickle : bool
        Whether an artifact may stand for what it was made of.
    probe_all : bool
        Find out of every model whether being asked changes it, which takes a second or two; else only
        of those that being asked has changed in this log.
    """

    def __init__(
        self,
        config: Config,
        chains: Chains,
        *,
        artifacts: Iterable[Artifact] = (),
        starts: Iterable[Artifact] = (),
        model: Any = None,
        unpickle: bool = True,
        probe_all: bool = False,
    ) -> None:
        self._probe_all = probe_all
        self._models = {model.name: model for model in config.models}
        self._starts = {artifact.manifest.version: artifact for artifact in starts}
        own = [opened(Path(model.artifact), None) for model in config.models if model.artifact]
        self._artifacts = {
            artifact.manifest.head: artifact
            for artifact in (*own, *artifacts, *self._starts.values())
        }
        self._own = {model.name: a for model, a in zip(_with_artifact(config), own, strict=True)}
        self._given: bytes | None = None
        if model is not None:
            pickle_in_order()
            self._given = pickle_model(model)
        self._unpickle = unpickle
        self._deployed = _deploys(chains)
        self._origins: dict[str, Any] = {}

    def of(self, chain: Chain, version: str) -> Beginning | None:
        return next((found for found in self._all(chain) if found.version == version), None)

    def first(self, chain: Chain) -> Beginning | None:
        """Where the configuration lets the chain begin."""
        return next(self._all(chain), None)

    def start(self, version: str) -> Beginning | None:
        artifact = self._starts.get(version)
        return None if artifact is None else self._of_artifact(artifact)

    def deployed(
        self, chain: Chain, fields: Mapping[str, Any], since: Beginning | None
    ) -> Beginning | None:
        try:
            return self._deployment(chain, fields, since)
        except (LookupError, TypeError, ValueError):  # no deploy entry has such fields
            return None

    def _deployment(
        self, chain: Chain, fields: Mapping[str, Any], since: Beginning | None
    ) -> Beginning | None:
        task, origin, named = fields.get("task"), fields.get("origin"), fields.get("since")
        if task not in tasks.TASK_NAMES:
            return None
        # What a message deploys has the type of its first label.
        settings = msgspec.structs.replace(self._settings(chain, task, origin), labels=None)
        if not isinstance(named, dict):
            return self._of_origin(chain, settings)
        head = bytes.fromhex(named["head"])
        if since is None:
            artifact = self._artifacts.get(named["head"])
            if artifact is None or not self._unpickle:
                return None
            since = self._of_artifact(artifact)
        before = parse_version(named["version"])
        if (before.model, before.lane) != (chain.model, chain.lane):
            head = genesis({"head": named["head"]}, chain.model, chain.lane)
        purity = since.settings.purity
        return since._replace(
            settings=msgspec.structs.replace(settings, purity=purity),
            lane=chain.lane,
            head=head,
            environment=named.get("environment"),
        )

    def _all(self, chain: Chain) -> Iterator[Beginning]:
        """Every version that the chain may begin at."""
        configured = self._models.get(chain.model)
        if configured is not None:
            yield from self._configured(chain, configured)
        for fields in self._deployed.get(chain.model, ()):
            found = self.deployed(chain, fields, None)
            if found is not None:
                yield found
        for artifact in self._artifacts.values() if self._unpickle else ():
            if (artifact.manifest.model, artifact.manifest.lane) == (chain.model, chain.lane):
                yield self._of_artifact(artifact)

    def _configured(self, chain: Chain, model: ModelConfig) -> Iterator[Beginning]:
        artifact = self._own.get(model.name)
        if artifact is None:
            settings = self._settings(chain, model.task, self._origin(model))
            found = self._of_origin(chain, settings)
            if found is not None:
                yield found
            return
        manifest = artifact.manifest
        # A log that goes back further than the artifact does.
        whole = self._of_origin(chain, self._settings(chain, model.task, manifest.origin))
        if whole is not None:
            yield whole
        if (manifest.model, manifest.lane) != (chain.model, chain.lane) and self._unpickle:
            head = genesis({"head": manifest.head}, chain.model, chain.lane)
            settings = self._settings(chain, model.task, manifest.origin)
            yield self._of_artifact(artifact)._replace(
                settings=msgspec.structs.replace(settings, purity=Purity(manifest.purity)),
                lane=chain.lane,
                head=head,
            )

    def _origin(self, model: ModelConfig) -> Any:
        if model.name not in self._origins:
            self._origins[model.name] = (
                specs.stored(model.spec, model.name)
                if model.spec is not None
                else {"pickle": sha256(self._given or b"").hexdigest()}
            )
        return self._origins[model.name]

    def _of_origin(self, chain: Chain, settings: ModelSettings) -> Beginning | None:
        """A chain's genesis; None where the origin is no spec and no object that is given."""
        make = self._maker(settings.origin, chain.model)
        if make is None:
            return None
        if chain.requests == 1 and not self._probe_all:
            # The first of all, and the job saw to it that no other changed the model.
            settings = msgspec.structs.replace(settings, purity=Purity.FIRST)
        elif chain.requests or self._probe_all:
            origin = msgspec.json.encode(settings.origin).decode()
            purity = _probed(origin, settings.task, make)
            settings = msgspec.structs.replace(settings, purity=purity)
        head = genesis(settings.origin, chain.model, chain.lane)
        return Beginning(settings, chain.lane, make, 0, head)

    def _maker(self, origin: Any, name: str) -> Callable[[], Any] | None:
        if specs.is_spec(origin):
            return partial(specs.build, origin, name)
        if self._given is None or not isinstance(origin, dict):
            return None
        if origin.get("pickle") != sha256(self._given).hexdigest():
            return None
        return partial(unpickle_model, self._given, {})

    def _settings(self, chain: Chain, task: tasks.TaskName, origin: Any) -> ModelSettings:
        model = self._models.get(chain.model)
        labels = None if model is None else model.labels
        return ModelSettings(chain.model, task, "challenger", origin, Purity.PURE, labels)

    def _of_artifact(self, artifact: Artifact) -> Beginning:
        manifest, pickled, _ = artifact
        settings = ModelSettings(
            manifest.model,
            manifest.task,  # type: ignore[arg-type]
            "challenger",
            manifest.origin,
            Purity(manifest.purity),
            self._labels(manifest),
        )
        return Beginning(
            settings,
            manifest.lane,
            partial(unpickle_model, pickled, manifest.environment),
            manifest.n,
            bytes.fromhex(manifest.head),
            manifest.label_type,  # type: ignore[arg-type]
            frozenset(manifest.names),
            manifest.environment,
            manifest.first,
            manifest.last,
        )

    def _labels(self, manifest: Manifest) -> LabelType | None:
        model = self._models.get(manifest.model)
        return None if model is None else model.labels


_PURITIES: dict[tuple[str, str], Purity] = {}


def _probed(origin: str, task: str, make: Callable[[], Any]) -> Purity:
    """Whether being asked changes what `make` makes; the same of the same origin."""
    if (origin, task) not in _PURITIES:
        _PURITIES[origin, task] = probe(make, tasks.task_for(task))
    return _PURITIES[origin, task]


def _with_artifact(config: Config) -> list[ModelConfig]:
    return [model for model in config.models if model.artifact]


def _deploys(chains: Chains) -> dict[str, list[dict[str, Any]]]:
    """What was deployed under each name, in whatever lane: in others it is there from the beginning."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for chain in chains:
        for operation in chain.operations:
            if operation.op == "deploy" and operation.fields:
                text = msgspec.json.encode(operation.fields).decode()
                found.setdefault(chain.model, {})[text] = operation.fields
    return {model: list(each.values()) for model, each in found.items()}
