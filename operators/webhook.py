"""Webhook: the Flink function that posts alerts to a receiver, all under one key, in one subtask.

State holds what is not delivered yet, no more: after a failure that is sent again. The sending is done
by a thread (operators/courier.py); timers take out of state what it has delivered.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import Struct
from pyflink.datastream import KeyedProcessFunction, RuntimeContext, TimeDomain

from events.letters import dead_letter
from events.reasons import Reason, Stage
from operators.courier import Courier
from operators.delivering import Deliveries, Ended
from operators.gauges import Gauges
from operators.posting import Receiver
from operators.references import resolve
from operators.verdicts import MAX_WATERMARK
from state import names

KEY: Final = "alerts"
_LOOK_EVERY_MS: Final = 200


class WebhookSettings(NamedTuple):
    """Where alerts are posted; `url` and `headers` have their `${NAME}` still.

    Attributes
    ----------
    name, job : str
        What the log calls the receiver, and what the receiver is told of the job.
    end_wait_ms : int
        How long the end of the input may be held up by what is not delivered.
    raw_bytes : int or None
        How much of an alert its dead letter shows; None where dead letters are not written.
    """

    name: str
    job: str
    url: str
    headers: dict[str, str]
    timeout_ms: int
    max_backoff_ms: int
    end_wait_ms: int
    raw_bytes: int | None


class _Alert(Struct):
    """What is read of an alert: `id` is the transaction."""

    alert: str
    id: str | None = None


_read = msgspec.json.Decoder(_Alert).decode


class Webhook(KeyedProcessFunction):
    """Takes alerts as JSON text. Nothing comes out but dead letters: alerts that were given up."""

    def __init__(self, settings: WebhookSettings) -> None:
        self._settings = settings

    def open(self, runtime_context: RuntimeContext) -> None:
        settings = self._settings
        self._undelivered = runtime_context.get_map_state(names.UNDELIVERED)
        # Of the next alert; None before state was read, which takes a key, and there is none yet.
        self._number: int | None = None
        self._wakes_at = 0
        deliveries = Deliveries(settings.max_backoff_ms / 1000)
        self._dead = {Reason.ALERT_REFUSED: 0, Reason.ALERT_UNDELIVERED: 0}
        numbers: dict[str, Callable[[], int]] = {
            "alerts_delivered": lambda: deliveries.delivered,
            "alerts_waiting": lambda: len(deliveries),
            "alert_tries_failed": lambda: deliveries.failures,
            **{
                f"dead_letters_{reason}": partial(self._dead.__getitem__, reason)
                for reason in self._dead
            },
        }
        self._gauges = Gauges(runtime_context, numbers)
        self._courier = Courier(settings.name, _receiver(settings), deliveries)
        self._courier.start()

    def close(self) -> None:
        self._courier.close()

    def process_element(self, value: str, ctx: Any) -> Iterable[Any]:
        number = self._next_number()
        self._number = number + 1
        self._undelivered.put(number, value)
        self._courier.hand(number, _read(value).alert, value)
        ctx.timer_service().register_event_time_timer(MAX_WATERMARK)
        return self._go_on(ctx)

    def on_timer(self, timestamp: int, ctx: Any) -> Iterable[Any]:
        """What was delivered leaves the state; after a restore, the first brings in what is there."""
        self._next_number()
        if ctx.time_domain() is TimeDomain.EVENT_TIME:
            # The input has ended: there is no later.
            self._courier.finish(self._settings.end_wait_ms / 1000)
        elif timestamp >= self._wakes_at:
            self._wakes_at = 0
        out = self._go_on(ctx)
        self._gauges.woken(ctx)
        return out

    def _next_number(self) -> int:
        if self._number is None:
            kept = sorted(self._undelivered.items())
            for number, text in kept:
                self._courier.hand(number, _read(text).alert, text)
            self._number = kept[-1][0] + 1 if kept else 0
        return self._number

    def _go_on(self, ctx: Any) -> list[Any]:
        out = []
        for ended in self._courier.taken():
            self._undelivered.remove(ended.number)
            if ended.why is not None:
                out += self._letters(ended, ended.why)
        if self._courier.waiting and not self._wakes_at:
            timers = ctx.timer_service()
            self._wakes_at = timers.current_processing_time() + _LOOK_EVERY_MS
            timers.register_processing_time_timer(self._wakes_at)
        self._gauges.changing(ctx)
        return out

    def _letters(self, ended: Ended, why: str) -> list[Any]:
        reason = Reason.ALERT_REFUSED if ended.refused else Reason.ALERT_UNDELIVERED
        self._dead[reason] += 1
        if self._settings.raw_bytes is None:
            return []
        letter = dead_letter(
            Stage.ALERT,
            reason,
            f"{self._settings.name}: alert {ended.id}: {why}",
            source=None,
            position=None,
            id=_read(ended.text).id,
            raw=ended.text.encode(),
            limit=self._settings.raw_bytes,
        )
        return [(names.DEAD_LETTERS, letter)]


def _receiver(settings: WebhookSettings) -> Receiver:
    """With `${NAME}` filled in, by the process that uses them.

    Raises
    ------
    ValueError
        A variable is not set here, or holds what no URL or header may have.
    """
    try:
        url = resolve(settings.url)
        headers = {name: resolve(value) for name, value in settings.headers.items()}
    except KeyError as missing:
        variable = f"the environment variable {missing.args[0]}"
        raise ValueError(f"{settings.name}: {variable} is not set where the job runs") from None
    try:
        return Receiver(url, headers, settings.job, settings.timeout_ms / 1000)
    except ValueError as problem:
        raise ValueError(f"{settings.name}: {problem}") from None
