package riverrun.connectors;

import java.io.IOException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashSet;
import java.util.Iterator;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.Callable;
import java.util.function.BiConsumer;

import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

import org.apache.flink.api.connector.source.SourceEvent;
import org.apache.flink.api.connector.source.SplitEnumerator;
import org.apache.flink.api.connector.source.SplitEnumeratorContext;
import org.apache.flink.connector.file.src.FileSourceSplit;
import org.apache.flink.connector.file.src.PendingSplitsCheckpoint;
import org.apache.flink.connector.file.src.enumerate.NonSplittingRecursiveEnumerator;
import org.apache.flink.core.fs.Path;

/**
 * Hands files out to readers in the order of their path names, one to each that asks.
 *
 * <p>Flink has enumerators of its own; two things are different here. Both came to light when task
 * managers were killed (Flink 2.3):
 *
 * <p>Nothing is sent while a checkpoint is being made. Flink keeps back what is sent to a reader
 * between its own state and the reader's. If the reader's task fails in between, what was kept back
 * is forgotten but waited for (OperatorCoordinatorHolder puts a new gateway in the place of the one
 * that holds it): the next checkpoint does not end, nothing is handed out, and the job stands still
 * until that checkpoint times out.
 *
 * <p>What a reader asked for is forgotten when it registers anew. The one before it asked; a restored
 * reader that got a file beside those in its state would read them in any order after the next
 * failure.
 *
 * <p>All of it is called by the coordinator's one thread.
 */
final class Handout implements SplitEnumerator {
    private static final Logger LOG = LoggerFactory.getLogger(Handout.class);
    private static final long NONE = -1;

    private final SplitEnumeratorContext context;
    private final Path folder;
    private final Duration watchEvery;
    private final TreeMap pending = new TreeMap();
    private final Set seen = new HashSet();
    private final Set asking = new LinkedHashSet();
    private long checkpoint = NONE;

    Handout(SplitEnumeratorContext context, Path folder, Duration watchEvery) {
        this.context = context;
        this.folder = folder;
        this.watchEvery = watchEvery;
    }

    /** All files there are, those below folders of the folder too, in no order. */
    static Collection files(Path folder) throws IOException {
        List files = new ArrayList();
        Path[] paths = new Path[] {folder};
        for (Object each : new NonSplittingRecursiveEnumerator().enumerateSplits(paths, 1)) {
            FileSourceSplit found = (FileSourceSplit) each;
            // Flink would number them, each time it looks from the beginning.
            String id = found.path().toString();
            files.add(new FileSourceSplit(
                    id,
                    found.path(),
                    found.offset(),
                    found.length(),
                    found.fileModificationTime(),
                    found.fileSize(),
                    found.hostnames()));
        }
        return files;
    }

    void restore(PendingSplitsCheckpoint state) {
        add(state.getSplits());
        seen.addAll(state.getAlreadyProcessedPaths());
    }

    /** Takes the files that were not seen before. */
    void find(Collection files) {
        for (Object file : files) {
            if (seen.add(((FileSourceSplit) file).path())) {
                add(file);
            }
        }
    }

    private void add(Collection files) {
        for (Object file : files) {
            add(file);
        }
    }

    private void add(Object file) {
        pending.put(Lines.plain(((FileSourceSplit) file).path()), file);
    }

    public void start() {
        if (watchEvery == null) {
            return;
        }
        Callable look = new Callable() {
            public Object call() throws IOException {
                return files(folder);
            }
        };
        BiConsumer found = new BiConsumer() {
            public void accept(Object files, Object failure) {
                if (failure != null) {
                    LOG.error("cannot look for files in " + folder, (Throwable) failure);
                    return;
                }
                find((Collection) files);
                handOut();
            }
        };
        context.callAsync(look, found, watchEvery.toMillis(), watchEvery.toMillis());
    }

    public void addReader(int subtask) {
        asking.remove(Integer.valueOf(subtask));
    }

    public void handleSplitRequest(int subtask, String host) {
        asking.add(Integer.valueOf(subtask));
        handOut();
    }

    /** Takes what a reader that failed had been given since the checkpoint it goes on from. */
    public void addSplitsBack(List files, int subtask) {
        add(files);
    }

    private void handOut() {
        if (checkpoint != NONE) {
            return;
        }
        Iterator readers = asking.iterator();
        while (readers.hasNext()) {
            Integer reader = (Integer) readers.next();
            if (!context.registeredReaders().containsKey(reader)) {
                readers.remove();
            } else if (!pending.isEmpty()) {
                readers.remove();
                FileSourceSplit file = (FileSourceSplit) pending.pollFirstEntry().getValue();
                context.assignSplit(file, reader.intValue());
            } else if (watchEvery == null) {
                readers.remove();
                context.signalNoMoreSplits(reader.intValue());
            }
        }
    }

    /**
     * Hands nothing out, though the one before may have ended: Flink takes what is sent from here on
     * for sent after this checkpoint, while the reader may have it in its part of it.
     */
    public Object snapshotState(long id) {
        checkpoint = id;
        return PendingSplitsCheckpoint.fromCollectionSnapshot(pending.values(), seen);
    }

    public void notifyCheckpointComplete(long id) {
        end(id);
    }

    public void notifyCheckpointAborted(long id) {
        end(id);
    }

    private void end(long id) {
        if (checkpoint <= id) {
            checkpoint = NONE;
            handOut();
        }
    }

    public void handleSourceEvent(int subtask, SourceEvent event) {
        LOG.error("a file reader sent what nobody knows: " + event);
    }

    public void close() {
    }
}
