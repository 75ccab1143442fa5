"""What monitors have told, from files or topics: read as a stream, kept small, bad lines counted.

`riverrun report` and `riverrun watch` both read with this.
"""

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Final, Generic, NamedTuple, TypeVar

import msgspec
from msgspec import UNSET

from connectors.files import part_files
from events.messages import Alert, DataQuality, Delays, Metrics, Versus
from jobs import reading_kafka
from jobs.config import Config
from jobs.settings import FileSink

T = TypeVar("T")

# A series is drawn from so many points at the most, and a table shows the newest so many.
MOST_POINTS: Final = 600
MOST_SPANS: Final = 1000
MOST_ALERTS: Final = 2000
# Of models in roles: more than a job has, so that a stream of made-up names fills no memory.
MOST_TRACKS: Final = 64
# Times of records are shown as dates: the year 9999 has the last.
_LAST_MS: Final = 253_402_300_800_000


class Tally:
    """What was read of an output.

    Attributes
    ----------
    records, refused : int
        Those that could be read, and lines that are no such record.
    first_refused : str or None
        Where the first of those stands, and what is wrong with it.
    """

    def __init__(self) -> None:
        self.records = self.refused = 0
        self.first_refused: str | None = None

    def refuse(self, position: str, problem: object) -> None:
        """A line is no record."""
        self.refused += 1
        if self.first_refused is None:
            self.first_refused = f"{position}: {problem}"


class Line(NamedTuple):
    """A record's bytes, and where it stands."""

    text: bytes
    position: str


def lines(config: Config, output: str) -> Iterator[Line]:
    """The final records of the first sink of an output, whether or not they are what they should be.

    Raises
    ------
    Failure
        Kafka does not answer or refuses, or the topic is missing.
    """
    sink = config.stored(output)[0]
    if isinstance(sink, FileSink):
        for part in part_files(sink.path):
            with part.open("rb") as file:
                for number, line in enumerate(file, 1):
                    if text := line.strip():
                        yield Line(text, f"{part}:{number}")
        return
    for partition in reading_kafka.streams(output, sink):
        for record in partition:
            if record.raw:
                yield Line(record.raw, record.position)


def decoded(found: Iterator[Line], read: Callable[[bytes], T], tally: Tally) -> Iterator[T]:
    """Records; a line that is none is counted and left out."""
    for line in found:
        try:
            record = read(line.text)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            tally.refuse(line.position, error)
            continue
        tally.records += 1
        yield record


_metrics = msgspec.json.Decoder(Metrics).decode
_quality = msgspec.json.Decoder(DataQuality).decode
_alert = msgspec.json.Decoder(Alert).decode


def read_metrics(text: bytes) -> Metrics | DataQuality:
    """A record of `[metrics]`.

    Raises
    ------
    msgspec.DecodeError
        It is none.
    """
    found: Metrics | DataQuality
    try:
        found = _metrics(text)
    except msgspec.ValidationError as error:
        try:
            found = _quality(text)
        except msgspec.ValidationError:
            raise error from None
    times = [found.clock]
    if isinstance(found, Metrics) and found.scope == "event_time":
        if found.begin is UNSET or found.end is UNSET:
            raise msgspec.ValidationError("a span of event time without begin and end")
        times += [found.begin, found.end]
    require_dates(*times)
    return found


def read_alert(text: bytes) -> Alert:
    """A record of `[alerts]`.

    Raises
    ------
    msgspec.DecodeError
        It is none.
    """
    found = _alert(text)
    require_dates(found.at, found.at if found.event_time is None else found.event_time)
    return found


def require_dates(*times: int) -> None:
    """Refuse what is no time between the years 1970 and 9999.

    Raises
    ------
    msgspec.ValidationError
        One of them is not.
    """
    for time in times:
        if not 0 <= time < _LAST_MS:
            raise msgspec.ValidationError(f"{time} is no time in ms since 1970")


class Thinned(Generic[T]):
    """A series of any length, of which an even choice is kept, and the last.

    Examples
    --------
    >>> series = Thinned(most=4)
    >>> for number in range(100):
    ...     series.add(number)
    >>> list(series)
    [0, 32, 64, 96, 99]
    """

    def __init__(self, most: int = MOST_POINTS) -> None:
        self._most = most
        self._kept: list[T] = []
        self._step = 1
        self.count = 0
        self.last: T | None = None

    def add(self, value: T) -> None:
        """One more at the end."""
        if self.count % self._step == 0:
            self._kept.append(value)
            if len(self._kept) > self._most:
                self._kept = self._kept[::2]
                self._step *= 2
        self.count += 1
        self.last = value

    def __iter__(self) -> Iterator[T]:
        yield from self._kept
        if self.last is not None and (not self._kept or self._kept[-1] is not self.last):
            yield self.last

    def __len__(self) -> int:
        return sum(1 for _ in self)


class Point(NamedTuple):
    """Metrics at a time of the monitor's clock: those that are numbers."""

    time: int
    n: int
    values: dict[str, float]
    version: str | None
    delays: Delays | None = None
    versus: Versus | None = None


class Span(NamedTuple):
    """The transactions of a span of event time, as far as they are known.

    `unlabelled` counts those that have no label, not even an assumed one.
    """

    begin: int
    end: int
    closed: bool
    predicted: int
    labelled: int
    assumed: int
    n: int
    values: dict[str, float]

    @property
    def unlabelled(self) -> int:
        return max(self.predicted - self.labelled - self.assumed, 0)


class Key(NamedTuple):
    """What a monitor's record is about."""

    monitor: str
    model: str
    role: str


