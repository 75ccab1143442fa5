"""Every example: the same input each time, and the predictions and metrics of a plain loop."""

import io
import os
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from rich.console import Console
from river import anomaly, compose, linear_model, preprocessing, tree

from connectors.files import read_parts
from jobs import running
from jobs.backtest import backtest
from jobs.config import load_config
from jobs.summary import ModelSummary, Summary, print_summary, summarize
from tests.examples import loops

EXAMPLES = Path(__file__).parents[2] / "examples"
NAMES = sorted(path.parent.name for path in EXAMPLES.glob("*/job.toml"))


class Ran(NamedTuple):
    """An example that was run."""

    folder: Path
    summary: Summary

    def input(self, name: str = "events.jsonl") -> list[dict[str, Any]]:
        lines = (self.folder / "input" / name).read_bytes().splitlines()
        return [msgspec.json.decode(line) for line in lines]

    def predictions(self, model: str) -> list[dict[str, Any]]:
        lines = read_parts(self.folder / "out" / "predictions")
        records = (msgspec.json.decode(line) for line in lines)
        return [record for record in records if record["model"] == model]

    def model(self, name: str) -> ModelSummary:
        [found] = [model for model in self.summary.models if model.name == name]
        return found


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A copy of an example's folder, with the input that its command makes."""

    @cache
    def make(name: str) -> Path:
        folder = tmp_path_factory.mktemp("examples") / name
        folder.mkdir()
        for file in ("job.toml", "make_input.py"):
            shutil.copy(EXAMPLES / name / file, folder)
        environ = {**os.environ, "PYTHONPATH": str(EXAMPLES.parent), "PYTHONHASHSEED": "1"}
        command = [sys.executable, str(folder / "make_input.py")]
        subprocess.run(command, env=environ, check=True, timeout=120)
        return folder

    return make


@pytest.fixture(scope="module")
def ran(made: Callable[[str], Path]) -> Callable[[str], Ran]:
    """An example after a backtest."""

    @cache
    def run(name: str) -> Ran:
        folder = made(name)
        config = load_config(folder / "job.toml")
        backtest(config)
        return Ran(folder, summarize(config))

    return run


