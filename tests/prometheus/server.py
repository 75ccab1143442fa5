"""A real Prometheus server that scrapes what a test starts and evaluates the shipped rules."""

import json
import socket
import subprocess
import urllib.parse
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from jobs.processes import free_port
from jobs.waiting import TimedOut, wait_until
from tests.patience import PATIENCE_S
from tests.prometheus import debian

ROOT = Path(__file__).parents[2]
RULES = ROOT / "monitoring" / "prometheus" / "rules.yml"


class Prometheus:
    """A server for as long as a `with` block; it looks often, so that tests wait little."""

    def __init__(self, folder: Path, targets: list[str]) -> None:
        self._folder = folder
        folder.mkdir()
        self._url = f"http://127.0.0.1:{(port := free_port())}"
        config = {
            "global": {"scrape_interval": "500ms", "evaluation_interval": "500ms"},
            "rule_files": [str(RULES)],
            "scrape_configs": [
                {"job_name": "riverrun", "static_configs": [{"targets": targets}]},
            ],
        }
        # A JSON document is a YAML document.
        (folder / "prometheus.yml").write_text(json.dumps(config))
        self._command = [
            str(debian.program("prometheus")),
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ]
        # A proxy that the environment names cannot reach this machine's own loopback.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def __enter__(self) -> Self:
        with (self._folder / "log").open("wb") as log:
            self._running = subprocess.Popen(
                self._command, cwd=self._folder, stdout=log, stderr=log
            )
        wait_until(self._ready, "Prometheus", timeout_s=PATIENCE_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._running.terminate()
        self._running.wait(timeout=30)

    def query(self, expr: str) -> list[tuple[dict[str, str], float]]:
        """The instant vector now: labels and value of each series."""
        found = self._get("query", query=expr)
        if found["resultType"] == "scalar":
            return [({}, float(found["result"][1]))]
        return [(each["metric"], float(each["value"][1])) for each in found["result"]]

    def value(self, expr: str) -> float | None:
        """That of the one series; None where there is none."""
        found = self.query(expr)
        assert len(found) <= 1, found
        return found[0][1] if found else None

    def wait_for(self, expr: str, value: float) -> None:
        """Until the one series has this value."""
        with suppress(TimedOut):
            wait_until(lambda: self.value(expr) == value, expr, timeout_s=PATIENCE_S)
        assert self.value(expr) == value, expr

    def names(self, matcher: str) -> set[str]:
        """Of the metrics that a matcher chooses."""
        found: list[str] = self._get("label/__name__/values", **{"match[]": matcher})
        return set(found)

    def alerts(self) -> list[dict[str, Any]]:
        """Those that fire or are about to: `labels`, `annotations`, `state`."""
        found: list[dict[str, Any]] = self._get("alerts")["alerts"]
        return found

    def healthy_rules(self) -> dict[str, str]:
        """Alert -> how its evaluation went, once it was evaluated."""
        groups = self._get("rules")["groups"]
        return {
            rule["name"]: rule["health"] + rule.get("lastError", "")
            for group in groups
            for rule in group["rules"]
        }

    def _ready(self) -> bool:
        assert self._running.poll() is None, (self._folder / "log").read_text()
        try:
            with self._opener.open(f"{self._url}/-/ready", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def _get(self, path: str, **parameters: str) -> Any:
        query = urllib.parse.urlencode(parameters)
        with self._opener.open(f"{self._url}/api/v1/{path}?{query}", timeout=30) as answer:
            found = json.load(answer)
        assert found["status"] == "success", found
        return found["data"]


def neighbours(count: int) -> int:
    """The first of so many free ports."""

    def taken(port: int) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    while True:
        first = free_port()
        if not any(taken(first + i) for i in range(count)):
            return first
