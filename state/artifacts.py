"""The artifact file (`.rrv`): one version of a model, outside of any job.

A zip archive of `manifest.json`, `model.pickle` and, where it is signed, `signature.json`. The manifest
holds the pickle's SHA-256, the signature is over the manifest's bytes, and both are checked before a
byte of the pickle is unpickled. What was read from a topic, or comes from elsewhere, must be signed by
a trusted key; a file that a job's own configuration names is trusted as the configuration is.
"""

import io
import zipfile
import zlib
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct

from state.signing import VERSION, SigningKey, TrustedKeys

FORMAT = 2
# Format 1 had neither signature nor what is known of the data.
_READABLE = (1, FORMAT)
_MANIFEST = "manifest.json"
_MODEL = "model.pickle"
_SIGNATURE = "signature.json"

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
    """The file is not an artifact that this release can read, was changed, or is not to be trusted."""


class Seen(Struct, frozen=True):
    """One end of the data that a version has learned; `event_time` in ms since the epoch."""

    id: str
    event_time: int


class Manifest(Struct, frozen=True, kw_only=True):
    """What is known of a version; times in ms since the epoch, `head` and digests in hex.

    Attributes
    ----------
    n : int
        Examples in this state.
    learned : int or None
        Examples learned in all, those undone by a rollback among them.
    origin : JSON value
        What its genesis is made of: the stored spec, `{"pickle": digest}` or `{"head": head}`.
    metrics : dict
        Name -> value, where they were measured.
    first, last : Seen or None
        The span of the examples.
    """

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
    learned: int | None = None
    metrics: dict[str, float] = {}
    first: Seen | None = None
    last: Seen | None = None


class Artifact(NamedTuple):
    """A file that was read and checked; `key_id` is the trusted key's that signed it, if any did."""

    manifest: Manifest
    pickled: bytes
    key_id: str | None


class _Header(Struct):
    format: int


class _Signature(Struct):
    key_id: str
    signature: str


def artifact_bytes(manifest: Manifest, pickled: bytes, key: SigningKey | None = None) -> bytes:
    """The file as bytes, signed where there is a key."""
    text = msgspec.json.format(msgspec.json.encode(manifest))
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(_MANIFEST, text)
        archive.writestr(_MODEL, pickled)
        if key is not None:
            signature = _Signature(key.key_id, key.sign(VERSION, text))
            archive.writestr(_SIGNATURE, msgspec.json.encode(signature))
    return made.getvalue()


def write_artifact(
    path: Path, manifest: Manifest, pickled: bytes, key: SigningKey | None = None
) -> None:
    """Write the file whole or not at all."""
    part = path.with_name(path.name + ".part")
    part.write_bytes(artifact_bytes(manifest, pickled, key))
    part.replace(path)


def signed_by(path: Path) -> str | None:
    """The id of the key that is said to have signed a file, whoever that is; None where none is.

    Raises
    ------
    ArtifactError
        The file is no archive, or cannot be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if _SIGNATURE not in archive.namelist():
                return None
            return msgspec.json.decode(archive.read(_SIGNATURE), type=_Signature).key_id
    except _UNREADABLE as error:
        raise ArtifactError(f"{path} is not an artifact (.rrv): {error}") from error


def read_artifact(source: Path | bytes, trusted: TrustedKeys | None = None) -> Artifact:
    """The manifest and the pickled model, whose digest agrees with it; nothing is unpickled.

    Parameters
    ----------
    source : path or bytes
        The file, or what stands in it.
    trusted : TrustedKeys, optional
        One of these keys must have signed it. None: a signature is not asked for, nor looked at.

    Raises
    ------
    ArtifactError
        If the file is missing, is no artifact, has another format, was changed, or is signed by
        none of these keys.
    """
    shown = "it" if isinstance(source, bytes) else str(source)
    try:
        with zipfile.ZipFile(
            io.BytesIO(source) if isinstance(source, bytes) else source
        ) as archive:
            text, pickled = archive.read(_MANIFEST), archive.read(_MODEL)
            signed = archive.read(_SIGNATURE) if _SIGNATURE in archive.namelist() else None
        found = msgspec.json.decode(text, type=_Header).format
        if found not in _READABLE:
            raise ArtifactError(f"{shown} has format {found}; this release reads up to {FORMAT}")
        manifest = msgspec.json.decode(text, type=Manifest)
        signature = None if signed is None else msgspec.json.decode(signed, type=_Signature)
    except _UNREADABLE as error:
        raise ArtifactError(f"{shown} is not an artifact (.rrv): {error}") from error
    if sha256(pickled).hexdigest() != manifest.sha256:
        raise ArtifactError(f"{shown} was changed: its model is not the one its manifest names")
    if trusted is None:
        return Artifact(manifest, pickled, None)
    if signature is None:
        raise ArtifactError(f"{shown} is not signed")
    if not trusted.verify(VERSION, text, signature.key_id, signature.signature):
        known = "its signature does not fit" if signature.key_id in trusted else "no trusted key"
        raise ArtifactError(f"{shown} is signed by {signature.key_id}: {known}")
    return Artifact(manifest, pickled, signature.key_id)
