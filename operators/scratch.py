"""A model is tried in a process of its own, before it comes near the job.

A spec is data from a topic: what it asks for may take for ever or all memory there is. So the trial has
limits that the operating system enforces, and the worst that can come of it is a refusal.
"""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path
from typing import Any, NamedTuple

from msgspec import Struct

# Of the child's life beyond the trial's own time: starting Python and importing River.
_START_SECONDS = 30.0
_MEBIBYTE = 1 << 20


class TrialLimits(Struct, frozen=True):
    """What a trial may take: seconds of time, and MiB of memory."""

    seconds: float = 20.0
    memory_mb: int = 4096


class Tried(NamedTuple):
    """What came of it: why the model is refused, None if it is not; and which requests change it."""

    problem: str | None
    purity: str


class Sources(NamedTuple):
    """The project's packages as they travel with a job: compressed JSON, module name -> source."""

    archive: bytes


class Scratch:
    """Tries models, one at a time.

    Parameters
    ----------
    sources : Sources or None
        The code to try them with, where it stands in no folder. None: as this process imports it.
    """

    def __init__(self, limits: TrialLimits, sources: Sources | None = None) -> None:
        self._limits = limits
        self._sources = sources
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def start(self, task: str, name: str, spec: Any, artifact: bytes | None) -> "Trial":
        """Try a stored spec, or what is in an artifact; the trial runs on by itself."""
        given: dict[str, Any] = {"task": task, "name": name, "spec": spec}
        path = [str(self._code()), *filter(None, sys.path)]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(path),
            "PYTHONHASHSEED": os.environ.get("PYTHONHASHSEED", "random"),
            # More threads than one only take memory for their stacks.
            "OPENBLAS_NUM_THREADS": "1",
            "OMP_NUM_THREADS": "1",
        }
        child = subprocess.Popen(
            # Whatever lies in the folder that this happens to run in is not the project's code.
            [_python(), "-P", "-m", "operators.scratch_trial"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
        )
        memory, seconds = self._limits.memory_mb * _MEBIBYTE, self._limits.seconds
        header = json.dumps({**given, "memory": memory, "seconds": seconds}).encode()
        return Trial(child, header + b"\n" + (artifact or b""), self._limits.seconds)

    def _code(self) -> Path:
        if self._sources is None:
            return Path(__file__).parents[1]
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="riverrun-trial-")
            for name, source in json.loads(zlib.decompress(self._sources.archive)).items():
                path = Path(self._folder.name, *name.split("."))
                # A package is a name without a dot.
                file = path.with_suffix(".py") if "." in name else path / "__init__.py"
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(source, "utf-8")
        return Path(self._folder.name)


class Trial:
    """A trial that runs: `result` is None until it has ended."""

    def __init__(self, child: "subprocess.Popen[bytes]", given: bytes, seconds: float) -> None:
        self._child = child
        self._seconds = seconds
        self._until = time.monotonic() + seconds + _START_SECONDS
        # What the child says is short: it fits the pipes, and nothing needs to be read meanwhile.
        assert child.stdin is not None, "it was asked for"
        try:
            child.stdin.write(given)
            child.stdin.close()
        except BrokenPipeError:
            pass  # it has died already, and its exit code says so

    def result(self) -> Tried | None:
        """What came of it, once it has ended or its time is over."""
        if self._child.poll() is None:
            if time.monotonic() < self._until:
                return None
            self.stop()
            return self._over()
        assert self._child.stdout is not None and self._child.stderr is not None
        said, complained = self._child.stdout.read(), self._child.stderr.read()
        self._child.stdout.close()
        self._child.stderr.close()
        try:
            found = json.loads(said)
        except ValueError:
            if self._child.returncode in (-signal.SIGKILL, -signal.SIGXCPU):
                return self._over()
            lines = complained.decode(errors="replace").strip().splitlines()
            if self._child.returncode < 0:
                # What is not Python says first what is wrong, and then dies of it.
                why = " ".join([signal.Signals(-self._child.returncode).name, *lines[:1]])
            else:
                why = lines[-1] if lines else f"its process ended with {self._child.returncode}"
            return Tried(f"it could not be tried: {why}", "")
        return Tried(found["problem"], found["purity"])

    def _over(self) -> Tried:
        return Tried(f"it was not done within {self._seconds:g} s", "")

    def wait(self) -> Tried:
        """What came of it, however long that takes within the limits."""
        while True:
            found = self.result()
            if found is not None:
                return found
            time.sleep(0.01)

    def stop(self) -> None:
        """End it."""
        self._child.kill()
        self._child.wait()


def limit(memory: int, seconds: float) -> None:
    """Limit this process: bytes of memory, and seconds of processor time from now on."""
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    used = time.process_time()
    most = int(used + seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (most, most))


def _python() -> str:
    """This Python; inside Java `sys.executable` may be anything."""
    names = [f"python{sys.version_info[0]}.{sys.version_info[1]}", "python3", "python"]
    candidates = [sys.executable, *(str(Path(sys.prefix, "bin", name)) for name in names)]
    for candidate in candidates:
        if Path(candidate).name.startswith("python") and os.access(candidate, os.X_OK):
            return candidate
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        raise FileNotFoundError("no Python to try models with: put it on the PATH")
    return found
