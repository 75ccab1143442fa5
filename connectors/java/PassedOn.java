package riverrun.connectors;

import org.apache.flink.api.common.functions.MapFunction;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.java.typeutils.ResultTypeQueryable;
import org.apache.flink.types.Row;

/** Rows (key, text) as a source's rows: the join hands such a text to every subtask behind it. */
public final class PassedOn implements MapFunction, ResultTypeQueryable {
    private static final long serialVersionUID = 1L;

    public Object map(Object value) {
        Row keyed = (Row) value;
        Row row = new Row(2);
        row.setField(0, keyed.getField(0));
        row.setField(1, PickleWriter.toEverybody(Pickled.CONTROL, (String) keyed.getField(1)));
        return row;
    }

    public TypeInformation getProducedType() {
        return Envelope.rowType();
    }
}
