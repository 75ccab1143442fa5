"""What sections of a report are given: the material, and what they must agree on."""

from typing import NamedTuple

from jobs.alert_streams import streams
from jobs.config import Config
from jobs.monitor_records import Board, Tally, Track, champion_first
from jobs.report_facts import Evaluations, Latency, Message, Refusals
from jobs.report_plots import Plots, Range


class Material(NamedTuple):
    """All that a report is made of; None is what the configuration does not write.

    Attributes
    ----------
    tallies : dict
        Output -> what was read of it.
    made_at : int
        In ms.
    """

    config: Config
    board: Board
    evaluations: Evaluations | None
    latency: Latency | None
    dead_letters: list[Refusals] | None
    messages: list[Message] | None
    tallies: dict[str, Tally]
    made_at: int


class View:
    """The material, and what all sections show alike.

    Attributes
    ----------
    plots : Plots
        One for all figures: it numbers them in the order in which they are drawn.
    tracks : list of Track
        The champion's first.
    streams : list of Stream
        Alerts by what they are about.
    colors : dict
        Name of a model -> its place among the colours. It keeps it whatever its role: that is how a
        line is dashed.
    whole : Range
        The times that figures span.
    """

    def __init__(self, material: Material) -> None:
        self.material = material
        self.config = material.config
        self.board = material.board
        self.plots = Plots()
        self.tracks = champion_first(material.board)
        several = len({alert.monitor for alert in material.board.alerts}) > 1
        self.streams = streams(material.board.alerts, with_monitor=several)
        names = dict.fromkeys(track.key.model for track in self.tracks)
        self.colors = {name: number for number, name in enumerate(names)}
        self.whole = _range(material.board)

    def color(self, track: Track) -> int:
        """The place of a track's model among the colours."""
        return self.colors[track.key.model]

    def in_time(self) -> list[tuple[int, Message]]:
        """Control messages, but refused ones, that took effect within the time shown."""
        begin, end = self.whole
        return [
            (message.effective, message)
            for message in self.material.messages or ()
            if message.effective is not None
            and message.accepted is not False
            and begin <= message.effective <= end
        ]


def dash(role: str) -> int:
    """The place of a role among the dashes."""
    return {"champion": 0, "challenger": 1}.get(role, 2)


def metric_names(track: Track) -> list[str]:
    """Every metric that a track has a number of."""
    found: dict[str, None] = {}
    for point in (*track.window, *track.every):
        found.update(dict.fromkeys(point.values))
    for span in track.spans.values():
        found.update(dict.fromkeys(span.values))
    return list(found)


def _range(board: Board) -> Range:
    tracks = board.tracks.values()
    times = [point.time for track in tracks for point in track.every]
    times += [point.time for track in tracks for point in track.window]
    times += [span.begin for track in tracks for span in track.spans.values()]
    times += [record.clock for each in board.quality.values() for record in each]
    if not times:
        times = [alert.event_time for alert in board.alerts if alert.event_time]
    return Range(min(times, default=0), max(times, default=0))
