"""Makes the Grafana dashboard beside this file: what it shows, row by row.

    python monitoring/grafana/make_dashboard.py

A dashboard's JSON is long and says everything many times; here each query stands once.
"""

import json
from pathlib import Path
from typing import Any, Final, NamedTuple

DASHBOARD: Final = Path(__file__).with_name("riverrun.json")

# How Flink calls the metrics of an operator, and of a job.
OPERATOR: Final = "flink_taskmanager_job_task_operator"
JOB: Final = "flink_jobmanager_job"

_SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
_WIDTH: Final = 24
_HEIGHT: Final = 8


class Query(NamedTuple):
    """PromQL, and what its series are called."""

    expr: str
    legend: str


class Panel(NamedTuple):
    """A graph, or single numbers; `unit` as Grafana calls it, `share` of the width."""

    title: str
    unit: str
    queries: list[Query]
    note: str = ""
    kind: str = "timeseries"
    share: int = 8


def _of_job(metric: str, /, **labels: str) -> str:
    """A metric of the job that is chosen, with these matchers besides."""
    matchers = ['job_name="$job"', *(f"{label}{match}" for label, match in labels.items())]
    return f"{metric}{{{','.join(matchers)}}}"


def _operator(name: str, /, **labels: str) -> str:
    return _of_job(f"{OPERATOR}_{name}", **labels)


def _rate(name: str, by: str = "", /, **labels: str) -> str:
    grouped = f" by ({by})" if by else ""
    return f"sum{grouped} (rate({_operator(name, **labels)}[$__rate_interval]))"


def _recent(name: str, by: str = "") -> list[Query]:
    """The percentiles of the last values, of the subtask where they are worst."""
    grouped = f" by ({by})" if by else ""
    of = f"{{{{{by}}}}} " if by else ""
    return [
        Query(f"max{grouped} ({_operator(f'{name}_{part}')})", f"{of}{part}")
        for part in ("p50", "p99", "max")
    ]


_CHOSEN: Final = {"model": '=~"$model"', "role": '=~"$role"'}
_WHO: Final = "{{model}} ({{role}})"
_PREDICTOR: Final = {"operator_name": '="Predictor"'}
_BY_WHO: Final = "monitor, model, role"


def _monitored(name: str, /, **labels: str) -> str:
    metric = _operator(f"monitor_model_role_{name}", **_CHOSEN, **labels)
    return f"max by ({_BY_WHO}) ({metric})"


def _metrics(scope: str) -> Query:
    metric = _operator(
        "monitor_model_role_scope_metric_millionths",
        scope=f'="{scope}"',
        metric='=~"$metric"',
        **_CHOSEN,
    )
    return Query(f"max by ({_BY_WHO}, metric) ({metric}) / 1e6", f"{{{{metric}}}} {_WHO}")


