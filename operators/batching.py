"""What follows from a record, and how it gets to Flink: at once, or for many records together.

In process mode, and under event time, PyFlink calls a function for each record. In thread mode
`connectors/java/Batched.java` calls `run` for many, as a call costs more than what it is for.

A batch is the pickle of `(stored, records, found, watermark)`. `stored` has for each key of the batch
what its state holds, bytes or None; where a function has no such state, the batch is of one key, and
that stands there. `records` is flat: the number of a key, then a record's bytes or, where a timer has
fired, `(time, key)`. `found` is flat: a name, then what stands under it in the key's map, bytes or None,
for each name that a record wants.

The reply is little-endian: the number of codes, four 64-bit integers for each of them (what, key or
output, a number, a length), then the bytes of each.

A row of the reply begins with what its items want of the next function's map: how many names, the
length of each, in 32 bits, and the names. A function without such a map gets the row as it is.
"""

import pickle
import sys
import threading
from array import array
from collections.abc import Sequence
from typing import Any, Final, Protocol

from pyflink.common import Row
from pyflink.datastream import OutputTag

_EMIT: Final = 0
_SEND: Final = 1
_SIDE: Final = 2
_PUT: Final = 3
_CLEAR: Final = 4
_SET_TIMER: Final = 5
_DELETE_TIMER: Final = 6
_PUT_ENTRY: Final = 7
_REMOVE_ENTRY: Final = 8
_WAKE: Final = 9

_CODE_SIZE: Final = 4
_WANTS_NOTHING: Final = 4


class Follow(Protocol):
    """What may follow from a record; `place` is the number of a key in a batch."""

    def emit(self, record: str) -> None:
        """To the main output."""

    def send(self, key: str, item: Any, wants: str | None = None) -> None:
        """To the next keyed function, for which the item wants an entry of its map."""

    def side(self, output: int, record: str) -> None:
        """To a side output, by its number."""

    def put(self, place: int, value: Any) -> None:
        """Into the key's state."""

    def clear(self, place: int) -> None:
        """Out of the key's state."""

    def set_timer(self, place: int, time: int) -> None:
        """Event time, in ms."""

    def delete_timer(self, place: int, time: int) -> None:
        """One that was set."""

    def wake(self, place: int, time: int) -> None:
        """By the clock, in ms since the epoch: `on_timer` is called then."""

    def put_entry(self, name: str, value: Any) -> None:
        """Into the map of the current key."""

    def remove_entry(self, name: str) -> None:
        """Out of the map of the current key."""


class AtOnce:
    """What follows from one record is done while PyFlink waits; outputs are collected in `out`.

    Parameters
    ----------
    sides : sequence of OutputTag
        By number.
    ctx
        PyFlink's context of the record.
    state, optional
        The ValueState that `put` and `clear` are about.
    entries, optional
        The MapState that `put_entry` and `remove_entry` are about.
    """

    def __init__(
        self, sides: Sequence[OutputTag], ctx: Any, state: Any = None, entries: Any = None
    ) -> None:
        self._sides = sides
        self._ctx = ctx
        self._state = state
        self._entries = entries
        self.out: list[Any] = []

    def emit(self, record: str) -> None:
        self.out.append(record)

    def send(self, key: str, item: Any, wants: str | None = None) -> None:
        self.out.append(Row(key, item))

    def side(self, output: int, record: str) -> None:
        self.out.append((self._sides[output], record))

    def put(self, place: int, value: Any) -> None:
        self._state.update(value)

    def clear(self, place: int) -> None:
        self._state.clear()

    def set_timer(self, place: int, time: int) -> None:
        self._ctx.timer_service().register_event_time_timer(time)

    def delete_timer(self, place: int, time: int) -> None:
        self._ctx.timer_service().delete_event_time_timer(time)

    def wake(self, place: int, time: int) -> None:
        self._ctx.timer_service().register_processing_time_timer(time)

    def put_entry(self, name: str, value: Any) -> None:
        self._entries.put(name, value)

    def remove_entry(self, name: str) -> None:
        self._entries.remove(name)


class Reply:
    """What follows from a batch, written down for Java.

    All items for one key travel as one row, a list of them.
    """

    def __init__(self) -> None:
        self._codes: list[int] = []
        self._data: list[bytes] = []
        self._sent: dict[str, tuple[list[Any], list[bytes]]] = {}

    def emit(self, record: str) -> None:
        data = record.encode()
        self._codes += (_EMIT, 0, 0, len(data))
        self._data.append(data)

    def send(self, key: str, item: Any, wants: str | None = None) -> None:
        sent = self._sent.get(key)
        if sent is None:
            sent = self._sent[key] = [], []
        items, wanted = sent
        items.append(item)
        if wants is not None:
            wanted.append(wants.encode())

    def side(self, output: int, record: str) -> None:
        data = record.encode()
        self._codes += (_SIDE, output, 0, len(data))
        self._data.append(data)

    def put(self, place: int, value: Any) -> None:
        data = pickle.dumps(value)
        self._codes += (_PUT, place, 0, len(data))
        self._data.append(data)

    def clear(self, place: int) -> None:
        self._codes += (_CLEAR, place, 0, 0)

    def set_timer(self, place: int, time: int) -> None:
        self._codes += (_SET_TIMER, place, time, 0)

    def delete_timer(self, place: int, time: int) -> None:
        self._codes += (_DELETE_TIMER, place, time, 0)

    def wake(self, place: int, time: int) -> None:
        self._codes += (_WAKE, place, time, 0)

    def put_entry(self, name: str, value: Any) -> None:
        named, data = name.encode(), pickle.dumps(value)
        self._codes += (_PUT_ENTRY, 0, len(named), len(data))
        self._data += (named, data)

    def remove_entry(self, name: str) -> None:
        named = name.encode()
        self._codes += (_REMOVE_ENTRY, 0, 0, len(named))
        self._data.append(named)

    def written(self) -> bytes:
        """The reply as Java reads it."""
        for key, (items, wanted) in self._sent.items():
            header = _little_endian("i", [len(wanted), *map(len, wanted)])
            named, data = key.encode(), b"".join((header, *wanted, pickle.dumps(items)))
            self._codes += (_SEND, 0, len(named), len(data))
            self._data += (named, data)
        codes = [len(self._codes) // _CODE_SIZE, *self._codes]
        return b"".join((_little_endian("q", codes), *self._data))


def items_of(row: bytes) -> list[Any]:
    """The items of a row that `send` made of such as want nothing."""
    items: list[Any] = pickle.loads(memoryview(row)[_WANTS_NOTHING:])
    return items


def _little_endian(kind: str, numbers: list[int]) -> bytes:
    made = array(kind, numbers)
    if sys.byteorder == "big":
        made.byteswap()
    return made.tobytes()


def opened(function: Any) -> None:
    """A function has been opened: Java takes it from here, in the same thread."""
    sys.__dict__.setdefault("_riverrun_opened", threading.local()).function = function
