import os
import pty
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs import processes
from jobs.errors import Failure
from jobs.processes import Process
from jobs.waiting import wait_until
from tests.patience import PATIENCE_S

SLEEPER = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]
IGNORE_SIGTERM = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
STUBBORN = [*SLEEPER[:2], IGNORE_SIGTERM + SLEEPER[2]]
# A shell in a terminal of its own, that starts a process and says which, then waits.
IN_A_TERMINAL = """
import fcntl, os, sys, termios, time
from pathlib import Path
from jobs import processes
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
folder = Path(sys.argv[1])
made = processes.spawn(sys.argv[2:], env=os.environ, cwd=folder, output=folder / "out")
(folder / "part").write_text(f"{made.pid}|{made.started}")
(folder / "part").rename(folder / "told")
time.sleep(600)
"""
ROOT = Path(__file__).parents[2]
READER = "import sys, time; print(repr(sys.stdin.read()), flush=True); time.sleep(600)"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[object]:
    """Starts a process and waits until it says that it is up; all are gone after the test."""
    started = []

    def start(command: list[str], **environ: str) -> Process:
        output = tmp_path / f"{len(started)}.out"
        process = processes.spawn(
            command, env={**os.environ, **environ}, cwd=tmp_path, output=output
        )
        started.append(process)
        wait_until(lambda: output.read_text(), "first output", timeout_s=PATIENCE_S)
        return process

    yield start
    for process in started:
        processes.kill(process)


def test_a_process_has_a_process_group_of_its_own_and_no_input(start):
    process = start([*SLEEPER[:2], READER])
    assert os.getpgid(process.pid) == process.pid
    # Where Linux schedules by sessions, niceness counts within one only.
    assert os.getsid(process.pid) == os.getsid(0)


@pytest.mark.parametrize("end", ["Ctrl-C", "closed"])
def test_a_process_outlives_the_terminal_that_it_was_started_in(tmp_path, end):
    master, slave = pty.openpty()
    told = tmp_path / "told"
    command = [sys.executable, "-c", IN_A_TERMINAL, str(tmp_path), *SLEEPER]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    shell = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=environ)
    os.close(slave)
    try:
        wait_until(told.exists, "the process's start", timeout_s=PATIENCE_S)
        pid, started = told.read_text().split("|")
        process = Process(int(pid), started)
        if end == "Ctrl-C":
            os.write(master, b"\x03")
        else:
            os.close(master)
        assert shell.wait(PATIENCE_S) != 0
        assert processes.alive(process)
        processes.kill(process)
    finally:
        shell.kill()
        shell.wait()
        if end == "Ctrl-C":
            os.close(master)


def test_an_ended_process_is_not_alive_although_nobody_waited_for_it(start):
    process = start(SLEEPER)
    assert processes.alive(process)
    processes.kill(process)
    assert not processes.alive(process)


def test_a_process_that_ignores_sigterm_is_killed_and_named(start):
    gentle, stubborn = start(SLEEPER), start(STUBBORN)
    assert processes.end([gentle, stubborn], grace_s=0.5) == [stubborn]
    assert not processes.alive(gentle)
    assert not processes.alive(stubborn)


def test_a_pid_that_was_given_to_another_process_is_left_alone(start):
    other = start(SLEEPER)
    recorded = Process(other.pid, "a time before the other one started")
    assert not processes.alive(recorded)
    assert processes.end([recorded], grace_s=0.1) == []
    processes.kill(recorded)
    assert processes.alive(other)


def test_a_process_is_found_again_from_its_pid_file(start, tmp_path):
    process = start(SLEEPER)
    processes.save(process, tmp_path / "pid.json")
    assert processes.load(tmp_path / "pid.json") == process


def test_another_command_sees_the_same_process(start, tmp_path):
    process = start(SLEEPER)
    processes.save(process, tmp_path / "pid.json")
    script = (
        "import sys; from pathlib import Path; from jobs import processes;"
        "process = processes.load(Path(sys.argv[1])); print(processes.alive(process));"
        "processes.end([process], grace_s=20)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "pid.json"],
        env={**os.environ, "PYTHONPATH": str(Path(processes.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout == "True\n"
    assert not processes.alive(process)


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="the system has no /proc")
def test_the_children_of_a_marked_process_are_found_after_its_death(start):
    parent = start(
        [sys.executable, "-c", f"import subprocess; subprocess.run({SLEEPER!r})"], MARK="here"
    )
    processes.kill(parent)
    [child] = processes.marked("MARK=here")
    assert processes.marked("MARK=her") == []
    processes.kill(child)
    assert processes.marked("MARK=here") == []


def test_a_free_port_is_one_that_can_be_listened_on():
    with socket.create_server(("127.0.0.1", processes.free_port())) as server:
        taken = server.getsockname()[1]
        with pytest.raises(Failure, match=f"port {taken} of 127.0.0.1 is taken"):
            processes.free_port(taken)
