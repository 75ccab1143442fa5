"""Files of keys for `riverrun control`."""

import os
from pathlib import Path
from typing import NamedTuple

from jobs.errors import Failure
from state.signing import KeyFileError, SigningKey

_PRIVATE = 0o600
_OTHERS = 0o077


class MadeKey(NamedTuple):
    """A key that was written; `entry` is what stands in `[security] trusted_keys`."""

    entry: str
    key_id: str


def make_key(path: Path, issuer: str | None = None) -> MadeKey:
    """Write a new private key, readable for its owner only, and beside it its entry, in `PATH.pub`.

    Parameters
    ----------
    issuer
        The one whose messages the key may sign; None for anybody's.

    Raises
    ------
    Failure
        One of the files is there already, or cannot be written.
    """
    if issuer == "":
        raise Failure("the issuer is empty: leave it out for a key that signs for anybody")
    key = SigningKey.generate()
    entry = key.public if issuer is None else f"{issuer}:{key.public}"
    public = path.with_name(path.name + ".pub")
    for file in (path, public):
        if file.exists():
            raise Failure(f"{file} exists: a key is never written over")
    _write(path, key.pem(), _PRIVATE)
    _write(public, f"{entry}\n".encode(), 0o644)
    return MadeKey(entry, key.key_id)


def _write(path: Path, content: bytes, mode: int) -> None:
    try:
        # Never readable for others, not even before its mode is set.
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(content)
    except FileExistsError:
        raise Failure(f"{path} exists: a key is never written over") from None
    except OSError as error:
        raise Failure(f"{path} cannot be written: {error.strerror}") from error


def load_key(path: Path) -> SigningKey:
    """The key in a file.

    Raises
    ------
    Failure
        There is none.
    """
    try:
        return SigningKey.load(path)
    except KeyFileError as error:
        raise Failure(str(error)) from error


def open_to_others(path: Path) -> bool:
    """Whether others than its owner can read a file."""
    return bool(path.stat().st_mode & _OTHERS)
