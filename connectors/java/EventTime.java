package riverrun.connectors;

import org.apache.flink.api.common.eventtime.TimestampAssigner;
import org.apache.flink.api.common.eventtime.TimestampAssignerSupplier;
import org.apache.flink.api.common.eventtime.Watermark;
import org.apache.flink.api.common.eventtime.WatermarkGenerator;
import org.apache.flink.api.common.eventtime.WatermarkGeneratorSupplier;
import org.apache.flink.api.common.eventtime.WatermarkOutput;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.types.Row;

/**
 * Event time as the records' envelopes have it: each split's watermark trails the highest time
 * that it has shown. Only records whose time was read and is in range count.
 */
public final class EventTime implements WatermarkStrategy {
    private static final long serialVersionUID = 1L;

    private final long maxOutOfOrdernessMs;
    private final boolean punctuated;
    private final String heldUntil;

    /**
     * @param maxOutOfOrdernessMs how far the watermark trails
     * @param punctuated whether each record that moves it shows at once; otherwise the first one
     *     does, and what came since at the next interval
     * @param heldUntil the path of the only file that may move the watermark, null for any. The
     *     files of a folder are read one after another, and a split that ended holds nothing back:
     *     without this, the watermark of the first would have passed what the next contain.
     */
    public EventTime(long maxOutOfOrdernessMs, boolean punctuated, String heldUntil) {
        this.maxOutOfOrdernessMs = maxOutOfOrdernessMs;
        this.punctuated = punctuated;
        this.heldUntil = heldUntil;
    }

    public TimestampAssigner createTimestampAssigner(TimestampAssignerSupplier.Context context) {
        return new Assigner();
    }

    public WatermarkGenerator createWatermarkGenerator(WatermarkGeneratorSupplier.Context context) {
        return new Generator(maxOutOfOrdernessMs, punctuated, heldUntil);
    }

    private static byte[] pickle(Object row) {
        return (byte[]) ((Row) row).getField(1);
    }

    static final class Assigner implements TimestampAssigner {
        public long extractTimestamp(Object row, long before) {
            byte[] pickle = pickle(row);
            return Pickled.verdict(pickle) == Pickled.FINE
                    ? Pickled.ts(pickle)
                    : TimestampAssigner.NO_TIMESTAMP;
        }
    }

    static final class Generator implements WatermarkGenerator {
        private final long trail;
        private final boolean punctuated;
        private final String heldUntil;
        private boolean begun;
        private boolean held;
        private long watermark = Long.MIN_VALUE;

        Generator(long maxOutOfOrdernessMs, boolean punctuated, String heldUntil) {
            // A record as old as the watermark is late, one a millisecond younger is not.
            this.trail = maxOutOfOrdernessMs + 1;
            this.punctuated = punctuated;
            this.heldUntil = heldUntil;
        }

        public void onEvent(Object row, long timestamp, WatermarkOutput output) {
            byte[] pickle = pickle(row);
            if (!begun) {
                begun = true;
                held = heldUntil != null && !Pickled.place(pickle).equals(heldUntil + ":");
            }
            if (held || Pickled.verdict(pickle) != Pickled.FINE) {
                return;
            }
            long reached = Pickled.ts(pickle) - trail;
            if (reached > watermark) {
                // A small file has ended before the next interval: it shows its first time at least.
                boolean first = watermark == Long.MIN_VALUE;
                watermark = reached;
                if (punctuated || first) {
                    output.emitWatermark(new Watermark(reached));
                }
            }
        }

        public void onPeriodicEmit(WatermarkOutput output) {
            if (watermark != Long.MIN_VALUE) {
                output.emitWatermark(new Watermark(watermark));
            }
        }
    }
}
