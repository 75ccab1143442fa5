"""`riverrun dead-letters`: look at refused records, and send them through again."""

import base64
from collections.abc import Iterator
from pathlib import Path

import msgspec

from events.messages import DeadLetter
from events.reasons import Stage
from jobs.config import Config
from jobs.errors import Failure
from jobs.reading_outputs import texts

_BASE64 = "base64:"


def dead_letters(config: Config, reason: str | None = None) -> Iterator[DeadLetter]:
    """Dead letters of the first output that is configured for them, of one reason or of all.

    Raises
    ------
    Failure
        The configuration has none, or Kafka refuses.
    """
    if not config.dead_letters:
        raise Failure("the configuration has no [dead_letters]")
    for line in texts(config, "dead_letters"):
        letter = msgspec.json.decode(line, type=DeadLetter)
        if reason is None or letter.reason == reason:
            yield letter


def replay(letters: Iterator[DeadLetter], target: Path, limit: int) -> tuple[int, int]:
    """Write the original records to a new file, for an input to read.

    A record that was cut at `limit` bytes cannot be sent again; an alert came by no input.

    Returns
    -------
    (int, int)
        Records written, and those left out: cut, without a value, or alerts.

    Raises
    ------
    Failure
        `target` exists.
    """
    if target.exists():
        raise Failure(f"{target} exists: name a file that does not")
    part = target.with_name("." + target.name)
    written = left_out = 0
    with part.open("wb") as file:
        for letter in letters:
            raw = _bytes(letter.raw)
            if raw is None or len(raw) >= limit or letter.stage is Stage.ALERT:
                left_out += 1
                continue
            file.write(raw + b"\n")
            written += 1
    part.replace(target)
    return written, left_out


def _bytes(raw: str | None) -> bytes | None:
    if raw is None:
        return None
    return base64.b64decode(raw[len(_BASE64) :]) if raw.startswith(_BASE64) else raw.encode()
