"""An oracle for what a lane writes: hashlib, json and River, and what docs/versions.md and docs/control.md
say. None of the code under test is in it.

It reads predictions and the learn log in the order in which they came, and keeps a copy of each
version that there ever was.
"""

import json
import pickle
from collections.abc import Callable
from hashlib import sha256
from typing import Any
from urllib.parse import quote

from tests.operators.flows import said
from tests.operators.loops import ask


def digest(data: bytes) -> bytes:
    return sha256(data).digest()


def genesis(origin: Any, model: str, lane: str | None) -> bytes:
    parts = {"lane": lane, "model": model, "spec": origin}
    return digest(json.dumps(parts, sort_keys=True, separators=(",", ":")).encode())


class Chain:
    """A model of a lane as it stands."""

    def __init__(self, place: str, model: Any, n: int, head: bytes) -> None:
        self.place = place
        self.model = model
        self.n = n
        self.head = head
        self.pinned: str | None = None
        self.frozen = False
        self.last: tuple[str, str | None] = ("", None)  # kind and id of its last entry

    @property
    def version(self) -> str:
        return f"{self.place}@{self.n}-{self.head.hex()[:12]}"


class Ledger:
    """Follows every chain.

    Parameters
    ----------
    makes : list of (origin, callable)
        What makes the River object of an origin.
    configured : dict
        Model -> its origin, of those that are there from the beginning.
    task : str
        Of all models.
    """

    def __init__(
        self,
        makes: list[tuple[Any, Callable[[], Any]]],
        configured: dict[str, Any],
        task: str = "classification",
    ) -> None:
        self._makes = {json.dumps(origin, sort_keys=True): make for origin, make in makes}
        self._configured = configured
        self._task = task
        self._features: dict[str, Any] = {}
        self.chains: dict[tuple[str | None, str], Chain] = {}
        self.copies: dict[str, bytes] = {}
        self.heads: dict[str, str] = {}
        # Versions of each place, in the order in which they came.
        self.history: dict[str, list[str]] = {}
        # Where in them the present model begins.
        self.begins: dict[str, int] = {}
        self.predicted = 0

    def know(self, version: str, head: str, model: Any) -> None:
        """A version that comes from elsewhere."""
        self.copies[version], self.heads[version] = pickle.dumps(model), head

    def asked(self, id: str, features: dict[str, Any]) -> None:
        """The features of a transaction."""
        self._features[id] = features

    def chain(self, lane: str | None, name: str) -> Chain:
        if (lane, name) not in self.chains:
            self._begin(lane, name, self._configured[name], None)
        return self.chains[lane, name]

    def model(self, version: str) -> Any:
        """A copy of it of one's own."""
        return pickle.loads(self.copies[version])

    def entry(self, line: str) -> None:
        """One record of the learn log."""
        row = json.loads(line)
        lane, name = row["lane"], row["model"]
        op, _, fields_text = (row["op"] or "").partition(" ")
        fields = json.loads(fields_text) if row["kind"] == "control" and fields_text else {}
        if op == "deploy" and row["kind"] == "control":
            self._begin(lane, name, fields["origin"], fields["since"])
        chain = self.chain(lane, name)
        assert row["parent"] == chain.version, "the parent is the version before"
        if row["kind"] == "example":
            assert not chain.frozen
            weight = {} if row["weight"] in (None, 1) else {"w": row["weight"]}
            if self._task == "anomaly":
                chain.model.learn_one(row["features"])
            else:
                chain.model.learn_one(row["features"], row["label"], **weight)
            chain.n += 1
        elif row["kind"] == "request":
            ask(self._task, chain.model, row["features"])
        elif op == "rollback":
            assert fields["head"] == self.heads[fields["version"]]
            chain.model = self.model(fields["version"])
            chain.n = int(fields["version"].rpartition("@")[2].partition("-")[0])
        elif op == "pin":
            assert fields["head"] == self.heads[fields["version"]]
            chain.pinned = fields["version"]
        elif op == "unpin":
            chain.pinned = None
        elif op in ("freeze", "unfreeze"):
            chain.frozen = op == "freeze"
        entry = line[: line.rindex(',"parent":')] + "}"
        chain.head = digest(chain.head + digest(entry.encode()))
        chain.last = row["kind"], row["id"]
        found = row["n"], row["version"], row["head"]
        assert found == (chain.n, chain.version, chain.head.hex())
        assert chain.version not in self.copies, "a version has one name, and a name one version"
        self._remember(chain)
        if op == "retire" and row["kind"] == "control":
            del self.chains[lane, name]

    def prediction(self, row: dict[str, Any]) -> None:
        """A prediction names the version that stands now, or the pinned one, and is what that says."""
        chain = self.chain(row["lane"], row["model"])
        if chain.pinned is not None:
            expected = chain.pinned
        elif chain.last == ("request", row["id"]):
            expected = self.history[chain.place][-2]
        else:
            expected = chain.version
        assert row["version"] == expected
        if "error" not in row:
            assert said(row) == ask(self._task, self.model(expected), self._features[row["id"]])
        self.predicted += 1

    def _begin(self, lane: str | None, name: str, origin: Any, since: Any) -> None:
        place = name if lane is None else f"{name}/{quote(lane, safe='')}"
        if since is None:
            model = self._makes[json.dumps(origin, sort_keys=True)]()
            chain = Chain(place, model, 0, genesis(origin, name, lane))
        else:
            assert since["head"] == self.heads[since["version"]]
            before, _, state = since["version"].rpartition("@")
            n, model = int(state.partition("-")[0]), self.model(since["version"])
            if before == place:
                chain = Chain(place, model, n, bytes.fromhex(since["head"]))
            else:
                assert origin == {"head": since["head"]}
                chain = Chain(place, model, n, genesis(origin, name, lane))
        self.chains[lane, name] = chain
        self._remember(chain)
        self.begins[place] = len(self.history[place]) - 1

    def _remember(self, chain: Chain) -> None:
        self.know(chain.version, chain.head.hex(), chain.model)
        self.history.setdefault(chain.place, []).append(chain.version)
