package riverrun.connectors.kafka;

import java.util.Collections;
import java.util.List;
import java.util.concurrent.CompletableFuture;

import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.connector.source.Boundedness;
import org.apache.flink.api.connector.source.ReaderOutput;
import org.apache.flink.api.connector.source.Source;
import org.apache.flink.api.connector.source.SourceEvent;
import org.apache.flink.api.connector.source.SourceReader;
import org.apache.flink.api.connector.source.SourceReaderContext;
import org.apache.flink.api.connector.source.SplitEnumerator;
import org.apache.flink.api.connector.source.SplitEnumeratorContext;
import org.apache.flink.api.java.typeutils.ResultTypeQueryable;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.core.io.InputStatus;
import org.apache.flink.core.io.SimpleVersionedSerializer;
import org.apache.flink.types.Row;

/** A Kafka source of `Queued` records, for topics that the job itself writes. */
public final class OwnTopic implements Source, ResultTypeQueryable {
    private static final long serialVersionUID = 1L;

    private final KafkaSource kafka;
    private final boolean forgets;
    private final String first;

    /**
     * @param forgets whether who is restored reads the topic from where it begins again: for a
     *     compacted topic, whose readers keep nothing in Flink's state
     * @param first the key of a row with an empty text that comes before all others, at each start;
     *     null for none
     */
    public OwnTopic(KafkaSource kafka, boolean forgets, String first) {
        this.kafka = kafka;
        this.forgets = forgets;
        this.first = first;
    }

    public Boundedness getBoundedness() {
        return kafka.getBoundedness();
    }

    public SplitEnumerator createEnumerator(SplitEnumeratorContext context) throws Exception {
        return kafka.createEnumerator(context);
    }

    public SplitEnumerator restoreEnumerator(SplitEnumeratorContext context, Object checkpoint)
            throws Exception {
        if (forgets) {
            return kafka.createEnumerator(context);
        }
        return ((Source) kafka).restoreEnumerator(context, checkpoint);
    }

    public SimpleVersionedSerializer getSplitSerializer() {
        return kafka.getSplitSerializer();
    }

    public SimpleVersionedSerializer getEnumeratorCheckpointSerializer() {
        return kafka.getEnumeratorCheckpointSerializer();
    }

    public TypeInformation getProducedType() {
        return kafka.getProducedType();
    }

    public SourceReader createReader(SourceReaderContext context) throws Exception {
        return new Reader(kafka.createReader(context), forgets, first);
    }

    private static final class Reader implements SourceReader {
        private final SourceReader reader;
        private final boolean forgets;
        private String first;

        Reader(SourceReader reader, boolean forgets, String first) {
            this.reader = reader;
            this.forgets = forgets;
            this.first = first;
        }

        public void start() {
            reader.start();
        }

        public InputStatus pollNext(ReaderOutput output) throws Exception {
            if (first != null) {
                Row row = new Row(2);
                row.setField(0, first);
                row.setField(1, "");
                first = null;
                output.collect(row);
            }
            return reader.pollNext(output);
        }

        public List snapshotState(long checkpointId) {
            List splits = reader.snapshotState(checkpointId);
            return forgets ? Collections.EMPTY_LIST : splits;
        }

        public CompletableFuture isAvailable() {
            // Before the first look nothing may be there but the row of this class.
            return first == null ? reader.isAvailable() : CompletableFuture.completedFuture(null);
        }

        public void addSplits(List splits) {
            reader.addSplits(splits);
        }

        public void notifyNoMoreSplits() {
            reader.notifyNoMoreSplits();
        }

        public void handleSourceEvents(SourceEvent event) {
            reader.handleSourceEvents(event);
        }

        public void notifyCheckpointComplete(long checkpointId) throws Exception {
            reader.notifyCheckpointComplete(checkpointId);
        }

        public void notifyCheckpointAborted(long checkpointId) throws Exception {
            reader.notifyCheckpointAborted(checkpointId);
        }

        public void close() throws Exception {
            reader.close();
        }
    }
}
