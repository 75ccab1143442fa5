"""Jobs from and to Kafka, and what the plain flow makes of the same records."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from jobs import submitting
from jobs.cluster import Cluster
from jobs.config import Config, load_config, read_config
from jobs.starting import Start
from jobs.toml_text import dump_toml
from jobs.waiting import wait_until
from operators.plain import Record
from tests.jobs import flows
from tests.jobs.flows import OUTPUTS, timeless
from tests.kafka.topics import Topics
from tests.patience import PATIENCE_S


class KafkaJob:
    """A job whose inputs and outputs are topics of a test."""

    def __init__(
        self,
        topics: Topics,
        folder: Path,
        models: list[dict[str, Any]],
        *,
        inputs: dict[str, Any],
        outputs: Iterable[str] = OUTPUTS,
        sink: dict[str, Any] | None = None,
        **sections: Any,
    ) -> None:
        self.topics = topics
        self.path = folder / "job.toml"
        self._folder = folder
        connection = {"connector": "kafka", "bootstrap_servers": topics.servers}
        self.document = {
            **{name: {**connection, **source} for name, source in inputs.items()},
            **{
                name: {**connection, "topic": topics.name(name), **(sink or {})} for name in outputs
            },
            **sections,
            "job": {"name": "job", "checkpoint_interval": "300ms", **sections.get("job", {})},
            "models": models,
        }
        self.config = self.configure()

    def configure(self, **sections: Any) -> Config:
        """Write the configuration, with these sections instead of those that stand there."""
        self.document.update(sections)
        made = read_config(self.document, self._folder)
        self._folder.mkdir(parents=True, exist_ok=True)
        self.path.write_text(dump_toml(self.document))
        self.config = load_config(self.path)
        assert self.config == made
        return self.config

    def submit(self, cluster: Cluster, start: Start = "new", savepoint: str | None = None) -> str:
        return submitting.submit(
            self.config, self.path, cluster.rest, start=start, savepoint=savepoint
        )

    def written(self) -> dict[str, list[dict]]:
        """Committed records of every output, without what the clock put there."""
        return {
            output: [timeless(row) for row in self.topics.rows(output)]
            for output in OUTPUTS
            if self.config.sinks(output)
        }

    def wait_for(self, count: int, output: str = "predictions") -> None:
        wait_until(
            lambda: len(self.topics.read(output)) >= count,
            f"{count} {output}, committed",
            timeout_s=PATIENCE_S,
            every_s=0.3,
        )

    def expected(self, *names: str, ended: bool = False) -> dict[str, list[dict]]:
        """What the plain flow makes of these inputs' topics, one after the other."""
        given = (record for name in names for record in self._sent(name))
        return flows.plain(self.config, given, ended=ended)

    def _sent(self, name: str) -> Iterator[Record]:
        for record in self.topics.read(name):
            place = f"{record.topic}-{record.partition}"
            yield Record(name, place, f"{place}-{record.offset}", record.value)
