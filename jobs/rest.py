"""A small client of Flink's REST API.

The paths and fields are those of the "REST API" page of Flink's documentation, version 2.3.
"""

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Collection, Iterable
from typing import Any, Literal, NamedTuple
from urllib.parse import quote, urlencode, urlsplit

from jobs.errors import Failure
from jobs.waiting import wait_until

Json = dict[str, Any]
Aggregation = Literal["sum", "min", "max", "avg"]

TERMINAL_STATES = frozenset({"FINISHED", "CANCELED", "FAILED"})

# Flink's HTTP server refuses a request line above 4,096 bytes; operator names are part of metric ids.
_METRIC_QUERY_CHARACTERS = 2_000


class RestError(Failure):
    """Flink refused or failed a request.

    Attributes
    ----------
    status : int or None
        HTTP status; None where no answer came.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class Unreachable(RestError):
    """Nothing answers at the address, or a job manager that is not ready yet (status 503)."""


class Job(NamedTuple):
    """A line of the job list; times in milliseconds since the epoch, `ended` None while it runs."""

    id: str
    name: str
    state: str
    started: int
    ended: int | None


class Rest:
    """Flink's REST API at one address.

    Parameters
    ----------
    url
        Address of the job manager's REST port, for example `http://127.0.0.1:8081`.
    timeout_s
        Seconds that one request may take.

    Every method raises `Unreachable` where nothing answers and `RestError` where Flink refuses.
    """

    def __init__(self, url: str, *, timeout_s: float = 10.0) -> None:
        self.url = url.rstrip("/")
        self.timeout_s = timeout_s
        # A proxy that the environment names cannot reach this machine's own loopback.
        local = urlsplit(self.url).hostname in {"127.0.0.1", "localhost", "::1"}
        proxies = [urllib.request.ProxyHandler({})] if local else []
        self._opener = urllib.request.build_opener(*proxies)

    def overview(self) -> Json:
        """Counts of task managers, slots and jobs, and Flink's version."""
        return self._call("GET", "/overview")

    def task_managers(self) -> list[Json]:
        """The registered task managers: `id`, `path`, `slotsNumber`, `freeSlots` and more."""
        managers: list[Json] = self._call("GET", "/taskmanagers")["taskmanagers"]
        return managers

    def jobs(self) -> list[Job]:
        """Every job that the cluster remembers, newest first."""
        found = (
            Job(
                job["jid"],
                job["name"],
                job["state"],
                job["start-time"],
                None if job["end-time"] < 0 else job["end-time"],
            )
            for job in self._call("GET", "/jobs/overview")["jobs"]
        )
        return sorted(found, key=lambda job: job.started, reverse=True)

    def job_by_name(self, name: str) -> Job | None:
        """The job of that name: one that runs if there is one, else the newest; None if none.

        Raises
        ------
        RestError
            Several of that name run.
        """
        named = [job for job in self.jobs() if job.name == name]
        running = [job for job in named if job.state not in TERMINAL_STATES]
        if len(running) > 1:
            ids = ", ".join(job.id for job in running)
            raise RestError(f"{len(running)} jobs named {name!r} run at {self.url}: {ids}")
        return next(iter(running or named), None)

    def job(self, job_id: str) -> Json:
        """State, times and vertices of a job."""
        return self._call("GET", f"/jobs/{job_id}")

    def parameters(self, job_id: str) -> dict[str, str]:
        """The global job parameters that a job was submitted with."""
        found: dict[str, str] = self._call("GET", f"/jobs/{job_id}/config")["execution-config"][
            "user-config"
        ]
        return found

    def state(self, job_id: str) -> str:
        """`RUNNING`, `FINISHED` and so on."""
        state: str = self._call("GET", f"/jobs/{job_id}/status")["status"]
        return state

    def checkpoints(self, job_id: str) -> Json:
        """`counts`, `latest` and `history` of a job's checkpoints and savepoints."""
        return self._call("GET", f"/jobs/{job_id}/checkpoints")

    def exceptions(self, job_id: str) -> list[Json]:
        """The failures of a job, newest first: `exceptionName`, `stacktrace`, `timestamp`, ..."""
        answer = self._call("GET", f"/jobs/{job_id}/exceptions")
        entries: list[Json] = answer["exceptionHistory"]["entries"]
        return entries

    def failure(self, job_id: str) -> str | None:
        """The innermost cause of a job's newest failure, on one line; None if it never failed."""
        newest = next(iter(self.exceptions(job_id)), None)
        return None if newest is None else root_cause(newest["stacktrace"])

    def restarts(self, job_id: str) -> int:
        """How often a job was restarted since it was submitted to this job manager.

        By the attempts of its tasks. The metric `numRestarts` is fetched only now and then, and stays
        old for a minute and more where a task manager that died is still asked for its metrics.
        """
        vertices = (vertex["id"] for vertex in self.job(job_id)["vertices"])
        return max(
            (
                task["attempt"]
                for vertex in vertices
                for task in self._call("GET", f"/jobs/{job_id}/vertices/{vertex}")["subtasks"]
            ),
            default=0,
        )

    def metrics(
        self, job_id: str, names: Iterable[str], aggregation: Aggregation = "sum"
    ) -> dict[str, dict[str, float]]:
        """Named metrics of each operator, aggregated over its subtasks.

        Parameters
        ----------
        names
            Last parts of metric identifiers: `numRecordsIn`, or a metric of an operator's own.

        Returns
        -------
        dict
            Operator -> name -> value. What belongs to a whole vertex stands under the vertex's
            name. Operator names are as in metric identifiers (characters other than letters and
            digits may have become `_`). The job manager fetches values every
            `metrics.fetcher.update-interval`, so they are a little old.
        """
        wanted = set(names)
        found: dict[str, dict[str, float]] = {}
        for vertex in self.job(job_id)["vertices"]:
            path = f"/jobs/{job_id}/vertices/{vertex['id']}/subtasks/metrics"
            known: Any = self._call("GET", path)
            ids = [metric["id"] for metric in known if metric["id"].split(".")[-1] in wanted]
            for chunk in _chunks(ids):
                query = f"agg={aggregation}&get=" + ",".join(chunk)
                values: Any = self._call("GET", f"{path}?{query}")
                for value in values:
                    operator, _, name = value["id"].rpartition(".")
                    of_operator = found.setdefault(operator or vertex["name"], {})
                    of_operator[name] = float(value[aggregation])
        return found

    def cancel(self, job_id: str) -> None:
        """Ask a job to cancel; `wait_for(job_id, {"CANCELED"})` waits until it has."""
        self._call("PATCH", f"/jobs/{job_id}?" + urlencode({"mode": "cancel"}))

    def stop_with_savepoint(
        self, job_id: str, directory: str | None = None, *, timeout_s: float = 600.0
    ) -> str:
        """Take a savepoint, stop the job, and return where the savepoint lies.

        Pending timers are not fired (the job is not drained): a job that goes on from the
        savepoint finds its open transactions as they were.

        Parameters
        ----------
        directory
            Folder (path or URI as Flink sees it) that the savepoint's own folder is made in;
            None for the cluster's `execution.checkpointing.savepoint-dir`.
        timeout_s
            Seconds until `TimedOut`; Flink may still complete the savepoint after that.
        """
        body = {"targetDirectory": directory, "drain": False}
        return self._savepoint(job_id, "stop", body, timeout_s)

    def savepoint(
        self, job_id: str, directory: str | None = None, *, timeout_s: float = 600.0
    ) -> str:
        """Take a savepoint of a job that goes on, and return where it lies."""
        body = {"target-directory": directory, "cancel-job": False}
        return self._savepoint(job_id, "savepoints", body, timeout_s)

    def wait_for(self, job_id: str, states: Collection[str], *, timeout_s: float = 60.0) -> str:
        """Wait until a job is in one of `states`, and return which.

        Raises
        ------
        RestError
            The job has ended in another state; the text says why.
        TimedOut
            `timeout_s` have passed.
        """

        def reached() -> str | None:
            state = self.state(job_id)
            if state in states:
                return state
            if state in TERMINAL_STATES:
                cause = self.failure(job_id)
                raise RestError(f"job {job_id} is {state}" + (f": {cause}" if cause else ""))
            return None

        return wait_until(
            reached, f"job {job_id} in state {' or '.join(sorted(states))}", timeout_s=timeout_s
        )

    def _savepoint(self, job_id: str, path: str, body: Json, timeout_s: float) -> str:
        trigger = self._call("POST", f"/jobs/{job_id}/{path}", body)["request-id"]

        def done() -> Json | None:
            answer = self._call("GET", f"/jobs/{job_id}/savepoints/{trigger}")
            if answer["status"]["id"] != "COMPLETED":
                return None
            operation: Json = answer["operation"]
            return operation

        operation = wait_until(done, f"savepoint of job {job_id}", timeout_s=timeout_s)
        if "failure-cause" in operation:
            cause = root_cause(operation["failure-cause"]["stack-trace"])
            raise RestError(f"savepoint of job {job_id} failed: {cause}")
        location: str = operation["location"]
        return location

    def _call(self, method: str, path: str, body: Json | None = None) -> Json:
        request = urllib.request.Request(
            self.url + path,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
            method=method,
        )
        try:
            with self._opener.open(request, timeout=self.timeout_s) as response:
                text = response.read()
        except urllib.error.HTTPError as error:
            with error:
                reason = _reason(error.read())
            refused = Unreachable if error.code == 503 else RestError
            message = f"{method} {self.url}{path}: {error.code} {reason}"
            raise refused(message, error.code) from None
        except OSError as error:
            cause = error.reason if isinstance(error, urllib.error.URLError) else error
            raise Unreachable(f"no Flink REST API at {self.url}: {cause}") from None
        except http.client.HTTPException as error:
            raise RestError(f"{self.url} does not speak HTTP: {error!r}") from None
        try:
            answer: Json = json.loads(text) if text else {}
        except ValueError:
            raise RestError(f"{self.url}{path} is not JSON: is this Flink's REST port?") from None
        return answer


