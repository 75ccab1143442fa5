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
LANE = ValueStateDescriptor("lane-v1", PICKLED)  # never: who serves, which messages were acted on
HELD_WITHOUT_MODEL = MapStateDescriptor("held-without-model-v1", TEXT, PICKLED)  # a model comes
CONTROLS = MapStateDescriptor("controls-v1", TEXT, PICKLED)  # never: lanes to come do them, too
HELD_ITEMS = MapStateDescriptor("held-items-v1", TEXT, PICKLED)  # when the watermark passes


def learned_since(model: str, slot: int = 0) -> ListStateDescriptor:
    """Entries since a snapshot of the model, in one of two slots; ends when a later one does for it."""
    return ListStateDescriptor(
        f"log-of-{model}-v1" if slot == 0 else f"log-{slot}-of-{model}-v1", PICKLED
    )


# ControlGate, by a key of its own
GATE = ValueStateDescriptor("gate-v1", PICKLED)  # never
GATE_WAITING = ListStateDescriptor("gate-waiting-v1", PICKLED)  # their verdicts


# Published mode: Trainer by model, Predictor and Evaluator by transaction id
PUBLISHED = ValueStateDescriptor("published-v1", PICKLED)  # never: what was published last
HELD_REQUESTS = ValueStateDescriptor("held-requests-v1", PICKLED)  # every model has a version
MATCHED = ValueStateDescriptor("matched-v1", PICKLED)  # the transaction's last label, or `forget`

# Monitor, by model and role
MONITORED = ValueStateDescriptor(
    "monitored-v1", PICKLED
)  # of a retired model until when it was is left
OBSERVED_SINCE = ListStateDescriptor("observed-since-v1", TEXT)  # the next snapshot

# Actor, under a key of its own
ACTED = ValueStateDescriptor("acted-v1", PICKLED)  # never

# Webhook, under one key
UNDELIVERED = MapStateDescriptor("undelivered-v1", Types.LONG(), TEXT)  # delivered or given up

EVALUATIONS = OutputTag("evaluations", TEXT)
LEARN_LOG = OutputTag("learn-log", TEXT)
DEAD_LETTERS = OutputTag("dead-letters", TEXT)
LEARN_QUEUE = OutputTag("learn-queue", TEXT)
CONTROL_ACKS = OutputTag("control-acks", TEXT)
CONTROL_LOG = OutputTag("control-log", TEXT)
VERSIONS = OutputTag("versions", TEXT)
ALERTS = OutputTag("alerts", TEXT)
OBSERVATIONS = OutputTag("observations", TEXT)
SAID = OutputTag("said", TEXT)
# The outputs that are side outputs of some operator, and what the monitor is told.
SIDE_OUTPUTS = {
    "evaluations": EVALUATIONS,
    "learn_log": LEARN_LOG,
    "dead_letters": DEAD_LETTERS,
    "control_acks": CONTROL_ACKS,
    "control_log": CONTROL_LOG,
    "versions": VERSIONS,
    "alerts": ALERTS,
    "observations": OBSERVATIONS,
}


class Uid:
    """Operator uids: a savepoint finds its state by them."""

    CLOCK = "clock-v1"
    LABEL_JOIN = "label-join-v1"
    ONLINE_MODEL = "online-model-v1"
    PREDICTOR = "predictor-v1"
    EVALUATOR = "evaluator-v1"
    CONTROL_GATE = "control-gate-v1"
    MONITOR = "monitor-v1"
    ACTOR = "actor-v1"
    COMMANDS = "sink-commands-v1"

    @staticmethod
    def trainer(model: str) -> str:
        """Each model learns in an operator of its own."""
        return f"trainer-{model}-v1"

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
