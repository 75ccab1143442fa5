"""Python's garbage collector beside a large model."""

import gc


def spare_what_is_loaded() -> None:
    """Leave all objects that there are now out of later collections.

    PyFlink and what it loads are some 200,000 objects that never go; each full collection looked at
    them all, a tenth of a second for nothing. What an earlier run of the job left is collected now.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()
