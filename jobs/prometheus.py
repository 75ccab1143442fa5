"""Flink's Prometheus reporter: what turns it on, and which process answers where.

It ships with Flink, as a plugin. It listens on every address of its machine, and cannot be told
otherwise: names and numbers are all that it gives, but it gives them to whoever reaches its port.
"""

import socket
from typing import Final

from jobs.errors import Failure

# Its folder among Flink's plugins.
PLUGIN: Final = "metrics-prometheus"

_REPORTER: Final = "metrics.reporter.prom"

# The highest port that there is.
_LAST: Final = 65535


def settings(port: int) -> dict[str, str]:
    """Flink's settings of one process whose metrics are to be had at a port."""
    return {
        f"{_REPORTER}.factory.class": (
            "org.apache.flink.metrics.prometheus.PrometheusReporterFactory"
        ),
        f"{_REPORTER}.port": str(port),
        # Otherwise `fraud-eu.v2` and `fraud_eu_v2` would be one model.
        f"{_REPORTER}.filterLabelValueCharacters": "false",
        # They are others after each restart: what is counted would begin anew under other labels.
        f"{_REPORTER}.scope.variables.excludes": "task_attempt_id;task_attempt_num",
        # What these count is there by reason in a label.
        f"{_REPORTER}.filter.excludes": "*:dead_letters_*",
    }


def answers(port: int) -> bool:
    """Whether anything listens there, on this machine."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True


def port_of(first: int, task_manager: int | None) -> int:
    """The port of a cluster's job manager (None) or of a task manager, by its number from 1.

    Raises
    ------
    Failure
        There is no such port.

    Examples
    --------
    >>> port_of(9249, None), port_of(9249, 2)
    (9249, 9251)
    """
    port = first + (task_manager or 0)
    if port > _LAST:
        raise Failure(f"task manager {task_manager} would need port {port}: name a lower one")
    return port
