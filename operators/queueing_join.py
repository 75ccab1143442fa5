"""QueueingLabelJoin: LabelJoin of published mode, whose examples go to the learn queue."""

from events.decode import Decoder
from operators.asking import asked_text, queued_text
from operators.batching import Follow
from operators.items import EXAMPLE, REQUEST, asked_of_item, stamped
from operators.joining import JoinSettings, Outcome, Send
from operators.label_join import LabelJoin
from state import names

SIDES = (names.DEAD_LETTERS, names.LEARN_QUEUE)
_QUEUE = 1


class QueueingLabelJoin(LabelJoin):
    """Main output: requests as JSON; side outputs: dead letters, records of the learn queue.

    Parameters
    ----------
    learns_requests : bool
        Whether a model learns when a transaction arrives.
    evaluates : bool
        Whether anybody waits for outcomes that nobody learns.
    """

    _sides = SIDES

    def __init__(
        self,
        settings: JoinSettings,
        decoder: Decoder,
        written: bool,
        learns_requests: bool,
        evaluates: bool,
    ) -> None:
        super().__init__(settings, decoder, None, written)
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
                follow.emit(asked_text(asked_of_item(stamped(item, self._stamps))))
            if self._queued(item[0], item):
                follow.side(_QUEUE, queued_text(item))
        super()._tell(others, id, follow)

    def _queued(self, kind: int, item: tuple[object, ...]) -> bool:
        if kind == REQUEST:
            return self._learns_requests
        if kind == EXAMPLE:
            return self._evaluates or item[3] is not None
        return self._evaluates