class Track:
    """A model in a role, as a monitor has seen it over time.

    Attributes
    ----------
    every, window : Thinned
        Points of the scopes `all` and `window`.
    spans : dict
        Begin of a span of event time -> what was said of it last; the newest ones.
    last : Metrics or None
        The newest record of scope `all`.
    asked_at : int
        The clock when it was first told of the newest prediction, in ms.
    """

    def __init__(self, key: Key) -> None:
        self.key = key
        self.every: Thinned[Point] = Thinned()
        self.window: Thinned[Point] = Thinned()
        self.spans: dict[int, Span] = {}
        self.spans_dropped = 0
        self.last: Metrics | None = None
        self.asked_at = 0

    def add(self, record: Metrics) -> None:
        """One more record."""
        if record.scope == "event_time":
            self._span(record)
            return
        delays = None if record.delay_ms is UNSET else record.delay_ms
        versus = None if record.versus is UNSET else record.versus
        values = numbers(record)
        point = Point(record.clock, record.n, values, record.version, delays, versus)
        if record.scope == "window":
            self.window.add(point)
            return
        self.every.add(point)
        before = 0 if self.last is None else _count(self.last.predicted)
        if _count(record.predicted) > before:
            self.asked_at = record.clock
        if self.last is None or record.clock >= self.last.clock:
            self.last = record

    def _span(self, record: Metrics) -> None:
        assert record.begin is not UNSET and record.end is not UNSET, "read_metrics sees to it"
        self.spans[record.begin] = Span(
            record.begin,
            record.end,
            record.closed is True,
            _count(record.predicted),
            _count(record.labelled),
            _count(record.assumed),
            record.n,
            numbers(record),
        )
        if len(self.spans) > 2 * MOST_SPANS:
            newest = sorted(self.spans)[-MOST_SPANS:]
            self.spans_dropped += len(self.spans) - MOST_SPANS
            self.spans = {begin: self.spans[begin] for begin in newest}


def numbers(record: Metrics) -> dict[str, float]:
    """The metrics that are one number each, and the rate of scores above the threshold."""
    rate = {} if record.rate is UNSET else {"rate": record.rate}
    return {
        name: float(value)
        for name, value in {**record.metrics, **rate}.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    }


def _count(value: Any) -> int:
    return 0 if value is UNSET else value


class Board:
    """All that monitors have told so far.

    Attributes
    ----------
    tracks : dict
        By monitor, model and role, in the order of their first records.
    quality : dict
        Monitor -> its records of odd features.
    alerts : deque
        The newest, in the order read, each once.
    """

    def __init__(self) -> None:
        self.tracks: dict[Key, Track] = {}
        self.left_out: set[Key] = set()
        self.quality: dict[str, Thinned[DataQuality]] = {}
        self.alerts: deque[Alert] = deque(maxlen=MOST_ALERTS)
        self.alerts_told = 0
        self._known: dict[str, None] = {}

    def metrics(self, record: Metrics | DataQuality) -> None:
        """A record of `[metrics]`."""
        if isinstance(record, DataQuality):
            if len(self.quality) < MOST_TRACKS:
                self.quality.setdefault(record.monitor, Thinned())
            if (series := self.quality.get(record.monitor)) is not None:
                series.add(record)
            return
        key = Key(record.monitor, record.model, record.role)
        track = self.tracks.get(key)
        if track is None:
            if len(self.tracks) >= MOST_TRACKS:
                if len(self.left_out) < MOST_TRACKS:
                    self.left_out.add(key)
                return
            track = self.tracks[key] = Track(key)
        track.add(record)

    def alert(self, alert: Alert) -> None:
        """A record of `[alerts]`; the same again, by its id, is no other."""
        if alert.alert in self._known:
            return
        self._known[alert.alert] = None
        if len(self._known) > 2 * MOST_ALERTS:
            del self._known[next(iter(self._known))]
        self.alerts_told += 1
        self.alerts.append(alert)

    @property
    def clock(self) -> int | None:
        """The highest time that a monitor has seen, in ms."""
        clocks = [point.time for track in self.tracks.values() for point in track.every]
        return max(clocks, default=None)


def champion_first(board: Board) -> list[Track]:
    """The champion's before the challengers', those of roles that a model no longer has at the end."""
    order = {"champion": 0, "challenger": 1}

    def place(track: Track) -> tuple[bool, int]:
        return former(track, board) is not None, order.get(track.key.role, 2)

    return sorted(board.tracks.values(), key=place)


def former(track: Track, board: Board) -> int | None:
    """About until when a model had this role, in ms; None where it has it still.

    A model is asked in one role at a time. Labels of what it said in another go on coming.
    """
    others = (
        other.asked_at
        for other in board.tracks.values()
        if (other.key.monitor, other.key.model) == (track.key.monitor, track.key.model)
    )
    return None if track.asked_at >= max(others, default=0) else track.asked_at


def read_board(config: Config, tallies: dict[str, Tally]) -> Board:
    """Everything there is now in `[metrics]` and `[alerts]`, where they are configured.

    Parameters
    ----------
    tallies
        Filled with what was read of each output.

    Raises
    ------
    Failure
        As `lines`.
    """
    board = Board()
    if config.metrics:
        tally = tallies.setdefault("metrics", Tally())
        for record in decoded(lines(config, "metrics"), read_metrics, tally):
            board.metrics(record)
    if config.stored("alerts"):
        tally = tallies.setdefault("alerts", Tally())
        for alert in decoded(lines(config, "alerts"), read_alert, tally):
            board.alert(alert)
    return board
