"""Numbers, times and names for people."""

from datetime import UTC, datetime


def moment(ms: int | None) -> str:
    """A time in UTC.

    >>> moment(1_700_000_000_000), moment(None)
    ('2023-11-14 22:13:20', '–')
    """
    if ms is None:
        return "–"
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def value(number: float | None) -> str:
    """A metric's value in four digits.

    >>> value(0.86436), value(1234.5678), value(None)
    ('0.8644', '1,235', '–')
    """
    if number is None:
        return "–"
    return f"{number:,.0f}" if 1000 <= abs(number) < 1e9 else f"{number:.4g}"


def share(number: float | None) -> str:
    """A share in percent.

    >>> share(0.0972)
    '9.7%'
    """
    return "–" if number is None else f"{number:.1%}"


def printable(text: str) -> str:
    r"""Text that does nothing to a terminal: what cannot be printed is escaped.

    >>> printable("caf\u00e9 \x1b[31m")
    'café \\x1b[31m'
    """
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )
