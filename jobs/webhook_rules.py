"""What must hold of webhooks, and what is said about them besides."""

from collections.abc import Iterator, Mapping
from typing import Final
from urllib.parse import urlsplit

from jobs import secret_values
from jobs.reading import Mistakes, sink_place
from jobs.settings import Config
from operators.posting import header_problem, url_problem

_HERE: Final = ("localhost", "127.0.0.1", "::1")


def check(config: Config, mistakes: Mistakes, environ: Mapping[str, str]) -> None:
    """Note what no alert could be posted with; values, which may be secrets, are not shown."""
    for number, sink in config.webhooks():
        place = sink_place("alerts", number, len(config.alerts) == 1)
        if sink.url is not None and mistakes.none_at(place / "url"):
            problem = url_problem(secret_values.resolve(sink.url, environ))
            if problem is not None:
                mistakes.add(place / "url", problem)
        seen: dict[str, str] = {}
        for name, value in (sink.headers or {}).items():
            at = place / "headers" / name
            if not mistakes.none_at(at):
                continue
            problem = header_problem(name, secret_values.resolve(value, environ))
            if problem is None and seen.setdefault(name.lower(), name) != name:
                problem = "stands there twice; case tells no headers apart"
            if problem is not None:
                mistakes.add(at, problem)


def warnings(config: Config) -> Iterator[str]:
    """What is allowed and probably not meant."""
    for number, sink in config.webhooks():
        parts = urlsplit(sink.url)
        secret = any(map(secret_values.references, [sink.url, *sink.headers.values()]))
        if parts.scheme == "http" and secret and parts.hostname not in _HERE:
            place = sink_place("alerts", number, len(config.alerts) == 1) / "url"
            yield f"{place} begins with http: its secrets travel as anybody on the way can read them"


def not_called(config: Config) -> Iterator[str]:
    """What a backtest leaves out."""
    if config.webhooks():
        stored = ", its other outputs are written" if config.stored("alerts") else ""
        yield f"[alerts] webhooks are not called by a backtest{stored}"
