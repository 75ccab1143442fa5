"""Processes that outlive the command that started them, and that another command ends.

A pid alone does not say which process is meant: once a process has ended, its pid is given away
again. So a process is known by its pid and the time it started, and nothing is signalled before
both have been compared.
"""

import json
import os
import random
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from jobs.errors import Failure
from jobs.waiting import TimedOut, wait_until

_PROC = Path("/proc")


class Process(NamedTuple):
    """A process that was started here; `started` tells it from a later one with its pid."""

    pid: int
    started: str


def spawn(command: Sequence[str], *, env: Mapping[str, str], cwd: Path, output: Path) -> Process:
    """Start a process in a process group of its own, so that Ctrl-C in this terminal does not end it.

    Not in a session of its own: on Linux that may make a group for the scheduler, too, and between those
    no thread's niceness counts (`kernel.sched_autogroup_enabled`).

    Parameters
    ----------
    output
        File that its standard output and error are appended to; standard input is empty.
    """
    with output.open("ab") as log:
        child = subprocess.Popen(
            command,
            env=env,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            process_group=0,
        )
    started = _started(child.pid)
    if started is None:
        raise Failure(f"{command[0]} ended at once; its output is in {output}")
    # It is meant to outlive this object, which would otherwise warn that it still runs.
    child.returncode = 0
    return Process(child.pid, started)


def alive(process: Process) -> bool:
    """Whether exactly this process still runs; one that has ended but was not waited for does not."""
    try:
        os.waitpid(process.pid, os.WNOHANG)
    except ChildProcessError:
        pass  # started by another command
    return _started(process.pid) == process.started


def kill(process: Process) -> None:
    """SIGKILL, and wait until the process is gone."""
    _signal(process, signal.SIGKILL)
    wait_until(lambda: not alive(process), f"end of process {process.pid}", timeout_s=30)


def end(processes: Sequence[Process], *, grace_s: float) -> list[Process]:
    """SIGTERM to all, SIGKILL to those that still run `grace_s` seconds later.

    Returns
    -------
    list of Process
        Those that had to be killed.
    """
    for process in processes:
        _signal(process, signal.SIGTERM)
    try:
        wait_until(
            lambda: not any(map(alive, processes)), "end of the processes", timeout_s=grace_s
        )
    except TimedOut:
        pass
    stubborn = [process for process in processes if alive(process)]
    for process in stubborn:
        kill(process)
    return stubborn


def marked(mark: str) -> list[Process]:
    """Processes that were started with `mark` (`NAME=value`) in their environment.

    Children inherit it, so this finds those of a process that has ended without ending them. Empty
    on systems without `/proc`.
    """
    found = []
    for environment in _PROC.glob("[0-9]*/environ"):
        try:
            entries = environment.read_bytes().split(b"\0")
        except OSError:
            continue  # ended meanwhile, or another user's
        if mark.encode() in entries:
            pid = int(environment.parent.name)
            started = _started(pid)
            if started is not None:
                found.append(Process(pid, started))
    return found


def save(process: Process, path: Path) -> None:
    """Write a pid file; it appears whole or not at all."""
    draft = path.with_name(path.name + ".new")
    draft.write_text(json.dumps(process._asdict()) + "\n")
    draft.replace(path)


def load(path: Path) -> Process:
    """Read a pid file."""
    return Process(**json.loads(path.read_text()))


# Below what systems give to outgoing connections and to whoever asks for any port: between being
# found free and being listened on, seconds later, nothing takes a port by chance.
_PORTS = range(10_000, 32_768)


def free_port(wanted: int | None = None) -> int:
    """A TCP port of the loopback that nobody listens on: `wanted`, or any.

    Raises
    ------
    Failure
        `wanted` is taken.
    """
    if wanted is not None:
        if not _is_free(wanted):
            raise Failure(f"port {wanted} of 127.0.0.1 is taken")
        return wanted
    # Not by a seed that the caller has set: two commands would choose the same.
    chance = random.SystemRandom()
    return next(port for port in chance.sample(_PORTS, len(_PORTS)) if _is_free(port))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # Java's servers, too, take a port whose last connections have not timed out yet.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _signal(process: Process, number: signal.Signals) -> None:
    if alive(process):
        try:
            os.kill(process.pid, number)
        except ProcessLookupError:
            pass  # ended since the line above


def _started(pid: int) -> str | None:
    """When the process with this pid started, as text to compare; None if it has ended."""
    if not _PROC.is_dir():
        return _started_by_ps(pid)
    try:
        stat = (_PROC / str(pid) / "stat").read_text()
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None
    # proc(5): the second field is the command in parentheses and may hold anything; behind it
    # stand the state (third field) and the start in clock ticks since boot (22nd).
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else f"{boot} {fields[19]}"


def _started_by_ps(pid: int) -> str | None:
    command = ["ps", "-o", "stat=,lstart=", "-p", str(pid)]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    state, _, started = answer.stdout.strip().partition(" ")
    return None if not state or state.startswith("Z") else started.strip()
