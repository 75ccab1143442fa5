"""The connectors' Java classes: compiled once, shipped with the job."""

import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pyflink.java_gateway import get_gateway

from connectors import java_code
from jobs.cluster import Cluster
from tests.connectors.sources import FINE, NO_TS, OUT_OF_ORDER, scattered

pytestmark = pytest.mark.cluster

SOURCES = Path(java_code.__file__).parent / "java"
JOB = """\
import sys

from pyflink.common import Types
from pyflink.datastream import KeyedProcessFunction, StreamExecutionEnvironment

from connectors import files, java_code, keying
from tests.connectors.sources import source


class Key(KeyedProcessFunction):
    def process_element(self, value, ctx):
        yield f"{ctx.get_current_key()} {value[0]}"


env = StreamExecutionEnvironment.get_execution_environment()
java_code.attach(env)
stream = keying.clock(source(env, sys.argv[1]), 0)
keyed = keying.key_rows(stream, Types.STRING(), Types.PICKLED_BYTE_ARRAY())
files.file_sink(
    keyed.process(Key(), output_type=Types.STRING()),
    path=sys.argv[2],
    prefix="part",
    uid="sink",
    name="out",
    roll_interval_ms=1000,
    roll_size_bytes=1024,
)
env.execute("on a cluster")
"""


@pytest.fixture
def cache(flink: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    folder.mkdir()
    monkeypatch.setattr(java_code, "cache_folder", lambda: folder)
    return folder


def test_the_jar_has_a_class_for_each_source(cache: Path) -> None:
    with zipfile.ZipFile(java_code.jar(get_gateway())) as archive:
        names = {name for name in archive.namelist() if "$" not in name}
    assert names == {f"riverrun/connectors/{path.stem}.class" for path in SOURCES.glob("*.java")}


def test_classes_that_are_loaded_already_do_no_harm(
    flink_env: Callable[..., Any], cache: Path
) -> None:
    flink_env()
    [attached] = cache.iterdir()
    attached.unlink()
    assert java_code.jar(get_gateway()) == attached


def test_the_same_sources_are_compiled_once(cache: Path) -> None:
    made = java_code.jar(get_gateway())
    made.write_bytes(b"kept as it is")
    assert java_code.jar(get_gateway()).read_bytes() == b"kept as it is"


def test_other_sources_give_another_jar(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = java_code.jar(get_gateway())
    monkeypatch.setattr(java_code, "_SOURCES", tmp_path)
    (tmp_path / "Other.java").write_text("package riverrun.connectors; public class Other {}")
    assert java_code.jar(get_gateway()) != before


def test_a_source_that_is_no_java_is_named_and_leaves_no_jar(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(java_code, "_SOURCES", tmp_path)
    (tmp_path / "Broken.java").write_text("package riverrun.connectors;\npublic class Broken {")
    with pytest.raises(Exception, match=r"Broken\.java', Line 2"):
        java_code.jar(get_gateway())
    assert list(cache.iterdir()) == []


def test_several_at_once_make_one_jar(cache: Path) -> None:
    gateway = get_gateway()
    with ThreadPoolExecutor(4) as pool:
        made = set(pool.map(lambda _: java_code.jar(gateway), range(4)))
    assert [*cache.iterdir()] == [*made]
    with zipfile.ZipFile(made.pop()) as archive:
        assert archive.testzip() is None


def test_attaching_keeps_the_jars_that_a_job_has(
    flink_env: Callable[..., Any], tmp_path: Path
) -> None:
    other = tmp_path / "other.jar"
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("empty", "")
    env = flink_env(settings={"pipeline.jars": other.as_uri()})
    jvm = get_gateway().jvm
    config = jvm.org.apache.flink.python.util.PythonConfigUtil.getEnvironmentConfig(
        env._j_stream_execution_environment
    )
    jars = config.getString("pipeline.jars", None)
    assert other.as_uri() in jars
    assert java_code.jar(get_gateway()).as_uri() in jars


def test_a_job_on_a_cluster_brings_the_classes_along(flink: None, tmp_path: Path) -> None:
    (tmp_path / "in").write_text('{"id":"a","ts":2}\n{"id":"b","ts":1}\nbroken\n')
    (tmp_path / "job.py").write_text(JOB)
    with Cluster.start(tmp_path / "cluster") as cluster:
        environ = {**os.environ, **cluster.environ(), "PYTHONPATH": os.pathsep.join(sys.path)}
        flink_command = Path(environ["FLINK_HOME"], "bin", "flink")
        command = [flink_command, "run", "-py", "job.py", tmp_path / "in", tmp_path / "out"]
        ran = subprocess.run(
            command,
            cwd=tmp_path,
            env=environ,
            check=False,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
    lines = [
        line for part in (tmp_path / "out").glob("part-*") for line in part.read_text().split("\n")
    ]
    assert lines == [f"a {FINE}", f"b {OUT_OF_ORDER}", f"{scattered(b'broken')} {NO_TS}", ""]


def test_another_thread_of_java_knows_the_classes_too(flink_env: Callable[..., Any]) -> None:
    flink_env()
    client = get_gateway()._gateway_client
    # As where two threads here have called Java at once: whoever calls next is answered by a new one.
    client._give_back_connection(client._create_connection())
    assert java_code.named("KeyGroups").keys(2, "key")
    client._give_back_connection(client._create_connection())
    assert java_code.new("Keyed", "key").map("text").getField(1) == "text"


@pytest.mark.kafka
def test_another_thread_of_java_knows_kafkas_classes_too(flink: None) -> None:
    gateway = get_gateway()
    java_code.load(*java_code.kafka_jars(gateway))
    client = gateway._gateway_client
    client._give_back_connection(client._create_connection())
    kafka = java_code.jvm().org.apache.flink.connector.kafka
    assert kafka.source.KafkaSource.builder().getClass().getSimpleName() == "KafkaSourceBuilder"
