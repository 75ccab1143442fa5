"""Tiny runs of the measurements that start clusters of their own; nothing is asserted about speed."""

import json

import pytest

from perf import pending, scaling, snapshot
from perf.workloads import malicious_urls

ROW = {"case", "system", "metric", "value", "unit", "ratio", "baseline", "ok"}


def test_names_grow_as_fast_as_asked():
    def names(new_names):
        seen = set()
        for features, _ in malicious_urls(200, seed=1, new_names=new_names):
            seen.update(features)
        return len(seen)

    assert names(60) > 4 * names(1.35)
    assert 200 * 55 < names(60) < 200 * 80


@pytest.mark.cluster
@pytest.mark.parametrize(
    ("script", "arguments", "metrics"),
    [
        (
            pending,
            ["--count", "2000", "--interval", "1s"],
            {
                "memory",
                "checkpoint_size",
                "checkpoint_time",
                "features_per_s",
                "labels_that_found_theirs",
            },
        ),
        (
            snapshot,
            ["--events", "400"],
            {"model_size", "stall", "checkpoint_time", "checkpoint_size", "transactions_per_s"},
        ),
        (
            scaling,
            ["--events", "400", "--workers", "2", "--rounds", "1"],
            {"transactions_per_s"},
        ),
    ],
    ids=["pending", "snapshot", "scaling"],
)
def test_a_tiny_run_gives_well_formed_rows(tmp_path, script, arguments, metrics):
    file = tmp_path / "rows.json"
    assert script.main([*arguments, "--json", str(file)]) == 0
    rows = json.loads(file.read_text())["rows"]
    assert all(row.keys() == ROW and row["ok"] is True for row in rows)
    assert {row["metric"] for row in rows} == metrics
