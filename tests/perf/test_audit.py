"""A tiny run of the whole measurement; nothing is asserted about speed."""

import json

import pytest

from perf import audit
from perf.audit import _backtested, _case
from tests.jobs.by_hand import changed

ROW = {"case", "system", "metric", "value", "unit", "ratio", "baseline", "ok"}


def test_a_tiny_run_gives_well_formed_rows_of_equal_predictions(tmp_path):
    file = tmp_path / "rows.json"
    arguments = ["--models", "LR", "--events", "400", "--rounds", "1", "--json", str(file)]
    assert audit.main(arguments) == 0
    rows = json.loads(file.read_text())["rows"]
    assert all(row.keys() == ROW and row["ok"] is True for row in rows)
    assert [row["case"] for row in rows] == ["urls/LR", "urls/LR", "phishing/LR", "phishing/LR"]
    for loop, own in (rows[:2], rows[2:]):
        assert (loop["system"], loop["ratio"]) == ("river loop", None)
        assert (own["system"], own["baseline"]) == ("riverrun audit", "river loop")
        # One round: its ratio is the ratio of the two.
        assert own["ratio"] == pytest.approx(own["value"] / loop["value"])


def test_a_run_with_a_difference_is_not_ok(tmp_path, monkeypatch):
    def spoilt(folder, model):
        path = _backtested(folder, model)
        predictions = folder / "out/predictions/part-0-0.jsonl"
        changed(predictions, 50, lambda row: row.update(prediction=None))
        return path

    monkeypatch.setattr(audit, "_backtested", spoilt)
    options = audit._options(["--events", "100", "--rounds", "1"])
    assert [row.ok for row in _case(tmp_path, "phishing", "LR", options)] == [False, False]
