"""A monitor's view as bytes.

Its classes are the project's own, and a task manager may run several releases of it at a time, each with
modules of its own under the same names (see jobs/shipping.py). So a class is written as a name of the
list below and read as this module's own class of that name, never through `sys.modules`.
"""

import io
import pickle
from typing import Any, Final

from models import metrics
from operators import (
    comparing,
    data_quality,
    drifts,
    features_monitor,
    monitor_settings,
    monitoring,
    telling,
)

_CLASSES: Final[dict[str, type]] = {
    f"{kind.__module__}.{kind.__qualname__}": kind
    for kind in (
        monitoring.ModelMonitor,
        monitoring.Scope,
        monitoring.Counts,
        monitoring.Window,
        monitoring.Waits,
        features_monitor.FeaturesMonitor,
        comparing.Comparisons,
        comparing.Comparison,
        metrics.Measured,
        metrics.Counted,
        metrics.Pair,
        telling.Teller,
        telling.Watched,
        drifts.Drift,
        drifts.Seen,
        data_quality.Quality,
        data_quality.Known,
        monitor_settings.MonitorSettings,
        monitor_settings.DriftSettings,
        monitor_settings.QualitySettings,
    )
}
_NAMES: Final = {kind: name for name, kind in _CLASSES.items()}


def dumps(view: Any) -> bytes:
    """A view, whose classes are those of this release."""
    file = io.BytesIO()
    _Pickler(file, protocol=pickle.HIGHEST_PROTOCOL).dump(view)
    return file.getvalue()


def loads(data: bytes) -> Any:
    """What `dumps` has written; it raises whatever pickle does of what it cannot read."""
    return _Unpickler(io.BytesIO(data)).load()


class _Pickler(pickle.Pickler):
    def persistent_id(self, obj: Any) -> str | None:
        return _NAMES.get(obj) if isinstance(obj, type) else None


class _Unpickler(pickle.Unpickler):
    def persistent_load(self, name: Any) -> type:
        return _CLASSES[name]
