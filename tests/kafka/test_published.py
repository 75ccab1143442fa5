"""Published mode on a real cluster and broker: every prediction is its published version's."""

import os
import signal
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
from river.metrics import Accuracy, ConfusionMatrix

from jobs import running, submitting
from jobs.cluster import Cluster
from jobs.kafka_checks import create_topics
from jobs.waiting import wait_until
from state.signing import SigningKey
from tests.jobs.flows import LOGISTIC, classifier, phishing
from tests.kafka.jobs import KafkaJob
from tests.kafka.producing import Producing
from tests.kafka.topics import Topics
from tests.patience import PATIENCE_S
from tests.replay import replayed

pytestmark = [pytest.mark.cluster, pytest.mark.kafka]

INPUTS = ("features", "labels")
OUTPUTS = ("predictions", "evaluations", "learn_log", "dead_letters", "versions", "learn_queue")


def published(
    topics: Topics,
    folder: Path,
    *,
    partitions: int = 1,
    outputs: tuple[str, ...] = OUTPUTS,
    **sections: Any,
) -> KafkaJob:
    """A job in published mode, its topics made by `riverrun topics create`."""
    folder.mkdir(parents=True, exist_ok=True)
    key = folder / "key.pem"
    key.write_bytes(SigningKey.generate().pem())
    sections["job"] = {"mode": "published", **sections.get("job", {})}
    job = KafkaJob(
        topics,
        folder,
        sections.pop("models", [classifier()]),
        inputs={name: {"topic": topics.name(name)} for name in INPUTS},
        outputs=outputs,
        security={"signing_key_file": str(key)},
        published={"publish_every": 25, "publish_interval": "500ms"},
        **sections,
    )
    for made in create_topics(job.config, partitions=partitions):
        assert (made.created, made.problem) == (True, None)
    return job


def assert_each_once(job: KafkaJob, events: list[dict]) -> dict[str, str]:
    """One prediction and one evaluation a transaction, each label learned once, all as River says."""
    topics = job.topics
    sent = {e["id"]: e["features"] for e in events if "features" in e}
    labels = {e["id"]: e["label"] for e in events if "label" in e}
    assert sorted(row["id"] for row in topics.rows("predictions")) == sorted(sent)
    learned = [(row["id"], row["label"]) for row in topics.rows("learn_log")]
    assert sorted(learned) == sorted(labels.items())
    evaluated = [(row["id"], row["label"]) for row in topics.rows("evaluations")]
    assert sorted(evaluated) == sorted(labels.items())
    assert topics.rows("dead_letters") == []
    written = (topics.texts(output) for output in ("predictions", "learn_log"))
    return replayed(*written, sent, {"m": LOGISTIC})


def assert_leaks_are_told(job: KafkaJob) -> None:
    """By the learn log alone: whether the version that predicted comes after the label."""
    topics = job.topics
    place = {row["id"]: row["n"] for row in topics.rows("learn_log")}
    for row in topics.rows("evaluations"):
        n = int(row["version"].partition("@")[2].partition("-")[0])
        assert row["leaked"] == (n >= place[row["id"]]), row


def wait_for_all(job: KafkaJob, events: list[dict]) -> None:
    job.wait_for(sum("features" in event for event in events))
    for output in ("evaluations", "learn_log"):
        job.wait_for(sum("label" in event for event in events), output)


def versions(job: KafkaJob) -> list[str]:
    """Of the predictions, in order of time."""
    rows = sorted(job.topics.rows("predictions"), key=lambda row: row["predicted_at"])
    return [row["version"] for row in rows]


def learned(version: str) -> int:
    return int(version.partition("@")[2].partition("-")[0])


def test_one_job_predicts_from_versions_that_it_publishes(cluster, topics, tmp_path):
    job = published(topics, tmp_path)
    assert topics.configs("versions", "cleanup.policy") == ["compact"]
    cluster.start_task_manager(2)
    events = phishing(600)
    job.submit(cluster)
    with Producing(topics, events, per_second=200):
        for pid in cluster.task_manager_pids.values():
            wait_until(
                partial(_compilers_are_behind, pid), "compilers behind", timeout_s=PATIENCE_S
            )
    wait_for_all(job, events)
    assert_each_once(job, events)
    assert_leaks_are_told(job)
    asked = [learned(version) for version in versions(job)]
    # Learning is seen in the predictions, and they never go back to an older version.
    assert asked == sorted(asked)
    assert len(set(asked)) > 5
    wait_until(partial(_status_is_told, job, cluster), "status", timeout_s=PATIENCE_S)


