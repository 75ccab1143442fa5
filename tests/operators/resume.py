"""A restart in a process of its own: `begin FILE` runs whole streams and halves, `resume FILE` the rest.

The file holds, for each model, its deployment, the items and how many of them come before the restart.
"""

import json
import pickle
import sys
from pathlib import Path

from state.memory import MemoryStore
from tests.operators.flows import Bench


def begin(path: Path) -> None:
    """Print what came of all items; leave the state that there is half way."""
    whole, halves = [], []
    for deployed, items, count in pickle.loads(path.read_bytes()):
        bench = Bench([deployed], MemoryStore())
        bench.handle(*items)
        whole.append(bench.written.all())
        half = Bench([deployed], MemoryStore())
        half.handle(*items[:count])
        halves.append((deployed, half.store, items[count:]))
    path.with_suffix(".half").write_bytes(pickle.dumps(halves))
    print(json.dumps(whole))


def resume(path: Path) -> None:
    """Print what came of the items after the restart."""
    rest = []
    for deployed, store, items in pickle.loads(path.with_suffix(".half").read_bytes()):
        bench = Bench([deployed], store)
        bench.handle(*items)
        rest.append(bench.written.all())
    print(json.dumps(rest))


if __name__ == "__main__":
    {"begin": begin, "resume": resume}[sys.argv[1]](Path(sys.argv[2]))
