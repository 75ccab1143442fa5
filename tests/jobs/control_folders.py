"""A job with control messages in folders, and what it would write there."""

import json
from pathlib import Path
from typing import Any

from jobs.toml_text import dump_toml

OUTPUTS = ("control_acks", "control_log", "dead_letters")
LOGISTIC = {"class": "river.linear_model.LogisticRegression"}


def job_file(folder: Path, **sections: Any) -> Path:
    """The file of a job `fraud` with a model `a`; a section of None is left out."""
    given = {
        "job": {"name": "fraud"},
        "features": {"connector": "file", "path": "features"},
        "control": {"connector": "file", "path": "control", "watch": True},
        "models": [{"name": "a", "task": "classification", "spec": LOGISTIC}],
        **{name: {"connector": "file", "path": f"out/{name}"} for name in OUTPUTS},
        **sections,
    }
    path = folder / "job.toml"
    path.write_text(dump_toml({name: table for name, table in given.items() if table is not None}))
    return path


def sent(folder: Path) -> list[str]:
    """The records in the control folder, in the order of the names of files."""
    return [
        line
        for file in sorted((folder / "control").glob("[!.]*"))
        for line in file.read_text().splitlines()
    ]


class Outputs:
    """Writes as the job does: part files that appear whole."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "out"
        self._parts = 0

    def write(self, output: str, *records: dict[str, Any] | str) -> None:
        """A part file with these records."""
        folder = self._folder / output
        folder.mkdir(parents=True, exist_ok=True)
        part = folder / f".part-0-{self._parts}.jsonl.inprogress"
        texts = (each if isinstance(each, str) else json.dumps(each) for each in records)
        part.write_text("".join(f"{text}\n" for text in texts))
        part.rename(folder / f"part-0-{self._parts}.jsonl")
        self._parts += 1


def payload(seq: int, op: str = "freeze", model: str = "a", **fields: Any) -> dict[str, Any]:
    """A payload of the issuer `ops`."""
    return {"job": "fraud", "issuer": "ops", "seq": seq, "op": op, "model": model, **fields}


def ack(of: dict[str, Any], reason: str | None = None, **fields: Any) -> dict[str, Any]:
    """An ack as docs/formats.md has it; `reason` is why it was refused."""
    answer = {"accepted": reason is None, "reason": reason, "version": None, "at": of["seq"]}
    return {**{name: of[name] for name in ("issuer", "seq", "op", "model")}, **answer, **fields}
