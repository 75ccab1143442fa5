"""Messages to every lane, through changes of parallelism; lanes that come later do them, too."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from river import compose, linear_model, naive_bayes, preprocessing

from connectors.files import read_parts
from jobs.waiting import wait_until
from tests.cluster.streaming import Streaming
from tests.jobs import flows
from tests.jobs.controlled_jobs import NB, deploy, message, texts
from tests.jobs.flows import classifier, phishing
from tests.operators.flows import said
from tests.operators.ledger import Ledger
from tests.operators.loops import ask
from tests.patience import PATIENCE_S

pytestmark = pytest.mark.cluster


def without_shop(spec: dict[str, Any]) -> dict[str, Any]:
    steps = spec.get("pipeline", [spec])
    return {"pipeline": [{"class": "river.compose.Discard", "args": ["shop"]}, *steps]}


def made(spec: dict[str, Any]) -> Any:

    discard = compose.Discard("shop")
    if spec == without_shop(NB):
        return discard | naive_bayes.GaussianNB()
    return discard | preprocessing.StandardScaler() | linear_model.LogisticRegression()


LR, BAYES = without_shop(flows.LOGISTIC), without_shop(NB)
ACKS = {"connector": "file", "path": "out/control_acks", "roll_interval": "1s"}


def test_lanes_do_what_is_said_through_rescaling_whenever_they_come(
    cluster, tmp_path: Path
) -> None:
    for number in (2, 3):
        cluster.start_task_manager(number)
    options: dict[str, Any] = {"lane_by": "shop", "live_lanes": 3, "state_backend": "rocksdb"}
    job = Streaming(
        cluster,
        tmp_path,
        [classifier("a", LR)],
        job=options,
        control={"connector": "file", "path": "control", "watch": True},
        control_acks=ACKS,
    )
    (tmp_path / "control").mkdir()
    events = phishing(240, last_delay=30 * 60_000)
    features = {}
    for event in events:
        if "features" in event:
            # A new shop every twenty transactions, and all those before.
            number = int(event["id"][1:])
            event["features"]["shop"] = f"shop {number % (number // 20 + 1)}"
            features[event["id"]] = event["features"]
    stream = iter(events)
    fed: list[dict[str, Any]] = []
    # Of each transaction how many models there were.
    models, predicted, learned = 1, 0, 0

    def feed() -> None:
        nonlocal predicted, learned
        some = list(itertools.islice(stream, len(events) // 6))
        fed.extend(some)
        predicted += models * sum("features" in event for event in some)
        learned += sum("label" in event for event in some)
        job.feed(some)
        job.wait_for(predicted)
        wait_until(lambda: examples("a") >= learned, "examples of a", timeout_s=PATIENCE_S)

    def examples(model: str) -> int:
        rows = flows.written(job.config)["learn_log"]
        return sum(row["model"] == model and row["kind"] == "example" for row in rows)

    def acks() -> list[dict[str, Any]]:
        folder = tmp_path / "out" / "control_acks"
        return [json.loads(line) for line in texts_of(folder)]

    def say(payload: dict[str, Any]) -> None:
        flows.write(tmp_path / "drafts" / "message", [payload]).rename(
            tmp_path / "control" / f"{payload['seq']:05}.jsonl"
        )
        wait_until(
            lambda: any(ack["seq"] == payload["seq"] for ack in acks()),
            f"the answer to {payload['seq']}",
            timeout_s=PATIENCE_S,
        )

    def rescale(parallelism: int) -> None:
        job.configure(job={**options, "parallelism": parallelism})
        job.upgrade()

    job.submit()
    feed()
    say(deploy(1, "b", BAYES))
    models = 2
    feed()
    rescale(3)
    feed()
    say(message(2, "promote", "b"))
    promoted = len(fed)
    feed()
    rescale(2)
    feed()
    say(message(3, "freeze", "b"))
    frozen, until = examples("b"), learned
    rescale(1)
    feed()
    assert list(stream) == []
    # What stands in a file that has not been rolled is not there yet when the job is stopped.
    wait_until(
        lambda: len(flows.written(job.config)["dead_letters"]) == learned - until,
        "a dead letter of b for each label since",
        timeout_s=PATIENCE_S,
    )
    job.stop()

    assert [(ack["seq"], ack["accepted"], ack["version"]) for ack in acks()] == [
        (seq, True, None) for seq in (1, 2, 3)
    ]
    assert examples("b") == frozen
    got = flows.written(job.config)
    assert {row["reason"] for row in got["dead_letters"]} == {"model_frozen"}
    lanes = {row["lane"] for row in got["predictions"]}
    assert len(lanes) == 12
    ledger = Ledger([(LR, lambda: made(LR)), (BAYES, lambda: made(BAYES))], {"a": LR})
    by_lane: dict[str, list[str]] = {}
    for line in texts(job.config, "learn_log"):
        by_lane.setdefault(json.loads(line)["lane"], []).append(line)
    for lines in by_lane.values():
        for line in lines:
            ledger.entry(line)
    # Every lane has each message in its chain, in order, those that came later before all else.
    for lane in lanes:
        told = [row["seq"] for row in got["learn_log"] if row["lane"] == lane and row["seq"]]
        assert told == [1, 2, 3][: len(told)]
        assert len(told) >= 1
    place = {event["id"]: number for number, event in enumerate(fed) if "features" in event}
    for row in got["predictions"]:
        if row["version"] not in ledger.copies:
            ledger.chain(row["lane"], row["model"])
        oracle = ledger.model(row["version"])
        assert said(row) == ask("classification", oracle, features[row["id"]])
        champion = "b" if place[row["id"]] >= promoted else "a"
        assert row["serving"] == (row["model"] == champion)


def texts_of(folder: Path) -> list[str]:

    return list(read_parts(folder)) if folder.is_dir() else []