def _status_is_told(job: KafkaJob, cluster: Cluster) -> bool:
    found = submitting.status(job.config, cluster.rest).metrics
    ages = found.get("lag_ms", 0), found.get("version_age_ms", 0)
    return min(ages) > 0 and found["skipped_by_lag"] == 0


def _compilers_are_behind(pid: int) -> bool:
    compilers = [
        thread.id
        for thread in psutil.Process(pid).threads()
        if _name_of(pid, thread.id).startswith(("C1 Comp", "C2 Comp"))
    ]
    return bool(compilers) and all(_niceness(each) in (None, 10) for each in compilers)


def _name_of(pid: int, thread: int) -> str:
    try:
        return Path(f"/proc/{pid}/task/{thread}/comm").read_text()
    except FileNotFoundError:
        return "it has ended"


def _niceness(thread: int) -> int | None:
    try:
        return os.getpriority(os.PRIO_PROCESS, thread)
    except ProcessLookupError:
        return None


def test_a_monitor_leaves_out_what_a_version_had_already_learned(cluster, topics, tmp_path):
    job = published(
        topics,
        tmp_path,
        outputs=(*OUTPUTS, "metrics"),
        monitor=[{"name": "quality", "every": 10, "metrics": ["Accuracy", "ConfusionMatrix"]}],
    )
    cluster.start_task_manager(2)
    events = phishing(300)
    job.submit(cluster)
    with Producing(topics, events, per_second=200):
        pass
    wait_for_all(job, events)
    counted = sum("features" in event for event in events)
    labelled = sum("label" in event for event in events)

    def told() -> dict[str, Any] | None:
        rows = [row for row in topics.rows("metrics") if row["scope"] == "all"]
        enough = (row for row in rows if (row["predicted"] + row["labelled"]) == counted + labelled)
        return next(enough, None)

    assert (counted + labelled) % 10 == 0, "the last record is of all"
    metrics = wait_until(told, "metrics of all", timeout_s=PATIENCE_S)
    accuracy, confusion, leaked = Accuracy(), ConfusionMatrix(), 0
    for row in topics.rows("evaluations"):
        leaked += row["leaked"]
        if not row["leaked"] and row["prediction"] is not None:
            accuracy.update(row["label"], row["prediction"])
            confusion.update(row["label"], row["prediction"])
    assert (metrics["model"], metrics["role"], metrics["leaked"]) == ("m", "champion", leaked)
    assert metrics["n"] == labelled - leaked
    # Counts: the order in which evaluations came does not matter.
    assert metrics["metrics"]["Accuracy"] == accuracy.get()
    wanted = {
        str(truth).lower(): {str(said).lower(): int(n) for said, n in row.items()}
        for truth, row in confusion.data.items()
    }
    assert metrics["metrics"]["ConfusionMatrix"] == wanted


def test_labels_are_assumed_when_event_time_has_passed_though_versions_have_none(
    cluster, topics, tmp_path
):
    assumes = {"label_timeout": "10m", "retention": "1h", "on_timeout": "assume"}
    job = published(topics, tmp_path, join={**assumes, "assumed_label": False})
    cluster.start_task_manager(2)
    job.submit(cluster)
    rows = [event for event in phishing(400) if "features" in event]
    # Every other one has a label, a second later; the last two only move the time in both inputs.
    labels = [{"id": e["id"], "label": True, "ts": e["ts"] + 1000} for e in rows[::2]]
    for features, label in zip(rows[::2], labels, strict=True):
        send(topics, [features, label])
    send(topics, rows[1::2])
    later = rows[-1]["ts"] + 30 * 60_000
    send(topics, [{**rows[0], "id": "last", "ts": later}])
    send(topics, [{"id": "last", "label": True, "ts": later}])
    job.wait_for(len(rows) + 1, "learn_log")
    learned = {row["id"]: (row["source"], row["label"]) for row in topics.rows("learn_log")}
    assert learned == {
        **{event["id"]: ("label", True) for event in rows[::2]},
        **{event["id"]: ("assumed", False) for event in rows[1::2]},
        "last": ("label", True),
    }


