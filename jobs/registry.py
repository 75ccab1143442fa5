"""Versions in MLflow's model registry: put there with what is known of them, and taken back.

All of it goes through one client of MLflow's, so nothing of MLflow's global state is touched, and what
MLflow reports on standard output stays away from a script's.
"""

import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from jobs import control_messages, registry_facts
from jobs.errors import Failure
from jobs.registry_facts import TAG
from state.artifacts import Artifact, ArtifactError, Manifest, read_artifact, signed_by
from state.signing import TrustedKeys

EXPERIMENT: Final = "riverrun"
_WRAPPER: Final = "registry_model.py"
_FOLDER: Final = "model"
_ARTIFACT: Final = "version.rrv"
# The most params that MLflow takes in one request.
_AT_ONCE: Final = 100
_SHOWN: Final = 500
_SETTINGS: Final = {
    # A server that does not answer is given up after seconds; MLflow's default is minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
    # Standard output is the command's.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


class Pushed(NamedTuple):
    """A registered model version; `created` is False where this version was there already."""

    model: str
    number: int
    version: str
    created: bool


class Pulled(NamedTuple):
    """An artifact that was taken from the registry, and the payload that deploys it."""

    model: str
    number: int
    version: str
    key_id: str | None
    payload: str


class Registry:
    """MLflow's model registry at a tracking URI.

    Raises
    ------
    Failure
        MLflow is not installed, or does not answer there.
    """

    def __init__(self, tracking_uri: str) -> None:
        for name, value in _SETTINGS.items():
            os.environ.setdefault(name, value)
        try:
            from mlflow import MlflowClient
        except ModuleNotFoundError as error:
            if error.name is None or error.name.partition(".")[0] != "mlflow":
                raise
            raise Failure(
                "MLflow is not installed here: install riverrun with the extra mlflow, "
                "`pip install 'riverrun[mlflow]'`"
            ) from None
        # It tells of each step, and of what its own environment lacks.
        logging.getLogger("mlflow").setLevel(logging.ERROR)
        self._uri = tracking_uri
        with _failures(tracking_uri):
            self._client = MlflowClient(tracking_uri, tracking_uri)
            self._client.search_registered_models(max_results=1)

    def push(
        self,
        path: Path,
        *,
        name: str | None = None,
        experiment: str = EXPERIMENT,
        job: str | None = None,
    ) -> Pushed:
        """Make a registered model version of an artifact, unless there is one of the same head.

        Parameters
        ----------
        path
            Of the artifact.
        name
            Of the registered model; None for the model's own.
        job
            The job that the version comes from, for the message that deploys it again.

        Raises
        ------
        Failure
            It is no artifact, or MLflow refuses.
        """
        try:
            manifest = read_artifact(path).manifest
            key_id = signed_by(path)
        except ArtifactError as error:
            raise Failure(str(error)) from None
        name = name or _name(manifest)
        with _failures(self._uri):
            if (number := self._number_of(name, manifest.head)) is not None:
                return Pushed(name, number, manifest.version, False)
            run = self._run(
                manifest,
                key_id,
                experiment,
                job,
                registry_facts.revision_of(Path.cwd()),
            )
            try:
                with tempfile.TemporaryDirectory(prefix="riverrun-push-") as folder:
                    saved = _saved(Path(folder), path, manifest)
                    self._client.log_artifacts(run.info.run_id, str(saved), _FOLDER)
                number = self._register(name, run, manifest)
            except BaseException:
                self._client.set_terminated(run.info.run_id, "FAILED")
                raise
            self._client.set_terminated(run.info.run_id)
        return Pushed(name, number, manifest.version, True)

    def _number_of(self, name: str, head: str) -> int | None:
        quoted = name.replace("'", "''")
        found = self._client.search_model_versions(
            f"name = '{quoted}' and tag.`{TAG}head` = '{head}'"
        )
        return min((int(each.version) for each in found), default=None)

    def _run(
        self,
        manifest: Manifest,
        key_id: str | None,
        experiment: str,
        job: str | None,
        revision: str | None,
    ) -> Any:
        from mlflow.entities import Metric, Param, RunTag

        tags = registry_facts.tags(manifest, key_id, job, revision)
        run = self._client.create_run(self._experiment(experiment), run_name=manifest.version)
        entries = [RunTag(key, value) for key, value in tags.items()]
        self._client.log_batch(run.info.run_id, tags=entries)
        now = time.time_ns() // 1_000_000
        metrics = [
            Metric(key, value, now, 0) for key, value in registry_facts.metrics(manifest).items()
        ]
        params = [
            Param(key, value) for key, value in registry_facts.hyperparameters(manifest).items()
        ]
        self._client.log_batch(run.info.run_id, metrics=metrics)
        for start in range(0, len(params), _AT_ONCE):
            self._client.log_batch(run.info.run_id, params=params[start : start + _AT_ONCE])
        return run

    def _experiment(self, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        return self._client.create_experiment(name) if found is None else found.experiment_id

    def _register(self, name: str, run: Any, manifest: Manifest) -> int:
        from mlflow.exceptions import MlflowException

        try:
            self._client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        tags = self._client.get_run(run.info.run_id).data.tags
        made = self._client.create_model_version(
            name,
            f"{run.info.artifact_uri}/{_FOLDER}",
            run.info.run_id,
            tags={key: value for key, value in tags.items() if key.startswith(TAG)},
            description=f"{manifest.version}, {manifest.task}, after {manifest.n} examples",
        )
        return int(made.version)

    def pull(
        self,
        name: str,
        number: int | None,
        out: Path,
        *,
        trusted: TrustedKeys | None = None,
        job: str | None = None,
        issuer: str,
        model: str | None = None,
        role: str | None = None,
    ) -> Pulled:
        """Take an artifact from the registry, checked, and make the payload that deploys it.

        Parameters
        ----------
        number
            Of the registered version; None for the newest.
        trusted
            One of these keys must have signed it; None asks for no signature.
        job
            The job to deploy it in; None for the one that it came from.
        model
            Under which name; None for its own.

        Raises
        ------
        Failure
            There is no such version, it was changed, is signed by none of the keys, or `out` exists.
        """
        if out.exists():
            raise Failure(f"{out} exists: name a file that does not")
        with _failures(self._uri):
            found = self._version(name, number)
            job = job or found.tags.get(f"{TAG}job")
            if job is None:
                raise Failure(
                    f"{name}:{found.version} names no job to deploy it in: use --job NAME"
                )
            artifact = self._fetched(found, out, trusted)
        fields = {
            "job": job,
            "issuer": issuer,
            "seq": time.time_ns() // 1_000_000,
            "op": "deploy",
            "model": model or artifact.manifest.model,
            "task": artifact.manifest.task,
            "role": role,
            "artifact": str(out.absolute()),
        }
        payload = control_messages.payload_text(
            {key: value for key, value in fields.items() if value is not None}
        )
        return Pulled(name, int(found.version), artifact.manifest.version, artifact.key_id, payload)

    def _version(self, name: str, number: int | None) -> Any:
        if number is not None:
            return self._client.get_model_version(name, str(number))
        quoted = name.replace("'", "''")
        found = self._client.search_model_versions(f"name = '{quoted}'")
        if not found:
            raise Failure(f"the registry has no version of {name!r}")
        return max(found, key=lambda each: int(each.version))

    def _fetched(self, found: Any, out: Path, trusted: TrustedKeys | None) -> Artifact:
        from mlflow.artifacts import download_artifacts

        if f"{TAG}version" not in found.tags:
            raise Failure(
                f"{found.name}:{found.version} was not put there by `riverrun registry push`"
            )
        source = self._client.get_model_version_download_uri(found.name, found.version)
        with tempfile.TemporaryDirectory(prefix="riverrun-pull-") as folder:
            fetched = Path(
                download_artifacts(
                    artifact_uri=f"{source}/artifacts/{_ARTIFACT}",
                    dst_path=folder,
                    tracking_uri=self._uri,
                )
            )
            try:
                artifact = read_artifact(fetched, trusted)
            except ArtifactError as error:
                reason = str(error).removeprefix(str(fetched)).strip()
                raise Failure(f"{found.name}:{found.version} {reason}") from None
            if artifact.manifest.head != found.tags.get(f"{TAG}head"):
                raise Failure(
                    f"{found.name}:{found.version} says it is {found.tags[TAG + 'version']}, and its "
                    f"artifact is {artifact.manifest.version}"
                )
            # Whole or not at all; the two folders may be on different disks.
            part = out.with_name(f".{out.name}.part")
            shutil.copyfile(fetched, part)
            part.replace(out)
        return artifact


def _name(manifest: Manifest) -> str:
    if manifest.lane is not None:
        raise Failure(
            f"{manifest.version} is of a lane: say with --registered-model what it is to be called"
        )
    return manifest.model


def _saved(folder: Path, path: Path, manifest: Manifest) -> Path:
    """A model as MLflow keeps one, that needs none of this project where it is loaded."""
    from mlflow import pyfunc

    artifact, saved = folder / _ARTIFACT, folder / _FOLDER
    shutil.copyfile(path, artifact)
    made_under = manifest.environment
    requirements = [
        f"{name}=={made_under[name]}" for name in ("river", "numpy") if name in made_under
    ]
    pyfunc.save_model(
        path=str(saved),
        python_model=str(Path(__file__).with_name(_WRAPPER)),
        artifacts={"version": str(artifact)},
        model_config={"trusted_keys": []},
        # No signature: by a schema, MLflow would reorder and convert features.
        pip_requirements=[*requirements, "pandas", "cryptography"],
    )
    return saved


@contextmanager
def _failures(uri: str) -> Iterator[None]:
    """What MLflow refuses within the block becomes a `Failure`."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        text = " ".join(str(error).split())
        raise Failure(f"MLflow at {uri}: {text[:_SHOWN]}{'…' * (len(text) > _SHOWN)}") from error
