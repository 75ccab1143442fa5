"""From `[[models]]`, or a River object given in Python, to what the job starts with."""

import io
import pickle
from collections.abc import Callable
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from jobs.config import Config, ConfigError, ModelConfig
from models import specs, tasks
from models.ordering import pickle_in_order
from models.purity import Purity, probe
from operators.live import Deployment, ModelSettings, Version
from state.artifacts import ArtifactError, read_artifact
from state.snapshots import StateFormatError, pickle_model, unpickle_model


def deployments(config: Config, model: Any = None) -> list[Deployment]:
    """Every configured model, built and tried once.

    Parameters
    ----------
    model : River estimator, optional
        Stands for the spec of the one model that has none.

    Raises
    ------
    ConfigError
        With every problem of every model: a River object that its task cannot use, an artifact
        that cannot be read, a class that task managers could not import.
    """
    found, problems = [], []
    for configured in config.models:
        try:
            found.append(_deployment(configured, model))
        except (specs.SpecError, ArtifactError, StateFormatError, ValueError) as error:
            problems.append(f"[[models]] {configured.name}: {error}")
    if problems:
        raise ConfigError(problems)
    return found


def _deployment(configured: ModelConfig, given: Any) -> Deployment:
    task = tasks.task_for(configured.task)
    since = manifest = None
    if configured.artifact is not None:
        manifest, pickled, _ = read_artifact(Path(configured.artifact))
        origin = manifest.origin
        since = Version.of_manifest(manifest)
        make: Callable[[], Any] = partial(unpickle_model, pickled, manifest.environment)
    elif configured.spec is not None:
        origin = specs.stored(configured.spec, configured.name)
        make = partial(specs.build, origin, configured.name)
        pickled = pickle_model(make())
    else:
        pickled = _pickled_by_name(given)
        origin = {"pickle": sha256(pickled).hexdigest()}
        make = partial(unpickle_model, pickled, {})
    unfit = task.check_model(make())
    if unfit:
        raise ValueError("; ".join(unfit))
    # What a model has learned can hide what changes it: it is known from its beginning.
    purity = probe(make, task) if manifest is None else Purity(manifest.purity)
    settings = ModelSettings(
        name=configured.name,
        task=configured.task,
        role=configured.role,
        origin=origin,
        purity=purity,
        labels=configured.labels,
        learn_on=configured.learn_on,
        learn_only=configured.learn_only,
        margin_below=configured.margin_below,
        reemit=configured.reemit,
        max_failures=configured.max_failures,
        failure_window=configured.failure_window,
        max_predict_ms=configured.max_predict_ms,
        retain=configured.retain_versions,
        snapshot=configured.snapshot,
    )
    return Deployment(settings, pickled, since)


def _pickled_by_name(model: Any) -> bytes:
    """Pickled; task managers find its classes by the names of their modules."""
    if model is None:
        raise ValueError("it has neither spec nor artifact, and no River object was given")
    pickle_in_order()
    try:
        pickled = pickle_model(model)
    except Exception as error:
        raise ValueError(f"the River object cannot be pickled: {error}") from error
    _ImportableOnly(io.BytesIO(pickled)).load()
    return pickled


class _ImportableOnly(pickle.Unpickler):
    """Finds what lives in the running script alone, however deep inside the model."""

    def find_class(self, module_name: str, global_name: str) -> Any:
        if module_name == "__main__":
            raise ValueError(
                f"{global_name} is defined in the script that runs; put it into a module that "
                "task managers can import"
            )
        return super().find_class(module_name, global_name)
