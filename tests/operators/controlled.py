"""A lane under control messages; all that it writes is checked by a `Ledger` as it comes."""

import json
import pickle
from collections.abc import Callable
from typing import Any

import msgspec
from river import ensemble, facto, linear_model, naive_bayes, preprocessing, tree

from models.purity import Purity
from operators.items import REQUEST, Item, Operation, control
from operators.live import ModelSettings
from state.memory import MemoryStore
from state.snapshots import SnapshotSettings
from tests.operators.flows import Bench, Written, deployment
from tests.operators.ledger import Ledger

LR: dict[str, Any] = {
    "pipeline": [
        {"class": "river.preprocessing.StandardScaler"},
        {"class": "river.linear_model.LogisticRegression"},
    ]
}
NB: dict[str, Any] = {"class": "river.naive_bayes.GaussianNB"}
TREE: dict[str, Any] = {
    "class": "river.tree.HoeffdingTreeClassifier",
    "params": {"grace_period": 20},
}
SRP: dict[str, Any] = {
    "class": "river.ensemble.SRPClassifier",
    "params": {"model": NB, "n_models": 2, "subspace_size": 3, "seed": 5},
}


# What it says of a name that it has not met is random, and drawn when it is asked.
FM: dict[str, Any] = {
    "class": "river.facto.FMClassifier",
    "params": {"n_factors": 2, "seed": 4},
}


def srp() -> Any:
    return ensemble.SRPClassifier(naive_bayes.GaussianNB(), n_models=2, subspace_size=3, seed=5)


MAKES: list[tuple[Any, Callable[[], Any]]] = [
    (LR, lambda: preprocessing.StandardScaler() | linear_model.LogisticRegression()),
    (NB, naive_bayes.GaussianNB),
    (TREE, lambda: tree.HoeffdingTreeClassifier(grace_period=20)),
    (SRP, srp),
    (FM, lambda: facto.FMClassifier(n_factors=2, seed=4)),
]


def make(spec: Any) -> Any:
    """The River object of a spec, by hand."""
    return next(made() for known, made in MAKES if known == spec)


class Checked(Written):
    """Hands what a lane writes to a ledger, in the order in which it comes."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__()
        self._ledger = ledger

    def emit(self, output: str, text: str) -> None:
        super().emit(output, text)
        if output == "learn_log":
            self._ledger.entry(text)
        elif output == "predictions":
            self._ledger.prediction(json.loads(text))


class Controlled(Bench):
    """A lane with these models from the beginning (name -> spec; the first is champion)."""

    def __init__(
        self,
        models: dict[str, Any],
        *,
        every: int | None = 5,
        retain: int = 10,
        restarting: bool = False,
        lane: str | None = None,
        hold_limit: int = 0,
        **settings: Any,
    ) -> None:
        self._settings = {"retain": retain, "snapshot": SnapshotSettings(every=every), **settings}
        self._restarting = restarting
        self.seq = 0
        self.ledger = Ledger(MAKES, models)
        configured = [
            deployment(
                make(spec),
                name,
                "challenger" if place else "champion",
                origin=spec,
                purity=_purity(spec),
                **self._settings,
            )
            for place, (name, spec) in enumerate(models.items())
        ]
        super().__init__(configured, MemoryStore(), lane=lane, hold_limit=hold_limit)
        self.written = Checked(self.ledger)
        self.restart()

    def handle(self, *given: Item) -> None:
        for item in given:
            if item[0] == REQUEST:
                self.ledger.asked(item[1], json.loads(item[3]))
            super().handle(item)
            if self._restarting:
                self.come_back()

    def come_back(self) -> None:
        """In another process: state is all that there is."""
        self.store = pickle.loads(pickle.dumps(self.store))
        # A map of Flink's hands out its entries in an order of its own.
        self.store._models = dict(reversed(self.store._models.items()))
        self.restart()

    def do(self, op: str, model: str = "a", **fields: Any) -> tuple[str | None, str | None]:
        """Send a message; the reason why it is refused, and the version that it led to."""
        self.seq += 1
        more = {name: fields.pop(name) for name in ("time", "artifact_bytes") if name in fields}
        message = {"job": "j", "issuer": "me", "seq": self.seq, "op": op, "model": model, **fields}
        operation = Operation(
            self.seq,
            more.get("time", 0),
            json.dumps(message).encode(),
            self._deployed(model, fields) if op == "deploy" else None,
            more.get("artifact_bytes"),
            True,
        )
        self.handle(control(f"me\0{self.seq:020d}", operation))
        ack = json.loads(self.written.texts["control_acks"][-1])
        assert (ack["issuer"], ack["seq"], ack["op"], ack["model"]) == ("me", self.seq, op, model)
        assert ack["accepted"] == (ack["reason"] is None)
        return ack["reason"], ack["version"]

    def _deployed(self, model: str, fields: dict[str, Any]) -> bytes | None:
        """As the gate makes it of a spec or an artifact."""
        if "from_version" in fields:
            return None
        spec = fields.get("spec", {"pickle": "of an artifact"})
        settings = ModelSettings(
            name=model,
            task="classification",
            role=fields.get("role", "challenger"),
            origin=spec,
            purity=_purity(spec),
            by_message=True,
            **self._settings,
        )
        return msgspec.json.encode(settings)

    def history(self, model: str = "a") -> list[str]:
        """Its versions since it was deployed, the present one at the end."""
        self.ledger.chain(None, model)
        return self.ledger.history[model][self.ledger.begins[model] :]

    def ids_learned(self, model: str = "a") -> list[str]:
        """Transactions of its examples, in order."""
        rows = self.written.rows("learn_log", model)
        return [row["id"] for row in rows if row["kind"] == "example"]

    def serving(self, id: str) -> str | None:
        """Whose prediction for a transaction is marked as the answer."""
        found = [
            row["model"]
            for row in self.written.rows("predictions")
            if row["id"] == id and row["serving"]
        ]
        assert len(found) <= 1
        return found[0] if found else None


def _purity(spec: Any) -> Purity:
    return Purity.NAMES if spec in (SRP, FM) else Purity.PURE
