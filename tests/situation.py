"""What a cluster was at when a test on it failed: it is gone before anybody can look."""

from collections.abc import Iterator

from jobs.cluster import Cluster
from jobs.rest import RestError, root_cause

_LINES = 25


def situation(cluster: Cluster) -> str:
    """Jobs with their tasks, failures and checkpoints, and the end of each process's log."""
    return "\n".join([*_processes(cluster), *_jobs(cluster), *_logs(cluster)])


def _processes(cluster: Cluster) -> Iterator[str]:
    yield f"job manager {cluster.job_manager_pid}, task managers {cluster.task_manager_pids}"


def _jobs(cluster: Cluster) -> Iterator[str]:
    try:
        for manager in cluster.rest.task_managers():
            yield f"registered {manager['id']}, {manager['freeSlots']} slots free"
        for job in cluster.rest.jobs():
            yield f"job {job.name} {job.id} {job.state}"
            if job.ended is None:
                yield from _running(cluster, job.id)
    except RestError as error:
        yield f"REST: {error}"


def _running(cluster: Cluster, job_id: str) -> Iterator[str]:
    rest = cluster.rest
    for vertex in rest.job(job_id)["vertices"]:
        metrics = vertex["metrics"]
        yield (
            f"  {vertex['status']:9} {metrics['read-records']} in, {metrics['write-records']} out"
            f"  {vertex['name']}"
        )
    yield f"  {rest.restarts(job_id)} restarts, checkpoints {rest.checkpoints(job_id)['counts']}"
    for failure in rest.exceptions(job_id)[:5]:
        yield f"  {failure['timestamp']} {root_cause(failure['stacktrace'])}"


def _logs(cluster: Cluster) -> Iterator[str]:
    for log in sorted((cluster.folder / "log").iterdir()):
        yield f"{log.name}:"
        yield from (
            f"  {line[:300]}" for line in log.read_text(errors="replace").splitlines()[-_LINES:]
        )