ROWS: Final[dict[str, list[Panel]]] = {
    "Health": [
        Panel(
            "Running for",
            "ms",
            [Query(f"max({_of_job(f'{JOB}_runningTime')})", "running")],
            kind="stat",
            share=4,
        ),
        Panel(
            "Restarts",
            "short",
            [Query(f"max({_of_job(f'{JOB}_numRestarts')})", "restarts")],
            kind="stat",
            share=4,
        ),
        Panel(
            "Age of the last checkpoint",
            "ms",
            [
                Query(
                    f"time() * 1000 - max({_of_job(f'{JOB}_lastCheckpointCompletedTimestamp')})",
                    "age",
                )
            ],
            kind="stat",
            share=4,
        ),
        Panel(
            "Alerts that fire",
            "short",
            [
                Query(
                    'sum by (alertname) (ALERTS{alertname=~"Riverrun.+",alertstate="firing"})',
                    "{{alertname}}",
                )
            ],
            note="Those of rules.yml, for all jobs.",
            share=12,
        ),
        Panel(
            "Records and predictions a second",
            "short",
            [
                Query(_rate("records"), "records"),
                Query(_rate("predictions"), "predictions"),
                Query(_rate("examples"), "learned"),
            ],
        ),
        Panel(
            "Dead letters a minute, by reason",
            "short",
            [Query(f"60 * {_rate('reason_dead_letters', 'reason')} > 0", "{{reason}}")],
        ),
        Panel(
            "Checkpoints",
            "ms",
            [Query(f"max({_of_job(f'{JOB}_lastCheckpointDuration')})", "duration")],
            share=4,
        ),
        Panel(
            "Size of a checkpoint",
            "bytes",
            [Query(f"max({_of_job(f'{JOB}_lastCheckpointFullSize')})", "size")],
            share=4,
        ),
    ],
    "Quality": [
        Panel(
            "Over the window",
            "short",
            [_metrics("window")],
            note="Each monitor's last evaluations: what is known now of predictions whose truth has come.",
        ),
        Panel("Over all evaluations", "short", [_metrics("all")]),
        Panel(
            "Challengers: loss less the champion's",
            "short",
            [
                Query(
                    f"{_monitored(f'versus_{name}_millionths')} / 1e6",
                    f"{{{{model}}}} {name}",
                )
                for name in ("low", "difference", "high")
            ],
            note="On the same transactions. A challenger is better where the whole interval is below 0.",
        ),
        Panel(
            "Evaluations",
            "short",
            [Query(_monitored("scope_evaluated", scope='="all"'), _WHO)],
            share=12,
        ),
        Panel(
            "Alerts of monitors, a minute",
            "short",
            [Query(f"60 * {_rate('alerts')}", "alerts")],
            share=12,
        ),
    ],
    "Latency": [
        Panel(
            "End to end",
            "ms",
            _recent("end_to_end_ms"),
            note="From a transaction's own time to its prediction.",
        ),
        Panel(
            "Prediction latency",
            "ms",
            _recent("latency_ms"),
            note="From when the record was produced (Kafka) or ingested (files) to its prediction.",
        ),
        Panel(
            "Platform backlog",
            "ms",
            _recent("backlog_ms"),
            note="From when the source had the record to its prediction.",
        ),
        Panel(
            "Processing of a record",
            "µs",
            _recent("processing_us", "operator_name"),
            note="All that an operator does with it, the mean of a batch.",
        ),
        Panel("Predict", "µs", _recent("predict_us"), note="One call of a River model."),
        Panel("Learn", "µs", _recent("learn_us"), note="One call of a River model."),
    ],
    "Labels": [
        Panel("Labels a second", "short", [Query(_rate("labels"), "labels")]),
        Panel(
            "Open transactions",
            "short",
            [Query(f"sum({_operator('pending_transactions')})", "held in the join")],
        ),
        Panel(
            "Share without a true label",
            "percentunit",
            [Query(f"{_monitored('unlabelled_millionths')} / 1e6", _WHO)],
        ),
        Panel(
            "Label delay",
            "ms",
            [Query(_monitored(f"label_delay_ms_{q}"), f"{_WHO} {q}") for q in ("p50", "p99")],
        ),
        Panel(
            "In the join, a second",
            "short",
            [
                Query(_rate(name), name)
                for name in ("timeouts", "unlabelled", "corrections", "duplicates")
            ],
        ),
        Panel(
            "Labels, by what they were",
            "short",
            [
                Query(_monitored(name), f"{_WHO} {name}")
                for name in ("labelled", "assumed", "late", "corrected")
            ],
        ),
    ],
    "Models": [
        Panel(
            "Age of the newest version",
            "ms",
            [
                Query(
                    "time() * 1000 - max by (model) "
                    f"({_operator('model_version_changed_at_ms', model=_CHOSEN['model'])})",
                    "{{model}}",
                )
            ],
            note="Since an example, or a message, changed the model.",
        ),
        Panel(
            "Size of a snapshot",
            "bytes",
            [
                Query(
                    f"max by (model) ({_operator('model_snapshot_bytes', model=_CHOSEN['model'])})",
                    "{{model}}",
                )
            ],
        ),
        Panel("A snapshot takes", "ms", _recent("snapshot_ms")),
        Panel(
            "Examples learned a second",
            "short",
            [Query(_rate("model_learned", "model", model=_CHOSEN["model"]), "{{model}}")],
            share=12,
        ),
        Panel(
            "Suspensions, rebuilds, what waits for a model",
            "short",
            [
                Query(f"sum({_operator(name)})", name)
                for name in ("suspensions", "rebuilds", "held", "live_lanes")
            ],
            share=12,
        ),
    ],
    "Kafka and published mode": [
        Panel(
            "Messaging",
            "ms",
            _recent("messaging_ms"),
            note="From when a record was produced to when the source had it; Kafka only.",
        ),
        Panel(
            "Records behind, by source",
            "short",
            [Query(f"sum by (operator_name) ({_operator('pendingRecords')})", "{{operator_name}}")],
            note="Of the learn queue: the learner's lag.",
        ),
        Panel(
            "Learners are behind by",
            "ms",
            [Query(f"max by (operator_name) ({_operator('lag_ms')})", "{{operator_name}}")],
        ),
        Panel(
            "Age of the versions that predict",
            "ms",
            [Query(f"max({_operator('version_age_ms', **_PREDICTOR)})", "oldest")],
            share=12,
        ),
        Panel(
            "Versions a minute",
            "short",
            [
                Query(f"60 * {_rate(name)}", name)
                for name in ("versions_loaded", "versions_skipped", "versions_refused")
            ],
            share=12,
        ),
    ],
}


