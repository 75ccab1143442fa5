import os
from pathlib import Path

import pytest

from jobs.errors import Failure
from jobs.starting import prepare_start, uri
from tests.jobs.flows import classifier, job


def complete(folder: Path, at_s: int) -> Path:
    """A checkpoint that Flink completed then; an incomplete one has no such file."""
    folder.mkdir(parents=True)
    (folder / "_metadata").touch()
    os.utime(folder / "_metadata", (at_s, at_s))
    return folder


def part(folder: Path, name: str, at_s: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).touch()
    os.utime(folder / name, (at_s, at_s))


@pytest.fixture
def config(tmp_path):
    return job(tmp_path, inputs={"features": {"path": "in"}}, models=[classifier()])


@pytest.fixture
def state(config) -> Path:
    return Path(config.job.checkpoint_dir)


def test_a_job_resumes_from_its_newest_complete_checkpoint(config, state):
    complete(state / "first" / "chk-9", 100)
    newest = complete(state / "second" / "chk-2", 200)
    (state / "second" / "chk-3").mkdir()
    assert prepare_start(config, "resume") == uri(newest)


def test_an_upgraded_job_without_a_checkpoint_yet_resumes_from_its_savepoint(config, state):
    complete(state / "first" / "chk-9", 100)
    savepoint = complete(state / "savepoints" / "savepoint-0d8a42-d6d41d0413a5", 200)
    assert prepare_start(config, "resume") == uri(savepoint)


def test_a_stopped_job_is_not_begun_anew_by_mistake(config, state):
    complete(state / "savepoints" / "savepoint-0d8a42-d6d41d0413a5", 200)
    with pytest.raises(Failure, match="go on with --resume, or begin anew with --fresh"):
        prepare_start(config, "new")
    assert prepare_start(config, "fresh") is None
    assert not state.exists()


def test_output_that_is_final_is_not_written_again(config, state):
    """As where the last savepoint of a job lies elsewhere, and a lost job left a checkpoint."""
    checkpoint = complete(state / "lost" / "chk-2", 200)
    output = Path(config.predictions[0].path)
    part(output, "part-a-0.jsonl", 150)
    # A file that is not final will be written again, from where the checkpoint has it.
    part(output, ".part-a-1.jsonl.inprogress.b", 250)
    assert prepare_start(config, "resume") == uri(checkpoint)
    part(output, "part-a-1.jsonl", 250)
    with pytest.raises(Failure, match="part-a-1.jsonl is final and newer than the newest check"):
        prepare_start(config, "resume")
