"""`riverrun watch`: what monitors tell, live in the terminal."""

import time
from typing import Any, Final

import msgspec
from msgspec import Struct
from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from events.messages import Alert, Versus
from jobs import chart
from jobs.alert_streams import name_of, streams
from jobs.config import Config
from jobs.durations import readable_duration
from jobs.errors import Failure
from jobs.following import Begun, Following
from jobs.monitor_records import (
    Board,
    Line,
    Tally,
    Track,
    champion_first,
    decoded,
    former,
    read_alert,
    read_metrics,
)
from jobs.readable import moment, printable, share, value

OUTPUTS: Final = ("metrics", "alerts")
EVERY_S: Final = 1.0
MOST_ALERTS: Final = 8
MOST_METRICS: Final = 8
_HISTORY: Final = 24
_PANEL: Final = 54


class ModelFrame(Struct, frozen=True):
    """A model in a role.

    Attributes
    ----------
    evaluated, window : int or None
        Evaluations so far, and those that `metrics` are of.
    history : dict
        Metric -> its last values, oldest first.
    until : int or None
        About until when the model had this role, in ms; None where it has it still.
    unlabelled : float or None
        Share of the predictions without a true label.
    delay_p50_ms, delay_p99_ms : float or None
        How long true labels took.
    """

    monitor: str
    model: str
    role: str
    until: int | None
    version: str | None
    evaluated: int | None
    window: int | None
    metrics: dict[str, float]
    history: dict[str, list[float]]
    unlabelled: float | None
    delay_p50_ms: float | None
    delay_p99_ms: float | None
    versus: Versus | None


class Frame(Struct, frozen=True):
    """What is known at a moment.

    Attributes
    ----------
    clock : int or None
        The highest event time that a monitor has seen, in ms.
    open : list of str
        What is changed and has not recovered.
    alerts : list
        The newest, newest first.
    records, left_out : dict
        Output -> records read, and lines that are none.
    """

    job: str
    clock: int | None
    models: list[ModelFrame]
    open: list[str]
    alerts: list[Alert]
    records: dict[str, int]
    left_out: dict[str, int]


