"""Jars by their coordinates: what is locked, what is missing, what is another file."""

import tomllib
from pathlib import Path

import pytest

from connectors import jars

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(jars, "cache_folder", lambda: tmp_path)
    return tmp_path


def test_all_that_is_wanted_is_locked_with_a_hash():
    wanted = tomllib.loads((ROOT / "flink-conf/jars.toml").read_text())
    locked = tomllib.loads((ROOT / "flink-conf/jars.lock").read_text())
    assert wanted.keys() == locked.keys() == set(jars.GROUPS)
    for group, named in wanted.items():
        for coordinates in (c for of in named.values() for c in of):
            assert coordinates in locked[group]
        assert all(len(bytes.fromhex(sha256)) == 32 for sha256 in locked[group].values())
        # Two versions of one jar on a class path are a coin tossed.
        names = [coordinates.rsplit(":", 1)[0] for coordinates in locked[group]]
        assert len(names) == len(set(names))


def test_missing_jars_are_named_with_the_command_that_fetches_them(cache):
    with pytest.raises(jars.MissingJars) as error:
        jars.find(jars.CONNECTOR)
    assert "`make connectors` fetches them" in str(error.value)
    assert str(cache) in str(error.value)


def test_jars_that_are_there_are_found_and_not_fetched(cache, monkeypatch):
    locked = tomllib.loads((ROOT / "flink-conf/jars.lock").read_text())[jars.CONNECTOR]
    (cache / "jars" / jars.CONNECTOR).mkdir(parents=True)
    for coordinates in locked:
        _, name, version = coordinates.split(":")
        (cache / "jars" / jars.CONNECTOR / f"{name}-{version}.jar").touch()
    monkeypatch.setattr(jars, "_artifact", None)
    assert jars.fetch(jars.CONNECTOR) == jars.find(jars.CONNECTOR)
    assert len(jars.find(jars.CONNECTOR)) == len(locked)


def test_a_jar_that_is_another_file_is_refused_and_not_kept(cache, monkeypatch):
    class Artifact:
        def __init__(self, folder: Path) -> None:
            self._folder = folder

        def resolve(self) -> Path:
            path = self._folder / "some.jar"
            path.write_bytes(b"not what it should be")
            return path

    monkeypatch.setattr(jars, "_artifact", lambda coordinates, folder: Artifact(folder))
    with pytest.raises(ValueError, match="is locked"):
        jars.fetch(jars.CONNECTOR)
    assert list((cache / "jars" / jars.CONNECTOR).iterdir()) == []
    assert jars.main(["fetch", jars.CONNECTOR]) == 1
