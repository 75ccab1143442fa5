package riverrun.connectors;

import org.apache.flink.api.common.functions.FlatMapFunction;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.java.typeutils.ResultTypeQueryable;
import org.apache.flink.types.Row;
import org.apache.flink.util.Collector;

/** Of rows (address, text) the texts with one address: a side output for who has none. */
public final class Addressed implements FlatMapFunction, ResultTypeQueryable {
    private static final long serialVersionUID = 1L;

    private final String address;

    public Addressed(String address) {
        this.address = address;
    }

    public void flatMap(Object value, Collector out) {
        Row row = (Row) value;
        if (address.equals(row.getField(0))) {
            out.collect(row.getField(1));
        }
    }

    public TypeInformation getProducedType() {
        return Types.STRING;
    }
}
