package riverrun.connectors;

import org.apache.flink.api.common.eventtime.WatermarkGenerator;
import org.apache.flink.api.common.eventtime.WatermarkGeneratorSupplier;
import org.apache.flink.api.common.eventtime.WatermarkOutput;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;

/**
 * Event time beside a control stream: its messages are rare, so it moves no watermark, and holds one
 * back only where it ends. Then all of it is read before event time begins, as a backfill needs it.
 */
public final class ControlTime implements WatermarkStrategy {
    private static final long serialVersionUID = 1L;

    private final boolean holds;

    public ControlTime(boolean holds) {
        this.holds = holds;
    }

    public WatermarkGenerator createWatermarkGenerator(WatermarkGeneratorSupplier.Context context) {
        return new Generator(holds);
    }

    static final class Generator implements WatermarkGenerator {
        private final boolean holds;

        Generator(boolean holds) {
            this.holds = holds;
        }

        public void onEvent(Object row, long timestamp, WatermarkOutput output) {
            onPeriodicEmit(output);
        }

        public void onPeriodicEmit(WatermarkOutput output) {
            if (!holds) {
                output.markIdle();
            }
        }
    }
}
