"""Savepoints of releases go on under this one. They are made by tests/golden/make.py."""

import json
import shutil
import zipfile
from pathlib import Path

import pytest

from jobs.config import load_config
from jobs.waiting import wait_until
from state.snapshots import environment
from tests.jobs import flows
from tests.patience import PATIENCE_S

pytestmark = pytest.mark.cluster

GOLDEN = Path(__file__).parent.parent / "golden"
RELEASES = sorted(file.parent.name for file in GOLDEN.glob("*/savepoint.zip"))


def test_this_release_has_a_savepoint():
    assert "0.1.0" in RELEASES


@pytest.mark.parametrize("release", RELEASES)
def test_a_savepoint_goes_on_as_if_nothing_had_happened(cluster, tmp_path, riverrun, release):
    golden = GOLDEN / release
    with zipfile.ZipFile(golden / "savepoint.zip") as archive:
        archive.extractall(tmp_path / "savepoint")
    config = job_in(tmp_path, golden, {"2.jsonl": "after.jsonl"})
    told = riverrun(
        "submit",
        tmp_path / "job.toml",
        "--from",
        f"file://{tmp_path / 'savepoint'}",
        "--url",
        cluster.url,
        "--json",
    )
    assert told.code == 0, told.err
    job = json.loads(told.out)["job"]

    inputs = {"1.jsonl": "before.jsonl"}
    first = flows.expected(job_in(tmp_path / "first", golden, inputs), ended=False)
    inputs["2.jsonl"] = "after.jsonl"
    whole = flows.expected(job_in(tmp_path / "whole", golden, inputs), ended=False)
    wanted = {output: rows[len(first[output]) :] for output, rows in whole.items()}
    assert len(wanted["predictions"]) > 100
    assert len(wanted["evaluations"]) > len(wanted["predictions"])

    made_under = json.loads((golden / "made.json").read_text())["environment"]
    here = {**environment(), "hashseed": cluster.environ()["PYTHONHASHSEED"]}
    entered = 0 if made_under == here else len(config.models)
    wait_until(
        lambda: (
            len(flows.written(config)["learn_log"]) == len(wanted["learn_log"]) + entered
            and len(flows.written(config)["predictions"]) == len(wanted["predictions"])
            and len(flows.written(config)["evaluations"]) == len(wanted["evaluations"])
        ),
        "every record that is left",
        timeout_s=PATIENCE_S,
    )
    cluster.rest.stop_with_savepoint(job)
    got = flows.written(config)
    if entered:
        # Another Python or processor than the savepoint's: it stands in each model's chain.
        entries = [row["kind"] for row in got["learn_log"][:entered]]
        assert entries == ["environment"] * entered
        got["learn_log"] = got["learn_log"][entered:]
        got, wanted = without_heads(got), without_heads(wanted)
    # A request changes a forest that was never asked before; 0.1.0 did not know, and made no entry of it.
    got, wanted = (without_heads(written, {"forest"}) for written in (got, wanted))
    for output in flows.OUTPUTS:
        assert got[output] == wanted[output], output


def job_in(folder: Path, golden: Path, inputs: dict[str, str]):
    """The golden job with its paths below `folder`."""
    (folder / "in").mkdir(parents=True)
    for name, source in inputs.items():
        shutil.copy(golden / source, folder / "in" / name)
    return load_config(shutil.copy(golden / "job.toml", folder / "job.toml"))


def without_heads(
    written: dict[str, list[dict]], models: set[str] | None = None
) -> dict[str, list[dict]]:
    """Versions as NAME@N, of these models or of all, for chains that differ by an entry."""

    def shortened(row: dict) -> dict:
        if models is not None and row.get("model") not in models:
            return row
        named = {name: row[name].partition("-")[0] for name in ("version", "parent") if name in row}
        return {**{name: value for name, value in row.items() if name != "head"}, **named}

    return {output: [shortened(row) for row in rows] for output, rows in written.items()}
