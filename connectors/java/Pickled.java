package riverrun.connectors;

import java.nio.charset.StandardCharsets;
import java.util.Arrays;

/**
 * The pickle of (verdict, ts, input, position, raw, id, stamps), written and read by hand.
 *
 * <p>Python's unpickler is the only decoder that stands between a record's bytes and the join, so
 * the bytes arrive as they were. Verdict and time have fixed widths: what Java reads again, it
 * reads at fixed places.
 */
final class Pickled {
    static final int FINE = 0;
    static final int NO_TS = 1;
    static final int BAD_TS = 2;
    static final int OUT_OF_ORDER = 3;
    static final int TOO_LARGE = 4;
    static final int CONTROL = 5;

    // PROTO 3, MARK, BININT1 verdict, LONG1 of 8 bytes ts, BINUNICODE input
    private static final int VERDICT_AT = 4;
    private static final int TS_AT = 7;
    private static final int INPUT_AT = 15;
    // BINUNICODE and BINBYTES: an opcode, then the length in 4 bytes
    private static final int LENGTH_SIZE = 5;
    // SHORT_BINBYTES: an opcode, the number of bytes, two longs
    private static final int STAMPS_SIZE = 18;

    private Pickled() {}

    /**
     * The pickle of one record.
     *
     * @param input UTF-8 of the input's name
     * @param place UTF-8 of the position up to `number`
     * @param number the line or the offset, not negative
     * @param raw holds the record's bytes from `from` to `to`; null for a record without a value
     * @param id UTF-8 of the record's id; null for a record without one
     * @param ingested this machine's clock when the source had the record, ms since the epoch
     * @param produced Kafka's timestamp of the record; 0 where there is none
     */
    static byte[] write(
            int verdict,
            long ts,
            byte[] input,
            byte[] place,
            long number,
            byte[] raw,
            int from,
            int to,
            byte[] id,
            long ingested,
            long produced) {
        int digits = digits(number);
        int size = INPUT_AT + LENGTH_SIZE + input.length + LENGTH_SIZE + place.length + digits
                + (raw == null ? 1 : LENGTH_SIZE + to - from)
                + (id == null ? 1 : LENGTH_SIZE + id.length) + STAMPS_SIZE + 2;
        byte[] out = new byte[size];
        out[0] = (byte) 0x80;
        out[1] = 3;
        out[2] = '(';
        out[3] = 'K';
        out[VERDICT_AT] = (byte) verdict;
        out[5] = (byte) 0x8a;
        out[6] = 8;
        number(out, TS_AT, ts);
        int at = head(out, INPUT_AT, 'X', input.length);
        System.arraycopy(input, 0, out, at, input.length);
        at = head(out, at + input.length, 'X', place.length + digits);
        System.arraycopy(place, 0, out, at, place.length);
        at += place.length + digits;
        long rest = number;
        for (int i = 1; i <= digits; i++) {
            out[at - i] = (byte) ('0' + rest % 10);
            rest /= 10;
        }
        if (raw == null) {
            out[at++] = 'N';
        } else {
            at = head(out, at, 'B', to - from);
            System.arraycopy(raw, from, out, at, to - from);
            at += to - from;
        }
        if (id == null) {
            out[at++] = 'N';
        } else {
            at = head(out, at, 'X', id.length);
            System.arraycopy(id, 0, out, at, id.length);
            at += id.length;
        }
        out[at++] = 'C';
        out[at++] = 16;
        at = number(out, at, ingested);
        at = number(out, at, produced);
        out[at++] = 't';
        out[at] = '.';
        return out;
    }

    static int verdict(byte[] pickle) {
        return pickle[VERDICT_AT];
    }

    static long ts(byte[] pickle) {
        long ts = 0;
        for (int i = 7; i >= 0; i--) {
            ts = ts << 8 | pickle[TS_AT + i] & 0xff;
        }
        return ts;
    }

    /** A copy with another verdict: the record itself may be in use elsewhere. */
    static byte[] withVerdict(byte[] pickle, int verdict) {
        byte[] copy = Arrays.copyOf(pickle, pickle.length);
        copy[VERDICT_AT] = (byte) verdict;
        return copy;
    }

    /** The position up to the line or offset: `path:` or `topic-partition-`. */
    static String place(byte[] pickle) {
        int from = position(pickle) + LENGTH_SIZE;
        int to = from + length(pickle, position(pickle));
        while (pickle[to - 1] >= '0' && pickle[to - 1] <= '9') {
            to--;
        }
        return new String(pickle, from, to - from, StandardCharsets.UTF_8);
    }

    static String input(byte[] pickle) {
        return new String(
                pickle, INPUT_AT + LENGTH_SIZE, length(pickle, INPUT_AT), StandardCharsets.UTF_8);
    }

    private static int position(byte[] pickle) {
        return INPUT_AT + LENGTH_SIZE + length(pickle, INPUT_AT);
    }

    private static int length(byte[] pickle, int at) {
        return pickle[at + 1] & 0xff
                | (pickle[at + 2] & 0xff) << 8
                | (pickle[at + 3] & 0xff) << 16
                | (pickle[at + 4] & 0xff) << 24;
    }

    private static int head(byte[] out, int at, char opcode, int length) {
        out[at] = (byte) opcode;
        out[at + 1] = (byte) length;
        out[at + 2] = (byte) (length >> 8);
        out[at + 3] = (byte) (length >> 16);
        out[at + 4] = (byte) (length >> 24);
        return at + LENGTH_SIZE;
    }

    /** A long, little-endian; where what follows begins. */
    private static int number(byte[] out, int at, long number) {
        for (int i = 0; i < 8; i++) {
            out[at + i] = (byte) (number >> (8 * i));
        }
        return at + 8;
    }

    private static int digits(long number) {
        int digits = 1;
        for (long rest = number / 10; rest > 0; rest /= 10) {
            digits++;
        }
        return digits;
    }
}
