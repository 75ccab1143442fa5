package riverrun.connectors;

import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.function.BiConsumer;

import org.apache.flink.api.connector.source.SourceEvent;
import org.apache.flink.api.connector.source.SplitEnumerator;
import org.apache.flink.api.connector.source.SplitEnumeratorContext;
import org.apache.flink.api.connector.source.SplitsAssignment;
import org.apache.flink.metrics.groups.SplitEnumeratorMetricGroup;

/**
 * What a source's enumerator hears while a checkpoint is being made, it hears after that.
 *
 * <p>Flink keeps back what an enumerator sends to a reader from when the enumerator was asked for its
 * state until the reader has made its own. If the reader's task fails in between, what was kept back
 * is forgotten, but still waited for: the first checkpoint of the next attempt does not end, no
 * reader gets a split, and the job stands still until that checkpoint times out, ten minutes unless
 * told otherwise (Flink 2.3, OperatorCoordinatorHolder.setupSubtaskGateway puts a new gateway in the
 * place of one that still holds events). So nothing is sent meanwhile.
 *
 * <p>All of it is called by the coordinator's one thread.
 */
final class BetweenCheckpoints {
    private static final long NONE = -1;

    private final List waiting = new ArrayList();
    private long inProgress = NONE;

    private void hear(Runnable what) {
        if (inProgress == NONE) {
            what.run();
        } else {
            waiting.add(what);
        }
    }

    private void begin(long checkpoint) {
        end(checkpoint);
        inProgress = checkpoint;
    }

    /** Ends this checkpoint or an older one, whose end may not have been heard of. */
    private void end(long checkpoint) {
        if (inProgress > checkpoint) {
            return;
        }
        inProgress = NONE;
        List heard = new ArrayList(waiting);
        waiting.clear();
        for (Object what : heard) {
            ((Runnable) what).run();
        }
    }

    SplitEnumerator of(SplitEnumerator enumerator) {
        return new Enumerator(enumerator);
    }

    SplitEnumeratorContext of(SplitEnumeratorContext context) {
        return new Context(context);
    }

    private final class Enumerator implements SplitEnumerator {
        private final SplitEnumerator inner;

        Enumerator(SplitEnumerator inner) {
            this.inner = inner;
        }

        public void handleSplitRequest(final int subtask, final String host) {
            hear(new Runnable() {
                public void run() {
                    inner.handleSplitRequest(subtask, host);
                }
            });
        }

        public Object snapshotState(long checkpoint) throws Exception {
            begin(checkpoint);
            return inner.snapshotState(checkpoint);
        }

        public void notifyCheckpointComplete(long checkpoint) throws Exception {
            inner.notifyCheckpointComplete(checkpoint);
            end(checkpoint);
        }

        public void notifyCheckpointAborted(long checkpoint) throws Exception {
            inner.notifyCheckpointAborted(checkpoint);
            end(checkpoint);
        }

        public void start() {
            inner.start();
        }

        public void addSplitsBack(List splits, int subtask) {
            inner.addSplitsBack(splits, subtask);
        }

        public void addReader(int subtask) {
            inner.addReader(subtask);
        }

        public void handleSourceEvent(int subtask, SourceEvent event) {
            inner.handleSourceEvent(subtask, event);
        }

        public void close() throws IOException {
            inner.close();
        }
    }

    private final class Context implements SplitEnumeratorContext {
        private final SplitEnumeratorContext inner;

        Context(SplitEnumeratorContext inner) {
            this.inner = inner;
        }

        private BiConsumer later(final BiConsumer handler) {
            return new BiConsumer() {
                public void accept(final Object result, final Object failure) {
                    hear(new Runnable() {
                        public void run() {
                            handler.accept(result, failure);
                        }
                    });
                }
            };
        }

        public void callAsync(Callable callable, BiConsumer handler) {
            inner.callAsync(callable, later(handler));
        }

        public void callAsync(Callable callable, BiConsumer handler, long delay, long period) {
            inner.callAsync(callable, later(handler), delay, period);
        }

        public SplitEnumeratorMetricGroup metricGroup() {
            return inner.metricGroup();
        }

        public void sendEventToSourceReader(int subtask, SourceEvent event) {
            inner.sendEventToSourceReader(subtask, event);
        }

        public int currentParallelism() {
            return inner.currentParallelism();
        }

        public Map registeredReaders() {
            return inner.registeredReaders();
        }

        public void assignSplits(SplitsAssignment assignment) {
            inner.assignSplits(assignment);
        }

        public void signalNoMoreSplits(int subtask) {
            inner.signalNoMoreSplits(subtask);
        }

        public void runInCoordinatorThread(Runnable runnable) {
            inner.runInCoordinatorThread(runnable);
        }
    }
}
