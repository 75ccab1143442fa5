"""A gate, what it says, and messages for it."""

import json
from pathlib import Path
from typing import Any

from events.limits import Limits
from operators.gate import Gate, GateSettings
from operators.items import CONTROL, Item, Operation, Origin
from operators.scratch import Scratch, TrialLimits
from state.signing import CONTROL as CONTROL_CONTEXT
from state.signing import SigningKey

NOW = 1_700_000_000_000
SCALED_LR = {
    "pipeline": [
        {"class": "river.preprocessing.StandardScaler"},
        {"class": "river.linear_model.LogisticRegression"},
    ]
}


def payload(seq: int, op: str, model: str = "a", **fields: Any) -> dict[str, Any]:
    return {"job": "j", "issuer": "me", "seq": seq, "op": op, "model": model, **fields}


def text(message: dict[str, Any]) -> str:
    return json.dumps(message)


def signed(message: dict[str, Any] | str, key: SigningKey) -> bytes:
    exact = message if isinstance(message, str) else text(message)
    signature = key.sign(CONTROL_CONTEXT, exact.encode())
    return json.dumps({"payload": exact, "key_id": key.key_id, "signature": signature}).encode()


class Told:
    """What a gate says, in order."""

    def __init__(self) -> None:
        self.items: list[tuple[str | None, Item]] = []
        self.acks: list[str] = []
        self.logged: list[str] = []
        self.letters: list[str] = []
        self.order: list[str] = []

    def send(self, lane: str | None, item: Item) -> None:
        self.items.append((lane, item))
        self.order.append("send")

    def ack(self, text: str) -> None:
        self.acks.append(text)
        self.order.append("ack")

    def log(self, text: str) -> None:
        self.logged.append(text)
        self.order.append("log")

    def letter(self, text: str) -> None:
        self.letters.append(text)
        self.order.append("letter")

    # What tests ask

    def answers(self) -> list[tuple[int, bool, str | None]]:
        """`(seq, accepted, reason)` of each ack."""
        found = map(json.loads, self.acks)
        return [(row["seq"], row["accepted"], row["reason"]) for row in found]

    def reasons(self) -> list[str]:
        """Of the dead letters."""
        return [json.loads(letter)["reason"] for letter in self.letters]

    def operations(self) -> list[tuple[str | None, Operation]]:
        """What was sent to the models, and to which lane."""
        return [(lane, Operation(*item[2:])) for lane, item in self.items if item[0] == CONTROL]

    def sent(self) -> list[int]:
        """`seq` of each operation sent."""
        return [json.loads(operation.text)["seq"] for _, operation in self.operations()]


class GateBench:
    """A gate that can be restarted, and a clock that stands."""

    def __init__(self, scratch: Scratch | None = None, **settings: Any) -> None:
        given = {"job": "j", "limits": Limits(), "filed": {"a": "champion"}, "models": {}}
        self.settings = GateSettings(**{**given, **settings})
        self.told = Told()
        self.clock = NOW
        self.now = NOW
        self._scratch = scratch or Scratch(TrialLimits())
        self.gate = Gate(self.settings, {}, self._scratch, self.told)

    def restart(self) -> None:
        """Go on from state alone."""
        self.gate = Gate(self.settings, self.gate.plain(), self._scratch, self.told)

    def say(self, *messages: dict[str, Any] | bytes | None) -> None:
        """Judge these messages, one after the other, each to its end."""
        for message in messages:
            raw = text(message).encode() if isinstance(message, dict) else message
            origin = Origin("control", "c:1", raw)
            # Without event time the watermark is the clock.
            now = self.now if self.settings.ordered else self.clock
            if not self.gate.judge(origin, now, self.clock):
                self.gate.tried(self.clock, wait=True)


def key_file(folder: Path, key: SigningKey) -> str:
    path = folder / "key.pem"
    path.write_bytes(key.pem())
    return str(path)
