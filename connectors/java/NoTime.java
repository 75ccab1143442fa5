package riverrun.connectors;

import org.apache.flink.api.common.eventtime.WatermarkGenerator;
import org.apache.flink.api.common.eventtime.WatermarkGeneratorSupplier;
import org.apache.flink.api.common.eventtime.WatermarkOutput;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;

/** No watermarks, and nobody waits for one: beside streams that have them, it is idle for good. */
public final class NoTime implements WatermarkStrategy {
    private static final long serialVersionUID = 1L;

    public WatermarkGenerator createWatermarkGenerator(WatermarkGeneratorSupplier.Context context) {
        return new Idle();
    }

    static final class Idle implements WatermarkGenerator {
        public void onEvent(Object event, long timestamp, WatermarkOutput output) {}

        public void onPeriodicEmit(WatermarkOutput output) {
            output.markIdle();
        }
    }
}
