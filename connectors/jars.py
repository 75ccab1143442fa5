"""Jars by Maven coordinates: Flink's Kafka connector, and a broker for trying things.

flink-conf/jars.toml names them, flink-conf/jars.lock has the SHA-256 of each. `fetch` brings those
that are missing from the Maven repository; nothing is fetched unless somebody asks for it.
"""

import argparse
import hashlib
import os
import sys
import tempfile
import tomllib
from collections.abc import Iterable
from pathlib import Path

from connectors.cache import cache_folder

CONNECTOR, BROKER = "connector", "broker"
GROUPS = (CONNECTOR, BROKER)


class MissingJars(Exception):
    """Jars of a group have not been fetched."""


def folder(group: str, cache: Path | None = None) -> Path:
    """Where a group's jars lie, or would; `cache` None stands for `cache_folder()`."""
    return (cache or cache_folder()) / "jars" / group


def find(group: str) -> list[Path]:
    """A group's jars.

    Raises
    ------
    MissingJars
        Not all are there; the text says how to fetch them.
    """
    paths = [_path(group, coordinates) for coordinates in _locked(group)]
    missing = [path.name for path in paths if not path.exists()]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise MissingJars(
            f"{missing[0]}{more} not found in {folder(group)}: `make connectors` fetches "
            f"{'them' if more else 'it'}, or `python -m connectors.jars` where there is no Makefile"
        )
    return paths


def fetch(group: str) -> list[Path]:
    """A group's jars, those missing brought from the Maven repository and checked.

    Raises
    ------
    OSError
        A jar cannot be fetched, or written.
    ValueError
        A jar is not the one that the lock names.
    """
    found = []
    for coordinates, sha256 in _locked(group).items():
        path = _path(group, coordinates)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            _fetch(coordinates, sha256, path)
        found.append(path)
    return found


def _fetch(coordinates: str, sha256: str, path: Path) -> None:
    # A folder of its own: nothing that another program left half-written is taken for the jar.
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".fetching-") as repository:
        jar = _artifact(coordinates, Path(repository)).resolve()
        if _sha256(jar) != sha256:
            raise ValueError(f"{coordinates}: SHA-256 {_sha256(jar)}, {sha256} is locked")
        os.replace(jar, path)


def lock() -> str:
    """The text of jars.lock, from what jars.toml names."""
    from jgo.maven import Dependency

    lines = ["# Made by `python -m connectors.jars lock` from jars.toml: coordinates and SHA-256."]
    with tempfile.TemporaryDirectory() as repository:
        for group, wanted in tomllib.loads((_conf() / "jars.toml").read_text("utf-8")).items():
            names = set(wanted.get("alone", ()))
            for each in wanted.get("with_dependencies", ()):
                artifact = _artifact(each, Path(repository))
                found = artifact.context.resolver.get_dependency_list(
                    [Dependency(artifact, scope="runtime")]
                )
                names.add(each)
                names.update(
                    f"{node.dep.groupId}:{node.dep.artifactId}:{node.dep.version}"
                    for node in found[1]
                )
            lines += ["", f"[{group}]"]
            for name in sorted(names):
                jar = _artifact(name, Path(repository)).resolve()
                lines.append(f'"{name}" = "{_sha256(jar)}"')
    return "\n".join(lines) + "\n"


def _artifact(coordinates: str, repository: Path):  # type: ignore[no-untyped-def]
    from jgo.maven import MavenContext

    group, name, version = coordinates.split(":")
    context = MavenContext(repo_cache=repository, timeout=60)
    return context.project(group, name).at_version(version).artifact()


def _locked(group: str) -> dict[str, str]:
    """Coordinates -> SHA-256."""
    found: dict[str, str] = tomllib.loads((_conf() / "jars.lock").read_text("utf-8"))[group]
    return found


def _path(group: str, coordinates: str) -> Path:
    _, name, version = coordinates.split(":")
    return folder(group) / f"{name}-{version}.jar"


def _conf() -> Path:
    """flink-conf/, in the repository or inside the installed package."""
    root = Path(__file__).resolve().parent.parent
    return next(path for path in (root / "flink-conf", root / "jobs/flink-conf") if path.is_dir())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main(argv: Iterable[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", nargs="?", choices=["fetch", "lock"], default="fetch")
    parser.add_argument("groups", nargs="*", help=f"of {', '.join(GROUPS)}; default: all")
    options = parser.parse_args(None if argv is None else list(argv))
    if options.command == "lock":
        (_conf() / "jars.lock").write_text(lock(), encoding="utf-8")
        return 0
    for group in options.groups or GROUPS:
        try:
            print(f"{group}: {len(fetch(group))} jars in {folder(group)}")
        # jgo raises RuntimeError for a jar that no repository has; what requests raises is an OSError.
        except (OSError, RuntimeError, ValueError) as error:
            print(f"{group}: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
