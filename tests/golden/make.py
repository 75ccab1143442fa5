"""Makes the golden savepoint of this release: `python tests/golden/make.py`.

Under tests/golden/RELEASE/ it leaves what tests/cluster/test_golden.py needs to go on from it:

    job.toml         the job that was stopped
    before.jsonl     what it had read
    after.jsonl      what comes next
    savepoint.zip    where it was stopped
    made.json        the environment that its models ran under

Once a release is out, its folder never changes.
"""

import json
import os
import random
import shutil
import sys
import tempfile
import tomllib
import zipfile
from pathlib import Path

from connectors.files import read_parts
from jobs import submitting
from jobs.cluster import Cluster
from jobs.config import Config, load_config
from jobs.environment import flink_environ
from jobs.toml_text import dump_toml
from jobs.waiting import wait_until
from state.snapshots import environment
from tests.jobs import flows
from tests.patience import PATIENCE_S

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
# Read before the savepoint; some labels then wait for features, and many features for labels.
BEFORE = 220

MODELS = [
    flows.classifier("linear", flows.LOGISTIC, role="champion"),
    flows.classifier(
        "forest", {"class": "river.forest.ARFClassifier", "params": {"n_models": 2, "seed": 1}}
    ),
    # Changed by requests, so its log holds some.
    flows.classifier(
        "subspaces",
        {
            "class": "river.ensemble.SRPClassifier",
            "params": {
                "model": {"class": "river.naive_bayes.GaussianNB"},
                "n_models": 2,
                "seed": 2,
            },
        },
    ),
]


def events() -> list[dict]:
    """Phishing data, with every tenth transaction's features behind its label."""
    found = flows.phishing(250)
    late = [event for event in found if "features" in event and event["id"].endswith("7")]
    rest = [event for event in found if event not in late]
    random.Random(3).shuffle(late)
    for event in late:
        label = next(i for i, e in enumerate(rest) if e["id"] == event["id"])
        rest.insert(min(label + 30, len(rest)), event)
    return rest


def configuration() -> str:
    """A job whose paths are relative to its file."""
    sections: dict = {
        "job": {"name": "golden", "checkpoint_interval": "300ms"},
        "features": {"connector": "file", "path": "in", "watch": True},
        **{
            output: {"connector": "file", "path": f"out/{output}", "roll_interval": "1s"}
            for output in flows.OUTPUTS
        },
        # A snapshot, and a log since.
        "models": [{**model, "snapshot": {"every": 40}} for model in MODELS],
    }
    return dump_toml(sections)


def final(config: Config) -> bool:
    """Whether all output is final and no file is open: the sinks' state then names no path."""
    folders = [Path(config.sinks(output)[0].path) for output in flows.OUTPUTS]  # type: ignore[union-attr]
    opened = [file for folder in folders for file in folder.glob(".*")]
    wanted = {output: len(rows) for output, rows in flows.expected(config, ended=False).items()}
    got = {
        output: sum(1 for _ in read_parts(folder))
        for output, folder in zip(flows.OUTPUTS, folders, strict=True)
    }
    return not opened and got == wanted


def stopped(config: Config, path: Path, folder: Path) -> Path:
    """Run the job over what lies in its input, stop it, and return the savepoint's folder."""
    with Cluster.start(folder / "cluster") as cluster:
        job = submitting.submit(config, path, cluster.rest)
        wait_until(lambda: final(config), "final output", timeout_s=PATIENCE_S, every_s=0.5)
        savepoint = cluster.rest.stop_with_savepoint(job, f"file://{folder}/savepoints")
    return Path(savepoint.removeprefix("file:"))


def main() -> None:
    # Flink's processes run under it; the models of this one must, too.
    if os.environ.get("PYTHONHASHSEED") != (seed := flink_environ()["PYTHONHASHSEED"]):
        os.execve(sys.executable, sys.orig_argv, {**os.environ, "PYTHONHASHSEED": seed})
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    golden = HERE / project["version"]
    shutil.rmtree(golden, ignore_errors=True)
    golden.mkdir()
    (golden / "job.toml").write_text(configuration())
    all_events = events()
    before = flows.write(golden / "before.jsonl", all_events[:BEFORE])
    flows.write(golden / "after.jsonl", all_events[BEFORE:])
    (golden / "made.json").write_text(json.dumps({"environment": environment()}) + "\n")
    with tempfile.TemporaryDirectory(prefix="golden-") as folder:
        path = Path(folder, "job.toml")
        shutil.copy(golden / "job.toml", path)
        Path(folder, "in").mkdir()
        shutil.copy(before, Path(folder, "in", "1.jsonl"))
        savepoint = stopped(load_config(path), path, Path(folder))
        with zipfile.ZipFile(golden / "savepoint.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for file in sorted(savepoint.iterdir()):
                archive.write(file, file.name)
    for file in sorted(golden.iterdir()):
        print(f"{file.stat().st_size:8,} {file.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
