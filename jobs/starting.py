"""May this job start, and from what: it never mixes with what another run left behind."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from jobs.config import OUTPUTS, Config, ConfigError, FileSink
from jobs.errors import Failure

Start = Literal["new", "resume", "fresh"]

# Below the checkpoint folder of a job.
SAVEPOINTS = "savepoints"
FINISHED_PARTS = "[!.]*.jsonl"


def require_built(config: Config) -> None:
    """Refuse what the configuration allows and this release does not do yet.

    Raises
    ------
    ConfigError
        With a line for each.
    """
    problems = []
    if config.control is not None and config.job.mode == "published":
        problems.append('[control] with mode = "published" is not built yet: leave it out')
    if problems:
        raise ConfigError(problems)


def checkpoints(config: Config) -> list[Path]:
    """Complete checkpoints and savepoints of this job name, oldest first.

    Savepoints count: after an upgrade the job has no checkpoint before its first own one, and its
    output is final up to the savepoint.
    """
    folder = Path(config.job.checkpoint_dir)
    patterns = ("*/chk-*/_metadata", f"{SAVEPOINTS}/*/_metadata")
    found = [metadata.parent for pattern in patterns for metadata in folder.glob(pattern)]
    return sorted(found, key=_age)


def _age(checkpoint: Path) -> tuple[int, int]:
    number = re.fullmatch(r"chk-(\d+)", checkpoint.name)
    return (checkpoint / "_metadata").stat().st_mtime_ns, int(number[1]) if number else 0


def output_folders(config: Config) -> Iterator[Path]:
    """Folders of every file output."""
    for output in OUTPUTS:
        for sink in config.sinks(output):
            if isinstance(sink, FileSink):
                yield Path(sink.path)


def prepare_start(config: Config, start: Start, overwrite: bool = False) -> str | None:
    """Check what is there, clear what may be cleared, and say what to restore, if anything.

    Parameters
    ----------
    start : {"new", "resume", "fresh"}
        `new` refuses where this job has checkpoints; `resume` takes its newest complete one, or a
        newer savepoint; `fresh` sets them aside.
    overwrite : bool
        Delete the files in output folders; not with `resume`.

    Returns
    -------
    str or None
        URI of the checkpoint to restore.

    Raises
    ------
    Failure
        There is something that this start would spoil, or nothing to resume.
    """
    require_built(config)
    found = checkpoints(config)
    if start == "resume":
        if overwrite:
            raise Failure("--overwrite would delete what --resume goes on from: give one of them")
        if not found:
            raise Failure(f"nothing to resume: no checkpoint in {config.job.checkpoint_dir}")
        _refuse_if_passed(found[-1], config)
        return uri(found[-1])
    if found and start == "new":
        raise Failure(
            f"job {config.job.name!r} has a checkpoint, {found[-1]}: "
            "go on with --resume, or begin anew with --fresh"
        )
    clear_outputs(config, overwrite)
    if found:
        _set_aside(Path(config.job.checkpoint_dir))
    return None


def _refuse_if_passed(checkpoint: Path, config: Config) -> None:
    """A part file gets its final name with a checkpoint that comes after all that is in it."""
    taken = (checkpoint / "_metadata").stat().st_mtime_ns
    for folder in output_folders(config):
        for part in sorted(folder.glob(FINISHED_PARTS)):
            if part.stat().st_mtime_ns > taken:
                raise Failure(
                    f"{part} is final and newer than the newest checkpoint, {checkpoint}, which "
                    "would write its records again: name the job's last savepoint with --from, "
                    "or begin anew with --fresh"
                )


def clear_outputs(config: Config, overwrite: bool) -> None:
    """Make sure that no output folder holds files of another run.

    Raises
    ------
    Failure
        One does, and they may not be deleted.
    """
    full = [folder for folder in output_folders(config) if _has_files(folder)]
    if full and not overwrite:
        listed = ", ".join(str(folder) for folder in full)
        raise Failure(f"there is output already in {listed}: --overwrite deletes it")
    for folder in full:
        shutil.rmtree(folder)


def _has_files(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())


def _set_aside(folder: Path) -> None:
    """What --fresh leaves behind is kept once, in case it was not meant."""
    aside = folder.with_name(folder.name + ".before-fresh")
    shutil.rmtree(aside, ignore_errors=True)
    folder.rename(aside)


def uri(path: Path) -> str:
    """A local path as Flink takes it: it does not undo escapes, so there must be none."""
    return f"file://{path.absolute()}"
