package riverrun.connectors;

import org.apache.flink.runtime.state.KeyGroupRangeAssignment;
import org.apache.flink.types.Row;

/** Keys that reach every subtask of a keyed operator, however many there are. */
public final class KeyGroups {
    private KeyGroups() {}

    /** For each key group a key of rows that is in it: `prefix` and a number. */
    public static String[] keys(int keyGroups, String prefix) {
        String[] found = new String[keyGroups];
        int missing = keyGroups;
        for (int i = 0; missing > 0; i++) {
            String key = prefix + i;
            Row row = new Row(1);
            row.setField(0, key);
            int group = KeyGroupRangeAssignment.assignToKeyGroup(row, keyGroups);
            if (found[group] == null) {
                found[group] = key;
                missing--;
            }
        }
        return found;
    }
}
