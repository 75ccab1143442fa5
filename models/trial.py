"""Does a model that was made of a spec run at all?"""

import copy
from collections.abc import Callable
from typing import Any

from models.rehearsal import Wishes, examples, wishes_of
from models.tasks import TASK_NAMES, Task, task_for

COUNT = 8

# What a parameter of the wrong type leads to. Others, such as KeyError, may be due to the examples.
_TYPE_ERRORS = (TypeError, AttributeError)


def problems(model: Any) -> list[str]:
    """What the model raises when it is asked and taught a few made-up examples; it is used up by it.

    A model that fits no task is not tried.
    """
    try:
        return _tried(model)
    except Exception as error:  # its parts can be anything, and raise wherever they are touched
        return [_said("preparing", error)]


def _tried(model: Any) -> list[str]:
    for name in TASK_NAMES:
        task = task_for(name)
        if not task.check_model(model):
            wishes = wishes_of(model)
            other = copy.deepcopy(model)
            problem = _run(model, task, wishes, numbers_as_text=False)
            if problem is None or _run(other, task, wishes, numbers_as_text=True) is None:
                return []
            return [problem]
    return []


def _run(model: Any, task: Task, wishes: Wishes, numbers_as_text: bool) -> str | None:
    ask, teach = task.asker(model), task.teacher(model)
    for example in examples(wishes, COUNT, numbers_as_text=numbers_as_text):
        x, y = example.x, example.y(task.name)
        problem = _attempt("asking", ask, x) or _attempt("teaching", teach, x, y, None)
        if problem is not None:
            return problem
    return None


def _attempt(what: str, call: Callable[..., Any], *args: Any) -> str | None:
    try:
        call(*args)
    except _TYPE_ERRORS as error:
        return _said(what, error)
    except Exception:
        return None  # due to these examples, perhaps
    return None


def _said(what: str, error: Exception) -> str:
    return f"{what} the model fails: {type(error).__name__}: {' '.join(str(error).split())}"
