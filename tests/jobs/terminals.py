"""A command in a terminal of its own, as a person sees it."""

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.patience import PATIENCE_S

ROOT = Path(__file__).parents[2]
# The terminal is the session's own, so that its keys are signals.
_IN_ITS_OWN = """
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, "-m", "jobs.cli", *sys.argv[1:]])
"""


class Terminal:
    """`riverrun` with a screen; `seen` is all that it has written there."""

    def __init__(self, process: "subprocess.Popen[bytes]", master: int) -> None:
        self.process, self._master = process, master
        self.seen = ""

    def wait_for(self, *texts: str, after: int = 0) -> None:
        """Wait until each of these was written behind the first `after` characters."""
        deadline = time.monotonic() + PATIENCE_S
        while missing := [text for text in texts if text not in self.seen[after:]]:
            if time.monotonic() > deadline or self.process.poll() is not None:
                self._read(0)
                raise AssertionError(f"{missing} not in {self.seen[after:]}")
            self._read(0.2)

    def interrupt(self) -> int:
        """Ctrl-C, which goes to every process of the terminal; the exit code."""
        os.write(self._master, b"\x03")
        deadline = time.monotonic() + PATIENCE_S
        while self.process.poll() is None and time.monotonic() < deadline:
            self._read(0.2)
        self._read(0)
        return self.process.wait(timeout=0)

    def _read(self, timeout_s: float) -> None:
        while select.select([self._master], [], [], timeout_s)[0]:
            try:
                data = os.read(self._master, 1 << 16)
            except OSError:  # the other end is closed
                return
            if not data:
                return
            self.seen += data.decode(errors="replace")
            timeout_s = 0


@contextmanager
def terminal(*arguments: object, columns: int = 120, lines: int = 50) -> Iterator[Terminal]:
    """Start `riverrun ARGUMENTS` in a terminal; it is killed with the block if it has not ended."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    environ = {
        **{name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")},
        "TERM": "xterm", "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1", "LC_ALL": "C.UTF-8",
    }  # fmt: skip
    command = [sys.executable, "-c", _IN_ITS_OWN, *map(str, arguments)]
    process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=environ)
    os.close(slave)
    try:
        yield Terminal(process, master)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        os.close(master)
