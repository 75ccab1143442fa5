"""What a cluster tells of itself, for tests that look for secrets there."""

import json
import urllib.request

from jobs.cluster import Cluster


def rest_answers(cluster: Cluster, job_id: str) -> dict[str, bytes]:
    """What Flink tells whoever reaches its REST port of a job and of its processes."""
    [manager] = cluster.rest.task_managers()
    vertices = [vertex["id"] for vertex in cluster.rest.job(job_id)["vertices"]]
    paths = [
        f"/jobs/{job_id}",
        f"/jobs/{job_id}/config",
        f"/jobs/{job_id}/plan",
        f"/jobs/{job_id}/exceptions",
        f"/jobs/{job_id}/checkpoints",
        f"/jobs/{job_id}/checkpoints/config",
        "/jobmanager/config",
        "/jobmanager/environment",
        "/jobmanager/log",
        "/jobmanager/stdout",
        f"/taskmanagers/{manager['id']}",
        f"/taskmanagers/{manager['id']}/log",
        *(f"/jobs/{job_id}/vertices/{vertex}" for vertex in vertices),
    ]
    answers = {}
    for path in paths:
        with urllib.request.urlopen(cluster.url + path, timeout=30) as answer:
            answers[path] = answer.read()
    assert json.loads(answers[f"/jobs/{job_id}/plan"])
    return answers
