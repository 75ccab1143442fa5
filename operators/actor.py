"""Actor: the Flink function around operators/acting.py, one subtask under one key."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from pyflink.datastream import KeyedProcessFunction, RuntimeContext

from operators.acting import Acting, follows
from operators.action_settings import ActionSettings
from operators.gauges import Gauges
from state import names
from state.signing import SigningKey, signed_control

KEY = "actor"


class Actor(KeyedProcessFunction):
    """Takes metrics and alerts; main output: control messages, signed where the job has a key."""

    def __init__(self, settings: ActionSettings) -> None:
        self._settings = settings

    def open(self, runtime_context: RuntimeContext) -> None:
        self._state = runtime_context.get_state(names.ACTED)
        self._acting: Acting | None = None
        self._said = 0
        path = self._settings.signing_key_file
        self._key = None if path is None else SigningKey.load(Path(path))
        numbers: dict[str, Callable[[], int]] = {
            "actions": lambda: self._said,
            "actions_suppressed": lambda: self._acting.suppressed if self._acting else 0,
        }
        self._gauges = Gauges(runtime_context, numbers)

    def process_element(self, value: str, ctx: Any) -> Iterable[Any]:
        self._gauges.changing(ctx)
        if self._acting is None:
            self._acting = Acting(self._settings, self._state.value())
        said = follows(self._acting, value)
        self._state.update(self._acting.kept())
        self._said += len(said)
        return said if self._key is None else [signed_control(text, self._key) for text in said]

    def on_timer(self, timestamp: int, ctx: Any) -> Iterable[Any]:
        self._gauges.woken(ctx)
        return ()
