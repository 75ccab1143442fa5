"""Operators of a job that raise once, in the middle of it, at items that are counted.

They travel as the job's own do, with the project's code (jobs/shipping.py), and raise where they arrive: two
operators in two threads would otherwise have modules of two kinds.
"""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

from jobs import online_learning, shipping
from operators.monitor import Monitor
from operators.online_model import OnlineModel, OrderedOnlineModel

Inject = Callable[[tuple[int, ...], tuple[int, ...]], Path]


class _Failing:
    """Of an operator: `kind`, and what `_raising` is to wrap."""

    kind: type
    method: str

    def fail_at(self, folder: Path, places: tuple[int, ...]) -> Any:
        self._failing = str(folder), places
        return self

    def __reduce__(self) -> Any:
        fields = dict(self.__dict__)
        folder, places = fields.pop("_failing")
        plain = self.kind.__new__(self.kind)
        plain.__dict__.update(fields)
        unpack, shipped = shipping._reduce(plain)
        return _arrived, (unpack, shipped, self.method, folder, places)


class FailingModel(_Failing, OnlineModel):
    kind, method = OnlineModel, "_lane"


class FailingOrderedModel(_Failing, OrderedOnlineModel):
    kind, method = OrderedOnlineModel, "_lane"


class FailingMonitor(_Failing, Monitor):
    kind, method = Monitor, "process_element"


def _arrived(unpack: Any, shipped: Any, method: str, folder: str, places: tuple[int, ...]) -> Any:
    """The operator, on a task manager."""
    function = unpack(*shipped)
    seen = 0

    def check() -> None:
        nonlocal seen
        seen += 1
        for place in places:
            # The number counts from the last restore; the flag outlives the process.
            flag = f"{folder}/{method}-{place}"
            if seen == place and not os.path.exists(flag):
                with open(flag, "w"):
                    pass
                raise RuntimeError("injected")

    def process_element(value: Any, ctx: Any) -> Any:
        check()
        return type(function).process_element(function, value, ctx)

    def lane_of(key: Any) -> Any:
        lane = type(function)._lane(function, key)
        lane.handle = lambda item: check() or type(lane).handle(lane, item)
        return lane

    setattr(function, method, process_element if method == "process_element" else lane_of)
    return function


@contextlib.contextmanager
def injecting(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Iterator[Inject]:
    """Jobs built from then on fail at these items of the model's, and at these of the monitor's."""
    folder.mkdir()
    cloudpickle.register_pickle_by_value(sys.modules[__name__])

    def inject(model: tuple[int, ...], monitor: tuple[int, ...]) -> Path:
        for name, failing, places in (
            ("OnlineModel", FailingModel, model),
            ("OrderedOnlineModel", FailingOrderedModel, model),
            ("Monitor", FailingMonitor, monitor),
        ):
            make = lambda *given, f=failing, p=places: f(*given).fail_at(folder, p)
            monkeypatch.setattr(online_learning, name, make)
        return folder

    yield inject
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
