package riverrun.connectors.kafka;

import java.nio.charset.StandardCharsets;

import org.apache.flink.connector.kafka.sink.KafkaRecordSerializationSchema;
import org.apache.flink.connector.kafka.sink.KafkaRecordSerializationSchema.KafkaSinkContext;
import org.apache.flink.kafka.shaded.org.apache.kafka.clients.producer.ProducerRecord;
import riverrun.connectors.Ids;

/** JSON texts as Kafka's values, each under a key that keeps what belongs together in order. */
public final class KeyedTexts implements KafkaRecordSerializationSchema {
    private static final long serialVersionUID = 1L;
    // Of a learn log's record only its last field stands behind it, and that is no text of a user's.
    private static final String VERSION = ",\"version\":\"";

    private final String topic;
    private final boolean byChain;
    private transient Ids ids;

    /**
     * @param topic where the texts go
     * @param byChain whether the key is the record's version up to its `@`, which its whole chain
     *     shares; otherwise it is the record's id, and there is none without one
     */
    public KeyedTexts(String topic, boolean byChain) {
        this.topic = topic;
        this.byChain = byChain;
    }

    public ProducerRecord serialize(Object element, KafkaSinkContext context, Long timestamp) {
        String text = (String) element;
        byte[] value = text.getBytes(StandardCharsets.UTF_8);
        String key = byChain ? chain(text) : id(value);
        byte[] keyed = key == null ? null : key.getBytes(StandardCharsets.UTF_8);
        return new ProducerRecord(topic, null, null, keyed, value);
    }

    private String id(byte[] value) {
        if (ids == null) {
            ids = new Ids();
        }
        return ids.of(value);
    }

    private static String chain(String text) {
        int from = text.lastIndexOf(VERSION) + VERSION.length();
        return text.substring(from, text.indexOf('@', from));
    }
}