def test_predictions_go_on_while_the_learner_is_down_and_while_it_is_upgraded(
    cluster, topics, tmp_path
):
    job = published(topics, tmp_path)
    predict, learn = (job.config.for_part(part) for part in ("predict", "learn"))
    events = phishing(900)
    predicting = submitting.submit(predict, job.path, cluster.rest)
    # The only slot is taken: the learner is alone in the other task manager.
    cluster.start_task_manager(2)
    learning = submitting.submit(learn, job.path, cluster.rest)
    with Producing(topics, events, per_second=20):
        wait_for_version(job, 50)
        cluster.kill_task_manager(2)
        wait_until(lambda: not runs(cluster, learning), "the learner's end", timeout_s=PATIENCE_S)
        before = predicted(job)
        wait_until(lambda: predicted(job) > before + 100, "predictions", timeout_s=PATIENCE_S)
        assert not runs(cluster, learning)
        down = max(map(learned, versions(job)))
        cluster.start_task_manager(2)
        wait_for_version(job, down + 50)
        submitting.upgrade(learn, job.path, cluster.rest)
    wait_for_all(job, events)
    assert cluster.rest.restarts(predicting) == 0
    assert_each_once(job, events)
    assert_leaks_are_told(job)


@pytest.mark.timeout(600)
def test_predictors_are_rescaled_and_no_prediction_is_lost_or_doubled(cluster, topics, tmp_path):
    job = published(topics, tmp_path, partitions=4, job={"parallelism": 2})
    events = phishing(900)
    for number in range(2, 6):
        cluster.start_task_manager(number)
    submitting.submit(job.config.for_part("predict"), job.path, cluster.rest)
    submitting.submit(job.config.for_part("learn"), job.path, cluster.rest)
    sent = events[:400]
    send(topics, sent)
    job.wait_for(sum("features" in event for event in sent))
    for parallelism, more in ((4, events[400:1100]), (3, events[1100:])):
        settings = {**job.document["job"], "parallelism": parallelism}
        config = job.configure(job=settings).for_part("predict")
        with Producing(topics, more, per_second=20):
            job_id, _ = submitting.upgrade(config, job.path, cluster.rest)
        subtasks = {
            vertex["parallelism"]
            for vertex in cluster.rest.job(job_id)["vertices"]
            if "Predictor" in vertex["name"]
        }
        assert subtasks == {parallelism}
        sent += more
        job.wait_for(sum("features" in event for event in sent))
    wait_for_all(job, events)
    assert_each_once(job, events)
    assert_leaks_are_told(job)


def test_a_learner_that_is_too_far_behind_skips_the_oldest_and_says_so(cluster, topics, tmp_path):
    job = published(topics, tmp_path)
    cluster.start_task_manager(2)
    job.configure(published={**job.document["published"], "max_lag": "5s", "on_lag": "skip_oldest"})
    predict, learn = (job.config.for_part(part) for part in ("predict", "learn"))
    events = phishing(200)
    submitting.submit(predict, job.path, cluster.rest)
    with Producing(topics, events[:200], per_second=200):
        pass
    queued = sum("label" in event for event in events[:200])
    wait_until(lambda: len(topics.read("learn_queue")) >= queued, "the queue", timeout_s=PATIENCE_S)
    [*_, newest] = topics.read("learn_queue")
    wait_until(lambda: now_ms() > newest.timestamp + 5000, "the bound", timeout_s=PATIENCE_S)
    learning = submitting.submit(learn, job.path, cluster.rest)
    wait_until(
        lambda: metric(cluster, learning, "skipped_by_lag") == queued,
        "the count of what was skipped",
        timeout_s=PATIENCE_S,
    )
    with Producing(topics, events[200:], per_second=200):
        pass
    later = [event for event in events[200:] if "label" in event]
    job.wait_for(len(later), "learn_log")
    assert [row["id"] for row in topics.rows("learn_log")] == [event["id"] for event in later]


def test_a_version_that_another_key_signed_is_never_asked(cluster, topics, tmp_path):
    job = published(topics, tmp_path)
    learning = submitting.submit(job.config.for_part("learn"), job.path, cluster.rest)
    wait_until(lambda: len(topics.read("versions")) == 2, "a version", timeout_s=PATIENCE_S)
    cluster.rest.cancel(learning)
    cluster.rest.wait_for(learning, {"CANCELED"})
    Path(job.document["security"]["signing_key_file"]).write_bytes(SigningKey.generate().pem())
    job.configure(job={**job.document["job"], "hold_limit": 10})
    predicting = submitting.submit(job.config.for_part("predict"), job.path, cluster.rest)
    features = [event for event in phishing(12) if "features" in event]
    topics.send("features", features)
    job.wait_for(2, "dead_letters")
    letters = topics.rows("dead_letters")
    assert {(row["stage"], row["reason"], row["model"]) for row in letters} == {
        ("predict", "no_model", "m")
    }
    wait_until(
        lambda: metric(cluster, predicting, "versions_refused") == 1,
        "the count of what was refused",
        timeout_s=PATIENCE_S,
    )
    assert topics.rows("predictions") == []


