"""The keys that a configuration names: the job's own, and those that it trusts."""

from collections.abc import Iterable
from pathlib import Path

from jobs.config import Config
from jobs.errors import Failure
from state.signing import KeyFileError, SigningKey, TrustedKeys


def signing_key(config: Config) -> SigningKey | None:
    """The job's own key, where it has one.

    Raises
    ------
    Failure
        It cannot be read.
    """
    if config.security.signing_key_file is None:
        return None
    try:
        return SigningKey.load(Path(config.security.signing_key_file))
    except KeyFileError as error:
        raise Failure(f"[security] signing_key_file: {error}") from None


def own_and_trusted(config: Config) -> list[str]:
    """Entries of the keys that the configuration trusts, its own among them.

    Raises
    ------
    Failure
        As `signing_key`.
    """
    own = signing_key(config)
    return [*config.security.trusted_keys, *([own.public] if own else [])]


def trusted_keys(config: Config) -> TrustedKeys | None:
    """Whose versions are to be unpickled; None where the configuration names no key at all.

    Raises
    ------
    Failure
        A key is none.
    """
    entries = own_and_trusted(config)
    return parsed(entries, "[security] trusted_keys") if entries else None


def parsed(entries: Iterable[str], where: str) -> TrustedKeys:
    """These keys; `where` says in a failure where they stand.

    Raises
    ------
    Failure
        One is none.
    """
    try:
        return TrustedKeys(entries)
    except ValueError as error:
        raise Failure(f"{where}: {error}") from None
