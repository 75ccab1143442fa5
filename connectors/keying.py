"""Streams whose key Java already knows, for PyFlink's keyed operators.

PyFlink's `key_by` is a Python operator of its own, 15 us a record. Here the key arrives as the
first field of a row, and what `key_by` does behind that operator is done directly. This leans on
PyFlink's inside; tests/connectors/test_keying.py notices a change of it.
"""

from pyflink.common import Types
from pyflink.common.typeinfo import TypeInformation
from pyflink.datastream import DataStream, KeyedStream, OutputTag
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
    timed = j_stream.transform("Clock", j_stream.getType(), operator).forceNonParallel()
    return DataStream(timed)
