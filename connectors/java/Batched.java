package riverrun.connectors;

import java.lang.reflect.Field;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.LongBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

import org.apache.flink.api.common.operators.MailboxExecutor;
import org.apache.flink.api.common.operators.ProcessingTimeService;
import org.apache.flink.api.common.state.MapState;
import org.apache.flink.api.common.state.MapStateDescriptor;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.runtime.state.VoidNamespace;
import org.apache.flink.runtime.state.VoidNamespaceSerializer;
import org.apache.flink.streaming.api.functions.python.DataStreamPythonFunctionInfo;
import org.apache.flink.streaming.api.graph.NonChainedOutput;
import org.apache.flink.streaming.api.graph.StreamEdge;
import org.apache.flink.streaming.api.operators.InternalTimeServiceManager;
import org.apache.flink.streaming.api.operators.InternalTimer;
import org.apache.flink.streaming.api.operators.InternalTimerService;
import org.apache.flink.streaming.api.operators.python.embedded.AbstractEmbeddedDataStreamPythonFunctionOperator;
import org.apache.flink.streaming.api.operators.python.embedded.AbstractEmbeddedPythonFunctionOperator;
import org.apache.flink.streaming.api.operators.python.embedded.EmbeddedPythonKeyedProcessOperator;
import org.apache.flink.streaming.api.typeinfo.python.PickledByteArrayTypeInfo;
import org.apache.flink.streaming.api.watermark.Watermark;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;
import org.apache.flink.streaming.runtime.watermarkstatus.WatermarkStatus;
import org.apache.flink.types.Row;
import org.apache.flink.util.ExceptionUtils;
import org.apache.flink.util.OutputTag;
import org.apache.flink.util.function.ThrowingRunnable;

/**
 * PyFlink's keyed process operator of thread mode, with one call into Python for many records.
 *
 * <p>Records wait while there are more at the input, so a lone one waits for nothing. They are
 * handled before a watermark, a barrier or the end of input goes on. What the two sides say to each
 * other is described in operators/batching.py, whose codes stand here again.
 */
public final class Batched extends EmbeddedPythonKeyedProcessOperator {
    private static final long serialVersionUID = 1L;

    private static final int EMIT = 0;
    private static final int SEND = 1;
    private static final int SIDE = 2;
    private static final int PUT = 3;
    private static final int CLEAR = 4;
    private static final int SET_TIMER = 5;
    private static final int DELETE_TIMER = 6;
    private static final int PUT_ENTRY = 7;
    private static final int REMOVE_ENTRY = 8;
    private static final int WAKE = 9;
    private static final int CODE_SIZE = 4;

    private static final int MOST_RECORDS = 256;
    private static final int MOST_BYTES = 1 << 20;
    // What the first record of a batch may wait for the last, as far as the batches before tell.
    private static final long LONGEST_NS = 2000000;

    private final Configuration settings;
    private final TypeInformation in;
    private final String valueName;
    private final String mapName;
    private final String[] sides;
    private final long showEveryMs;

    private transient Object python;
    private transient Method call;
    private transient MailboxExecutor mailbox;
    private transient ThrowingRunnable lookAgain;
    private transient boolean looking;
    private transient int seen;
    private transient InternalTimerService timers;
    private transient ValueState state;
    private transient MapState entries;
    private transient OutputTag[] tags;
    private transient ProcessingTimeService.ProcessingTimeCallback show;
    private transient boolean showing;

    private transient int most;
    private transient int count;
    private transient Map places;
    private transient List keys;
    private transient PickleWriter helds;
    private transient PickleWriter records;
    private transient PickleWriter found;

    /**
     * @param valueName the ValueState of bytes that each batch brings and takes back, for the keys
     *     in it; null: a batch is of one key
     * @param mapName the MapState from text to bytes of which each batch brings the entries that its
     *     records want, and takes some back; null for none
     * @param sides names of the side outputs, by number
     * @param showEveryMs how long after a change Python is told to show its metrics
     */
    public Batched(
            Configuration settings,
            DataStreamPythonFunctionInfo function,
            TypeInformation in,
            TypeInformation out,
            String valueName,
            String mapName,
            String[] sides,
            long showEveryMs) {
        super(settings, function, in, out);
        this.settings = settings;
        this.in = in;
        this.valueName = valueName;
        this.mapName = mapName;
        this.sides = sides;
        this.showEveryMs = showEveryMs;
    }

    public AbstractEmbeddedDataStreamPythonFunctionOperator copy(
            DataStreamPythonFunctionInfo function, TypeInformation out) {
        return new Batched(settings, function, in, out, valueName, mapName, sides, showEveryMs);
    }

