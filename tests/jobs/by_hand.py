"""A job by hand: plain River, `json` and `hashlib`, and the records that a job would have written.

What an audit is compared with: nothing here is the project's code.
"""

import copy
import json
from collections.abc import Callable, Iterable
from hashlib import sha256
from pathlib import Path
from typing import Any

from jobs.config import Config, read_config

T0 = 1_700_000_000_000
MINUTE = 60_000


def text_of(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def sha(*parts: bytes) -> bytes:
    return sha256(b"".join(parts)).digest()


class Chain:
    """One model in one lane, and what is written of it.

    Parameters
    ----------
    origin
        What its genesis is made of.
    asked_changes : bool
        Requests with names that it has not met change it, and are entries.
    """

    def __init__(
        self,
        job: "HandMade",
        model: str,
        origin: Any,
        river: Any,
        lane: str | None = None,
        *,
        asked_changes: bool = False,
    ) -> None:
        self.job = job
        self.model = model
        self.lane = lane
        self.river = river
        self.n = 0
        self.names: set[str] | None = set() if asked_changes else None
        self.pinned: tuple[str, Any] | None = None
        genesis = {"lane": lane, "model": model, "spec": origin}
        text = json.dumps(genesis, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        self.head = sha(text.encode())
        self.kept: dict[str, tuple[int, bytes, Any]] = {}
        self.keep()

    @property
    def version(self) -> str:
        place = self.model if self.lane is None else f"{self.model}/{self.lane}"
        return f"{place}@{self.n}-{self.head.hex()[:12]}"

    def keep(self) -> str:
        """Remember this version: it may be gone back to."""
        self.kept[self.version] = (self.n, self.head, copy.deepcopy(self.river))
        return self.version

    # What is written

    def enter(self, kind: str, n: int, **fields: Any) -> None:
        names = ("id", "features", "label", "weight", "source", "event_time", "op", "seq")
        entry = {"kind": kind, "model": self.model, "lane": self.lane, "n": n}
        entry |= {name: fields.get(name) for name in names}
        text = text_of(entry)
        parent = self.version
        self.head = sha(self.head, sha(text.encode()))
        self.n = n
        chain = {"parent": parent, "version": self.version, "head": self.head.hex()}
        self.job.learn_log.append(f"{text[:-1]},{text_of(chain)[1:]}")

    def ask(self, id: str, x: dict[str, Any], **more: Any) -> None:
        """Predict, as the version that is pinned if one is."""
        version, river = self.pinned or (self.version, self.river)
        if self.names is not None and not self.names.issuperset(x):
            self.names.update(x)
            self._say(id, x, version, river, more)
            self.enter("request", self.n, id=id, features=x, event_time=self.job.sent[id])
        else:
            self._say(id, x, version, river, more)

    def _say(
        self, id: str, x: dict[str, Any], version: str, river: Any, more: dict[str, Any]
    ) -> None:
        said = river.predict_proba_one(dict(x))
        self.job.predictions.append(
            text_of(
                {
                    "id": id,
                    "model": self.model,
                    "lane": self.lane,
                    "version": version,
                    "serving": self.model == self.job.champion,
                    "prediction": max(said, key=said.__getitem__) if said else None,
                    "event_time": self.job.sent[id],
                    "predicted_at": 1,
                    "input": sha256(f"{id}\0{text_of(x)}".encode()).hexdigest(),
                    "probabilities": {json.dumps(label): p for label, p in said.items()},
                    **more,
                }
            )
        )

    def learn(self, id: str, x: dict[str, Any], y: Any) -> None:
        self.river.learn_one(dict(x), y)
        time = self.job.sent[id]
        self.enter(
            "example", self.n + 1, id=id, features=x, label=y, source="label", event_time=time
        )
        self.keep()

    def control(self, op: str, seq: int | None = None, **fields: Any) -> None:
        self.enter("control", self.n, op=f"{op} {text_of(fields)}" if fields else op, seq=seq)
        self.keep()

    def rollback(self, version: str) -> None:
        n, head, river = self.kept[version]
        self.river = copy.deepcopy(river)
        op = f"rollback {text_of({'version': version, 'head': head.hex()})}"
        self.enter("control", n, op=op, seq=1)
        self.keep()

    def pin(self, version: str) -> None:
        _, head, river = self.kept[version]
        self.pinned = (version, copy.deepcopy(river))
        self.control("pin", 2, version=version, head=head.hex())

    def unpin(self) -> None:
        self.pinned = None
        self.control("unpin", 3)

    def environment(self, env: dict[str, str]) -> None:
        self.enter("environment", self.n, op=text_of(env))
        self.keep()


class HandMade:
    """All that a job reads and writes, as texts."""

    def __init__(self, champion: str = "m") -> None:
        self.champion = champion
        self.features: list[str] = []
        self.predictions: list[str] = []
        self.learn_log: list[str] = []
        self.sent: dict[str, int] = {}

    def chain(
        self, model: str, origin: Any, river: Any, lane: str | None = None, **more: Any
    ) -> Chain:
        """A model that is there from the beginning."""
        return Chain(self, model, origin, river, lane, **more)

    def deploy(
        self,
        model: str,
        origin: Any,
        river: Any,
        *,
        since: Chain | None = None,
        version: str | None = None,
        role: str = "shadow",
        env: dict[str, str] | None = None,
    ) -> Chain:
        """A model that comes later: of a spec, or of a version of another."""
        if since is None:
            chain = Chain(self, model, origin, river)
            named = None
        else:
            n, head, kept = since.kept[version or since.version]
            chain = Chain(self, model, {"head": head.hex()}, copy.deepcopy(kept))
            chain.n = n
            chain.kept.clear()
            named = {"version": version, "head": head.hex(), "environment": env}
        chain.control("deploy", 1, task="classification", role=role, origin=origin, since=named)
        return chain

    def send(self, id: str, x: dict[str, Any]) -> None:
        """A feature event."""
        self.sent[id] = T0 + len(self.sent) * MINUTE
        self.features.append(json.dumps({"id": id, "features": x, "ts": self.sent[id]}))

    def write(self, folder: Path, models: list[dict[str, Any]], **sections: Any) -> Config:
        """Everything as files, and the configuration that they go with."""
        paths = {
            "features": folder / "in.jsonl",
            "predictions": folder / "out/predictions/part-0-0.jsonl",
            "learn_log": folder / "out/learn_log/part-0-0.jsonl",
        }
        for name, path in paths.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(line + "\n" for line in getattr(self, name)))
        return config_of(folder, models, **sections)


def config_of(folder: Path, models: list[dict[str, Any]], **sections: Any) -> Config:
    outputs = {
        name: {"connector": "file", "path": f"out/{name}"} for name in ("predictions", "learn_log")
    }
    document = {
        "job": {"name": "job"},
        "features": {"connector": "file", "path": "in.jsonl"},
        **outputs,
        **sections,
        "models": models,
    }
    return read_config(document, folder)


def told(job: HandMade, chains: Iterable[Chain], rows: Iterable[tuple[str, dict, Any]]) -> None:
    """Each transaction asked of every chain, then learned by each."""
    listed = list(chains)
    for id, x, y in rows:
        job.send(id, x)
        for chain in listed:
            chain.ask(id, x)
        for chain in listed:
            chain.learn(id, x, y)


def changed(path: Path, number: int, change: Callable[[dict[str, Any]], None]) -> None:
    """Change one record of a file, the others as they are."""
    lines = path.read_text().splitlines()
    record = json.loads(lines[number])
    change(record)
    lines[number] = text_of(record)
    path.write_text("".join(line + "\n" for line in lines))
