package riverrun.connectors;

import java.nio.charset.StandardCharsets;
import java.util.Arrays;

/** Writes the items of a list, in the few opcodes of pickle protocol 3 that a batch needs. */
final class PickleWriter {
    private byte[] data = new byte[1 << 12];
    private int size;

    int size() {
        return size;
    }

    void clear() {
        size = 0;
    }

    /** An integer: LONG1 of 8 bytes. */
    void number(long number) {
        ensure(10);
        data[size++] = (byte) 0x8a;
        data[size++] = 8;
        for (int i = 0; i < 8; i++) {
            data[size++] = (byte) (number >> (8 * i));
        }
    }

    /** BINBYTES of what begins at `from`, or None. */
    void bytes(byte[] value, int from) {
        if (value == null) {
            ensure(1);
            data[size++] = 'N';
        } else {
            sized('B', value, from);
        }
    }

    /** BINUNICODE. */
    void text(String text) {
        sized('X', text.getBytes(StandardCharsets.UTF_8), 0);
    }

    /** Makes a tuple of the last two items: TUPLE2. */
    void pair() {
        ensure(1);
        data[size++] = (byte) 0x86;
    }

    /** The pickle of (list of held, list of records, list of found, watermark). */
    static byte[] batch(
            PickleWriter helds, PickleWriter records, PickleWriter found, long watermark) {
        PickleWriter out = new PickleWriter();
        out.ensure(helds.size + records.size + found.size + 32);
        // PROTO 3, MARK, the four, TUPLE, STOP
        out.data[out.size++] = (byte) 0x80;
        out.data[out.size++] = 3;
        out.data[out.size++] = '(';
        out.list(helds);
        out.list(records);
        out.list(found);
        out.number(watermark);
        out.data[out.size++] = 't';
        out.data[out.size++] = '.';
        return Arrays.copyOf(out.data, out.size);
    }

    /** The pickle of (verdict, 0, None, text). */
    static byte[] toEverybody(int verdict, String text) {
        PickleWriter out = new PickleWriter();
        // PROTO 3, MARK, the four, TUPLE, STOP
        out.data[out.size++] = (byte) 0x80;
        out.data[out.size++] = 3;
        out.data[out.size++] = '(';
        out.number(verdict);
        out.number(0);
        out.bytes(null, 0);
        out.text(text);
        out.ensure(2);
        out.data[out.size++] = 't';
        out.data[out.size++] = '.';
        return Arrays.copyOf(out.data, out.size);
    }

    /** EMPTY_LIST, MARK, the items, APPENDS. */
    private void list(PickleWriter items) {
        data[size++] = ']';
        data[size++] = '(';
        System.arraycopy(items.data, 0, data, size, items.size);
        size += items.size;
        data[size++] = 'e';
    }

    private void sized(char opcode, byte[] value, int from) {
        int length = value.length - from;
        ensure(5 + length);
        data[size++] = (byte) opcode;
        data[size++] = (byte) length;
        data[size++] = (byte) (length >> 8);
        data[size++] = (byte) (length >> 16);
        data[size++] = (byte) (length >> 24);
        System.arraycopy(value, from, data, size, length);
        size += length;
    }

    private void ensure(int more) {
        if (size + more > data.length) {
            data = Arrays.copyOf(data, Math.max(2 * data.length, size + more));
        }
    }
}