class Watched:
    """Everything told so far, fed with what is new."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._board = Board()
        self._tallies = {output: Tally() for output in OUTPUTS if self._config.stored(output)}

    def take(self, following: Following) -> bool:
        """Read what is new; whether there was anything."""
        anything = False
        try:
            for output, line in following.new():
                self._add(output, line)
                anything = True
        except Begun:
            self.clear()
            return True
        return anything

    def _add(self, output: str, line: Line) -> None:
        tally = self._tallies[output]
        if output == "metrics":
            for record in decoded(iter((line,)), read_metrics, tally):
                self._board.metrics(record)
        else:
            for alert in decoded(iter((line,)), read_alert, tally):
                self._board.alert(alert)

    def frame(self) -> Frame:
        """As it is now."""
        board = self._board
        still = (stream for stream in streams(board.alerts, with_monitor=True))
        return Frame(
            self._config.job.name,
            board.clock,
            [_model(track, board) for track in champion_first(board)],
            [stream.name for stream in still if stream.open is not None],
            list(board.alerts)[-MOST_ALERTS:][::-1],
            {output: tally.records for output, tally in self._tallies.items()},
            {output: tally.refused for output, tally in self._tallies.items()},
        )


def _model(track: Track, board: Board) -> ModelFrame:
    last, window = track.last, track.window.last
    delays = None if last is None else last.delay_ms
    versus = None if last is None else last.versus
    unlabelled = None if last is None else last.unlabelled
    names = {} if window is None else window.values
    points = list(track.window)[-_HISTORY:]
    return ModelFrame(
        *track.key,
        until=former(track, board),
        version=None if last is None else last.version,
        evaluated=None if last is None else last.n,
        window=None if window is None else window.n,
        metrics=names,
        history={
            name: [point.values[name] for point in points if name in point.values] for name in names
        },
        unlabelled=unlabelled if isinstance(unlabelled, float) else None,
        delay_p50_ms=getattr(delays, "p50", None),
        delay_p99_ms=getattr(delays, "p99", None),
        versus=versus if isinstance(versus, Versus) else None,
    )


def once(config: Config) -> Frame:
    """What is known now.

    Raises
    ------
    Failure
        Neither `[metrics]` nor `[alerts]` is configured; Kafka does not answer or refuses.
    """
    _require_outputs(config)
    watched = Watched(config)
    with Following(config, OUTPUTS) as following:
        watched.take(following)
    return watched.frame()


def watch(config: Config, *, interactive: bool, every_s: float = EVERY_S) -> None:
    """Show it, and show it anew whenever there is more, until Ctrl-C.

    Parameters
    ----------
    interactive
        The terminal can be written over; otherwise one frame is printed under the other.

    Raises
    ------
    Failure
        As `once`.
    """
    _require_outputs(config)
    console = _console()
    try:
        with Following(config, OUTPUTS) as following:
            if interactive:
                _live(Watched(config), following, console, every_s)
            else:
                _printing(Watched(config), following, console, every_s)
    except KeyboardInterrupt:
        return  # that is how one stops watching


def _live(watched: Watched, following: Following, console: Console, every_s: float) -> None:
    with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
        while True:
            watched.take(following)
            # Without news, too: the terminal may have another width now.
            live.update(_fitted(watched.frame(), console), refresh=True)
            time.sleep(every_s)


def _fitted(frame: Frame, console: Console) -> RenderableType:
    """With as many metrics and alerts as the terminal has lines for; at the least the first of each."""
    for most in range(max(MOST_METRICS, MOST_ALERTS), 1, -1):
        drawn = render(frame, console, most)
        if len(console.render_lines(drawn, pad=False)) < console.height:
            return drawn
    return render(frame, console, 1)


def _printing(watched: Watched, following: Following, console: Console, every_s: float) -> None:
    first = True
    while True:
        if watched.take(following) or first:
            console.print(render(watched.frame(), console))
        first = False
        time.sleep(every_s)


def as_json(frame: Frame) -> dict[str, Any]:
    """A frame as JSON has it."""
    found: dict[str, Any] = msgspec.to_builtins(frame)
    return found


def print_frame(frame: Frame) -> None:
    """Print it once."""
    console = _console()
    console.print(render(frame, console))


def _console() -> Console:
    # Names come from data: nothing in them is markup, and nothing a number to be coloured.
    return Console(markup=False, highlight=False, emoji=False)


def _require_outputs(config: Config) -> None:
    if not any(config.stored(output) for output in OUTPUTS):
        raise Failure(
            "the configuration has neither [metrics] nor [alerts], which [[monitor]] writes: "
            "there is nothing to watch"
        )


# Drawing


def render(frame: Frame, console: Console, most: int = MOST_METRICS) -> RenderableType:
    """A frame as it is shown, with at most so many metrics of each model and so many alerts."""
    levels = chart.BLOCKS if console.encoding.lower().startswith("utf") else chart.ASCII
    several = len({model.monitor for model in frame.models}) > 1
    parts: list[RenderableType] = [_head(frame)]
    if frame.models:
        panels = [_panel(model, levels, several, most) for model in frame.models]
        parts.append(Columns(panels))
    else:
        parts.append(Text("no metrics yet", style="dim"))
    parts.append(_alerts(frame, most))
    return Group(*parts)


def _head(frame: Frame) -> Text:
    text = Text.assemble((printable(frame.job), "bold"), "  ")
    if frame.clock is not None:
        text.append(f"event time {moment(frame.clock)} UTC  ")
    text.append(", ".join(f"{count:,} {name}" for name, count in frame.records.items()), "dim")
    if left_out := sum(frame.left_out.values()):
        text.append(f"  {left_out:,} lines are no record", "yellow")
    return text


def _panel(model: ModelFrame, levels: str, several: bool, most: int) -> Panel:
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True)
    for name, now in list(model.metrics.items())[:most]:
        table.add_row(
            Text(printable(name)), value(now), Text(sparkline(model.history[name], levels), "cyan")
        )
    lines: list[RenderableType] = [
        table,
        Text(f"of the last {_count(model.window)} of {_count(model.evaluated)} evaluations", "dim"),
        Text(f"no true label {share(model.unlabelled)}"),
    ]
    if model.delay_p50_ms is not None and model.delay_p99_ms is not None:
        middle, high = readable_duration(model.delay_p50_ms), readable_duration(model.delay_p99_ms)
        lines.append(Text(f"label delay p50 {middle}, p99 {high}"))
    if model.versus is not None:
        lines.append(_versus(model.versus))
    lines.append(Text(printable(model.version or "no version yet"), "dim", overflow="fold"))
    monitor = f", {model.monitor}" if several else ""
    until = "" if model.until is None else f", until {moment(model.until)[:16]}"
    title = Text(printable(f"{model.model} ({model.role}{monitor}{until})"), "bold")
    style = "none" if model.until is None else "dim"
    return Panel(Group(*lines), title=title, title_align="left", width=_PANEL, border_style=style)


def _count(number: int | None) -> str:
    return "–" if number is None else f"{number:,}"


def _versus(versus: Versus) -> Text:
    said, style = {
        "better": ("better than", "green"),
        "worse": ("worse than", "red"),
        "open": ("not told from", ""),
    }[versus.verdict]
    text = Text.assemble((f"{said} {printable(versus.model)}", style))
    text.append(f": {versus.difference:+.4g}")
    if versus.low is not None and versus.high is not None:
        text.append(f" ({versus.low:+.3g} to {versus.high:+.3g})")
    return text


def _alerts(frame: Frame, most: int) -> RenderableType:
    if not frame.alerts:
        return Text("no alerts", style="dim")
    still = Text(f"{len(frame.open)} open", "red") if frame.open else Text("none open", "green")
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    for _ in range(2):
        table.add_column(no_wrap=True)
    for _ in range(2):
        table.add_column(overflow="fold")
    for alert in frame.alerts[:most]:
        kind = Text(alert.kind.replace("_", " "), "green" if alert.kind == "recovered" else "red")
        at = alert.at if alert.event_time is None else alert.event_time
        about = printable(name_of(alert, with_monitor=False))
        table.add_row(Text(moment(at), "dim"), kind, Text(about), Text(printable(alert.detail)))
    return Group(Text.assemble(("alerts", "bold"), "  ", still), table)


def sparkline(values: list[float], levels: str = chart.BLOCKS) -> str:
    """A series as a line of characters, from its lowest value to its highest.

    >>> sparkline([0.8, 0.9, 1.0]), sparkline([0.5, 0.5]), sparkline([])
    ('▁▄█', '▄▄', '')
    """
    if not values:
        return ""
    low, high = min(values), max(values)
    if low == high:
        return levels[len(levels) // 2] * len(values)
    # The lowest is a bar, too: an empty column is nothing to see.
    floor = low - (high - low) / (len(levels) - 2)
    [line] = chart.bars(values, floor, high, 1, levels)
    return line
