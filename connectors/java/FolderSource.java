package riverrun.connectors;

import java.time.Duration;

import org.apache.flink.api.connector.source.SplitEnumerator;
import org.apache.flink.api.connector.source.SplitEnumeratorContext;
import org.apache.flink.connector.file.src.AbstractFileSource;
import org.apache.flink.connector.file.src.ContinuousEnumerationSettings;
import org.apache.flink.connector.file.src.FileSourceSplitSerializer;
import org.apache.flink.connector.file.src.PendingSplitsCheckpoint;
import org.apache.flink.connector.file.src.enumerate.FileEnumerator;
import org.apache.flink.connector.file.src.enumerate.NonSplittingRecursiveEnumerator;
import org.apache.flink.core.fs.Path;
import org.apache.flink.core.io.SimpleVersionedSerializer;

/**
 * The lines of a folder's files, or of one file, in name order: Flink's own file source, which hands
 * files out between checkpoints only, see {@link BetweenCheckpoints}.
 */
public final class FolderSource extends AbstractFileSource {
    private static final long serialVersionUID = 1L;

    /** @param watchEvery how often to look for more files; null: never */
    public FolderSource(Path path, Lines lines, Duration watchEvery) {
        super(
                new Path[] {path},
                new WholeFiles(),
                new NameOrder(),
                lines,
                watchEvery == null ? null : new ContinuousEnumerationSettings(watchEvery));
    }

    public SplitEnumerator createEnumerator(SplitEnumeratorContext context) {
        BetweenCheckpoints between = new BetweenCheckpoints();
        return between.of(super.createEnumerator(between.of(context)));
    }

    public SplitEnumerator restoreEnumerator(
            SplitEnumeratorContext context, PendingSplitsCheckpoint checkpoint) {
        BetweenCheckpoints between = new BetweenCheckpoints();
        return between.of(super.restoreEnumerator(between.of(context), checkpoint));
    }

    public SimpleVersionedSerializer getSplitSerializer() {
        return FileSourceSplitSerializer.INSTANCE;
    }

    static final class WholeFiles implements FileEnumerator.Provider {
        private static final long serialVersionUID = 1L;

        public FileEnumerator create() {
            return new NonSplittingRecursiveEnumerator();
        }
    }
}
