"""The job graph as Flink would run it, read off without running it."""

import pytest
from pyflink.java_gateway import get_gateway

from jobs.online_learning import OnlineLearning, flink_environment
from state.names import Uid
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
