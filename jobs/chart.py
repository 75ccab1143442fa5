"""A small bar chart in plain characters."""

from collections.abc import Sequence

BLOCKS = " ▁▂▃▄▅▆▇█"
ASCII = " .:#"  # where the terminal has no blocks


def bars(
    values: Sequence[float], low: float, high: float, height: int, levels: str = BLOCKS
) -> list[str]:
    """A column for each value, as lines from the top down.

    Parameters
    ----------
    low, high : float
        The values of an empty column and of a full one.
    levels : str
        What a cell looks like from empty to full.

    Examples
    --------
    >>> for line in bars([0, 0.25, 0.5, 0.75, 1], 0, 1, height=2):
    ...     print(f"[{line}]")
    [   ▄█]
    [ ▄███]
    """
    steps = len(levels) - 1
    filled = [round((value - low) / (high - low) * height * steps) for value in values]
    return [
        "".join(levels[min(max(count - row * steps, 0), steps)] for count in filled)
        for row in reversed(range(height))
    ]
