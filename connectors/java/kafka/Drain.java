package riverrun.connectors.kafka;

import java.io.ByteArrayOutputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.time.Duration;
import java.util.Collections;
import java.util.List;
import java.util.Properties;

import org.apache.flink.kafka.shaded.org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.flink.kafka.shaded.org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.flink.kafka.shaded.org.apache.kafka.common.TopicPartition;
import org.apache.flink.kafka.shaded.org.apache.kafka.common.serialization.ByteArrayDeserializer;

/** Reads a partition from its beginning to where it ends now, and further, for tools outside a job. */
public final class Drain {
    private static final Duration POLL = Duration.ofMillis(200);

    private final KafkaConsumer consumer;
    private final TopicPartition partition;
    private final long limit;
    private long end;

    /** @param limit the first offset that is not read any more, if the partition goes so far */
    public Drain(Properties properties, String topic, int number, long limit) {
        consumer = new KafkaConsumer(
                properties, new ByteArrayDeserializer(), new ByteArrayDeserializer());
        partition = new TopicPartition(topic, number);
        List only = Collections.singletonList(partition);
        consumer.assign(only);
        this.limit = limit;
        extend();
        consumer.seekToBeginning(only);
    }

    /** Read on, to where the partition ends now. */
    public void extend() {
        List only = Collections.singletonList(partition);
        end = Math.min(limit, ((Long) consumer.endOffsets(only).get(partition)).longValue());
    }

    /**
     * Some more records, each as offset, length of its value or -1, value, in the way of
     * DataOutputStream; null behind the last.
     */
    public byte[] next() throws IOException {
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        DataOutputStream out = new DataOutputStream(bytes);
        // By position, not by records: the marker that ends a transaction takes an offset, too.
        while (out.size() == 0 && consumer.position(partition) < end) {
            for (Object polled : consumer.poll(POLL)) {
                ConsumerRecord record = (ConsumerRecord) polled;
                if (record.offset() < end) {
                    write(record, out);
                }
            }
        }
        return out.size() == 0 ? null : bytes.toByteArray();
    }

    public void close() {
        consumer.close(Duration.ZERO);
    }

    private static void write(ConsumerRecord record, DataOutputStream out) throws IOException {
        byte[] value = (byte[]) record.value();
        out.writeLong(record.offset());
        out.writeInt(value == null ? -1 : value.length);
        if (value != null) {
            out.write(value);
        }
    }
}
