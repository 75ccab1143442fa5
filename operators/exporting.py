"""A live model as an artifact, and as records of the output `versions`."""

import base64
import time
from collections.abc import Iterator, Mapping
from hashlib import sha256

import msgspec

from events.messages import ArtifactPart
from operators.live import LiveModel
from state.artifacts import Manifest, artifact_bytes
from state.signing import SigningKey
from state.snapshots import environment, pickle_model, split


def manifest_of(
    live: LiveModel, pickled: bytes, metrics: Mapping[str, float] | None = None
) -> Manifest:
    """What is known of the model's present version, which was pickled as this."""
    return Manifest(
        model=live.settings.name,
        lane=live.lane,
        version=live.version,
        n=live.n,
        head=live.head.hex(),
        task=live.settings.task,
        origin=msgspec.to_builtins(live.settings.origin),
        label_type=live.label_type,
        names=sorted(live.names),
        purity=live.settings.purity,
        environment=environment(),
        sha256=sha256(pickled).hexdigest(),
        created=time.time_ns() // 1_000_000,
        learned=live.learned,
        metrics=dict(metrics or {}),
        first=live.first,
        last=live.last,
    )


def artifact_records(live: LiveModel, key: SigningKey, part_bytes: int) -> Iterator[str]:
    """The present version's artifact, signed, in parts of at most so many bytes."""
    pickled = pickle_model(live.model)
    manifest = manifest_of(live, pickled)
    file = artifact_bytes(manifest, pickled, key)
    parts = list(split(file, part_bytes))
    for number, data in enumerate(parts):
        part = ArtifactPart(
            f"{live.version}/{number}",
            live.version,
            manifest.created,
            number,
            len(parts),
            base64.b64encode(data).decode(),
        )
        yield msgspec.json.encode(part).decode()