    public void open() throws Exception {
        most = 1;
        count = 0;
        looking = false;
        showing = false;
        places = new HashMap();
        keys = new ArrayList();
        helds = new PickleWriter();
        records = new PickleWriter();
        found = new PickleWriter();
        mailbox = getContainingTask()
                .getMailboxExecutorFactory()
                .createExecutor(getOperatorConfig().getChainIndex());
        lookAgain = new ThrowingRunnable() {
            public void run() throws Exception {
                look();
            }
        };
        show = new ProcessingTimeService.ProcessingTimeCallback() {
            public void onProcessingTime(long time) throws Exception {
                showing = false;
                python("show", new Object[0]);
            }
        };
        if (valueName != null) {
            state = (ValueState) getPartitionedState(new ValueStateDescriptor(
                    valueName, PickledByteArrayTypeInfo.PICKLED_BYTE_ARRAY_TYPE_INFO));
        }
        if (mapName != null) {
            entries = (MapState) getPartitionedState(new MapStateDescriptor(
                    mapName, Types.STRING, PickledByteArrayTypeInfo.PICKLED_BYTE_ARRAY_TYPE_INFO));
        }
        tags = new OutputTag[sides.length];
        ClassLoader loader = getUserCodeClassloader();
        for (Object edge : getOperatorConfig().getChainedOutputs(loader)) {
            read(((StreamEdge) edge).getOutputTag());
        }
        for (Object edge : getOperatorConfig().getOperatorNonChainedOutputs(loader)) {
            read(((NonChainedOutput) edge).getOutputTag());
        }
        timers = getInternalTimerService("user-timers", VoidNamespaceSerializer.INSTANCE, this);
        super.open();
    }

    /** Notes a side output that somebody reads: Flink takes any other for the main one. */
    private void read(OutputTag tag) {
        for (int i = 0; i < sides.length; i++) {
            if (tag != null && tag.getId().equals(sides[i])) {
                tags[i] = tag;
            }
        }
    }

    public void openPythonInterpreter() {
        super.openPythonInterpreter();
        try {
            // A job's class loader and Flink's may each have a PythonInterpreter: only the one that
            // PyFlink's own classes know will do, so none is named here.
            Field field = AbstractEmbeddedPythonFunctionOperator.class.getDeclaredField("interpreter");
            field.setAccessible(true);
            python = field.get(this);
            call = python.getClass().getMethod(
                    "invokeMethod", new Class[] {String.class, String.class, Object[].class});
            // The function that has just been opened, in this thread.
            python.getClass().getMethod("exec", new Class[] {String.class}).invoke(
                    python, new Object[] {"import sys; batched = sys._riverrun_opened.function"});
        } catch (ReflectiveOperationException changed) {
            throw new IllegalStateException(changed);
        }
    }

    private Object python(String method, Object[] arguments) throws Exception {
        try {
            return call.invoke(python, new Object[] {"batched", method, arguments});
        } catch (InvocationTargetException thrown) {
            ExceptionUtils.rethrowException(thrown.getCause());
            throw thrown;
        }
    }

    public void processElement(StreamRecord element) throws Exception {
        byte[] value = (byte[]) ((Row) element.getValue()).getField(1);
        records.number(placeOf(getCurrentKey()));
        if (state != null) {
            records.bytes(value, 0);
        } else {
            records.bytes(value, find(value));
        }
        added();
    }

    public void onEventTime(InternalTimer timer) throws Exception {
        records.number(placeOf(timer.getKey()));
        records.number(timer.getTimestamp());
        records.text(text(timer.getKey()));
        records.pair();
        added();
    }

    /** One that `wake` was set for, or PyFlink's own: the function hears of it by itself. */
    public void onProcessingTime(InternalTimer timer) throws Exception {
        flush();
        setCurrentKey(timer.getKey());
        super.onProcessingTime(timer);
    }

    public void processWatermark(Watermark mark) throws Exception {
        flush();
        InternalTimeServiceManager due = (InternalTimeServiceManager) getTimeServiceManager().get();
        due.advanceWatermark(mark);
        while (count > 0) {
            flush();
            due.advanceWatermark(mark);
        }
        output.emitWatermark(mark);
    }

    public void processWatermarkStatus(WatermarkStatus status) throws Exception {
        flush();
        super.processWatermarkStatus(status);
    }

    public void endInput() {
        try {
            flush();
        } catch (Exception failure) {
            throw new RuntimeException(failure);
        }
        super.endInput();
    }

    protected void invokeFinishBundle() throws Exception {
        flush();
    }

    /**
     * Adds the entries that the record wants; where its own bytes begin.
     *
     * <p>It begins with their number, the length of each name, and the names.
     */
    private int find(byte[] value) throws Exception {
        ByteBuffer header = ByteBuffer.wrap(value).order(ByteOrder.LITTLE_ENDIAN);
        int wanted = header.getInt(0);
        int at = 4 * (1 + wanted);
        for (int i = 0; i < wanted; i++) {
            int length = header.getInt(4 * (1 + i));
            if (entries != null) {
                String name = text(value, at, length);
                found.text(name);
                found.bytes((byte[]) entries.get(name), 0);
            }
            at += length;
        }
        return at;
    }

