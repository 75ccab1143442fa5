import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.function.BiConsumer;

import org.apache.flink.api.connector.source.ReaderInfo;
import org.apache.flink.api.connector.source.SourceEvent;
import org.apache.flink.api.connector.source.SplitEnumeratorContext;
import org.apache.flink.api.connector.source.SplitsAssignment;
import org.apache.flink.connector.file.src.FileSourceSplit;
import org.apache.flink.metrics.groups.SplitEnumeratorMetricGroup;

/** Stands for Flink's coordinator, with one reader: what it was told to send, and its clock by hand. */
public final class Splits implements SplitEnumeratorContext {
    private final List sent = new ArrayList();
    private Callable look;
    private BiConsumer found;

    /** What was sent since this was last asked. */
    public List sent() {
        List all = new ArrayList(sent);
        sent.clear();
        return all;
    }

    /** What the coordinator does whenever the watch interval is over. */
    public void tick() throws Exception {
        found.accept(look.call(), null);
    }

    public void assignSplits(SplitsAssignment assignment) {
        for (Object splits : assignment.assignment().values()) {
            for (Object split : (List) splits) {
                sent.add(((FileSourceSplit) split).path().getName());
            }
        }
    }

    public void signalNoMoreSplits(int subtask) {
        sent.add("no more");
    }

    public Map registeredReaders() {
        Map readers = new HashMap();
        readers.put(Integer.valueOf(0), new ReaderInfo(0, "localhost"));
        return readers;
    }

    public void callAsync(Callable callable, BiConsumer handler, long delay, long period) {
        look = callable;
        found = handler;
    }

    public void callAsync(Callable callable, BiConsumer handler) {
        throw new UnsupportedOperationException();
    }

    public void sendEventToSourceReader(int subtask, SourceEvent event) {
        throw new UnsupportedOperationException();
    }

    public int currentParallelism() {
        return 1;
    }

    public SplitEnumeratorMetricGroup metricGroup() {
        throw new UnsupportedOperationException();
    }

    public void runInCoordinatorThread(Runnable runnable) {
        runnable.run();
    }
}
