package riverrun.connectors;

import java.nio.charset.StandardCharsets;

import org.apache.flink.api.common.functions.MapFunction;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.java.typeutils.ResultTypeQueryable;
import org.apache.flink.api.java.typeutils.RowTypeInfo;
import org.apache.flink.types.Row;

/** JSON texts as Row(key, text). */
public final class Keyed implements MapFunction, ResultTypeQueryable {
    private static final long serialVersionUID = 1L;

    private final String key;
    private transient Ids ids;

    /** @param key of every row; null: the text's top-level `id`, "" where it has none */
    public Keyed(String key) {
        this.key = key;
    }

    public Object map(Object value) {
        String text = (String) value;
        return row(key == null ? text.getBytes(StandardCharsets.UTF_8) : null, text);
    }

    /** The row of a text whose key is in this JSON. */
    public Row row(byte[] json, String text) {
        if (ids == null) {
            ids = new Ids();
        }
        String found = key == null ? ids.of(json) : key;
        Row row = new Row(2);
        row.setField(0, found == null ? "" : found);
        row.setField(1, text);
        return row;
    }

    public TypeInformation getProducedType() {
        return rowType();
    }

    /** Key and text. */
    public static TypeInformation rowType() {
        return new RowTypeInfo(
                new TypeInformation[] {Types.STRING, Types.STRING}, new String[] {"key", "value"});
    }
}