    /** The number of a key in this batch, which its state has come with. */
    private int placeOf(Object key) throws Exception {
        Integer place = (Integer) places.get(key);
        if (place != null) {
            return place.intValue();
        }
        if (state == null && !keys.isEmpty()) {
            flush();
            setCurrentKey(key);
        }
        place = Integer.valueOf(keys.size());
        places.put(key, place);
        keys.add(key);
        if (state == null) {
            helds.text(text(key));
        } else {
            helds.bytes((byte[]) state.value(), 0);
        }
        return place.intValue();
    }

    private static String text(Object key) {
        return (String) ((Row) key).getField(0);
    }

    private void added() throws Exception {
        count++;
        if (count >= most || records.size() + helds.size() + found.size() >= MOST_BYTES) {
            flush();
        } else if (!looking) {
            looking = true;
            seen = -1;
            mailbox.execute(lookAgain, "look whether the input is idle");
        }
    }

    /** Between two looks one record is taken from the input, if there is one. */
    private void look() throws Exception {
        looking = false;
        if (count == 0) {
            return;
        }
        if (count == seen) {
            flush();
            return;
        }
        looking = true;
        seen = count;
        mailbox.execute(lookAgain, "look whether the input is idle");
    }

    private void flush() throws Exception {
        if (count == 0) {
            return;
        }
        long begun = System.nanoTime();
        int handled = count;
        byte[] batch = PickleWriter.batch(helds, records, found, timers.currentWatermark());
        Object[] keysOfBatch = keys.toArray();
        count = 0;
        places.clear();
        keys.clear();
        helds.clear();
        records.clear();
        found.clear();
        if (state == null) {
            setCurrentKey(keysOfBatch[0]);
        }
        follow((byte[]) python("run", new Object[] {batch}), keysOfBatch);
        // With all that the operators behind, in this thread, made of it.
        long took = System.nanoTime() - begun;
        if (took > LONGEST_NS) {
            most = Math.max(1, handled / 2);
        } else if (handled == most && took < LONGEST_NS / 2) {
            most = Math.min(MOST_RECORDS, 2 * most);
        }
        if (!showing) {
            showing = true;
            ProcessingTimeService clock = getProcessingTimeService();
            clock.registerTimer(clock.getCurrentProcessingTime() + showEveryMs, show);
        }
    }

    private void follow(byte[] reply, Object[] keysOfBatch) throws Exception {
        LongBuffer codes =
                ByteBuffer.wrap(reply).order(ByteOrder.LITTLE_ENDIAN).asLongBuffer();
        int n = (int) codes.get(0);
        int at = 8 * (1 + CODE_SIZE * n);
        for (int i = 0; i < n; i++) {
            int code = 1 + CODE_SIZE * i;
            int place = (int) codes.get(code + 1);
            long first = codes.get(code + 2);
            int length = (int) codes.get(code + 3);
            switch ((int) codes.get(code)) {
                case EMIT:
                    output.collect(new StreamRecord(text(reply, at, length)));
                    break;
                case SEND:
                    Row row = new Row(2);
                    row.setField(0, text(reply, at, (int) first));
                    at += (int) first;
                    row.setField(1, Arrays.copyOfRange(reply, at, at + length));
                    output.collect(new StreamRecord(row));
                    break;
                case SIDE:
                    if (tags[place] != null) {
                        output.collect(tags[place], new StreamRecord(text(reply, at, length)));
                    }
                    break;
                case PUT:
                    setCurrentKey(keysOfBatch[place]);
                    state.update(Arrays.copyOfRange(reply, at, at + length));
                    break;
                case CLEAR:
                    setCurrentKey(keysOfBatch[place]);
                    state.clear();
                    break;
                case SET_TIMER:
                    setCurrentKey(keysOfBatch[place]);
                    timers.registerEventTimeTimer(VoidNamespace.INSTANCE, first);
                    break;
                case DELETE_TIMER:
                    setCurrentKey(keysOfBatch[place]);
                    timers.deleteEventTimeTimer(VoidNamespace.INSTANCE, first);
                    break;
                case WAKE:
                    setCurrentKey(keysOfBatch[place]);
                    timers.registerProcessingTimeTimer(VoidNamespace.INSTANCE, first);
                    break;
                case PUT_ENTRY:
                    String name = text(reply, at, (int) first);
                    at += (int) first;
                    entries.put(name, Arrays.copyOfRange(reply, at, at + length));
                    break;
                case REMOVE_ENTRY:
                    entries.remove(text(reply, at, length));
                    break;
                default:
                    throw new IllegalStateException("code " + codes.get(code));
            }
            at += length;
        }
    }

    private static String text(byte[] reply, int at, int length) {
        return new String(reply, at, length, StandardCharsets.UTF_8);
    }
}
