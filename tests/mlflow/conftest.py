"""One real MLflow server a session, with SQLite."""

import os
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from jobs.processes import free_port
from jobs.waiting import wait_until
from tests.mlflow import environment
from tests.patience import PATIENCE_S


class Server(NamedTuple):
    """A server, and the interpreter of its environment: MLflow and River, nothing of this project."""

    uri: str
    python: str


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    try:
        python = environment.python()
    except environment.CannotInstall as error:
        pytest.skip(f"MLflow's server cannot be installed here: {error}")
    folder = tmp_path_factory.mktemp("mlflow")
    uri = f"http://127.0.0.1:{(port := free_port())}"
    command = [
        python, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port),
        "--workers", "1", "--backend-store-uri", f"sqlite:///{folder}/mlflow.db",
        "--artifacts-destination", str(folder / "artifacts"),
    ]  # fmt: skip
    log = folder / "log"
    with log.open("wb") as output:
        running = subprocess.Popen(
            command, cwd=folder, env=_environ(python), stdout=output, stderr=output
        )
    try:
        wait_until(lambda: _answers(uri, running, log), "MLflow's server", timeout_s=PATIENCE_S)
        yield Server(uri, python)
    finally:
        running.terminate()
        running.wait(timeout=30)


def _environ(python: str) -> dict[str, str]:
    # It starts its workers as commands that it finds on the path.
    path = f"{Path(python).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}


def _answers(uri: str, running: "subprocess.Popen[bytes]", log: Path) -> bool:
    if running.poll() is not None:
        raise RuntimeError(f"MLflow's server has ended: {log.read_text()[-2000:]}")
    try:
        with urllib.request.urlopen(f"{uri}/health", timeout=5) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False
