"""Audits, and erasing, where all that a job reads and writes is in topics."""

from pathlib import Path
from typing import Any

import pytest
from river import naive_bayes

from jobs import cli, kafka_clients
from jobs.audit import Verdict, audit, sources
from jobs.config import Config
from jobs.erasing import Place, erase
from jobs.errors import Failure
from jobs.kafka_checks import kept_too_briefly
from tests.jobs.by_hand import HandMade, told
from tests.jobs.flows import LOGISTIC, classifier
from tests.jobs.test_audit import NB, logistic, rows, verdicts
from tests.kafka.jobs import KafkaJob
from tests.kafka.topics import Topics

pytestmark = pytest.mark.kafka

MODELS = [classifier("m"), classifier("b", NB)]


@pytest.fixture
def sent(topics: Topics, tmp_path: Path) -> tuple[HandMade, Config]:
    """Two models made by hand; the log by chain in two partitions, features spread over them."""
    job = HandMade()
    chains = [job.chain("m", LOGISTIC, logistic()), job.chain("b", NB, naive_bayes.GaussianNB())]
    told(job, chains, rows(12))
    topics.create("features", "predictions", "learn_log", partitions=2)
    for number, text in enumerate(job.features):
        topics.send("features", [text], partition=number % 2)
    topics.send("predictions", job.predictions)
    for partition, model in enumerate(("m", "b")):
        of_model = [text for text in job.learn_log if f'"model":"{model}"' in text]
        topics.send("learn_log", [*of_model[:5], None, *of_model[5:]], partition=partition)
    kafka = KafkaJob(
        topics,
        tmp_path,
        MODELS,
        inputs={"features": {"topic": topics.name("features")}},
        outputs=("predictions", "learn_log"),
    )
    return job, kafka.config


def test_topics_are_audited_as_files_are(sent: tuple[HandMade, Config], topics: Topics) -> None:
    job, config = sent
    found = audit(config)
    assert (found.sound, verdicts(found), found.entries) == (True, {"equal": 24}, 24)
    wrong = job.predictions[4].replace('"predicted_at":1', '"predicted_at":1,"score":1')
    topics.send("predictions", [wrong], partition=1)
    found = audit(config)
    assert verdicts(found) == {"equal": 24, "different": 1, "doubled": 1}
    name = topics.name("predictions")
    assert {problem.position for problem in found.problems} == {f"{name}-1-0"}


def test_what_the_job_has_not_read_yet_needs_no_prediction(
    sent: tuple[HandMade, Config], topics: Topics
) -> None:
    _, config = sent
    features = config.features
    group = kafka_clients.group(config, features)  # type: ignore[arg-type]
    later = {"id": "later", "features": {"a": 1}, "ts": 1_700_009_000_000}
    topics.send("features", [later])
    found = audit(config)
    assert verdicts(found) == {"equal": 24, "missing prediction": 1}
    [problem] = found.problems
    assert (problem.id, problem.position) == ("later", f"{topics.name('features')}-0-6")
    topics.commit("features", 6, group=group)
    assert audit(config).sound
    topics.commit("features", 7, group=group)
    assert not audit(config).sound


def test_topics_may_be_named(sent: tuple[HandMade, Config], topics: Topics, tmp_path: Path) -> None:
    job, config = sent
    topics.create("other")
    topics.send("other", job.predictions[:6])
    where = sources(config, predictions=topics.name("other"))
    assert verdicts(audit(config, where=where)) == {"equal": 6, "missing prediction": 9}
    path = tmp_path / "log.jsonl"
    path.write_text("".join(line + "\n" for line in job.learn_log))
    where = sources(config, learn_logs=[str(path)])
    assert verdicts(audit(config, where=where)) == {"equal": 24}
    with pytest.raises(Failure, match="there is no topic 'nowhere'"):
        audit(config, where=sources(config, learn_logs=["nowhere"]))


def test_a_log_in_a_topic_is_written_to_a_file_without_the_transaction(
    sent: tuple[HandMade, Config], topics: Topics, tmp_path: Path
) -> None:
    _, config = sent
    with pytest.raises(Failure, match="nothing in a topic can be replaced"):
        erase(config, "t4")
    out = tmp_path / "log.jsonl"
    done = erase(config, "t4", everything=True, out=out)
    assert done.erased == [Place("learn_log", str(out), 2)]
    assert done.left == [
        Place("learn_log", f"topic {topics.name('learn_log')}", 2),
        Place("features", f"topic {topics.name('features')}", 1),
        Place("predictions", f"topic {topics.name('predictions')}", 2),
    ]
    text = out.read_text()
    assert (len(text.splitlines()), "t4" in text) == (24, False)
    found = audit(config, where=sources(config, learn_logs=[str(out)]))
    assert found.sound
    assert found.verdicts == {Verdict.EQUAL: 10, Verdict.ERASED: 14}


def test_topics_that_forget_are_warned_of(
    topics: Topics, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    topics.create("features", configs={"retention.ms": str(7 * 86_400_000)})
    topics.create("learn_log", configs={"retention.ms": "-1", "cleanup.policy": "compact"})
    topics.create("predictions")
    kafka = KafkaJob(
        topics,
        tmp_path,
        MODELS,
        inputs={"features": {"topic": topics.name("features")}},
        outputs=("predictions", "learn_log"),
    )
    features, log = (topics.name(name) for name in ("features", "learn_log"))
    wanted = [
        f"[features] topic {features}: its records are deleted after 7d; audits need all of them",
        f"[learn_log] topic {log}: it is compacted: records will go missing; audits need all of them",
    ]
    assert list(kept_too_briefly(kafka.config)) == wanted
    assert cli.main(["check", str(kafka.path)]) == 0
    assert f"warning: {wanted[0]}\n" in capsys.readouterr().err
    dead: dict[str, Any] = {"connector": "kafka", "bootstrap_servers": "127.0.0.1:1"}
    config = kafka.configure(features={**dead, "topic": "x"})
    *_, said = kept_too_briefly(config)
    assert said == (
        "[features]: nobody answers at 127.0.0.1:1; how long records are kept was not looked at"
    )
