"""Where made things are kept between runs: the compiled connectors, Flink's lib folder, logs."""

import os
import sys
import tempfile
from pathlib import Path


def cache_folder() -> Path:
    """The folder of this virtual environment, or the user's where that cannot be written.

    What lies there can be deleted at any time but while a job runs.

    Raises
    ------
    OSError
        Neither can be written; the text says what to set.
    """
    user = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "riverrun")
    in_environment = Path(sys.prefix, "var", "riverrun")
    # Outside a virtual environment, sys.prefix is the system's.
    candidates = [in_environment, user] if sys.prefix != sys.base_prefix else [user]
    for folder in candidates:
        if _writable(folder):
            return folder
    tried = " nor ".join(str(folder) for folder in candidates)
    raise OSError(f"cannot write {tried}: set XDG_CACHE_HOME to a folder that can be written")


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False
