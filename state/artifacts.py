"""The artifact file (`.rrv`): one version of a model, outside of any job.

A zip archive of `manifest.json` and `model.pickle`. The manifest holds the pickle's SHA-256, which
is checked before a byte of it is unpickled. A file named in a job's own configuration is trusted as
the configuration is; nothing that was read from a topic is ever loaded this way.
"""

import zipfile
import zlib
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

FORMAT = 1
_MANIFEST = "manifest.json"
_MODEL = "model.pickle"

# What zipfile raises over bytes that are no archive, or one that was changed.
_UNREADABLE = (
    OSError,
    EOFError,
    KeyError,
    ValueError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
    msgspec.DecodeError,
)


class ArtifactError(Exception):
    """The file is not an artifact that this release can read, or it was changed."""


class Manifest(Struct, frozen=True, kw_only=True):
    """What is known of a version; times in ms since the epoch, `head` and digests in hex."""

    format: int = FORMAT
    model: str
    lane: str | None
    version: str
    n: int
    head: str
    task: str
    origin: Any
    label_type: str | None
    names: list[str]
    purity: str
    environment: dict[str, str]
    sha256: str
    created: int


class _Header(Struct):
    format: int


def write_artifact(path: Path, manifest: Manifest, pickled: bytes) -> None:
    """Write the file whole or not at all."""
    part = path.with_name(path.name + ".part")
    with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(_MANIFEST, msgspec.json.format(msgspec.json.encode(manifest)))
        archive.writestr(_MODEL, pickled)
    part.replace(path)


def read_artifact(path: Path) -> tuple[Manifest, bytes]:
    """The manifest and the pickled model, whose digest agrees with it.

    Raises
    ------
    ArtifactError
        If the file is missing, is no artifact, has another format or was changed.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            text, pickled = archive.read(_MANIFEST), archive.read(_MODEL)
        found = msgspec.json.decode(text, type=_Header).format
        if found != FORMAT:
            raise ArtifactError(f"{path} has format {found}; this release reads {FORMAT}")
        manifest = msgspec.json.decode(text, type=Manifest)
    except _UNREADABLE as error:
        raise ArtifactError(f"{path} is not an artifact (.rrv): {error}") from error
    if sha256(pickled).hexdigest() != manifest.sha256:
        raise ArtifactError(f"{path} was changed: its model is not the one its manifest names")
    return manifest, pickled
