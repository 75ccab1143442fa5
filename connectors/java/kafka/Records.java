package riverrun.connectors.kafka;

import java.nio.charset.StandardCharsets;

import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.connector.kafka.source.reader.deserializer.KafkaRecordDeserializationSchema;
import org.apache.flink.kafka.shaded.org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.flink.util.Collector;
import riverrun.connectors.Envelope;

/**
 * Records of Kafka as they are, without a value or not UTF-8 as they may be; each with its
 * position, `topic-partition-offset`. Nothing that a record holds makes it throw.
 */
public final class Records implements KafkaRecordDeserializationSchema {
    private static final long serialVersionUID = 1L;

    private final Envelope envelope;
    // Of the record before: they come by partition, many at a time.
    private transient String topic;
    private transient int partition;
    private transient byte[] place;

    public Records(Envelope envelope) {
        this.envelope = envelope;
    }

    public void deserialize(ConsumerRecord record, Collector out) {
        if (place == null || record.partition() != partition || !record.topic().equals(topic)) {
            topic = record.topic();
            partition = record.partition();
            place = (topic + "-" + partition + "-").getBytes(StandardCharsets.UTF_8);
        }
        byte[] value = (byte[]) record.value();
        int length = value == null ? 0 : value.length;
        // The producer's clock or, as the topic may have it, the broker's; -1 for none.
        long produced = Math.max(record.timestamp(), 0);
        out.collect(envelope.row(place, record.offset(), value, 0, length, produced));
    }

    public TypeInformation getProducedType() {
        return Envelope.rowType();
    }
}
