"""QueueingLabelJoin: LabelJoin of published mode, whose examples go to the learn queue."""

from collections.abc import Sequence

from events.decode import Decoder
from operators.batching import Follow
from operators.items import EXAMPLE, REQUEST, stamped
from operators.joining import JoinSettings, Outcome, Send
from operators.label_join import LabelJoin
from operators.queued import queued_text
from state import names

SIDES = (names.DEAD_LETTERS, names.LEARN_QUEUE)
_QUEUE = 1


class QueueingLabelJoin(LabelJoin):
    """Main output: `Row(id, request)`; side outputs: dead letters, records of the learn queue.

    Published versions pass through here, to every subtask of the predictors: `Row(key, text)`.

    Parameters
    ----------
    learns_requests : bool
        Whether a model learns when a transaction arrives.
    evaluates : bool
        Whether anybody waits for outcomes that nobody learns.
    every_predictor : sequence of str
        A key of each subtask of the predictors.
    """

    _sides = SIDES

    def __init__(
        self,
        settings: JoinSettings,
        decoder: Decoder,
        written: bool,
        learns_requests: bool,
        evaluates: bool,
        every_predictor: Sequence[str],
    ) -> None:
        super().__init__(settings, decoder, None, written, every_predictor)
        self._learns_requests = learns_requests
        self._evaluates = evaluates

    def _tell(self, outcomes: list[Outcome], id: str, follow: Follow) -> None:
        others: list[Outcome] = []
        for outcome in outcomes:
            if not isinstance(outcome, Send):
                others.append(outcome)
                continue
            item = outcome.item
            if item[0] == REQUEST:
                follow.send(id, stamped(item, self._stamps))
            if self._queued(item[0], item):
                follow.side(_QUEUE, queued_text(item))
        super()._tell(others, id, follow)

    def _queued(self, kind: int, item: tuple[object, ...]) -> bool:
        if kind == REQUEST:
            return self._learns_requests
        if kind == EXAMPLE:
            return self._evaluates or item[3] is not None
        return self._evaluates
