package riverrun.connectors;

import java.io.Serializable;
import java.nio.charset.StandardCharsets;
import java.util.zip.CRC32;

import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.java.typeutils.RowTypeInfo;
import org.apache.flink.streaming.api.typeinfo.python.PickledByteArrayTypeInfo;
import org.apache.flink.types.Row;

/**
 * Makes Row(key, value) of a record's bytes: see "From the source to the join" in
 * docs/architecture.md. One thread at a time may use it.
 */
public final class Envelope implements Serializable {
    private static final long serialVersionUID = 1L;

    /** The key of control messages. */
    public static final String CONTROL = "\0control";

    private final byte[] input;
    private final String control;
    private final long minTs;
    private final long maxFutureMs;
    private final int recordLimit;
    private final int rawKeep;
    private transient TopLevel top;

    /**
     * @param input the name of the input
     * @param minTs earliest time allowed, milliseconds since the epoch
     * @param maxFutureMs how far behind now the latest time allowed lies
     * @param recordLimit most bytes that a record may have
     * @param rawKeep how many bytes of a larger one are kept
     * @param control which records are control messages: "none", "some" (an object without id that
     *     has `op` or `payload`) or "all"
     */
    public Envelope(
            String input,
            long minTs,
            long maxFutureMs,
            int recordLimit,
            int rawKeep,
            String control) {
        this.control = control;
        this.input = input.getBytes(StandardCharsets.UTF_8);
        this.minTs = minTs;
        this.maxFutureMs = maxFutureMs;
        this.recordLimit = recordLimit;
        this.rawKeep = rawKeep;
    }

    int recordLimit() {
        return recordLimit;
    }

    /** What every row has: a key that is text, and a pickle. */
    public static TypeInformation rowType() {
        return new RowTypeInfo(
                new TypeInformation[] {
                    Types.STRING, PickledByteArrayTypeInfo.PICKLED_BYTE_ARRAY_TYPE_INFO
                },
                new String[] {"key", "value"});
    }

    /**
     * The row of one record.
     *
     * @param place UTF-8 of the record's position up to `number`
     * @param number its line or offset
     * @param raw holds its bytes from `from` to `to`, more than the limit if it is too large; null
     *     if it has no value
     * @param produced Kafka's timestamp of the record; 0 where there is none
     */
    public Row row(byte[] place, long number, byte[] raw, int from, int to, long produced) {
        long now = System.currentTimeMillis();
        boolean all = control.equals("all");
        String key = all ? CONTROL : null;
        if (raw == null) {
            return row(key, Pickled.NO_TS, 0, place, number, null, 0, 0, now, produced);
        }
        if (to - from > recordLimit) {
            int kept = from + Math.min(rawKeep, recordLimit);
            return row(
                    key, Pickled.TOO_LARGE, 0, place, number, raw, from, kept, now, produced);
        }
        if (all) {
            return row(key, Pickled.NO_TS, 0, place, number, raw, from, to, now, produced);
        }
        if (top == null) {
            top = new TopLevel();
        }
        top.read(raw, from, to);
        if (top.id == null && top.control && control.equals("some")) {
            return row(CONTROL, Pickled.NO_TS, 0, place, number, raw, from, to, now, produced);
        }
        return row(top.id, verdict(now), top.ts, place, number, raw, from, to, now, produced);
    }

    private int verdict(long now) {
        if (!top.hasTs) {
            return Pickled.NO_TS;
        }
        // Subtracted from a time that is not before min_ts: no overflow, as adding to now could be.
        boolean inRange = top.ts >= minTs && top.ts - maxFutureMs <= now;
        return inRange ? Pickled.FINE : Pickled.BAD_TS;
    }

    private Row row(
            String id,
            int verdict,
            long ts,
            byte[] place,
            long number,
            byte[] raw,
            int from,
            int to,
            long ingested,
            long produced) {
        // Without it Python would have to ask Flink for the key of each record.
        byte[] routed = id == null ? null : id.getBytes(StandardCharsets.UTF_8);
        byte[] pickle = Pickled.write(
                verdict, ts, input, place, number, raw, from, to, routed, ingested, produced);
        Row row = new Row(2);
        row.setField(0, id != null ? id : scattered(place, number, raw, from, to));
        row.setField(1, pickle);
        return row;
    }

    /** A key for a record without one: such records spread, and meet no id that a record has. */
    private static String scattered(byte[] place, long number, byte[] raw, int from, int to) {
        CRC32 crc = new CRC32();
        if (raw != null) {
            crc.update(raw, from, to - from);
        } else {
            crc.update(place, 0, place.length);
            byte[] digits = Long.toString(number).getBytes(StandardCharsets.US_ASCII);
            crc.update(digits, 0, digits.length);
        }
        String hex = Long.toHexString(crc.getValue());
        return "\0" + "00000000".substring(hex.length()) + hex;
    }
}
