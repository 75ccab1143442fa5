"""An environment with MLflow's server and River, and nothing of this project, made of server.lock."""

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from hashlib import sha256
from pathlib import Path

from connectors.cache import cache_folder

LOCK = Path(__file__).with_name("server.lock")
ROOT = LOCK.parents[2]


class CannotInstall(Exception):
    """Packages cannot be fetched here; the text is a line that says why."""


def folder() -> Path:
    """The environment; made at the first call, kept until the lock changes."""
    kept = cache_folder() / "mlflow-server"
    made = kept / sha256(LOCK.read_bytes() + sys.version.encode()).hexdigest()[:16]
    kept.mkdir(parents=True, exist_ok=True)
    with (kept / "lock").open("w") as one_at_a_time:
        fcntl.flock(one_at_a_time, fcntl.LOCK_EX)
        if not made.exists():
            with tempfile.TemporaryDirectory(dir=kept) as fresh:
                _install(Path(fresh, "environment"))
                # Scripts name their interpreter by its path, but only `python -m` is used here.
                Path(fresh, "environment").rename(made)
    return made


def python() -> str:
    """Its interpreter."""
    return str(folder() / "bin" / "python")


def _install(environment: Path) -> None:
    tools = ROOT / ".tools" / "bin" / "uv"
    uv = shutil.which("uv") or (str(tools) if tools.exists() else None)
    inside = str(environment / "bin" / "python")
    if uv is not None:
        _run(uv, "venv", "--quiet", "--python", sys.executable, str(environment))
        _run(uv, "pip", "sync", "--quiet", "--compile-bytecode", "--python", inside,
             "--require-hashes", str(LOCK))  # fmt: skip
    else:
        _run(sys.executable, "-m", "venv", str(environment))
        _run(inside, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes",
             "--requirement", str(LOCK))  # fmt: skip


def _run(*command: str) -> None:
    outside = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=outside)
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        raise CannotInstall(" ".join(lines)[:300] or f"{command[0]} ended with {done.returncode}")
