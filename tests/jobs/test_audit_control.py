"""Audits of jobs that were told what to do while they ran: a long random script of control messages."""

import json
import random
from pathlib import Path
from typing import Any

import pytest

from jobs.audit import audit, learn_log_sinks
from jobs.backtest import flow
from jobs.config import Config, read_config
from jobs.versions import export
from operators.plain import Record
from tests.jobs.flows import classifier, write
from tests.jobs.test_audit import NB, SRP, verdicts
from tests.operators.loops import events, ragged, transactions

OUTPUTS = ("predictions", "learn_log", "dead_letters", "control_acks")
FM = {"class": "river.facto.FMClassifier", "params": {"n_factors": 2, "seed": 4}}
FOREST = {"class": "river.forest.ARFClassifier", "params": {"n_models": 2, "seed": 4}}
SPECS = [NB, SRP, FM, FOREST]


def configured(folder: Path, **job: Any) -> Config:
    files = {name: {"connector": "file", "path": f"out/{name}"} for name in OUTPUTS}
    stream = {"connector": "file", "path": "in.jsonl"}
    document = {
        "job": {"name": "job", **job},
        "features": stream,
        "control": stream,
        **files,
        "models": [classifier("a"), classifier("b", FM, reemit=True)],
    }
    return read_config(document, folder)


class Told:
    """A job, and somebody who tells it at random what to do, of what it has written so far."""

    def __init__(self, folder: Path, seed: int, **job: Any) -> None:
        self.config = configured(folder, **job)
        self.texts: dict[str, list[str]] = {name: [] for name in OUTPUTS}
        self._folder = folder
        self._rng = random.Random(seed)
        self._versions: dict[str, list[str]] = {}
        self._sent: list[bytes] = []
        self._seq = 0
        self._flow = flow(self.config, self._emit)

    def _emit(self, output: str, text: str) -> None:
        if output in self.texts:
            self.texts[output].append(text)
        if output == "learn_log":
            row = json.loads(text)
            self._versions.setdefault(row["model"], []).append(row["version"])

    def run(self, count: int, messages: float) -> None:
        happened = events(ragged(transactions("Phishing", count), seed=self._rng.randrange(99)))
        for event in happened:
            self._send(event, control=False)
            if self._rng.random() < messages:
                self._seq += 1
                payload = {"job": "job", "issuer": "me", "seq": self._seq, **self._message()}
                self._send(payload, control=True)
        self._flow.end()
        write(self._folder / "in.jsonl", self._sent)
        for name, texts in self.texts.items():
            write(self._folder / "out" / name / "part-0-0.jsonl", texts)

    def _send(self, record: dict[str, Any], control: bool) -> None:
        raw = json.dumps(record).encode()
        self._sent.append(raw)
        position = f"{self._folder}/in.jsonl:{len(self._sent)}"
        self._flow.record(Record("features", "in", position, raw, control))

    def _message(self) -> dict[str, Any]:
        rng = self._rng
        model = rng.choice("abcd")
        version = rng.choice(self._versions.get(model) or [f"{model}@0-000000000000"])
        other = rng.choice([v for versions in self._versions.values() for v in versions] or [""])
        role = {"role": rng.choice(["champion", "challenger", "shadow"])}
        spec = {"task": "classification", "spec": rng.choice(SPECS), **role}
        return rng.choice(
            [
                {"op": "deploy", "model": model, **spec},
                {"op": "deploy", "model": model, "from_version": other, **role},
                {"op": "retire", "model": model},
                {"op": "promote", "model": model},
                *[{"op": "rollback", "model": model, "version": version}] * 3,
                *[{"op": "pin", "model": model, "version": version}] * 2,
                {"op": "unpin", "model": model},
                {"op": "freeze", "model": model},
                {"op": "unfreeze", "model": model},
                {"op": "split", "model": model, "weights": {"a": 70, model: 30}},
            ]
        )


def accepted(told: Told) -> set[str]:
    acks = [json.loads(text) for text in told.texts["control_acks"]]
    return {ack["op"] for ack in acks if ack["accepted"]}


@pytest.mark.parametrize("seed", range(3))
def test_every_prediction_of_a_job_that_was_told_what_to_do_is_equal(
    tmp_path: Path, seed: int
) -> None:
    told = Told(tmp_path, seed)
    told.run(120, messages=0.2)
    assert len(told.texts["learn_log"]) > 100
    assert {"deploy", "rollback", "pin"} <= accepted(told)
    found = audit(told.config)
    assert found.problems == []
    assert verdicts(found) == {"equal": len(told.texts["predictions"])}
    assert (found.forks, found.repeated) == (0, 0)


def test_so_is_that_of_every_lane(tmp_path: Path) -> None:
    told = Told(tmp_path, 7, lane_by="is_popular")
    told.run(120, messages=0.1)
    assert {"deploy", "rollback"} <= accepted(told)
    found = audit(told.config)
    assert found.problems == []
    assert found.chains > 4
    assert verdicts(found) == {"equal": len(told.texts["predictions"])}


def test_any_version_that_it_ever_had_can_be_made(tmp_path: Path) -> None:
    told = Told(tmp_path, 11)
    told.run(60, messages=0.2)
    sinks = learn_log_sinks(told.config)
    steps = [json.loads(text) for text in told.texts["learn_log"]]
    for step in random.Random(1).sample(steps, 12):
        manifest = export(told.config, step["version"], sinks).manifest
        assert (manifest.head, manifest.n) == (step["head"], step["n"])