def runs(cluster: Cluster, job_id: str) -> bool:
    """Whether every task does; a job that waits for a task manager says that it runs."""
    return all(vertex["status"] == "RUNNING" for vertex in cluster.rest.job(job_id)["vertices"])


def test_a_live_job_becomes_a_published_one_and_comes_back_and_its_heads_go_on(
    cluster, topics, tmp_path, riverrun
):
    job = published(topics, tmp_path)
    live = {**job.document["job"], "mode": "live"}
    own = {name: job.document.pop(name) for name in ("learn_queue", "versions", "published")}
    cluster.start_task_manager(2)
    events = phishing(600)
    thirds = [events[:400], events[400:800], events[800:]]

    job.configure(job=live)
    job_id = job.submit(cluster)
    send(topics, thirds[0])
    wait_for_learned(job, thirds[:1])
    savepoint = stopped(cluster, job, job_id)

    job.configure(
        **own, job=job.document["job"] | {"mode": "published"}, models=[exported(job, riverrun)]
    )
    predict, learn = (job.config.for_part(part) for part in ("predict", "learn"))
    predicting = submitting.submit(
        predict, job.path, cluster.rest, savepoint=savepoint, other_mode=True
    )
    learning = submitting.submit(learn, job.path, cluster.rest)
    send(topics, thirds[1])
    wait_for_learned(job, thirds[:2])
    savepoint = stopped(cluster, job, predicting)
    stopped(cluster, job, learning)

    for name in own:
        del job.document[name]
    job.configure(job=live, models=[exported(job, riverrun)])
    submitting.submit(job.config, job.path, cluster.rest, savepoint=savepoint, other_mode=True)
    send(topics, thirds[2])
    wait_for_learned(job, thirds)
    job.wait_for(600)

    sent = {e["id"]: e["features"] for e in events if "features" in e}
    assert sorted(row["id"] for row in topics.rows("predictions")) == sorted(sent)
    written = (topics.texts(output) for output in ("predictions", "learn_log"))
    last = replayed(*written, sent, {"m": LOGISTIC})
    assert last["m"].startswith("m@600-")
    assert len({learned(version) for version in versions(job)} & set(range(1, 600))) > 5


def send(topics: Topics, events: list[dict]) -> None:
    for event in events:
        topics.send("features" if "features" in event else "labels", [event])


def wait_for_learned(job: KafkaJob, sent: list[list[dict]]) -> None:
    job.wait_for(sum("label" in event for events in sent for event in events), "learn_log")


def stopped(cluster: Cluster, job: KafkaJob, job_id: str) -> str:
    """Stop a job: its savepoint."""
    folder = f"file://{job.path.parent}/savepoints"
    savepoint = cluster.rest.stop_with_savepoint(job_id, folder, timeout_s=PATIENCE_S)
    cluster.rest.wait_for(job_id, {"FINISHED"})
    return savepoint


def exported(job: KafkaJob, riverrun: Any) -> dict[str, Any]:
    """The model as it has learned by now, as `[[models]]` has it."""
    target = job.path.parent / f"{len(job.topics.read('learn_log'))}.rrv"
    done = riverrun("version", "export", job.path, "m", "--out", target)
    assert done.code == 0, done.err
    return {"name": "m", "task": "classification", "artifact": str(target)}


def wait_for_version(job: KafkaJob, n: int) -> None:
    wait_until(
        lambda: any(learned(version) >= n for version in versions(job)),
        f"a prediction by a version of {n} examples",
        timeout_s=PATIENCE_S,
        every_s=0.3,
    )


def predicted(job: KafkaJob) -> int:
    return len(job.topics.read("predictions"))


def metric(cluster: Cluster, job_id: str, name: str) -> int:
    found = cluster.rest.metrics(job_id, {name})
    return int(sum(metrics.get(name, 0) for metrics in found.values()))


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def test_the_embedded_cluster_runs_both_parts_against_a_broker(topics, tmp_path):
    job = published(topics, tmp_path)
    job.configure(
        **{name: {**job.document[name], "stop": "latest"} for name in INPUTS},
    )
    events = phishing(60)
    for name in INPUTS:
        topics.send(name, [e for e in events if ("features" in e) == (name == "features")])
    ended = threading.Event()
    found: list[BaseException] = []

    def stop_when_all_is_written() -> None:
        try:
            wait_for_all(job, events)
        except BaseException as error:
            found.append(error)
        if not ended.is_set():
            os.kill(os.getpid(), signal.SIGINT)

    watcher = threading.Thread(target=stop_when_all_is_written)
    watcher.start()
    try:
        assert running.run(job.config) is False
    finally:
        ended.set()
    watcher.join()
    assert not found
    assert_each_once(job, events)
