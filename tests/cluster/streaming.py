"""A job on a cluster whose input arrives file by file while things happen to it."""

import contextlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jobs import submitting
from jobs.cluster import Cluster
from jobs.config import Config, load_config
from jobs.rest import Rest
from jobs.starting import Start
from jobs.submitting import JobStatus
from jobs.waiting import wait_until
from tests.jobs import flows
from tests.patience import PATIENCE_S


class Streaming:
    """A job, its watched input folder and its outputs, all below `folder`.

    The folder's name order is the order of arrival where the parallelism is 1.
    """

    def __init__(self, cluster: Cluster, folder: Path, models: list[dict], **sections: Any) -> None:
        self.cluster = cluster
        self.rest = cluster.rest
        self.path = folder / "job.toml"
        self._folder = folder
        self._given = sections
        self._models = models
        self._files = 0
        (folder / "in").mkdir(parents=True)
        self.configure()

    def configure(self, *, models: list[dict] | None = None, **sections: Any) -> Config:
        """Write the configuration anew, with these sections instead of the given ones."""
        self._models = self._models if models is None else models
        self._given = {**self._given, **sections}
        made = flows.job(
            self._folder,
            inputs={"features": {"path": "in", "watch": True}},
            models=self._models,
            **self._given,
        )
        self.path.write_text(self.text(made))
        self.config = load_config(self.path)
        assert self.config == made
        return self.config

    def text(self, made: Config) -> str:
        """The file of a configuration."""
        return made.to_public_toml()

    def feed(self, events: Iterable[Any]) -> None:
        """One more file, which appears whole."""
        self._files += 1
        name = f"{self._files:05}.jsonl"
        flows.write(self._folder / "drafts" / name, events).rename(self._folder / "in" / name)

    def submit(self, start: Start = "new", savepoint: str | None = None) -> str:
        return submitting.submit(
            self.config, self.path, self.rest, start=start, savepoint=savepoint
        )

    def upgrade(self) -> str:
        """Upgrade to what is configured now, with the code of this process; the savepoint."""
        return submitting.upgrade(self.config, self.path, self.rest)[1]

    def status(self) -> JobStatus:
        return submitting.status(self.config, self.rest)

    def committed(self, output: str) -> int:
        """How many records of an output are final."""
        return len(flows.written(self.config)[output])

    def wait_for(self, count: int, output: str = "predictions") -> None:
        wait_until(
            lambda: self.committed(output) >= count,
            f"{count} {output} of {self.config.job.name}, committed",
            timeout_s=PATIENCE_S,
        )

    def expected(self) -> dict[str, list[dict]]:
        """What the plain flow makes of all that was fed."""
        return flows.expected(self.config)

    def wait_until_restarted(self, after: int) -> None:
        """As the function of this name does, for the job that runs."""
        wait_until_restarted(self.rest, self.job_id, after)

    @property
    def job_id(self) -> str:
        """Of the job that runs, or ran last."""
        job = self.rest.job_by_name(self.config.job.name)
        assert job is not None
        return job.id

    def finish(self) -> tuple[dict[str, list[dict]], str]:
        """Wait until every record expected is final, stop; what was written, and the savepoint."""
        for output, rows in self.expected().items():
            self.wait_for(len(rows), output)
        savepoint = self.stop()
        return flows.written(self.config), savepoint

    def wait_until_final(self) -> None:
        """Until nothing is being written, in a job that never failed: what a failure left stays."""

        def final() -> bool:
            return not any((self._folder / "out").glob("*/.*inprogress*"))

        wait_until(final, "all that was written to be final", timeout_s=PATIENCE_S)

    def stop(self) -> str:
        """Stop the running job with a savepoint, which has what it wrote and is not final yet."""
        job_id = self.job_id
        savepoint = self.rest.stop_with_savepoint(job_id)
        self.rest.wait_for(job_id, {"FINISHED"})
        return savepoint

    def begun(self, output: str = "predictions") -> set[str]:
        """Ids of the transactions in an output, in files that are not final or never will be, too."""
        found = set()
        for file in Path(self.config.sinks(output)[0].path).glob("*"):  # type: ignore[union-attr]
            with contextlib.suppress(FileNotFoundError):  # it has just got its final name
                lines = file.read_bytes().splitlines(keepends=True)
                found.update(json.loads(line)["id"] for line in lines if line.endswith(b"\n"))
        return found


def replace_task_manager(cluster: Cluster, job_id: str) -> None:
    """Kill the only task manager, start it again, and wait until the job runs in it."""
    restarts = cluster.rest.restarts(job_id)
    cluster.kill_task_manager(1)
    cluster.start_task_manager(1)
    wait_until_restarted(cluster.rest, job_id, after=restarts)


def wait_until_restarted(rest: Rest, job_id: str, after: int) -> None:
    """Until a job was restarted more often than `after`, and every task runs again.

    One loss may restart it twice: Flink sees it where a message is lost and where heartbeats end. And
    a task manager that is killed before the job has come to it is missed by nobody.
    """

    def again() -> bool:
        tasks = {vertex["status"] for vertex in rest.job(job_id)["vertices"]}
        return rest.restarts(job_id) > after and tasks == {"RUNNING"}

    wait_until(again, f"a restart of job {job_id} after {after}", timeout_s=PATIENCE_S)


def assert_same(got: dict[str, list[dict]], wanted: dict[str, list[dict]]) -> None:
    """Equal, float for float and in order; dead letters come from two operators, in any order."""
    for output in flows.OUTPUTS:
        if output == "dead_letters":
            assert flows.by_content(got[output]) == flows.by_content(wanted[output])
        else:
            assert got[output] == wanted[output], output


def assert_once(got: dict[str, list[dict]]) -> None:
    """One prediction for each transaction and model, one example for each label and model."""
    for output in ("predictions", "evaluations"):
        keys = [(row["id"], row["model"]) for row in got[output]]
        assert len(keys) == len(set(keys)), output
    examples = [row for row in got["learn_log"] if row["kind"] == "example"]
    keys = [(row["id"], row["model"]) for row in examples]
    assert len(keys) == len(set(keys))
