"""Jobs with a control stream: their messages, all that they write, and loops to compare it with."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from river import linear_model, naive_bayes, preprocessing, tree

from connectors.files import read_parts
from jobs.backtest import flow
from jobs.config import Config
from jobs.reading_inputs import records
from state.signing import CONTROL, SigningKey
from tests.jobs import flows
from tests.jobs.flows import T0, timeless
from tests.operators.flows import said
from tests.operators.ledger import Ledger
from tests.operators.loops import Said, ask

OUTPUTS = (*flows.OUTPUTS, "control_acks", "control_log", "alerts")
MINUTE = 60_000

LR: dict[str, Any] = flows.LOGISTIC
NB: dict[str, Any] = {"class": "river.naive_bayes.GaussianNB"}
TREE: dict[str, Any] = {
    "class": "river.tree.HoeffdingTreeClassifier",
    "params": {"grace_period": 20},
}
MAKES: list[tuple[Any, Callable[[], Any]]] = [
    (LR, lambda: preprocessing.StandardScaler() | linear_model.LogisticRegression()),
    (NB, naive_bayes.GaussianNB),
    (TREE, lambda: tree.HoeffdingTreeClassifier(grace_period=20)),
]


def make(spec: Any) -> Any:
    """The River object of a spec, by hand."""
    return next(made() for known, made in MAKES if known == spec)


def at(number: float) -> int:
    """The time of a transaction of `flows.phishing`."""
    return T0 + int(number * MINUTE)


# Messages


def message(seq: int, op: str, model: str = "a", **fields: Any) -> dict[str, Any]:
    return {"job": "job", "issuer": "me", "seq": seq, "op": op, "model": model, **fields}


def deploy(seq: int, model: str, spec: Any, **fields: Any) -> dict[str, Any]:
    return message(seq, "deploy", model, **{"task": "classification", "spec": spec, **fields})


def signed(payload: dict[str, Any], key: SigningKey) -> dict[str, str]:
    text = json.dumps(payload)
    return {
        "payload": text,
        "key_id": key.key_id,
        "signature": key.sign(CONTROL, text.encode()),
    }


# Jobs


def controlled_job(
    folder: Path, *, models: list[dict[str, Any]], inputs: dict[str, Any] | None = None, **more: Any
) -> Config:
    """Features from `events.jsonl` and messages from `control.jsonl`; every output is written."""
    outputs = {
        name: {"connector": "file", "path": f"out/{name}", "roll_interval": "1s"}
        for name in OUTPUTS
        if name not in flows.OUTPUTS
    }
    given = inputs or {
        "features": {"path": "events.jsonl"},
        "control": {"path": "control.jsonl"},
    }
    return flows.job(folder, inputs=given, models=models, **{**outputs, **more})


def written(config: Config) -> dict[str, list[dict[str, Any]]]:
    """What a job wrote, without what the clock put there."""
    found = {}
    for output in OUTPUTS:
        folder = Path(config.sinks(output)[0].path)  # type: ignore[union-attr]
        lines = read_parts(folder) if folder.is_dir() else ()
        found[output] = [timeless(json.loads(line)) for line in lines]
    return found


def texts(config: Config, output: str) -> list[str]:
    """Records as they stand there."""
    return list(read_parts(Path(config.sinks(output)[0].path)))  # type: ignore[union-attr]


def expected(config: Config) -> dict[str, list[dict[str, Any]]]:
    """What the backtest makes of the same files."""
    rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
    running = flow(config, lambda output, text: rows[output].append(timeless(json.loads(text))))
    for record in records(config):
        running.record(record)
    running.end()
    return {output: rows[output] for output in OUTPUTS}


def answers(acks: Iterable[dict[str, Any]]) -> list[tuple[int, str | None]]:
    """`(seq, reason)` of each ack, by seq; accepted ones have no reason."""
    found = []
    for ack in acks:
        assert ack["accepted"] == (ack["reason"] is None)
        found.append((ack["seq"], ack["reason"]))
    return sorted(found, key=lambda answer: (answer[0], answer[1] or ""))


# Oracles


def said_of(rows: Iterable[dict[str, Any]], model: str) -> dict[str, Said]:
    """Transaction -> what a model said of it."""
    own = [row for row in rows if row["model"] == model]
    found = {row["id"]: said(row) for row in own}
    assert len(found) == len(own), "a prediction each"
    return found


def loop(
    model: Any, events: Iterable[dict[str, Any]], begin: int = 0, end: int = 1 << 62
) -> dict[str, Said]:
    """What a River object says that is asked and taught from time `begin` on, before `end`."""
    features: dict[str, dict[str, Any]] = {}
    found = {}
    for event in events:
        if "features" in event:
            features[event["id"]] = event["features"]
        if not begin <= event["ts"] < end:
            continue
        if "features" in event:
            found[event["id"]] = ask("classification", model, event["features"])
        else:
            model.learn_one(features[event["id"]], event["label"])
    return found


def serving(rows: Iterable[dict[str, Any]]) -> dict[str, str]:
    """Transaction -> the model whose answer counts; one at most."""
    own = [row for row in rows if row["serving"]]
    found = {row["id"]: row["model"] for row in own}
    assert len(found) == len(own), "one answer each"
    return found


def audit(
    predictions: Iterable[str],
    learn_log: Iterable[str],
    events: Iterable[dict[str, Any]],
    configured: dict[str, Any],
    elsewhere: Iterable[tuple[str, str, Any]] = (),
) -> Ledger:
    """Walk every chain of a learn log, in its order, and make each prediction again with plain River.

    Parameters
    ----------
    configured : dict
        Model -> its spec, of those in the configuration.
    elsewhere
        Version, head and model of each version that was made elsewhere.
    """
    ledger = Ledger(MAKES, configured)
    for known in elsewhere:
        ledger.know(*known)
    for line in learn_log:
        ledger.entry(line)
    features = {event["id"]: event["features"] for event in events if "features" in event}
    for row in map(json.loads, predictions):
        if row["version"] not in ledger.copies:
            ledger.chain(row["lane"], row["model"])  # it has learned nothing
        oracle = ledger.model(row["version"])
        assert said(row) == ask("classification", oracle, features[row["id"]])
    return ledger
