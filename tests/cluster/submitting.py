"""Submitting a job to a cluster, as `flink run` does."""

import re
import subprocess
from pathlib import Path

from jobs import launch
from jobs.cluster import Cluster

COUNTING_JOB = Path(__file__).with_name("counting_job.py")


def submit(cluster: Cluster, *arguments: str, script: Path = COUNTING_JOB) -> str:
    """Submit `script` with these arguments, and return the id of a job that runs."""
    environ = cluster.environ()
    answer = subprocess.run(
        [*launch.client_command(environ), "run", "-d", "-py", str(script), *arguments],
        env=environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    submitted = re.search(r"JobID ([0-9a-f]{32})", answer.stdout)
    assert submitted, answer.stdout + answer.stderr
    cluster.rest.wait_for(submitted[1], {"RUNNING"})
    return submitted[1]
