"""What is decided of a record before it is decoded: in Java for a job, by a plain flow for itself."""

from enum import IntEnum
from typing import Final

from events.messages import Rejected
from events.reasons import Reason

# The watermark that the end of input brings.
MAX_WATERMARK: Final = 2**63 - 1


class Verdict(IntEnum):
    """See "From the source to the join" in docs/architecture.md."""

    FINE = 0
    NO_TS = 1
    BAD_TS = 2
    OUT_OF_ORDER = 3
    TOO_LARGE = 4
    CONTROL = 5  # from the gate: (verdict, time, lane or None for every, item)


def refusal(verdict: int, ts: int) -> Rejected | None:
    """Why the record is not decoded at all; None if it is."""
    if verdict <= Verdict.NO_TS:
        return None
    if verdict == Verdict.BAD_TS:
        return Rejected(Reason.BAD_TS, f"ts {ts} is not in the range allowed")
    if verdict == Verdict.OUT_OF_ORDER:
        return Rejected(Reason.OUT_OF_ORDER, f"ts {ts} came too late")
    return Rejected(Reason.TOO_LARGE, "more bytes than [limits] record_bytes")
