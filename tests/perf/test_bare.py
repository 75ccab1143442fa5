"""The loop that the job is compared with."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from perf.bare import measure


class Recorder:
    """A model that notes what it is told and answers with how much it has learned."""

    def __init__(self) -> None:
        self.learned: list[tuple[dict[str, Any], bool]] = []

    def predict_proba_one(self, x: dict[str, Any]) -> dict[bool, float]:
        return {True: float(len(self.learned))} if self.learned else {}

    def learn_one(self, x: dict[str, Any], y: bool) -> None:
        self.learned.append((x, y))


def write(path: Path, events: Iterable[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(event) + "\n" for event in events))
    return path


def test_a_label_is_learned_with_the_features_of_its_transaction(tmp_path):
    events = write(
        tmp_path / "events",
        [
            {"id": "a", "features": {"x": 1}, "ts": 0},
            {"id": "b", "features": {"x": 2.5, "y": True}, "ts": 0},
            {"id": "a", "label": True, "ts": 0},
            {"id": "c", "features": {}, "ts": 0},
            {"id": "b", "label": False, "ts": 0},
            {"id": "d", "features": {}, "ts": 0},
        ],
    )
    model = Recorder()
    measured = measure(events, model, transactions=4, skipped=1)
    assert model.learned == [({"x": 1}, True), ({"x": 2.5, "y": True}, False)]
    assert measured.said == [{}, {}, {"true": 1.0}, {"true": 2.0}]
    assert measured.wall_s > 0
