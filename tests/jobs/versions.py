"""Artifacts of small River models."""

import time
from hashlib import sha256
from pathlib import Path
from typing import Any

from state.artifacts import Manifest, write_artifact
from state.signing import SigningKey
from state.snapshots import environment, pickle_model


def artifact(
    path: Path, river: Any, key: SigningKey | None = None, /, *, head: str = "0", **fields: Any
) -> Path:
    """One version of a model called `fraud`, for classification unless a field says otherwise."""
    pickled = pickle_model(river)
    head = head.ljust(64, "0")
    name, n = fields.get("model", "fraud"), fields.get("n", 3)
    known = {
        "model": name,
        "lane": None,
        "version": f"{name}@{n}-{head[:12]}",
        "n": n,
        "head": head,
        "task": "classification",
        "origin": {"class": "river.linear_model.LogisticRegression"},
        "label_type": None,
        "names": [],
        "purity": "pure",
        "environment": environment(),
        "sha256": sha256(pickled).hexdigest(),
        "created": time.time_ns() // 1_000_000,
    }
    write_artifact(path, Manifest(**{**known, **fields}), pickled, key)
    return path
