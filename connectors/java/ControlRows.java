package riverrun.connectors;

import org.apache.flink.api.common.functions.FilterFunction;
import org.apache.flink.types.Row;

/** Of rows with a key those that are control messages, or all others. */
public final class ControlRows implements FilterFunction {
    private static final long serialVersionUID = 1L;

    private final boolean wanted;

    public ControlRows(boolean wanted) {
        this.wanted = wanted;
    }

    public boolean filter(Object row) {
        return wanted == Envelope.CONTROL.equals(((Row) row).getField(0));
    }
}
