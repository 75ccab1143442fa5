"""Durations as the configuration writes them, a whole number and a unit, and as people read them."""

import re
from typing import Final

_MS: Final = {
    "ms": 1,
    "s": 1000,
    "m": 60_000,
    "h": 3_600_000,
    "d": 86_400_000,
    "w": 604_800_000,
}
_DURATION: Final = re.compile(rf"([0-9]+)({'|'.join(_MS)})")

# A century; far from where a sum of times would leave 64 bits.
LONGEST_MS: Final = 36_525 * _MS["d"]


def parse_duration(text: str) -> int:
    """Milliseconds of `"250ms"`, `"5s"`, `"15m"`, `"1h"`, `"7d"` or `"2w"`.

    Raises
    ------
    ValueError
        For any other text, and for more than a hundred years.

    >>> parse_duration("15m")
    900000
    """
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a duration")
    # Longer numbers are too long anyway, and Python refuses to read the longest.
    ms = int(match[1][:20]) * _MS[match[2]]
    if ms > LONGEST_MS:
        raise ValueError(f"{text!r} is longer than a hundred years")
    return ms


def format_duration(ms: int) -> str:
    """The shortest way to write a duration in one unit; weeks are written as days.

    >>> format_duration(691_200_000), format_duration(1_500), format_duration(0)
    ('8d', '1500ms', '0s')
    """
    if ms == 0:
        return "0s"
    unit = next(unit for unit in ("d", "h", "m", "s", "ms") if ms % _MS[unit] == 0)
    return f"{ms // _MS[unit]}{unit}"


def readable_duration(ms: float) -> str:
    """A duration for people: two or three digits and a unit.

    >>> readable_duration(740), readable_duration(8_000), readable_duration(5_400_000)
    ('740 ms', '8.0 s', '90.0 min')
    >>> readable_duration(259_200_000)
    '3.0 d'
    """
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1000)):
        if abs(ms) >= 2 * size or (unit == "s" and abs(ms) >= size):
            return f"{ms / size:.1f} {unit}"
    return f"{ms:.0f} ms"
