"""A tiny run of the whole measurement; nothing is asserted about speed."""

import json

import pytest

from perf import throughput
from perf.bare import Measured
from perf.cpu import STAGES
from perf.flink import Predicted

ROW = {"case", "system", "metric", "value", "unit", "ratio", "baseline", "ok"}
COSTS = {f"cpu_{stage}" for stage in (*STAGES, "parse", "river")}


@pytest.mark.cluster
@pytest.mark.usefixtures("flink")
def test_a_tiny_run_gives_well_formed_rows_of_equal_predictions(tmp_path):
    file = tmp_path / "rows.json"
    arguments = ["--models", "LR", "--events", "6000", "--rounds", "1", "--json", str(file)]
    assert throughput.main(arguments) == 0
    document = json.loads(file.read_text())
    assert document["environment"]["river"] == "0.26.1"
    rows = document["rows"]
    assert all(row.keys() == ROW and row["ok"] is True for row in rows)
    for case in ("urls/LR", "phishing/LR"):
        loop, job, *costs = [row for row in rows if row["case"] == case]
        assert (loop["system"], loop["ratio"], loop["baseline"]) == ("river loop", None, None)
        assert (job["system"], job["baseline"]) == ("riverrun job", "river loop")
        assert loop["metric"] == job["metric"] == "transactions_per_s"
        # One round: its ratio is the ratio of the two.
        assert job["ratio"] == pytest.approx(job["value"] / loop["value"])
        assert {row["metric"] for row in costs} == COSTS
        assert {(row["system"], row["unit"]) for row in costs} == {("riverrun job", "us")}


@pytest.fixture
def predictions() -> list[Predicted]:
    return [
        Predicted("t0", None, 0, {}),
        Predicted("t1", False, 0, {"true": 0.25, "false": 0.75}),
    ]


def loop(*said: dict[str, float]) -> Measured:
    return Measured(1.0, 1.0, 0.0, list(said))


def test_equal_predictions_are_the_same(predictions):
    assert throughput.same(predictions, loop({}, {"true": 0.25, "false": 0.75}))


@pytest.mark.parametrize(
    "said",
    [
        ({}, {"true": 0.25, "false": 0.7500000000000001}),
        ({}, {"true": 0.75, "false": 0.25}),
        ({},),
        ({}, {"true": 0.25, "false": 0.75}, {}),
    ],
    ids=["one bit", "another label", "one too many", "one missing"],
)
def test_any_other_prediction_is_not(predictions, said):
    assert not throughput.same(predictions, loop(*said))


def test_a_prediction_in_another_place_is_not(predictions):
    predictions.reverse()
    assert not throughput.same(predictions, loop({"true": 0.25, "false": 0.75}, {}))


def test_a_label_that_does_not_follow_from_the_probabilities_is_not(predictions):
    predictions[1].prediction = True
    assert not throughput.same(predictions, loop({}, {"true": 0.25, "false": 0.75}))


def test_an_unknown_model_is_refused_with_what_there_is(capsys):
    with pytest.raises(SystemExit):
        throughput.main(["--models", "LR,XGB"])
    assert "'XGB' is none of LR, HAT, SRP(HAT), SRP(NB), ARF" in capsys.readouterr().err
