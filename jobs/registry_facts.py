"""What is known of a version, in the words and within the limits of MLflow."""

import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from hashlib import sha256
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any, Final

import msgspec

from state.artifacts import Manifest, Seen

TAG: Final = "riverrun."

# MLflow's own limits, in characters.
_LONGEST_KEY: Final = 250
_LONGEST_VALUE: Final = 6000
_NOT_IN_KEYS: Final = re.compile(r"[^\w.\- ]")


def hyperparameters(manifest: Manifest) -> dict[str, str]:
    """The stored spec as flat params: `pipeline.0.class`, `pipeline.1.params.l2`.

    MLflow takes keys of 250 characters, without most signs, and values of 6,000: what is longer is cut
    and ends in its digest; the whole spec is in the artifact's manifest.
    """
    found: dict[str, str] = {}
    for path, value in _leaves(manifest.origin):
        key = _NOT_IN_KEYS.sub("_", path) or "origin"
        text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
        key = _cut(key, _LONGEST_KEY)
        if key in found:
            key = f"{key[: _LONGEST_KEY - 13]}_{_digest(path)}"
        found[key] = _cut(text, _LONGEST_VALUE)
    return found


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    inner: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        inner = list(value.items())
    elif isinstance(value, list):
        inner = list(enumerate(value))
    if not inner:
        yield path, value
    for key, each in inner:
        yield from _leaves(each, f"{path}.{key}" if path else str(key))


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 13]}_{_digest(text)}"


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:12]


def metrics(manifest: Manifest) -> dict[str, float]:
    """What was measured, and how many examples it holds and has learned."""
    counts = {"n": manifest.n}
    if manifest.learned is not None:
        counts["learned"] = manifest.learned
    measured = {
        _cut(_NOT_IN_KEYS.sub("_", name), _LONGEST_KEY): value
        for name, value in manifest.metrics.items()
    }
    return {**measured, **{name: float(count) for name, count in counts.items()}}


def tags(
    manifest: Manifest, key_id: str | None, job: str | None, revision: str | None
) -> dict[str, str]:
    """What else is known of a version; a run and its registered version have the same."""
    known = {
        "version": manifest.version,
        "head": manifest.head,
        "model": manifest.model,
        "lane": manifest.lane,
        "task": manifest.task,
        "key_id": key_id,
        "job": job,
        "created": _moment(manifest.created),
        "sha256": manifest.sha256,
        "code": installed("riverrun"),
        **{f"environment.{name}": value for name, value in manifest.environment.items()},
        **_span("first", manifest.first),
        **_span("last", manifest.last),
    }
    found = {TAG + name: value for name, value in known.items() if value is not None}
    found["mlflow.source.name"] = "riverrun"
    if revision is not None:
        found[f"{TAG}commit"] = found["mlflow.source.git.commit"] = revision
    return found


def _span(name: str, seen: Seen | None) -> Mapping[str, str]:
    if seen is None:
        return {}
    return {
        f"data.{name}.id": seen.id,
        f"data.{name}.event_time": str(seen.event_time),
        f"data.{name}.at": _moment(seen.event_time),
    }


def _moment(ms: int) -> str:
    try:
        return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds")
    except (OverflowError, ValueError):
        return f"{ms} ms"


def revision_of(tree: Path) -> str | None:
    """The commit that is checked out, with `-dirty` where files were changed since; None without git."""
    git = shutil.which("git")
    if git is None:
        return None
    commit = subprocess.run(
        [git, "-C", tree, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
        capture_output=True,
        text=True,
        check=False,
    )
    return commit.stdout.strip() if commit.returncode == 0 else None
