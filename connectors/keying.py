"""Streams whose key Java already knows, for PyFlink's keyed operators.

PyFlink's `key_by` is a Python operator of its own, 15 us a record. Here the key arrives as the
first field of a row, and what `key_by` does behind that operator is done directly. This leans on
PyFlink's inside; tests/connectors/test_keying.py notices a change of it.
"""

from collections.abc import Sequence

from pyflink.common import Types
from pyflink.common.typeinfo import TypeInformation
from pyflink.datastream import DataStream, KeyedProcessFunction, KeyedStream, OutputTag
from pyflink.datastream.data_stream import _get_one_input_stream_operator
from pyflink.fn_execution.flink_fn_execution_pb2 import UserDefinedDataStreamFunction
from pyflink.java_gateway import get_gateway

from connectors import java_code


def key_rows(
    stream: DataStream,
    key_type_info: TypeInformation,
    value_type_info: TypeInformation,
    *,
    in_place: bool = False,
) -> KeyedStream:
    """Key a stream of `Row(key, value)` by its key.

    Parameters
    ----------
    stream : DataStream
        Of rows of these two types: from one of the connectors' sources, or from a Python operator
        with `output_type=Types.ROW([key_type_info, value_type_info])`.
    in_place
        Only where this stream and the operator that is to come are one subtask each, so that it has
        every key: they then run in one thread, and no record is serialized in between. State is the
        same either way.

    Returns
    -------
    KeyedStream
        Its functions receive the value; `ctx.get_current_key()` has the key.
    """
    # A key that is not in a row fails at the first checkpoint.
    key_type = Types.ROW([key_type_info]).get_java_type_info()
    jvm = get_gateway().jvm
    selector, j_stream = jvm.KeyByKeySelector(), stream._j_data_stream
    if in_place:
        streams = jvm.org.apache.flink.streaming.api.datastream.DataStreamUtils
        keyed = streams.reinterpretAsKeyedStream(j_stream, selector, key_type)
    else:
        keyed = j_stream.keyBy(selector, key_type)
    return KeyedStream(keyed, value_type_info, stream)


def process_batches(
    stream: KeyedStream,
    function: KeyedProcessFunction,
    output_type: TypeInformation,
    *,
    sides: Sequence[OutputTag],
    show_every_ms: int,
    value_state: str | None = None,
    map_state: str | None = None,
) -> DataStream:
    """Process a keyed stream in thread mode, with one call into Python for many records.

    Takes the place of `KeyedStream.process`, with the same state and timers in a savepoint. The
    environment must have been attached, see `java_code.attach`.

    Parameters
    ----------
    function
        With `run` and `show` besides, see operators/batching.py.
    sides
        Its side outputs, by number.
    show_every_ms
        How soon after a change `show` is called.
    value_state
        The name of the ValueState of PICKLED_BYTE_ARRAY that a batch brings and takes back, for all
        keys in it. None: a batch has one key, and the function keeps its own state.
    map_state
        The name of the MapState from STRING to PICKLED_BYTE_ARRAY of which a batch brings the entries
        that its records want, where it has one key. None for none.
    """
    jvm = get_gateway().jvm
    kind = UserDefinedDataStreamFunction.KEYED_PROCESS
    operator, out = _get_one_input_stream_operator(stream, function, kind, output_type)
    names = get_gateway().new_array(jvm.String, len(sides))
    for place, tag in enumerate(sides):
        names[place] = tag.tag_id
    j_stream = stream._j_data_stream
    batched = java_code.new(
        "Batched",
        operator.getConfiguration(),
        operator.getPythonFunctionInfo(),
        j_stream.getTransformation().getOutputType(),
        out,
        value_state,
        map_state,
        names,
        show_every_ms,
    )
    return DataStream(j_stream.transform("Batched", out, batched))


def under_one_key(stream: DataStream, key: str) -> DataStream:
    """Texts as rows `(key, text)`, all under this key; those of one subtask stay in their order."""
    return DataStream(stream._j_data_stream.map(java_code.new("Keyed", key)).setParallelism(1))


def side_output(stream: DataStream, tag: OutputTag) -> DataStream:
    """What a Python operator yields under a tag.

    PyFlink's `get_side_output` adds a Python operator that hands each record on, at the cost of one.
    """
    return DataStream(stream._j_data_stream.getSideOutput(tag.get_java_output_tag()))


def clock(stream: DataStream, max_out_of_orderness_ms: int, *, refuse: bool = True) -> DataStream:
    """Pass a source's rows through one Clock (docs/architecture.md), always a single subtask.

    `stream` may be the union of several sources. The environment must have been attached, see
    `java_code.attach`; name and uid are the caller's to set. `refuse`: whether a record further
    behind than `max_out_of_orderness_ms` gets the verdict out_of_order.
    """
    j_stream = stream._j_data_stream
    operator = java_code.new("Clock", max_out_of_orderness_ms, refuse)
    # Not `forceNonParallel`: where all is in one chain, the clock's part of a savepoint has the job's
    # maximal parallelism, and could not be restored where it stands alone.
    timed = j_stream.transform("Clock", j_stream.getType(), operator).setParallelism(1)
    return DataStream(timed)


def control_rows(stream: DataStream, wanted: bool) -> DataStream:
    """Of a source's rows those that are control messages, or all others; watermarks pass in any case."""
    j_stream = stream._j_data_stream
    return DataStream(j_stream.filter(java_code.new("ControlRows", wanted)))


def passed_on(stream: DataStream) -> DataStream:
    """Rows `(key, text)` as rows of a source, whose texts the join hands to every subtask behind it."""
    return DataStream(stream._j_data_stream.map(java_code.new("PassedOn")).setParallelism(1))


def keys_of_subtasks(key_groups: int, parallelism: int, prefix: str) -> list[str]:
    """For each subtask of an operator behind `key_rows` a key that reaches it."""
    found: dict[int, str] = {}
    for group, key in enumerate(keys_of_all_groups(key_groups, prefix)):
        # As Flink's KeyGroupRangeAssignment has it.
        found.setdefault(group * parallelism // key_groups, key)
    return list(found.values())


def keys_of_all_groups(key_groups: int, prefix: str) -> list[str]:
    """For each key group of `key_rows` a key in it, made of `prefix` and a number."""
    return list(java_code.named("KeyGroups").keys(key_groups, prefix))
