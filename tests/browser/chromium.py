"""A real Chromium without a window, spoken to by its own protocol over a pipe: no driver is needed."""

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from connectors.cache import cache_folder

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
TIMEOUT_S = 60
# A browser reads commands from descriptor 3 and answers on 4.
_AS_EXPECTED = """
import os, sys
for ours, theirs in zip(map(int, sys.argv[1:3]), (3, 4)):
    os.dup2(ours, theirs)
    os.close(ours)
os.execv(sys.argv[3], sys.argv[3:])
"""


class NoBrowser(Exception):
    """There is none here and none can be installed; the text says why."""


def require() -> str:
    """The program: one that is there, or Debian's package, installed now where that can be done.

    Raises
    ------
    NoBrowser
        Neither.
    """
    if (found := _found()) is not None:
        return found
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        raise NoBrowser("Chromium is not installed, and only root on Debian can install it here")
    with (cache_folder() / "apt.lock").open("w") as one_at_a_time:
        fcntl.flock(one_at_a_time, fcntl.LOCK_EX)
        if _found() is None:
            _install()
    found = _found()
    if found is None:
        raise NoBrowser("Debian's package chromium has brought no program of that name")
    return found


def _found() -> str | None:
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def _install() -> None:
    waits = ["-o", "DPkg::Lock::Timeout=300"]
    install = ["apt-get", *waits, "install", "-y", "--no-install-recommends", "chromium"]
    for command in (["apt-get", *waits, "update"], install):
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        )
        if done.returncode:
            raise NoBrowser(f"{' '.join(command)}: {done.stderr.strip()[-300:]}")


class Page:
    """A page in a browser.

    Attributes
    ----------
    events : list of dict
        All that the browser has told: requests, messages of the console, errors.
    """

    def __init__(self, browser: "subprocess.Popen[bytes]", commands: int, answers: int) -> None:
        self._browser, self._commands, self._answers = browser, commands, answers
        self._read = b""
        self._last = 0
        self._session: str | None = None
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Ask the browser for something, and wait for its answer."""
        self._last += 1
        message = {"id": self._last, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next(TIMEOUT_S)
            if answer.get("id") == self._last:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]

    def open(self, file: Path, *, width: int, height: int, dark: bool = False) -> None:
        """Show a file, and wait until it is drawn."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 500,
        )  # fmt: skip
        self.events.clear()
        self.call("Page.navigate", url=file.absolute().as_uri())
        deadline = time.monotonic() + TIMEOUT_S
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self._next(deadline - time.monotonic())
        # Two frames: the first may come before the style sheet is at work.
        self.evaluate("new Promise(r => requestAnimationFrame(() => requestAnimationFrame(r)))")

    def evaluate(self, expression: str) -> Any:
        """The value of an expression of JavaScript in the page."""
        answer = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"])
        return answer["result"].get("value")

    def requests(self) -> list[str]:
        """Addresses that were asked for since the page was opened, its own included."""
        return [
            event["params"]["request"]["url"]
            for event in self.events
            if event["method"] == "Network.requestWillBeSent"
        ]

    def complaints(self) -> list[Any]:
        """Errors, and what was written to the console."""
        kinds = ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown")
        return [event["params"] for event in self.events if event["method"] in kinds]

    def screenshot(self, target: Path, *, whole: bool = True) -> None:
        """As PNG: the whole page, or what of it is to be seen without scrolling."""
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        target.write_bytes(base64.b64decode(shot["data"]))

    def _next(self, timeout_s: float) -> dict[str, Any]:
        while b"\0" not in self._read:
            ready, _, _ = select.select([self._answers], [], [], max(timeout_s, 0))
            if not ready:
                raise TimeoutError("the browser does not answer")
            more = os.read(self._answers, 1 << 20)
            if not more:
                raise RuntimeError(f"the browser has ended: {self._browser.wait(10)}")
            self._read += more
        text, _, self._read = self._read.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        if "method" in message:
            self.events.append(message)
        return message


def _pipe() -> tuple[int, int]:
    """Both ends, with numbers above those that a browser expects."""
    ends = os.pipe()
    moved = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends]
    for end in ends:
        os.close(end)
    return moved[0], moved[1]


@contextmanager
def browsing(program: str, folder: Path) -> Iterator[Page]:
    """A browser with a profile of its own in `folder`; it ends with the block."""
    their_commands, our_commands = _pipe()
    our_answers, their_answers = _pipe()

    command = [
        sys.executable, "-c", _AS_EXPECTED, str(their_commands), str(their_answers), program,
        "--headless", "--remote-debugging-pipe", f"--user-data-dir={folder}", "--no-first-run",
        "--disable-gpu", "--disable-background-networking", "--disable-component-update",
        "--hide-scrollbars", "--font-render-hinting=none",
        # A sandbox needs another user than root, and what is shown is a file of ours.
        *(["--no-sandbox"] if os.geteuid() == 0 else []), "--disable-dev-shm-usage",
    ]  # fmt: skip
    with (folder / "log").open("wb") as log:
        browser = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(their_commands, their_answers),
        )
    os.close(their_commands)
    os.close(their_answers)
    try:
        yield Page(browser, our_commands, our_answers)
    finally:
        os.close(our_commands)
        os.close(our_answers)
        browser.terminate()
        try:
            browser.wait(timeout=20)
        except subprocess.TimeoutExpired:
            browser.kill()
            browser.wait()
