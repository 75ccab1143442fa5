"""Runs the plain flow, or one lane, over a stream and reads what came out."""

import json
import random
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from events.decode import Decoder
from events.features import encode_features
from events.limits import Limits, TimeRange
from models.purity import Purity
from operators import items
from operators.items import Example, Item, Origin, Request
from operators.joining import JoinSettings
from operators.learning import Lane, LaneSettings, Out, Stats, Store
from operators.live import Deployment, ModelSettings
from operators.plain import FlowSettings, PlainFlow, Record
from state.snapshots import SnapshotSettings, pickle_model
from tests.operators.loops import HOUR, MINUTE, Known, Said, Transaction, questions_and_answers

OUTPUTS = (
    "predictions",
    "evaluations",
    "learn_log",
    "dead_letters",
    "control_acks",
    "control_log",
    "versions",
    "alerts",
)
OUT_OF_ORDERNESS = 30 * MINUTE  # half an hour: some thirty transactions
RAW_BYTES = 4096


class Written:
    """Records by output, in the order in which they came."""

    def __init__(self) -> None:
        self.texts: dict[str, list[str]] = {output: [] for output in OUTPUTS}

    def emit(self, output: str, text: str) -> None:
        self.texts[output].append(text)

    def rows(self, output: str, model: str | None = None) -> list[dict[str, Any]]:
        """Of one model or of all; what the clock put there is left out."""
        found = [timeless(json.loads(text)) for text in self.texts[output]]
        return [row for row in found if model is None or row["model"] == model]

    def all(self) -> dict[str, list[dict[str, Any]]]:
        return {output: self.rows(output) for output in OUTPUTS}

    def said(self, model: str | None = None) -> dict[str, Said]:
        """Id -> what was predicted, of one model."""
        rows = self.rows("predictions", model)
        found = {row["id"]: said(row) for row in rows}
        assert len(found) == len(rows), "a prediction each"
        return found


def timeless(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in ("predicted_at", "at")}


def said(row: dict[str, Any]) -> Said:
    """What a prediction or an evaluation says, with the order of its probabilities."""
    probabilities = row.get("probabilities")
    return Said(
        row["prediction"],
        None if probabilities is None else list(probabilities.items()),
        row.get("score"),
    )


def deployment(model: Any, name: str = "m", role: Any = "champion", **settings: Any) -> Deployment:
    """Of a River object or a `Known`, unless `settings` say otherwise."""
    if isinstance(model, Known):
        settings.setdefault("task", model.task)
        settings.setdefault("purity", Purity.NAMES if model.names else Purity.PURE)
        model = model.make()
    every = settings.pop("every", None)
    if every is not None:
        settings["snapshot"] = SnapshotSettings(every=every)
    made = ModelSettings(
        **{
            "name": name,
            "task": "classification",
            "role": role,
            "origin": {"made": "by hand"},
            "purity": Purity.PURE,
            **settings,
        }
    )
    return Deployment(made, pickle_model(model))


# The whole flow


def lines(events: Iterable[dict[str, Any]]) -> list[bytes]:
    return [json.dumps(event).encode() for event in events]


def run(
    records: Iterable[bytes | Record],
    deployments: list[Deployment],
    *,
    join: JoinSettings | None = None,
    out: Out | None = None,
    inputs: tuple[str, ...] = ("features",),
    keep: Callable[[PlainFlow], None] = lambda flow: None,
    **settings: Any,
) -> Written:
    """One file, unless records say where they come from; `keep` is given the flow at its end."""
    written = Written()
    flow = PlainFlow(
        FlowSettings(
            join or JoinSettings(label_timeout_ms=24 * HOUR, retention_ms=48 * HOUR),
            TimeRange(0, 10**15),
            settings.pop("max_out_of_orderness_ms", OUT_OF_ORDERNESS),
            **settings,
        ),
        Decoder(Limits()),
        deployments,
        out or Out(),
        written.emit,
        inputs,
    )
    for number, record in enumerate(records, 1):
        if isinstance(record, bytes):
            record = Record("features", "in.jsonl", f"in.jsonl:{number}", record)
        flow.record(record)
    flow.end()
    keep(flow)
    return written


def shuffled(
    events: list[dict[str, Any]], seed: int = 4, within: int = OUT_OF_ORDERNESS
) -> list[dict[str, Any]]:
    """In another order, none further than `within` ms behind the highest time before it."""
    rng = random.Random(seed)
    jittered = [(event["ts"] + rng.randrange(within + 1), rng.random(), event) for event in events]
    return [event for *_, event in sorted(jittered, key=lambda entry: entry[:2])]


# One lane


def request(id: str, ts: int, x: dict[str, Any]) -> Item:
    return items.request(Request(id, ts, encode_features(x), "features", f"in:{id}"))


def example(
    id: str,
    ts: int,
    x: dict[str, Any] | None,
    y: Any,
    due: int | None = None,
    *,
    weight: float | None = None,
    source: str = "label",
    late: bool = False,
    last: bool = True,
) -> Item:
    features = None if x is None else encode_features(x)
    origin = Origin("labels", f"in:{id}", None)
    time = ts if due is None else due
    return items.example(
        Example(
            id, ts, features, y, weight, time, source, late, last, origin.input, origin.position
        )
    )


def items_of(rows: list[Transaction]) -> Iterator[Item]:
    """A stream as the join hands it to a lane."""
    for row, answered in questions_and_answers(rows):
        if answered:
            yield example(row.id, row.ts, row.x, row.y, row.due, weight=row.weight)
        else:
            yield request(row.id, row.ts, row.x)


class Bench:
    """A lane over a store, and what comes out of it; `lane` is made anew where it is dropped."""

    def __init__(
        self,
        deployments: list[Deployment],
        store: Store,
        *,
        lane: str | None = None,
        out: Out | None = None,
        raw_bytes: int = RAW_BYTES,
        hold_limit: int = 0,
    ) -> None:
        self._hold_limit = hold_limit
        self.written = Written()
        self.stats = Stats()
        self.deployments = deployments
        self.store = store
        self._name = lane
        self._out = out or Out()
        self._raw_bytes = raw_bytes
        self.restart()

    def restart(self) -> None:
        """Forget what is alive and start from state, as a new process does."""
        self.lane = Lane(
            self._name,
            self.deployments,
            self.store,
            self._out,
            self.written.emit,
            self.stats,
            LaneSettings(self._raw_bytes, self._hold_limit),
        )

    def handle(self, *given: Item) -> None:
        for item in given:
            self.lane.handle(item)

    def reasons(self, model: str | None = None) -> list[str]:
        return [row["reason"] for row in self.written.rows("dead_letters", model)]

    def ids(self, output: str, model: str | None = None) -> list[str]:
        return [row["id"] for row in self.written.rows(output, model)]
