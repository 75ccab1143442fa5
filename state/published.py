"""Published versions as records of a compacted topic: cut, signed, and put together again.

A set is a manifest under the learner's signature, and the parts that it names by their digests. A
model has two slots that are written in turn, so the set before the newest stays whole until the newest
is. Whoever reads unpickles nothing that a trusted key has not signed.
"""

import base64
import binascii
import zlib
from hashlib import sha256
from typing import Final, NamedTuple

import msgspec
from msgspec import Struct

from events.messages import PublishedManifest, PublishedPart, PublishedVersion
from state.signing import SigningKey, TrustedKeys

PUBLISHED: Final = b"riverrun-published-v1\0"

_SLOTS: Final = 2
# Pickles of trees become a quarter, at the price of reading them once.
_LEVEL: Final = 1


class _Record(Struct):
    """A record of the topic, of either kind."""

    id: str
    manifest: str | None = None
    key_id: str | None = None
    signature: str | None = None
    version: str | None = None
    created: int | None = None
    data: str | None = None


_read_record = msgspec.json.Decoder(_Record).decode
_read_manifest = msgspec.json.Decoder(PublishedManifest).decode


def split(pieces: list[bytes], part_bytes: int) -> list[bytes]:
    """The pieces one behind the other, compressed, in parts of at most `part_bytes`."""
    packed = zlib.compress(b"".join(pieces), _LEVEL)
    return [packed[at : at + part_bytes] for at in range(0, len(packed), part_bytes)]


def digests(parts: list[bytes]) -> list[str]:
    """As they stand in a manifest."""
    return [sha256(part).hexdigest() for part in parts]


def records(
    manifest: PublishedManifest, parts: list[bytes], number: int, key: SigningKey
) -> list[str]:
    """The records of a set, in the order in which they are to be written.

    Parameters
    ----------
    number : int
        How many sets of this model were written before; it chooses the slot.
    """
    slot = f"{manifest.model}/{number % _SLOTS}"
    text = msgspec.json.encode(manifest)
    signed = PublishedVersion(slot, text.decode(), key.key_id, key.sign(PUBLISHED, text))
    return [
        msgspec.json.encode(record).decode()
        for record in (
            signed,
            *(
                PublishedPart(
                    f"{slot}/{place}",
                    manifest.version,
                    manifest.created,
                    base64.b64encode(part).decode(),
                )
                for place, part in enumerate(parts)
            ),
        )
    ]


class Complete(NamedTuple):
    """A set that may be unpickled: every part is what a trusted key has signed."""

    manifest: PublishedManifest
    pieces: list[bytes]


class _Pending(NamedTuple):
    manifest: PublishedManifest
    parts: dict[int, bytes]


class Assembler:
    """Puts the sets of one job's models together, from records in the order of their topic.

    What does not belong to a job's own models, is older than what was complete before, or is not
    signed by a trusted key is passed over and counted; a part counts only behind its manifest. So no
    more is held than two sets a model.

    Parameters
    ----------
    job : str
        Its name: a version of another job is none of this one's.
    models : list of str
        Names.

    Attributes
    ----------
    refused : int
        Records that nobody who writes versions for this job would write.
    """

    def __init__(self, job: str, models: list[str], trusted: TrustedKeys) -> None:
        self._job = job
        self._models = frozenset(models)
        self._trusted = trusted
        self._pending: dict[str, _Pending] = {}
        self._newest: dict[str, int] = {}
        self.refused = 0

    def take(self, text: str) -> Complete | None:
        """The next record; a set, where this completes one that is newer than all before it."""
        try:
            record = _read_record(text)
        except msgspec.DecodeError:
            self.refused += 1
            return None
        model, *rest = record.id.split("/")
        if model not in self._models:
            return None
        if record.manifest is not None and len(rest) == 1:
            return self._manifest(model, record)
        if record.data is not None and len(rest) == 2:
            return self._part(record, f"{model}/{rest[0]}", rest[1])
        self.refused += 1
        return None

    def _manifest(self, model: str, record: _Record) -> Complete | None:
        assert record.manifest is not None, "asked before"
        text = record.manifest.encode()
        if not self._trusted.verify(PUBLISHED, text, record.key_id or "", record.signature or ""):
            self.refused += 1
            return None
        try:
            manifest = _read_manifest(text)
        except msgspec.DecodeError:
            self.refused += 1
            return None
        if (manifest.job, manifest.model) != (self._job, model):
            self.refused += 1
            return None
        if manifest.created <= self._newest.get(model, -1):
            return None
        self._pending[record.id] = _Pending(manifest, {})
        return None

    def _part(self, record: _Record, slot: str, number: str) -> Complete | None:
        pending = self._pending.get(slot)
        if pending is None:
            return None
        manifest, parts = pending
        if (record.version, record.created) != (manifest.version, manifest.created):
            return None
        data = _decoded(record.data or "")
        place = int(number) if number.isdigit() else len(manifest.parts)
        if (
            data is None
            or place >= len(manifest.parts)
            or sha256(data).hexdigest() != manifest.parts[place]
        ):
            self.refused += 1
            return None
        parts[place] = data
        if len(parts) < len(manifest.parts):
            return None
        del self._pending[slot]
        try:
            blob = zlib.decompress(b"".join(parts[place] for place in range(len(parts))))
        except zlib.error:
            blob = b""
        if sum(manifest.pieces) != len(blob):
            self.refused += 1
            return None
        self._newest[manifest.model] = manifest.created
        # A set before it that was never whole never will be of use.
        for other, (older, _) in list(self._pending.items()):
            if older.model == manifest.model and older.created < manifest.created:
                del self._pending[other]
        return Complete(manifest, _cut(blob, manifest.pieces))


def _cut(blob: bytes, sizes: list[int]) -> list[bytes]:
    pieces, at = [], 0
    for size in sizes:
        pieces.append(blob[at : at + size])
        at += size
    return pieces


def _decoded(data: str) -> bytes | None:
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        return None