def dashboard() -> dict[str, Any]:
    """The dashboard as Grafana imports it."""
    panels: list[dict[str, Any]] = []
    y = 0
    for title, row in ROWS.items():
        panels.append(
            {
                "id": len(panels) + 1,
                "type": "row",
                "title": title,
                "collapsed": False,
                "gridPos": {"h": 1, "w": _WIDTH, "x": 0, "y": y},
                "panels": [],
            }
        )
        y += 1
        x = 0
        for panel in row:
            if x + panel.share > _WIDTH:
                x, y = 0, y + _HEIGHT
            place = {"h": _HEIGHT, "w": panel.share, "x": x, "y": y}
            panels.append(_panel(len(panels) + 1, panel, place))
            x += panel.share
        y += _HEIGHT
    return {
        "uid": "riverrun",
        "title": "riverrun",
        "tags": ["riverrun"],
        "schemaVersion": 39,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": _variables()},
        "annotations": {"list": []},
        "panels": panels,
    }


def _panel(number: int, panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.note,
        "datasource": _SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": panel.unit}, "overrides": []},
        "options": {},
        "targets": [
            {
                "refId": chr(ord("A") + place),
                "datasource": _SOURCE,
                "expr": query.expr,
                "legendFormat": query.legend,
            }
            for place, query in enumerate(panel.queries)
        ],
    }


def _variables() -> list[dict[str, Any]]:
    monitored = _operator("monitor_model_role_scope_metric_millionths")
    return [
        {
            "name": "datasource",
            "label": "Prometheus",
            "type": "datasource",
            "query": "prometheus",
            "refresh": 1,
        },
        _variable("job", "Job", f"label_values({JOB}_runningTime, job_name)", several=False),
        _variable("model", "Model", f"label_values({_operator('model_learned')}, model)"),
        _variable("role", "Role", f"label_values({monitored}, role)"),
        _variable("metric", "Metric", f"label_values({monitored}, metric)"),
    ]


def _variable(name: str, label: str, query: str, several: bool = True) -> dict[str, Any]:
    every = {"includeAll": True, "multi": True, "allValue": ".*"} if several else {}
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": _SOURCE,
        "definition": query,
        "query": {"query": query, "refId": f"Variable-{name}"},
        "refresh": 2,
        "sort": 1,
        **every,
    }


def text() -> str:
    """What stands in the file."""
    return json.dumps(dashboard(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    DASHBOARD.write_text(text(), encoding="utf-8")
