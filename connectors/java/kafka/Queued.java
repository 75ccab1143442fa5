package riverrun.connectors.kafka;

import java.nio.charset.StandardCharsets;

import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.connector.kafka.source.reader.deserializer.KafkaRecordDeserializationSchema;
import org.apache.flink.kafka.shaded.org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.flink.util.Collector;
import riverrun.connectors.Keyed;

/**
 * Records of the job's own topics as Row(key, "offset time value"): the time is the producer's, in
 * ms since the epoch. A record without a value is passed over.
 */
public final class Queued implements KafkaRecordDeserializationSchema {
    private static final long serialVersionUID = 1L;

    private final Keyed keyed;

    /** @param key of every row; null: the record's top-level `id` */
    public Queued(String key) {
        keyed = new Keyed(key);
    }

    public void deserialize(ConsumerRecord record, Collector out) {
        byte[] value = (byte[]) record.value();
        if (value == null) {
            return;
        }
        String text = record.offset() + " " + record.timestamp() + " "
                + new String(value, StandardCharsets.UTF_8);
        out.collect(keyed.row(value, text));
    }

    public TypeInformation getProducedType() {
        return Keyed.rowType();
    }
}
