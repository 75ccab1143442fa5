package riverrun.connectors;

import java.io.IOException;
import java.time.Duration;

import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.connector.source.Boundedness;
import org.apache.flink.api.connector.source.Source;
import org.apache.flink.api.connector.source.SourceReader;
import org.apache.flink.api.connector.source.SourceReaderContext;
import org.apache.flink.api.connector.source.SplitEnumerator;
import org.apache.flink.api.connector.source.SplitEnumeratorContext;
import org.apache.flink.api.java.typeutils.ResultTypeQueryable;
import org.apache.flink.connector.file.src.FileSourceSplit;
import org.apache.flink.connector.file.src.FileSourceSplitSerializer;
import org.apache.flink.connector.file.src.PendingSplitsCheckpoint;
import org.apache.flink.connector.file.src.PendingSplitsCheckpointSerializer;
import org.apache.flink.connector.file.src.impl.FileSourceReader;
import org.apache.flink.core.fs.Path;
import org.apache.flink.core.io.SimpleVersionedSerializer;

/** The lines of a folder's files, or of one file: the reader of Flink's file source, and its state. */
public final class FolderSource implements Source, ResultTypeQueryable {
    private static final long serialVersionUID = 1L;

    private final Path folder;
    private final Lines lines;
    private final Duration watchEvery;

    /** @param watchEvery how often to look for more files; null: never, and the source ends */
    public FolderSource(Path folder, Lines lines, Duration watchEvery) {
        this.folder = folder;
        this.lines = lines;
        this.watchEvery = watchEvery;
    }

    /** The path of the file that is read last, null if there is none with something in it. */
    public static String last(Path folder) throws IOException {
        String last = null;
        for (Object found : Handout.files(folder)) {
            FileSourceSplit file = (FileSourceSplit) found;
            String name = Lines.plain(file.path());
            if (file.length() > 0 && (last == null || name.compareTo(last) > 0)) {
                last = name;
            }
        }
        return last;
    }

    public Boundedness getBoundedness() {
        return watchEvery == null ? Boundedness.BOUNDED : Boundedness.CONTINUOUS_UNBOUNDED;
    }

    public SourceReader createReader(SourceReaderContext context) {
        return new FileSourceReader(context, lines, context.getConfiguration());
    }

    public SplitEnumerator createEnumerator(SplitEnumeratorContext context) throws IOException {
        Handout all = new Handout(context, folder, watchEvery);
        all.find(Handout.files(folder));
        return all;
    }

    public SplitEnumerator restoreEnumerator(SplitEnumeratorContext context, Object state) {
        Handout rest = new Handout(context, folder, watchEvery);
        rest.restore((PendingSplitsCheckpoint) state);
        return rest;
    }

    public SimpleVersionedSerializer getSplitSerializer() {
        return FileSourceSplitSerializer.INSTANCE;
    }

    public SimpleVersionedSerializer getEnumeratorCheckpointSerializer() {
        return new PendingSplitsCheckpointSerializer(FileSourceSplitSerializer.INSTANCE);
    }

    public TypeInformation getProducedType() {
        return lines.getProducedType();
    }
}
