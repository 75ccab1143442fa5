package riverrun.connectors;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;

import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.connector.file.src.FileSourceSplit;
import org.apache.flink.connector.file.src.reader.BulkFormat;
import org.apache.flink.connector.file.src.util.CheckpointedPosition;
import org.apache.flink.connector.file.src.util.MutableRecordAndPosition;
import org.apache.flink.connector.file.src.util.RecordAndPosition;
import org.apache.flink.core.fs.FSDataInputStream;
import org.apache.flink.core.fs.Path;
import org.apache.flink.types.Row;

/**
 * Reads the lines of a file as records of bytes, each ended by \n or \r\n or the end of the file.
 *
 * <p>A line without a byte is no record, though it counts. Of a line larger than the record limit
 * only its beginning is held. The checkpointed position of a record is the offset behind its line,
 * and, in the place of the records to skip, the number of its line: so a restored reader seeks,
 * reads nothing twice and counts on.
 */
public final class Lines implements BulkFormat {
    private static final long serialVersionUID = 1L;

    private final Envelope envelope;

    public Lines(Envelope envelope) {
        this.envelope = envelope;
    }

    public BulkFormat.Reader createReader(Configuration config, FileSourceSplit split)
            throws IOException {
        return new Reader(envelope, split, split.offset(), 0);
    }

    public BulkFormat.Reader restoreReader(Configuration config, FileSourceSplit split)
            throws IOException {
        CheckpointedPosition position = (CheckpointedPosition) split.getReaderPosition().get();
        return new Reader(envelope, split, position.getOffset(), position.getRecordsAfterOffset());
    }

    public boolean isSplittable() {
        return false;
    }

    public TypeInformation getProducedType() {
        return Envelope.rowType();
    }

    /** A local path as users write it, any other with its scheme. */
    static String plain(Path path) {
        String scheme = path.toUri().getScheme();
        return scheme == null || scheme.equals("file") ? path.getPath() : path.toString();
    }

    static final class Reader implements BulkFormat.Reader {
        // Enough for the hand-over between the reading thread and the task to cost little a record.
        private static final int BATCH_RECORDS = 1000;
        private static final int BATCH_BYTES = 256 * 1024;
        private static final int CHUNK = 64 * 1024;

        private final Envelope envelope;
        private final byte[] place;
        private final FSDataInputStream stream;
        // Up to the length that the file had when it was found: what is written behind it later
        // would be read or not, as it happens.
        private long unread;
        private long offset;
        private long line;

        private byte[] buffer = new byte[2 * CHUNK];
        private int start;
        private int end;
        // The line found last, without its end.
        private int from;
        private int to;

        Reader(Envelope envelope, FileSourceSplit split, long offset, long line)
                throws IOException {
            this.envelope = envelope;
            this.place = (plain(split.path()) + ":").getBytes(StandardCharsets.UTF_8);
            this.offset = offset;
            this.line = line;
            this.unread = split.offset() + split.length() - offset;
            this.stream = split.path().getFileSystem().open(split.path(), CHUNK);
            if (offset > 0) {
                stream.seek(offset);
            }
        }

        public BulkFormat.RecordIterator readBatch() throws IOException {
            Batch batch = new Batch(BATCH_RECORDS);
            long until = offset + BATCH_BYTES;
            // However many empty lines there are, only the end of the file is no batch.
            while (batch.size < BATCH_RECORDS
                    && (batch.size == 0 || offset < until)
                    && nextLine()) {
                line++;
                if (to > from) {
                    batch.add(envelope.row(place, line, buffer, from, to, 0), offset, line);
                }
            }
            return batch.size > 0 ? batch : null;
        }

        public void close() throws IOException {
            stream.close();
        }

        /** Finds the next line and moves `offset` behind it; false at the end of the file. */
        private boolean nextLine() throws IOException {
            int limit = envelope.recordLimit();
            long dropped = 0;
            int scanned = 0;
            while (true) {
                int newline = newline(start + scanned);
                if (newline >= 0) {
                    found(newline, newline + 1, dropped);
                    return true;
                }
                // One byte more than the limit shows that the line is too large.
                int excess = Math.max(0, end - start - limit - 1);
                end -= excess;
                dropped += excess;
                scanned = end - start;
                if (!fill()) {
                    break;
                }
            }
            if (end == start) {
                return false;
            }
            found(end, end, dropped);
            return true;
        }

        private int newline(int first) {
            byte[] bytes = buffer;
            int last = end;
            for (int i = first; i < last; i++) {
                if (bytes[i] == '\n') {
                    return i;
                }
            }
            return -1;
        }

        private void found(int stop, int next, long dropped) {
            from = start;
            to = dropped == 0 && stop > start && buffer[stop - 1] == '\r' ? stop - 1 : stop;
            offset += next - start + dropped;
            start = next;
        }

        /** Reads on behind `end`; false at the end of the file. */
        private boolean fill() throws IOException {
            if (start > 0) {
                System.arraycopy(buffer, start, buffer, 0, end - start);
                end -= start;
                start = 0;
            }
            if (buffer.length - end < CHUNK) {
                long enough = envelope.recordLimit() + 1L + CHUNK;
                buffer = Arrays.copyOf(buffer, (int) Math.min(2L * buffer.length, enough));
            }
            int wanted = (int) Math.min(unread, buffer.length - end);
            int read = wanted == 0 ? -1 : stream.read(buffer, end, wanted);
            if (read < 0) {
                return false;
            }
            end += read;
            unread -= read;
            return true;
        }
    }

    static final class Batch implements BulkFormat.RecordIterator {
        private final Row[] rows;
        private final long[] offsets;
        private final long[] lines;
        private final MutableRecordAndPosition record = new MutableRecordAndPosition();
        int size;
        private int given;

        Batch(int capacity) {
            rows = new Row[capacity];
            offsets = new long[capacity];
            lines = new long[capacity];
        }

        void add(Row row, long offset, long line) {
            rows[size] = row;
            offsets[size] = offset;
            lines[size] = line;
            size++;
        }

        public RecordAndPosition next() {
            if (given == size) {
                return null;
            }
            record.set(rows[given], offsets[given], lines[given]);
            given++;
            return record;
        }

        public void releaseBatch() {}
    }
}
