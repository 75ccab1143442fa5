"""The dashboard's queries, asked."""

from collections.abc import Collection

from monitoring.grafana import make_dashboard
from tests.prometheus.server import Prometheus

_NAMED = ("model", "role", "metric", "reason", "operator_name", "alertname")


def assert_shown(prometheus: Prometheus, job: str, rows: Collection[str]) -> None:
    """Each query of these rows of the dashboard has an answer; the others are understood, at least."""
    row = ""
    asked = 0
    for panel in make_dashboard.dashboard()["panels"]:
        if panel["type"] == "row":
            row = panel["title"]
            continue
        for target in panel["targets"]:
            expr = target["expr"].replace("$job", job).replace("$__rate_interval", "1m")
            for variable in ("model", "role", "metric"):
                expr = expr.replace(f"${variable}", ".*")
            assert "$" not in expr
            found = prometheus.query(expr)
            if row in rows:
                assert found, f"{row}: {panel['title']}: {expr}"
                asked += 1
            # What a series is called stands in its labels.
            legend = target["legendFormat"]
            for labels, _ in found:
                assert all(f"{{{{{name}}}}}" not in legend or name in labels for name in _NAMED)
    assert asked >= 2 * len(rows)


def assert_choices(prometheus: Prometheus, job: str) -> None:
    """Each variable of the dashboard has something to choose from."""
    for variable in make_dashboard.dashboard()["templating"]["list"][1:]:
        of_what, label = variable["query"]["query"][len("label_values(") : -1].rsplit(", ", 1)
        assert any(label in labels for labels, _ in prometheus.query(of_what.replace("$job", job)))
