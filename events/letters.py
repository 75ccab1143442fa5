"""Dead letters, written."""

import time

import msgspec

from events.decode import dead_letter_raw
from events.messages import DeadLetter
from events.reasons import Reason, Stage


def dead_letter(
    stage: Stage,
    reason: Reason,
    detail: str,
    *,
    source: str | None,
    position: str | None,
    id: str | None,
    raw: bytes | None,
    limit: int,
    model: str | None = None,
) -> str:
    """JSON text of a dead letter of now; `raw` is cut at `limit` bytes."""
    letter = DeadLetter(
        stage,
        source,
        position,
        id,
        model,
        reason,
        detail,
        dead_letter_raw(raw, limit),
        time.time_ns() // 1_000_000,
    )
    return msgspec.json.encode(letter).decode()
