"""Every name that checkpoints, savepoints and the web UI know: these strings are an on-disk format.

The comment behind each state says when it ends. Importing this starts no JVM.
"""

from pyflink.common import Types
from pyflink.datastream import OutputTag
from pyflink.datastream.state import (
    ListStateDescriptor,
    MapStateDescriptor,
    ValueStateDescriptor,
)

PICKLED = Types.PICKLED_BYTE_ARRAY()
TEXT = Types.STRING()

# LabelJoin, by transaction id
HELD = ValueStateDescriptor("held-v1", PICKLED)  # features' time + retention
EARLY = ValueStateDescriptor("early-events-v1", PICKLED)  # event_time: when the watermark passes

# OnlineModel, by lane
MODELS = MapStateDescriptor("models-v1", TEXT, PICKLED)  # when the model is retired
SNAPSHOTS = MapStateDescriptor("snapshot-chunks-v1", TEXT, PICKLED)  # the next snapshot
FAILURES = MapStateDescriptor("failures-v1", TEXT, PICKLED)  # when the model is retired
PREDICTIONS = MapStateDescriptor("open-predictions-v1", TEXT, PICKLED)  # LabelJoin's `forget`
HELD_ITEMS = MapStateDescriptor("held-items-v1", TEXT, PICKLED)  # when the watermark passes


def learned_since(model: str) -> ListStateDescriptor:
    """Entries since the model's last snapshot; the next one ends them."""
    return ListStateDescriptor(f"log-of-{model}-v1", PICKLED)


EVALUATIONS = OutputTag("evaluations", TEXT)
LEARN_LOG = OutputTag("learn-log", TEXT)
DEAD_LETTERS = OutputTag("dead-letters", TEXT)


class Uid:
    """Operator uids: a savepoint finds its state by them."""

    CLOCK = "clock-v1"
    LABEL_JOIN = "label-join-v1"
    ONLINE_MODEL = "online-model-v1"

    @staticmethod
    def source(input_name: str, connector: str) -> str:
        """Offsets in a topic mean nothing to a reader of files."""
        return f"source-{input_name}-{_of(connector)}v1"

    @staticmethod
    def sink(output: str, connector: str, place: int = 0) -> str:
        """`place` tells the sinks of one output apart, in the order of the configuration."""
        return f"sink-{output}-{place}-{_of(connector)}v1"


def _of(connector: str) -> str:
    return "" if connector == "file" else f"{connector}-"
