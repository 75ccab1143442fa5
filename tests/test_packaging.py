"""What is installed: requirements.lock, and the wheel."""

import re
import tomllib
import zipfile
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCK = (ROOT / "requirements.lock").read_text()
LOCKED = {
    match["name"]: Version(match["version"])
    for match in re.finditer(r"^(?P<name>[a-z0-9-]+)==(?P<version>[^ ;\\]+)", LOCK, re.MULTILINE)
}


@pytest.mark.parametrize(
    "wanted",
    [
        *PROJECT["project"]["dependencies"],
        *PROJECT["dependency-groups"]["dev"],
        *PROJECT["tool"]["uv"]["override-dependencies"],
    ],
)
def test_the_lock_satisfies_pyproject(wanted):
    """If not: `make lock`."""
    requirement = Requirement(wanted)
    assert requirement.name in LOCKED
    assert LOCKED[requirement.name] in requirement.specifier


def test_the_lock_has_hashes_of_everything_and_no_addresses():
    assert LOCK.count("\n    --hash=sha256:") >= len(LOCKED) > 30
    for entry in re.split(r"\n(?=[a-z0-9])", LOCK.strip()):
        assert "--hash=sha256:" in entry, entry
    assert "://" not in LOCK


def test_the_wheel_has_the_packages_with_java_sources_and_flink_s_configuration(tmp_path):
    [wheel] = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    names = set(zipfile.ZipFile(wheel).namelist())
    sources = [
        path.relative_to(ROOT)
        for package in ("events", "models", "state", "operators", "connectors", "jobs")
        for path in (ROOT / package).rglob("*")
        if path.suffix in {".py", ".java"}
    ]
    assert {str(path) for path in sources} <= names
    assert any(path.suffix == ".java" for path in sources)
    assert {f"jobs/flink-conf/{path.name}" for path in (ROOT / "flink-conf").iterdir()} <= names
    assert not any(name.startswith("tests/") for name in names)
