"""Control messages to every lane, as one subtask of OnlineModel knows them.

State is by key, and a lane may come after a message. So each message is kept under a key of its own in
every key group, wherever that goes when the job is rescaled; a lane does what it has not done yet when
it next has something to do.
"""

from collections.abc import Sequence
from typing import Any, Final

from operators.gauges import in_thread_mode
from operators.items import CONTROL, Item
from operators.learning import Place, place_of
from state import names

# Where messages take effect when they come: later than any event time.
AT_ONCE: Final = 1 << 62


def is_for_every_lane(item: Item) -> bool:
    """Whether it is a message that the gate has answered: one to a single lane is that lane's to answer."""
    return item[0] == CONTROL and not item[-1]


class Controls:
    """What came for every lane.

    Parameters
    ----------
    context : RuntimeContext
    keys : sequence of str
        The key under which messages come, of each key group; empty without lanes.
    """

    def __init__(self, context: Any, keys: Sequence[str]) -> None:
        self._context = context
        self._keys = keys
        self._state = context.get_map_state(names.CONTROLS) if keys else None
        self._known: list[tuple[Place, Item]] | None = None

    def add(self, item: Item) -> None:
        """One came, under the current key."""
        assert self._state is not None, "there are lanes"
        known = self.known()
        self._state.put(f"{item[2]}", item)
        placed = place_of(item), item
        # It comes in every key group of this subtask.
        if placed not in known:
            known.append(placed)
            known.sort()

    def known(self) -> list[tuple[Place, Item]]:
        """All that came with their places, in the order in which they take effect."""
        if not self._keys:
            return []
        if self._known is None:
            with _under(self._context, self._keys[_first_key_group(self._context)]):
                assert self._state is not None, "there are lanes"
                self._known = sorted((place_of(item), item) for _, item in self._state.items())
        return self._known


def _first_key_group(context: Any) -> int:
    """Of those that this subtask has."""
    if in_thread_mode(context):
        # What PyFlink asks for in thread mode is not there in Flink 2.
        info = context._runtime_context.getTaskInfo()
        place, count = info.getIndexOfThisSubtask(), info.getNumberOfParallelSubtasks()
        most = info.getMaxNumberOfParallelSubtasks()
    else:
        place = context.get_index_of_this_subtask()
        count = context.get_number_of_parallel_subtasks()
        most = context.get_max_number_of_parallel_subtasks()
    return -(-place * most // count)


class _under:
    """State is that of another key, for a while."""

    def __init__(self, context: Any, key: str) -> None:
        self._key = key
        if in_thread_mode(context):
            from pemja import findClass

            self._backend = context.get_keyed_state_backend()._keyed_state_backend
            self._get, self._set = self._backend.getCurrentKey, self._backend.setCurrentKey
            row = findClass("org.apache.flink.types.Row")(1)
            row.setField(0, key)
            self._row = row
        else:
            from pyflink.common import Row

            self._backend = context._keyed_state_backend
            self._get, self._set = self._backend.get_current_key, self._backend.set_current_key
            self._row = Row(key)

    def __enter__(self) -> None:
        self._before = self._get()
        self._set(self._row)

    def __exit__(self, *_: object) -> None:
        self._set(self._before)
