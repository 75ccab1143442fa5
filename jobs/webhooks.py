"""The wiring of `[alerts] connector = "webhook"`."""

from pyflink.datastream import DataStream

from connectors import keying
from jobs.reading import sink_place
from jobs.settings import Config
from operators import webhook
from operators.webhook import Webhook, WebhookSettings
from state.names import TEXT, Uid


def webhooks(config: Config, alerts: list[DataStream]) -> list[DataStream]:
    """Operators that post these alerts; their dead letters are those that no receiver took."""
    if not alerts:
        return []
    first, *others = alerts
    return [
        keying.key_rows(keying.under_one_key(first.union(*others), webhook.KEY), TEXT, TEXT)
        .process(Webhook(settings), output_type=TEXT)
        .name("Webhook" if len(config.webhooks()) == 1 else f"Webhook {place + 1}")
        .uid(Uid.sink("alerts", "webhook", place))
        .force_non_parallel()
        for place, settings in settings_of(config)
    ]


def settings_of(config: Config) -> list[tuple[int, WebhookSettings]]:
    """What each webhook is told, with its place in `[alerts]`; references to secrets are as written."""
    return [
        (
            place,
            WebhookSettings(
                name=f"webhook of {sink_place('alerts', place, len(config.alerts) == 1)}",
                job=config.base_name,
                url=sink.url,
                headers=sink.headers,
                timeout_ms=sink.timeout_ms,
                max_backoff_ms=sink.max_backoff_ms,
                end_wait_ms=sink.end_wait_ms,
                raw_bytes=config.limits.raw_bytes if config.dead_letters else None,
            ),
        )
        for place, sink in config.webhooks()
    ]
