package riverrun.connectors;

import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;

/**
 * Reads the top-level `id` and `ts` of a JSON object, the last of each if one stands there twice.
 *
 * <p>What JSON accepts is read exactly as Python's decoder reads it. The rest is only skipped, not
 * judged: Python decodes every record again and says what is wrong with it. So this is one pass
 * that allocates nothing but the id, ten times as fast as a parser that makes a token of each of a
 * hundred features. It never throws.
 */
final class TopLevel {
    private static final int OTHER = 0;
    private static final int ID = 1;
    private static final int TS = 2;
    private static final int CONTROL = 3;

    /** The decoded id; null where there is none that could be a key. */
    String id;
    /** The time; 0 where `hasTs` says that it is no integer that fits a long. */
    long ts;
    boolean hasTs;
    /** Whether there is a name that control messages have, and events have not. */
    boolean control;

    private byte[] json;
    private int at;
    private int end;
    // The string passed last, without its quotes.
    private int from;
    private int to;
    private boolean escaped;
    private boolean ascii;

    /** Sets the fields from the bytes between `start` and `stop`. */
    void read(byte[] bytes, int start, int stop) {
        json = bytes;
        at = start;
        end = stop;
        id = null;
        ts = 0;
        hasTs = false;
        control = false;
        if (!object()) {
            id = null;
            ts = 0;
            hasTs = false;
            control = false;
        }
    }

    private boolean object() {
        if (!take('{')) {
            return false;
        }
        if (!take('}')) {
            do {
                if (!take('"') || !string()) {
                    return false;
                }
                int name = name();
                if (!take(':') || !value(name)) {
                    return false;
                }
            } while (take(','));
            if (!take('}')) {
                return false;
            }
        }
        space();
        return at == end;
    }

    /** Which of the names wanted the string passed last is. */
    private int name() {
        if (escaped) {
            String name = decoded();
            return "id".equals(name) ? ID : "ts".equals(name) ? TS : OTHER;
        }
        if (to - from != 2) {
            return to - from == 7 && is("payload") ? CONTROL : OTHER;
        }
        return is("id") ? ID : is("ts") ? TS : is("op") ? CONTROL : OTHER;
    }

    private boolean is(String name) {
        for (int i = 0; i < name.length(); i++) {
            if (json[from + i] != name.charAt(i)) {
                return false;
            }
        }
        return true;
    }

    private boolean value(int name) {
        space();
        if (at == end) {
            return false;
        }
        int first = json[at];
        if (name == TS) {
            hasTs = false;
            ts = 0;
        }
        control |= name == CONTROL;
        if (first == '"') {
            at++;
            if (!string()) {
                return false;
            }
            if (name == ID) {
                id = to > from ? decoded() : null;
            }
            return true;
        }
        if (name == ID) {
            id = null;
        }
        if (first == '{' || first == '[') {
            return nested();
        }
        int begin = at;
        while (at < end && !ends(json[at])) {
            at++;
        }
        if (name == TS) {
            integer(begin, at);
        }
        return at > begin;
    }

    private boolean nested() {
        int depth = 0;
        while (at < end) {
            int c = json[at++];
            if (c == '"') {
                if (!string()) {
                    return false;
                }
            } else if (c == '{' || c == '[') {
                depth++;
            } else if ((c == '}' || c == ']') && --depth == 0) {
                return true;
            }
        }
        return false;
    }

    /** Passes a string whose opening quote was taken. */
    private boolean string() {
        from = at;
        boolean backslash = false;
        int or = 0;
        byte[] bytes = json;
        int last = end;
        int i = at;
        while (i < last) {
            int c = bytes[i];
            if (c == '"') {
                to = i;
                at = i + 1;
                escaped = backslash;
                ascii = or >= 0;
                return true;
            }
            or |= c;
            if (c == '\\') {
                backslash = true;
                i++;
            }
            i++;
        }
        return false;
    }

    /** The string passed last; null where it is not UTF-8 or an escape means nothing. */
    private String decoded() {
        if (!escaped) {
            return ascii
                    ? new String(json, from, to - from, StandardCharsets.ISO_8859_1)
                    : utf8(from, to);
        }
        StringBuilder text = new StringBuilder(to - from);
        int i = from;
        while (i < to) {
            int plain = i;
            while (i < to && json[i] != '\\') {
                i++;
            }
            if (i > plain) {
                String piece = utf8(plain, i);
                if (piece == null) {
                    return null;
                }
                text.append(piece);
            }
            if (i == to) {
                return text.toString();
            }
            int c = json[i + 1];
            i += 2;
            if (c != 'u') {
                int which = "\"\\/bfnrt".indexOf(c);
                if (which < 0) {
                    return null;
                }
                text.append("\"\\/\b\f\n\r\t".charAt(which));
                continue;
            }
            int unit = hex(i);
            i += 4;
            if (unit < 0 || unit >= 0xdc00 && unit < 0xe000) {
                return null;
            }
            text.append((char) unit);
            if (unit >= 0xd800 && unit < 0xdc00) {
                // Half a character: Python's decoder takes it with its other half only.
                int low = i + 1 < to && json[i] == '\\' && json[i + 1] == 'u' ? hex(i + 2) : -1;
                if (low < 0xdc00 || low >= 0xe000) {
                    return null;
                }
                text.append((char) low);
                i += 6;
            }
        }
        return text.toString();
    }

    private int hex(int start) {
        if (start + 4 > to) {
            return -1;
        }
        int unit = 0;
        for (int i = start; i < start + 4; i++) {
            int c = json[i];
            int digit = c < 0 ? -1 : Character.digit((char) c, 16);
            if (digit < 0) {
                return -1;
            }
            unit = unit << 4 | digit;
        }
        return unit;
    }

    private String utf8(int start, int stop) {
        try {
            return StandardCharsets.UTF_8
                    .newDecoder()
                    .decode(ByteBuffer.wrap(json, start, stop - start))
                    .toString();
        } catch (CharacterCodingException e) {
            return null;
        }
    }

    /** Sets `ts` if the bytes are a JSON integer, `-?(0|[1-9][0-9]*)`, that fits a long. */
    private void integer(int start, int stop) {
        boolean negative = json[start] == '-';
        int first = negative ? start + 1 : start;
        if (first == stop || json[first] == '0' && stop - first > 1) {
            return;
        }
        long value = 0;
        for (int i = first; i < stop; i++) {
            int digit = json[i] - '0';
            // Counted downwards, for the lowest long has no positive.
            if (digit < 0 || digit > 9 || value < (Long.MIN_VALUE + digit) / 10) {
                return;
            }
            value = value * 10 - digit;
        }
        if (negative || value != Long.MIN_VALUE) {
            hasTs = true;
            ts = negative ? value : -value;
        }
    }

    private boolean take(char wanted) {
        space();
        if (at == end || json[at] != wanted) {
            return false;
        }
        at++;
        return true;
    }

    private void space() {
        while (at < end && blank(json[at])) {
            at++;
        }
    }

    private static boolean ends(int c) {
        return c == ',' || c == '}' || c == ']' || blank(c);
    }

    private static boolean blank(int c) {
        return c == ' ' || c == '\n' || c == '\r' || c == '\t';
    }
}
