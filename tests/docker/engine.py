"""A Docker engine for the tests: the one that runs, or one of their own where that can be started."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import docker
from jobs.waiting import TimedOut, wait_until
from tests.patience import PATIENCE_S


class NoEngine(Exception):
    """No engine runs here and none can be started; the text says why."""


@contextmanager
def engine(folder: Path) -> Iterator[docker.DockerClient]:
    """A client of an engine; one that was started here ends with the block, its data with it."""
    try:
        client = docker.from_env()
        client.ping()
    except docker.errors.DockerException:
        pass
    else:
        yield client
        return
    if shutil.which("dockerd") is None:
        raise NoEngine("no Docker engine runs, and dockerd is not installed")
    if os.geteuid() != 0:
        raise NoEngine("no Docker engine runs, and only root can start one")
    socket = f"unix://{folder / 'docker.sock'}"
    log = folder / "dockerd.log"
    with log.open("wb") as output:
        daemon = subprocess.Popen(
            [
                "dockerd",
                *("-H", socket),
                *("--data-root", str(folder / "data")),
                *("--exec-root", str(folder / "exec")),
                *("--pidfile", str(folder / "docker.pid")),
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield _ready(daemon, socket, log)
    finally:
        daemon.terminate()
        daemon.wait(60)


def _ready(daemon: "subprocess.Popen[bytes]", socket: str, log: Path) -> docker.DockerClient:
    def client() -> docker.DockerClient | None:
        try:
            found = docker.DockerClient(base_url=socket, timeout=600)
            found.ping()
        except docker.errors.DockerException:
            if daemon.poll() is None:
                return None
            last = log.read_text(errors="replace").strip().splitlines()[-1:]
            raise NoEngine(f"dockerd does not start: {' '.join(last)}") from None
        return found

    try:
        return wait_until(client, "an answer of dockerd", timeout_s=PATIENCE_S)
    except TimedOut as error:
        raise NoEngine(str(error)) from None
