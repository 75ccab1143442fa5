from pathlib import Path

import pytest

from jobs import launch
from jobs.environment import flink_environ
from jobs.errors import Failure

SETTINGS = {
    "env.java.opts.all": "-Da=1 -Db='two words'",
    "env.java.opts.taskmanager": "-Dc=3",
    "taskmanager.memory.process.size": "1g",
    "jobmanager.memory.process.size": "1g",
    "taskmanager.numberOfTaskSlots": "1",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "a folder"
    (folder / "conf").mkdir(parents=True)
    launch.write_settings(folder / "conf", SETTINGS)
    return folder


def test_nested_and_flat_settings_are_read_alike(tmp_path):
    (tmp_path / "config.yaml").write_text("a:\n  b: 1\n  c.d: x\ne.f: [1, 2]\n")
    assert launch.read_settings(tmp_path) == {"a.b": 1, "a.c.d": "x", "e.f": [1, 2]}


def test_settings_are_read_as_they_were_written(tmp_path):
    settings = {"a.b": "colon: and # hash", "c": 5, "d": "yes", "e": '"quoted"'}
    launch.write_settings(tmp_path, settings)
    assert launch.read_settings(tmp_path) == settings


def test_every_address_of_a_local_cluster_is_the_loopback(tmp_path):
    settings = launch.local_settings(
        tmp_path, rest_port=1, rpc_port=2, state_backend="heap", memory="1g"
    )
    addresses = {key: value for key, value in settings.items() if "host" in key or "address" in key}
    assert addresses.keys() == {
        "rest.address",
        "rest.bind-address",
        "jobmanager.rpc.address",
        "jobmanager.bind-host",
        "taskmanager.host",
        "taskmanager.bind-host",
    }
    assert set(addresses.values()) == {"127.0.0.1"}


def test_java_options_are_those_for_all_and_those_for_the_kind_of_process(folder):
    environ = flink_environ()
    memory: tuple[list[str], list[str]] = (["-Xmx5m"], ["-D", "x=y"])
    task_manager = launch.command(
        "taskmanager-3", "taskmanager", folder=folder, memory=memory, environ=environ
    )
    assert {"-Xmx5m", "-Da=1", "-Db=two words", "-Dc=3"} <= set(task_manager)
    assert task_manager[-2:] == ["-D", "taskmanager.resource-id=taskmanager-3"]
    job_manager = launch.command(
        "jobmanager",
        "jobmanager",
        folder=folder,
        memory=memory,
        environ=environ,
        settings={"own.port": "7"},
    )
    assert job_manager[-2:] == ["-D", "own.port=7"]
    assert "-Da=1" in job_manager
    assert "-Dc=3" not in job_manager
    assert f"-Dlog.file={folder}/log/jobmanager.log" in job_manager


def test_memory_is_derived_by_flink_from_the_configuration(folder):
    jvm, flink = launch.memory_arguments("taskmanager", folder / "conf", flink_environ())
    # Flink's defaults: 256 MiB of metaspace, 128 MiB of framework heap.
    assert f"-XX:MaxMetaspaceSize={256 << 20}" in jvm
    assert f"taskmanager.memory.framework.heap.size={128 << 20}b" in flink


def test_a_size_that_flink_refuses_is_told_in_its_words(folder):
    launch.write_settings(folder / "conf", {**SETTINGS, "taskmanager.memory.process.size": "1q"})
    with pytest.raises(Failure, match="taskmanager's memory settings: Memory size unit 'q'"):
        launch.memory_arguments("taskmanager", folder / "conf", flink_environ())
