"""An oracle: the learn log walked with River models of one's own, every prediction compared."""

import json
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any

from models import specs
from state.learnlog import entry_of_record
from state.versions import genesis, version_name


def replayed(
    predictions: Iterable[str],
    learn_log: Iterable[str],
    features: Mapping[str, dict[str, Any]],
    models: Mapping[str, dict[str, Any]],
) -> dict[str, str]:
    """Walk the chain of each model and lane, and compare each prediction with that of its version.

    Every prediction and every entry must have its place in a chain, and no chain may fork.

    Parameters
    ----------
    predictions, learn_log
        Records' texts, in any order.
    features, models
        Transaction -> what was sent; model -> its spec.

    Returns
    -------
    dict
        Chain -> its last version.
    """
    steps: dict[str, tuple[str, dict]] = {}
    for line in learn_log:
        row = json.loads(line)
        assert row["parent"] not in steps, "a fork"
        steps[row["parent"]] = (line, row)
    made: dict[str, list[dict]] = {}
    for row in map(json.loads, predictions):
        made.setdefault(row["version"], []).append(row)
    last = {}
    for name, lane in {(row["model"], row["lane"]) for rows in made.values() for row in rows}:
        spec = models[name]
        model = specs.build(spec, name)
        head = genesis(specs.stored(spec, name), name, lane)
        version = version_name(name, lane, 0, head)
        while True:
            for row in made.pop(version, ()):
                said = model.predict_proba_one(features[row["id"]])
                assert row["probabilities"] == {str(y).lower(): p for y, p in said.items()}
            if version not in steps:
                break
            line, row = steps.pop(version)
            head = sha256(head + sha256(entry_of_record(line)).digest()).digest()
            assert row["head"] == head.hex()
            model.learn_one(row["features"], row["label"])
            version = row["version"]
            assert version == version_name(name, lane, row["n"], head)
        last[name if lane is None else f"{name}/{lane}"] = version
    assert (made, steps) == ({}, {})
    return last
