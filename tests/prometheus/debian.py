"""Prometheus and promtool: those on the path, or out of Debian's package, which is not installed for it."""

import fcntl
import shutil
import subprocess
import tempfile
from pathlib import Path

from connectors.cache import cache_folder

PACKAGE = "prometheus"


class CannotInstall(Exception):
    """The package cannot be fetched here; the text is a line that says why."""


def program(name: str) -> Path:
    """`prometheus` or `promtool`."""
    found = shutil.which(name)
    return Path(found) if found else _unpacked() / "usr" / "bin" / name


def _unpacked() -> Path:
    """What the package holds, fetched at the first call: nothing of it is run, no service started."""
    kept = cache_folder() / "debian"
    kept.mkdir(parents=True, exist_ok=True)
    made = kept / PACKAGE
    with (kept / "lock").open("w") as one_at_a_time:
        fcntl.flock(one_at_a_time, fcntl.LOCK_EX)
        if not made.exists():
            with tempfile.TemporaryDirectory(dir=kept) as fresh:
                _run("apt-get", "download", PACKAGE, folder=fresh)
                [package] = Path(fresh).glob("*.deb")
                _run("dpkg-deb", "-x", str(package), "unpacked", folder=fresh)
                Path(fresh, "unpacked").rename(made)
    return made


def _run(*command: str, folder: str) -> None:
    if shutil.which(command[0]) is None:
        raise CannotInstall(f"neither {PACKAGE} nor {command[0]} is there")
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        raise CannotInstall(" ".join(lines)[:300] or f"{command[0]} ended with {done.returncode}")
