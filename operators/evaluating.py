"""Predictions of published versions and the outcomes that come for them, matched by transaction.

A version knows up to where in the learn queue it has learned, and an outcome where it stands there. So
whether a version had learned a transaction's label when it predicted it is not a guess.
"""

from typing import Any, Final, NamedTuple, cast

import msgspec
from msgspec import UNSET, Struct

from events.messages import Evaluation, Source
from models import tasks
from models.tasks import TaskName
from operators import observing
from operators.items import EXAMPLE, REQUEST, Example, Item
from operators.roles import Role
from operators.serving import AllSaid, Said

NOT_LEARNED: Final = -1

_read_said = msgspec.json.Decoder(AllSaid).decode


class Matched(NamedTuple):
    """What is known of a transaction; ends with its last outcome, once it has been predicted.

    Where it never is, for another job has predicted it, it ends when its time is up.

    Attributes
    ----------
    said : list of dict or None
        What models said of it; None: nothing yet.
    outcomes : tuple
        Examples that came before what was said.
    learned_at : int
        Where in the learn queue its first label to learn stands, or `NOT_LEARNED`.
    ended : bool
        No other outcome will come.
    until : int
        While nothing was said of it: when it ends by the clock, ms since the epoch.
    """

    said: list[Any] | None = None
    outcomes: tuple[Item, ...] = ()
    learned_at: int = NOT_LEARNED
    ended: bool = False
    until: int = 0
    monitored: bool = False


class Matching:
    """Makes evaluations; each method takes what is held of a transaction and returns what to hold.

    Parameters
    ----------
    model_tasks : dict
        Model -> its task.
    roles : dict, optional
        Model -> its role, where a monitor wants to know.

    Attributes
    ----------
    observed : list of str
        What there is to tell the monitor; who does takes it away.
    """

    def __init__(
        self, model_tasks: dict[str, TaskName], roles: dict[str, Role] | None = None
    ) -> None:
        self._tasks = model_tasks
        self._roles = roles
        self.observed: list[str] = []
        self.evaluations = 0
        self.leaked = 0

    def on_said(self, held: Matched, text: str, out: list[str]) -> Matched | None:
        """What models said of the transaction."""
        id, said, time = msgspec.structs.astuple(_read_said(text))
        if time is not None and self._roles is not None:
            self._observe_said(id, said, time, self._roles)
            held = held._replace(monitored=True)
        for outcome in held.outcomes:
            self._evaluate(said, _example(outcome), held, out)
        plain = [msgspec.to_builtins(each) for each in said]
        return None if held.ended else held._replace(said=plain, outcomes=())

    def on_outcome(self, held: Matched, offset: int, item: Item, out: list[str]) -> Matched | None:
        """A record of the learn queue; a request says nothing of the truth."""
        kind = item[0]
        if kind != EXAMPLE:
            return held if kind == REQUEST else self._ended(held)
        labelled = _example(item)
        learned_at = held.learned_at
        if learned_at == NOT_LEARNED and labelled.features is not None:
            learned_at = offset
        held = held._replace(learned_at=learned_at)
        if held.said is None:
            held = held._replace(outcomes=(*held.outcomes, item))
        else:
            self._evaluate(msgspec.convert(held.said, list[Said]), labelled, held, out)
        return self._ended(held) if labelled.last else held

    def _ended(self, held: Matched) -> Matched | None:
        return None if held.said is not None else held._replace(ended=True)

    def _evaluate(self, said: list[Said], labelled: Example, held: Matched, out: list[str]) -> None:
        learned_at = held.learned_at
        for each in said:
            if each.version is None:
                continue
            # The learner refuses such a label.
            if each.label_type is not None and not tasks.conforms(labelled.label, each.label_type):
                continue
            leaked = learned_at != NOT_LEARNED and each.learned_to >= learned_at
            task = self._tasks[each.model]
            record = Evaluation(
                labelled.id,
                each.model,
                None,
                each.version,
                each.prediction,
                labelled.label,
                labelled.time,
                labelled.label_time,
                labelled.label_time - labelled.time,
                cast("Source", labelled.source),  # what is learned at arrival has no label
                labelled.late,
                leaked,
                each.probabilities if task == "classification" else UNSET,
                each.score if task == "anomaly" else UNSET,
            )
            out.append(_encode(record))
            self.evaluations += 1
            self.leaked += leaked
            if held.monitored and self._roles is not None:
                self._observe_outcome(each, said, labelled, leaked, self._roles)

    def _observe_said(self, id: str, said: list[Said], time: int, roles: dict[str, Role]) -> None:
        for each in said:
            if each.version is None:
                continue
            task = self._tasks[each.model]
            value = observing.value(task, each.prediction, each.probabilities, each.score)
            key = observing.key_of(each.model, roles[each.model])
            seen = observing.Predicted(key, id, time, each.version, task, value)
            self.observed.append(observing.write(seen))

    def _observe_outcome(
        self,
        each: Said,
        said: list[Said],
        labelled: Example,
        leaked: bool,
        roles: dict[str, Role],
    ) -> None:
        champion = None
        if roles[each.model] != "champion":
            answers = (other for other in said if roles[other.model] == "champion")
            champion = next((observing.Said(a.model, a.prediction) for a in answers), None)
        assert each.version is not None, "it has said something"
        source, replaces, replaces_assumed = observing.truth(labelled, each.label_type)
        seen = observing.Evaluated(
            observing.key_of(each.model, roles[each.model]),
            labelled.id,
            labelled.time,
            each.version,
            self._tasks[each.model],
            each.prediction,
            each.probabilities,
            each.score,
            labelled.label,
            labelled.label_time,
            source,
            labelled.late,
            leaked,
            replaces,
            replaces_assumed,
            champion,
        )
        self.observed.append(observing.write(seen))


def _example(item: Item) -> Example:
    return Example(*item[1:])


def _encode(record: Struct) -> str:
    return msgspec.json.encode(record).decode()
