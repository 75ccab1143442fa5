"""The metrics that docs/monitoring-metrics.md lists."""

import re
from typing import NamedTuple

from tests.prometheus.server import ROOT

DOCS = ROOT / "docs" / "monitoring-metrics.md"
OPERATOR = "flink_taskmanager_job_task_operator_"
_PARTS = ("p50", "p99", "max")
# | `name{labels}` | unit | operators | ...
_LINE = re.compile(r"^\| `([a-z0-9_*]+)(?:\{([a-z,]+)\})?` \| ([^|]+) \| ([A-Z][^|]+) \|")


class Documented(NamedTuple):
    """A metric, as Prometheus has it, and where."""

    name: str
    labels: frozenset[str]
    unit: str
    operators: tuple[str, ...]


def documented() -> list[Documented]:
    """Every metric of the project's own."""
    found = []
    for line in DOCS.read_text().splitlines():
        if (row := _LINE.match(line)) is None:
            continue
        name, labels, unit, operators = row.groups()
        names = [f"{name[:-1]}{part}" for part in _PARTS] if name.endswith("*") else [name]
        for each in names:
            found.append(
                Documented(
                    OPERATOR + each,
                    frozenset(labels.split(",") if labels else ()),
                    unit,
                    tuple(operators.split(", ")),
                )
            )
    return found


def of(*operators: str) -> dict[str, Documented]:
    """Those of these operators, by name."""
    return {each.name: each for each in documented() if set(each.operators) & set(operators)}
