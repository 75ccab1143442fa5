"""The job graph as Flink would run it, read off without running it."""

import pytest
from pyflink.java_gateway import get_gateway

from jobs.config import read_config
from jobs.online_learning import OnlineLearning, flink_environment
from state.names import Uid
from state.signing import SigningKey
from tests.jobs.flows import classifier, job, write

pytestmark = pytest.mark.cluster


@pytest.fixture
def nodes(flink, tmp_path):
    """Builds a job and gives its operators: name -> node of Flink's stream graph."""

    def build(**sections):
        for name in ("features", "labels"):
            write(tmp_path / f"{name}.jsonl", [])
        config = job(
            tmp_path,
            inputs={name: {"path": f"{name}.jsonl"} for name in ("features", "labels")},
            models=[classifier()],
            **sections,
        )
        env = flink_environment(config)
        OnlineLearning(config).build(env)
        graph = env._generate_stream_graph(clear_transformations=True)
        built = get_gateway().jvm.java.util.ArrayList(graph.getStreamNodes())
        return {node.getOperatorName(): node for node in built}

    return build


SOURCES = {
    "Source: features: file": Uid.source("features", "file"),
    "Source: labels: file": Uid.source("labels", "file"),
}
OPERATORS = {"LabelJoin": Uid.LABEL_JOIN, "OnlineModel": Uid.ONLINE_MODEL}
SINKS = {
    "predictions": Uid.sink("predictions", "file"),
    "evaluations": Uid.sink("evaluations", "file"),
    "learn log": Uid.sink("learn_log", "file"),
    "dead letters": Uid.sink("dead_letters", "file"),
}


@pytest.mark.parametrize("ordering", ["arrival", "event_time"])
def test_the_graph_is_the_picture_and_all_that_has_state_has_a_uid(nodes, ordering):
    found = nodes(job={"ordering": ordering})
    uids = {name: node.getTransformationUID() for name, node in found.items()}
    clock = {"Clock": Uid.CLOCK} if ordering == "event_time" else {}
    assert uids == {
        **SOURCES,
        **clock,
        **OPERATORS,
        **{f"{name}: Writer": uid for name, uid in SINKS.items()},
        **{f"{name}: Committer": f"Sink Committer: {uid}" for name, uid in SINKS.items()},
    }


def test_models_run_once_unless_there_are_lanes(nodes):
    for lanes, copies in (({}, 1), ({"lane_by": "shop"}, 3)):
        found = nodes(job={"parallelism": 3, **lanes})
        parallelism = {name: node.getParallelism() for name, node in found.items()}
        assert parallelism["LabelJoin"] == 3
        assert parallelism["OnlineModel"] == parallelism["predictions: Writer"] == copies
        assert {node.getMaxParallelism() for node in found.values()} == {128}


def test_time_is_kept_in_one_place_where_timers_decide(nodes):
    found = nodes(job={"parallelism": 3}, join={"on_timeout": "assume", "assumed_label": False})
    assert found["Clock"].getParallelism() == 1


def test_models_can_have_task_managers_of_their_own(nodes):
    groups = {
        name: node.getSlotSharingGroup()
        for name, node in nodes(job={"isolate_model": True}).items()
    }
    assert groups["OnlineModel"] != groups["LabelJoin"] == groups["Source: features: file"]


KAFKA = {"connector": "kafka", "bootstrap_servers": "127.0.0.1:1"}
PUBLISHED = ("predictions", "evaluations", "learn_log", "dead_letters", "versions", "learn_queue")


@pytest.mark.parametrize("part", [None, "predict", "learn"])
def test_in_published_mode_all_that_has_state_has_a_uid_and_learners_are_apart(
    flink, tmp_path, monkeypatch, part
):
    # A graph needs no broker, but for how many subtasks read a topic.
    monkeypatch.setattr("jobs.online_learning.most_partitions", lambda name, source: 2)
    key = tmp_path / "key.pem"
    key.write_bytes(SigningKey.generate().pem())
    document = {
        "job": {"name": "job", "mode": "published", "parallelism": 2},
        "features": {**KAFKA, "topic": "features"},
        **{output: {**KAFKA, "topic": output} for output in PUBLISHED},
        "alerts": {"connector": "webhook", "url": "http://127.0.0.1:9/"},
        "monitor": [{"name": "quality"}],
        "security": {"signing_key_file": str(key)},
        "models": [classifier("a"), classifier("b")],
    }
    config = read_config(document, tmp_path).for_part(part)
    env = flink_environment(config)
    OnlineLearning(config).build(env)
    graph = env._generate_stream_graph(clear_transformations=True)
    nodes = list(get_gateway().jvm.java.util.ArrayList(graph.getStreamNodes()))
    stateless = {"Map", "Flat Map"}
    uids = {
        node.getTransformationUID(): node
        for node in nodes
        if node.getOperatorName() not in stateless
    }
    assert None not in uids
    assert len(uids) == sum(node.getOperatorName() not in stateless for node in nodes)
    predicting = {Uid.LABEL_JOIN, Uid.PREDICTOR, Uid.EVALUATOR}
    assert (Uid.sink("alerts", "webhook") in uids) == (Uid.MONITOR in uids) == (part != "learn")
    learning = {Uid.trainer("a"), Uid.trainer("b")}
    assert (predicting <= uids.keys()) == (part != "learn")
    assert (learning <= uids.keys()) == (part != "predict")
    if part != "learn":
        assert {uids[uid].getParallelism() for uid in predicting} == {2}
    if part != "predict":
        assert {uids[uid].getParallelism() for uid in learning} == {1}
        groups = [uids[uid].getSlotSharingGroup() for uid in learning]
        sources = [uids[f"source-learn_queue-{name}-v1"] for name in "ab"]
        assert sorted(groups) == sorted(source.getSlotSharingGroup() for source in sources)
        assert len(set(groups)) == 2
    if part is None:
        assert uids[Uid.PREDICTOR].getSlotSharingGroup() not in groups


def test_each_webhook_is_one_subtask_with_state_of_its_own(nodes):
    hook = {"connector": "webhook", "url": "http://127.0.0.1:9/"}
    beside = {"connector": "file", "path": "out/alerts"}
    monitor = [{"name": "quality", "data_quality": {}}]
    found = nodes(job={"parallelism": 3}, monitor=monitor, alerts=[hook, beside, hook])
    uids = {name: found[name].getTransformationUID() for name in ("Webhook 1", "Webhook 3")}
    assert uids == {
        "Webhook 1": "sink-alerts-0-webhook-v1",
        "Webhook 3": "sink-alerts-2-webhook-v1",
    }
    assert {found[name].getParallelism() for name in uids} == {1}
    assert "alerts: Writer" in found
    alone = nodes(job={"parallelism": 3}, alerts=hook)
    assert alone["Webhook"].getTransformationUID() == "sink-alerts-0-webhook-v1"


def test_what_one_subtask_says_reaches_the_monitor_through_one(nodes):
    for lanes, copies in (({}, 1), ({"lane_by": "shop"}, 3)):
        metrics = {"connector": "file", "path": "out/metrics"}
        found = nodes(
            job={"parallelism": 3, **lanes}, monitor=[{"name": "quality"}], metrics=metrics
        )
        assert found["Monitor"].getParallelism() == 3
        assert found["Map"].getParallelism() == found["OnlineModel"].getParallelism() == copies