def test_there_are_five_with_a_readme_each() -> None:
    assert NAMES == ["card_fraud", "image_segments", "merchants", "phishing", "trump_approval"]
    assert all((EXAMPLES / name / "README.md").is_file() for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_its_input_is_the_same_each_time(
    name: str, made: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = made(name) / "make_input.py"
    monkeypatch.setattr(sys, "argv", [str(script), "--out", str(tmp_path)])
    runpy.run_path(str(script), run_name="__main__")
    once = {file.name: file.read_bytes() for file in (made(name) / "input").iterdir()}
    again = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert once and once == again


@pytest.mark.parametrize("name", NAMES)
def test_it_has_no_dead_letters_and_a_delay_of_minutes_to_a_week(
    name: str, ran: Callable[[str], Ran]
) -> None:
    example = ran(name)
    assert example.summary.dead_letters == {}
    files = sorted((example.folder / "input").iterdir())
    delays = loops.delays([event for file in files for event in example.input(file.name)])
    assert 5 * 60_000 <= delays[0] and delays[-1] <= 7 * loops.DAY_MS
    for model in example.summary.models:
        assert model.labelled == len(delays)
        assert model.delay_median_ms == delays[-(-len(delays) // 2) - 1]
        assert model.delay_p95_ms == delays[-(-len(delays) * 95 // 100) - 1]


@pytest.mark.parametrize("name", NAMES)
def test_its_readme_has_the_numbers_of_its_summary(name: str, ran: Callable[[str], Ran]) -> None:
    file = io.StringIO()
    print_summary(ran(name).summary, Console(file=file, width=120))
    said = (EXAMPLES / name / "README.md").read_text().split("The summary ")[1].split(";")[0]
    numbers = re.findall(r"\d[\d,.]*\d%?", said)
    assert numbers
    for number in numbers:
        # R2 0.875 stands for 0.874549
        assert number in file.getvalue() or number in rounded(file.getvalue()), number


def rounded(text: str) -> set[str]:
    return {f"{float(number):.3f}" for number in re.findall(r"0\.\d+", text)}


def classifications(example: Ran, model: str) -> dict[str, Any]:
    return {
        record["id"]: (record["prediction"], record["probabilities"])
        for record in example.predictions(model)
    }


def test_phishing(ran: Callable[[str], Ran]) -> None:
    example, events = ran("phishing"), ran("phishing").input()
    river = preprocessing.StandardScaler() | linear_model.LogisticRegression()
    expected = loops.supervised(events, river, loops.classified)
    assert len(example.predictions("phishing")) == 1250
    assert classifications(example, "phishing") == expected

    labels = loops.truth(events)
    said = [(y, expected[id][0]) for id, y in labels.items()]
    p = [(y, expected[id][1]["true"]) for id, y in labels.items()]
    by_label = [(y, {True: p, False: 1 - p}) for y, p in p]
    model = example.model("phishing")
    assert (model.predictions, model.learned, model.scored) == (1250, 1250, 1250)
    assert model.without_label == 0
    assert (model.version or "").startswith("phishing@1250-")
    assert model.metrics == pytest.approx(
        {
            "accuracy": loops.accuracy(said),
            "f1": loops.f1(said),
            "roc_auc": loops.roc_auc(p),
            "log_loss": loops.log_loss(by_label),
        }
    )


@pytest.mark.parametrize(
    ("name", "make"),
    [
        (
            "softmax",
            lambda: preprocessing.StandardScaler() | linear_model.SoftmaxRegression(),
        ),
        ("tree", lambda: tree.HoeffdingTreeClassifier(grace_period=50)),
    ],
    ids=["softmax", "tree"],
)
def test_image_segments(name: str, make: Callable[[], Any], ran: Callable[[str], Ran]) -> None:
    example, events = ran("image_segments"), ran("image_segments").input()
    expected = loops.supervised(events, make(), loops.classified)
    assert len(example.predictions(name)) == 2310
    assert classifications(example, name) == expected

    answered = {
        id: (y, *expected[id])
        for id, y in loops.truth(events).items()
        if expected[id][0] is not None
    }
    assert len(answered) < 2310
    said = [(y, prediction) for y, prediction, _ in answered.values()]
    p = [(y, probabilities) for y, _, probabilities in answered.values()]
    model = example.model(name)
    assert (model.learned, model.labelled, model.scored) == (2310, 2310, len(answered))
    assert model.metrics == pytest.approx(
        {
            "accuracy": loops.accuracy(said),
            "macro_f1": loops.macro_f1(said),
            "log_loss": loops.log_loss(p),
        }
    )


def test_trump_approval(ran: Callable[[str], Ran]) -> None:
    example = ran("trump_approval")
    events = example.input("ratings.jsonl") + example.input("polls.jsonl")
    events.sort(key=lambda event: event["ts"])  # at one time ratings stay in front
    river = preprocessing.StandardScaler() | linear_model.LinearRegression(intercept_init=40.0)
    expected = loops.supervised(events, river, loops.predicted)
    assert len(example.predictions("approval")) == 1001
    got = {record["id"]: record["prediction"] for record in example.predictions("approval")}
    assert got == expected

    pairs = [(y, expected[id]) for id, y in loops.truth(events).items()]
    model = example.model("approval")
    assert (model.learned, model.scored) == (1001, 1001)
    assert model.metrics == pytest.approx(
        {"mae": loops.mae(pairs), "rmse": loops.rmse(pairs), "r2": loops.r2(pairs)}
    )


def test_card_fraud(ran: Callable[[str], Ran]) -> None:
    example, events = ran("card_fraud"), ran("card_fraud").input()
    river = preprocessing.MinMaxScaler() | anomaly.HalfSpaceTrees(seed=42)
    expected = loops.scored(events, river)
    assert len(example.predictions("strange")) == 20_000
    got = {record["id"]: record["score"] for record in example.predictions("strange")}
    assert got == expected

    frauds = loops.truth(events)
    assumed = loops.unless_told(events, frauds, False)
    assert len(frauds) / 20_000 == 0.0017
    pairs = [(y, expected[id]) for id, y in (frauds | assumed).items()]
    model = example.model("strange")
    assert (model.learned, model.labelled, model.assumed) == (20_000, 34, len(assumed))
    assert model.without_label == (20_000 - len(pairs)) / 20_000
    assert model.metrics == pytest.approx({"roc_auc": loops.roc_auc(pairs)})


def test_merchants(ran: Callable[[str], Ran]) -> None:
    def river() -> Any:
        return (
            compose.Discard("merchant")
            | preprocessing.StandardScaler()
            | linear_model.LogisticRegression()
        )

    example, events = ran("merchants"), ran("merchants").input()
    expected = loops.supervised_by("merchant", events, river, loops.classified)
    assert len(example.predictions("returns")) == 6000
    assert classifications(example, "returns") == expected

    labels = loops.truth(events)
    said = [(y, expected[id][0]) for id, y in labels.items()]
    p = [(y, expected[id][1]["true"]) for id, y in labels.items()]
    one_for_all = loops.supervised(events, river(), loops.classified)
    worse = loops.accuracy([(y, one_for_all[id][0]) for id, y in labels.items()])
    assert f"{worse:.2%}" in (EXAMPLES / "merchants" / "README.md").read_text()

    model = example.model("returns")
    assert model.lanes == len(loops.lanes(events, "merchant")) == 50
    assert (model.version, model.learned) == (None, len(labels))
    assert model.without_label == (6000 - len(labels)) / 6000
    assert model.metrics == pytest.approx(
        {
            "accuracy": loops.accuracy(said),
            "f1": loops.f1(said),
            "roc_auc": loops.roc_auc(p),
            "log_loss": loops.log_loss([(y, {True: p, False: 1 - p}) for y, p in p]),
        }
    )


@pytest.mark.cluster
@pytest.mark.parametrize("name", ["card_fraud", "merchants", "trump_approval"])
def test_the_job_on_flink_writes_what_the_backtest_does(
    name: str, flink: None, ran: Callable[[str], Ran], tmp_path: Path
) -> None:
    expected = ran(name)
    shutil.copy(expected.folder / "job.toml", tmp_path)
    shutil.copytree(expected.folder / "input", tmp_path / "input")
    assert running.run(load_config(tmp_path / "job.toml"))
    for output in ("predictions", "evaluations", "learn_log", "dead_letters"):
        assert timeless(tmp_path, output) == timeless(expected.folder, output), output


def timeless(folder: Path, output: str) -> list[dict[str, Any]]:
    """Records of an output, lane by lane, without the time of day at which they were made."""
    records = [msgspec.json.decode(line) for line in read_parts(folder / "out" / output)]
    # Between lanes there is no order.
    records.sort(key=lambda record: record.get("lane") or "")
    return [
        {name: value for name, value in record.items() if name not in ("predicted_at", "at")}
        for record in records
    ]
