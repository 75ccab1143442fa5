"""The process that tries a model: one line of JSON and an artifact in, one line of JSON out."""

import json
import sys
from functools import partial
from typing import Any

from models import specs, tasks
from models.purity import Purity, probe
from operators.scratch import limit
from state.artifacts import read_artifact
from state.snapshots import unpickle_model


def tried(task_name: str, name: str, spec: Any, artifact: bytes) -> dict[str, Any]:
    """Why the model is refused, null if it is not, and which requests change it."""
    task = tasks.task_for(task_name)
    if artifact:
        manifest, pickled, _ = read_artifact(artifact)
        make = partial(unpickle_model, pickled, manifest.environment)
        # What a model has learned can hide what changes it: it is known from its beginning.
        purity = Purity(manifest.purity)
    else:
        problems = specs.check(spec)
        if problems:
            return {"problem": "; ".join(problems), "purity": ""}
        make = partial(specs.build, spec, name)
    unfit = task.check_model(make())
    if unfit:
        return {"problem": "; ".join(unfit), "purity": ""}
    if not artifact:
        purity = probe(make, task)
    return {"problem": None, "purity": purity}


def main() -> None:
    header, _, artifact = sys.stdin.buffer.read().partition(b"\n")
    given = json.loads(header)
    limit(given["memory"], given["seconds"])
    try:
        said = tried(given["task"], given["name"], given["spec"], artifact)
    except MemoryError:
        said = {"problem": "it needs more memory than a trial may take", "purity": ""}
    except Exception as error:
        said = {"problem": f"{type(error).__name__}: {error}", "purity": ""}
    print(json.dumps(said))


if __name__ == "__main__":
    main()
