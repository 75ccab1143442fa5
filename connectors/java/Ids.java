package riverrun.connectors;

/** The ids of JSON records, for classes of other packages. One thread at a time may use it. */
public final class Ids {
    private final TopLevel top = new TopLevel();

    /** The top-level `id` of a JSON object; null where there is none that could be a key. */
    public String of(byte[] json) {
        top.read(json, 0, json.length);
        return top.id;
    }
}
