"""Files as sources and sinks: newline-delimited records in, JSON lines in part files out."""

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from pyflink.common.serialization import Encoder
from pyflink.datastream import DataStream, StreamExecutionEnvironment
from pyflink.datastream.connectors.file_system import (
    BucketAssigner,
    FileSink,
    OutputFileConfig,
    RollingPolicy,
)
from pyflink.java_gateway import get_gateway

from connectors import java_code
from connectors.reading import Reading

SUFFIX = ".jsonl"
_PART = re.compile(r"(?P<writer>.+)-(?P<number>\d+)" + re.escape(SUFFIX))


def file_source(
    env: StreamExecutionEnvironment,
    *,
    input_name: str,
    path: str | Path,
    watch: bool,
    reading: Reading,
    hold_until_last_file: bool,
    uid: str,
    parallelism: int | None = None,
    watch_interval_ms: int = 1000,
) -> DataStream:
    """The lines of a file, or of a folder's files in name order, as rows for `keying.key_rows`.

    Each line is a record of bytes, see docs/architecture.md; a line without a byte is none.
    Folders inside the folder are read too, names that begin with `.` or `_` are not. With a
    parallelism of 1, which a folder that is watched always has, one file is read after the other.

    Parameters
    ----------
    env
        With the connectors attached, see `java_code.attach`.
    input_name
        `features`, `labels` or `control`: it stands in every record.
    path
        A local path, or a URI of a file system that Flink knows.
    reading
        A file moves the watermark with its first record, punctuated or not.
    watch
        Read files that are put into the folder later too, and never end. A file must appear whole
        (written elsewhere, then renamed): what is appended to it later is not read.
    hold_until_last_file
        No watermark until the folder's last file is being read, so that none passes what the files
        behind hold. Means nothing for a folder that is watched: it has no last file.
    uid
        What a savepoint finds the source's state by.
    parallelism
        None for the environment's.

    Raises
    ------
    FileNotFoundError
        There is nothing at `path`.
    NotADirectoryError
        `path` is to be watched and is a file.
    """
    jvm = get_gateway().jvm
    located = jvm.org.apache.flink.core.fs.Path(_uri(path))
    files = located.getFileSystem()
    if not files.exists(located):
        raise FileNotFoundError(f"{input_name}: there is no file or folder {path}")
    if watch and not files.getFileStatus(located).isDir():
        raise NotADirectoryError(f"{input_name}: only a folder can be watched, {path} is a file")

    every = jvm.java.time.Duration.ofMillis(watch_interval_ms) if watch else None
    lines = java_code.new("Lines", reading.envelope(input_name))
    source = java_code.new("FolderSource", located, lines, every)

    held_until = (
        java_code.named("FolderSource").last(located)
        if hold_until_last_file and not watch
        else None
    )
    stream = env._j_stream_execution_environment.fromSource(
        source, reading.times(held_until), f"{input_name}: file"
    )
    # A subtask that has no file says nothing of the time, and all others would wait for it.
    readers = 1 if watch else parallelism
    if readers is not None:
        stream.setParallelism(readers)
    return DataStream(stream.uid(uid))


def file_sink(
    stream: DataStream,
    *,
    path: str | Path,
    prefix: str,
    uid: str,
    name: str,
    roll_interval_ms: int,
    roll_size_bytes: int,
) -> None:
    """Write a stream of strings, one a line, to part files, each string exactly once.

    A part appears with the first checkpoint after it was closed, the last ones when the job ends.

    Parameters
    ----------
    stream
        Of type STRING; the sink has its parallelism.
    path
        A folder, made if need be.
    prefix
        What the part files' names begin with; without `-`.
    roll_interval_ms, roll_size_bytes
        When a part file is closed and the next begun.
    """
    config = OutputFileConfig.builder().with_part_prefix(prefix).with_part_suffix(SUFFIX).build()
    sink = (
        FileSink.for_row_format(_uri(path), Encoder.simple_string_encoder())
        .with_bucket_assigner(BucketAssigner.base_path_bucket_assigner())
        # Flink looks at the interval once a minute, unless it is told to look as often as that.
        .with_bucket_check_interval(roll_interval_ms)
        .with_output_file_config(config)
        .with_rolling_policy(
            RollingPolicy.default_rolling_policy(
                part_size=roll_size_bytes,
                rollover_interval=roll_interval_ms,
                inactivity_interval=roll_interval_ms,
            )
        )
        .build()
    )
    # Otherwise the sink has the environment's, and lines that came in order go to several files.
    parallelism = stream._j_data_stream.getTransformation().getParallelism()
    written = stream.sink_to(sink).name(name).uid(uid)
    if parallelism > 0:
        written.set_parallelism(parallelism)


def part_files(path: str | Path) -> list[Path]:
    """A sink's finished part files, each subtask's in the order they were written.

    A name is `PREFIX-WRITER-NUMBER.jsonl`. A subtask is another writer after each restart, so
    writers come in the order in which their first files were written last.

    Parameters
    ----------
    path
        A local folder. Files that are not finished are left out.
    """
    writers: dict[str, list[tuple[int, Path]]] = defaultdict(list)
    for file in Path(path).glob(f"[!.]*{SUFFIX}"):
        if part := _PART.fullmatch(file.name):
            writers[part["writer"]].append((int(part["number"]), file))
    parts = [sorted(files) for files in writers.values()]
    in_order = sorted(parts, key=lambda files: (files[0][1].stat().st_mtime_ns, files))
    return [file for files in in_order for _, file in files]


def read_parts(path: str | Path) -> Iterator[str]:
    """The lines of a sink's finished part files, in the order of `part_files`."""
    for part in part_files(path):
        with part.open(encoding="utf-8", newline="\n") as lines:
            for line in lines:
                yield line.removesuffix("\n")


def _uri(path: str | Path) -> str:
    """A path as Flink takes it: it does not undo escapes, so there must be none."""
    return str(path) if "://" in str(path) else f"file://{Path(path).absolute()}"
