"""Many lanes, most of them in state only, within the memory of one task manager."""

import random
import re
from collections import Counter
from pathlib import Path

import pytest

from jobs import submitting
from jobs.cluster import Cluster
from jobs.config import load_config
from tests.jobs import flows
from tests.jobs.flows import T0, classifier, job, write, written
from tests.patience import PATIENCE_S

pytestmark = pytest.mark.cluster

LANES = 20_000
PROCESS_BYTES = 1 << 30
MODEL = {
    "pipeline": [
        {"class": "river.compose.Discard", "args": ["card"]},
        *flows.LOGISTIC["pipeline"],
    ]
}


def test_20000_models_run_in_a_task_manager_of_1_gb(tmp_path):
    rng = random.Random(5)
    events = []
    # Round after round, so that a lane was long put out of memory when its turn comes again.
    for turn in range(2):
        for lane in range(LANES):
            features = {"card": f"card {lane}", **{name: rng.random() for name in "abc"}}
            event = {"id": f"{turn}-{lane}", "features": features, "ts": T0 + turn * 60_000 + lane}
            events.append(event if turn else {**event, "label": lane % 3 == 0})
    write(tmp_path / "events.jsonl", events)
    made = job(
        tmp_path,
        job={
            "lane_by": "card",
            "live_lanes": 500,
            "state_backend": "rocksdb",
            "checkpoint_interval": "2s",
        },
        inputs={"features": {"path": "events.jsonl"}},
        models=[classifier(spec=MODEL)],
    )
    path = tmp_path / "job.toml"
    path.write_text(made.to_public_toml())
    config = load_config(path)
    with Cluster.start(tmp_path / "cluster", state_backend="rocksdb", memory="1g") as cluster:
        job_id = submitting.submit(config, path, cluster.rest)
        cluster.rest.wait_for(job_id, {"FINISHED"}, timeout_s=PATIENCE_S)
        peak = peak_bytes(cluster.task_manager_pids[1])
        print(f"highest resident size of the task manager: {peak >> 20} MiB")
        assert cluster.rest.restarts(job_id) == 0
        assert cluster.rest.exceptions(job_id) == []
    got = written(config)
    said = {(row["lane"], row["version"].partition("@")[2][:2]): row for row in got["predictions"]}
    assert len(got["predictions"]) == len(said) == 2 * LANES
    # Each model has learned its one example when it is asked again.
    assert Counter(n for _, n in said) == {"0-": LANES, "1-": LANES}
    assert got["predictions"] == flows.expected(config)["predictions"]
    assert got["dead_letters"] == []
    assert peak < PROCESS_BYTES


def peak_bytes(pid: int) -> int:
    """The most memory that a process ever had resident, proc(5)."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    assert found, status
    return int(found[1]) << 10