def root_cause(stacktrace: str) -> str:
    """The innermost cause of a Java stack trace, on one line.

    Examples
    --------
    >>> root_cause("java.lang.RuntimeException: outer\\n\\tat a.b(C.java:1)\\n"
    ...            "Caused by: java.io.IOException: disk full\\n\\tat d.e(F.java:2)\\n")
    'java.io.IOException: disk full'
    """
    lines = [line.strip() for line in stacktrace.splitlines() if line.strip()]
    causes = [line for line in lines if line.startswith("Caused by: ")]
    return causes[-1].removeprefix("Caused by: ") if causes else next(iter(lines), "unknown")


def _reason(body: bytes) -> str:
    """What Flink says in the body of an error."""
    try:
        errors = json.loads(body)["errors"]
    except (ValueError, KeyError, TypeError):
        return body[:200].decode(errors="replace")
    # The last of several holds the stack trace behind a line such as "Internal server error."
    marker = "<Exception on server side:"
    return "; ".join(
        root_cause(error.split(marker)[1]) if marker in error else error for error in errors
    )


def _chunks(ids: list[str]) -> Iterable[list[str]]:
    """Quoted metric ids in groups that fit into one request line."""
    chunk: list[str] = []
    for metric in map(quote, ids):
        if chunk and sum(map(len, chunk)) + len(chunk) + len(metric) > _METRIC_QUERY_CHARACTERS:
            yield chunk
            chunk = []
        chunk.append(metric)
    if chunk:
        yield chunk
