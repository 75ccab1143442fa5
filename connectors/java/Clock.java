package riverrun.connectors;

import java.util.HashMap;
import java.util.Iterator;
import java.util.Map;

import org.apache.flink.api.common.state.ListState;
import org.apache.flink.api.common.state.ListStateDescriptor;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.java.tuple.Tuple2;
import org.apache.flink.api.java.typeutils.TupleTypeInfo;
import org.apache.flink.runtime.state.StateInitializationContext;
import org.apache.flink.runtime.state.StateSnapshotContext;
import org.apache.flink.streaming.api.operators.AbstractStreamOperator;
import org.apache.flink.streaming.api.operators.OneInputStreamOperator;
import org.apache.flink.streaming.api.watermark.Watermark;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;
import org.apache.flink.streaming.runtime.watermarkstatus.WatermarkStatus;
import org.apache.flink.types.Row;

/**
 * Makes what timers decide a function of the input; runs as one subtask.
 *
 * <p>A record further behind its own partition's highest time than allowed, or not ahead of the
 * watermark, gets the verdict out_of_order and counts for nothing. All times are kept in state, the
 * watermark too, so that a restored job judges as one that never failed. At the end of input the
 * highest time seen goes out as a watermark before the final one.
 */
public final class Clock extends AbstractStreamOperator implements OneInputStreamOperator {
    private static final long serialVersionUID = 1L;

    // How many partitions are kept before the first look for some to forget.
    private static final int MANY = 1000;

    private final long maxOutOfOrdernessMs;
    private final boolean refuse;

    private transient ListState partitionsState; // ends: the watermark passes what it could refuse
    private transient ListState timesState; // [highest, watermark], for ever
    private transient Map highestByPartition;
    private transient long highest;
    private transient long watermark;
    private transient boolean repeatWatermark;
    private transient int forgetAt;

    /**
     * @param maxOutOfOrdernessMs how far a record may be behind its partition's highest time
     * @param refuse whether one further behind is refused; false where records count as they come
     */
    public Clock(long maxOutOfOrdernessMs, boolean refuse) {
        this.maxOutOfOrdernessMs = maxOutOfOrdernessMs;
        this.refuse = refuse;
    }

    public void initializeState(StateInitializationContext context) throws Exception {
        super.initializeState(context);
        TypeInformation pair = new TupleTypeInfo(new TypeInformation[] {Types.STRING, Types.LONG});
        partitionsState = context.getOperatorStateStore()
                .getListState(new ListStateDescriptor("highest-by-partition-v1", pair));
        timesState = context.getOperatorStateStore()
                .getListState(new ListStateDescriptor("highest-and-watermark-v1", Types.LONG));
        highestByPartition = new HashMap();
        for (Object entry : (Iterable) partitionsState.get()) {
            highestByPartition.put(((Tuple2) entry).f0, ((Tuple2) entry).f1);
        }
        highest = Long.MIN_VALUE;
        watermark = Long.MIN_VALUE;
        Iterator times = ((Iterable) timesState.get()).iterator();
        if (times.hasNext()) {
            highest = ((Long) times.next()).longValue();
            watermark = ((Long) times.next()).longValue();
        }
        // The operators behind have forgotten it; it cannot be sent before they are open.
        repeatWatermark = watermark != Long.MIN_VALUE;
        forgetAt = MANY;
    }

    public void snapshotState(StateSnapshotContext context) throws Exception {
        super.snapshotState(context);
        forget();
        partitionsState.clear();
        for (Object o : highestByPartition.entrySet()) {
            Map.Entry entry = (Map.Entry) o;
            partitionsState.add(new Tuple2(entry.getKey(), entry.getValue()));
        }
        timesState.clear();
        timesState.add(Long.valueOf(highest));
        timesState.add(Long.valueOf(watermark));
    }

    public void processElement(StreamRecord record) throws Exception {
        repeatWatermark();
        Row row = (Row) record.getValue();
        byte[] pickle = (byte[]) row.getField(1);
        if (Pickled.verdict(pickle) == Pickled.FINE && !counts(pickle)) {
            Row refused = new Row(2);
            refused.setField(0, row.getField(0));
            refused.setField(1, Pickled.withVerdict(pickle, Pickled.OUT_OF_ORDER));
            record.replace(refused);
        }
        output.collect(record);
    }

    /** Whether the record is in order; if so, its time counts. */
    private boolean counts(byte[] pickle) {
        long ts = Pickled.ts(pickle);
        if (!refuse) {
            highest = Math.max(highest, ts);
            return true;
        }
        if (ts <= watermark) {
            return false;
        }
        String partition = Pickled.input(pickle) + " " + Pickled.place(pickle);
        Long before = (Long) highestByPartition.get(partition);
        if (before != null && ts < before.longValue() - maxOutOfOrdernessMs) {
            return false;
        }
        if (before == null || ts > before.longValue()) {
            highestByPartition.put(partition, Long.valueOf(ts));
            if (highestByPartition.size() > forgetAt) {
                forget();
                forgetAt = Math.max(MANY, 2 * highestByPartition.size());
            }
        }
        highest = Math.max(highest, ts);
        return true;
    }

    /** Lets go of partitions that refuse no more than the watermark does: ended files. */
    private void forget() {
        Iterator entries = highestByPartition.values().iterator();
        while (entries.hasNext()) {
            if (((Long) entries.next()).longValue() - maxOutOfOrdernessMs - 1 <= watermark) {
                entries.remove();
            }
        }
    }

    public void processWatermark(Watermark mark) throws Exception {
        repeatWatermark();
        boolean last = mark.getTimestamp() == Long.MAX_VALUE;
        advance(last ? highest : mark.getTimestamp());
        if (last) {
            output.emitWatermark(mark);
        }
    }

    public void processWatermarkStatus(WatermarkStatus status) throws Exception {
        repeatWatermark();
        super.processWatermarkStatus(status);
    }

    private void advance(long time) {
        if (time > watermark) {
            watermark = time;
            output.emitWatermark(new Watermark(time));
        }
    }

    private void repeatWatermark() {
        if (repeatWatermark) {
            repeatWatermark = false;
            output.emitWatermark(new Watermark(watermark));
        }
    }
}
