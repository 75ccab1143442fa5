package riverrun.connectors;

import java.io.IOException;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;

import org.apache.flink.connector.file.src.FileSourceSplit;
import org.apache.flink.connector.file.src.assigners.FileSplitAssigner;
import org.apache.flink.connector.file.src.enumerate.NonSplittingRecursiveEnumerator;
import org.apache.flink.core.fs.Path;

/** Hands out files in the order of their path names, whatever order they were found in. */
public final class NameOrder implements FileSplitAssigner.Provider {
    private static final long serialVersionUID = 1L;

    public FileSplitAssigner create(Collection splits) {
        return new Assigner(splits);
    }

    /**
     * The path that comes last among those with something in them, found as the source will find
     * them; null if there is none.
     */
    public static String last(Path folder) throws IOException {
        String last = null;
        Path[] paths = new Path[] {folder};
        for (Object found : new NonSplittingRecursiveEnumerator().enumerateSplits(paths, 1)) {
            FileSourceSplit split = (FileSourceSplit) found;
            String name = Lines.plain(split.path());
            if (split.length() > 0 && (last == null || name.compareTo(last) > 0)) {
                last = name;
            }
        }
        return last;
    }

    static final class Assigner implements FileSplitAssigner {
        private final TreeMap pending = new TreeMap();

        Assigner(Collection splits) {
            addSplits(splits);
        }

        public Optional getNext(String hostname) {
            Map.Entry first = pending.pollFirstEntry();
            return first == null ? Optional.empty() : Optional.of(first.getValue());
        }

        /** Takes files that were found later, and those that a failure gave back. */
        public void addSplits(Collection splits) {
            for (Object split : splits) {
                pending.put(Lines.plain(((FileSourceSplit) split).path()), split);
            }
        }

        public Collection remainingSplits() {
            return new ArrayList(pending.values());
        }
    }
}
