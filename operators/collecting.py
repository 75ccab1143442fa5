"""Python's garbage collector beside a large model."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

# New objects between two looks at the youngest; Python looks after each 700, and River makes some
# for every example without leaving cycles behind.
_SELDOM = 100_000


def spare_what_is_loaded() -> None:
    """Leave all objects that there are now out of later collections.

    PyFlink and what it loads are some 200,000 objects that never go; each full collection looked at
    them all, a tenth of a second for nothing. What an earlier run of the job left is collected now.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()


@contextmanager
def seldom_collecting() -> Iterator[None]:
    """Look for garbage less often within the block, for work that is one long loop."""
    usual = gc.get_threshold()
    gc.set_threshold(_SELDOM, *usual[1:])
    try:
        yield
    finally:
        gc.set_threshold(*usual)
