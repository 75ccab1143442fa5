"""`riverrun report`: what a job has told, as one HTML file that needs nothing else."""

import os
import time
from pathlib import Path

from msgspec import Struct

from jobs import report_facts
from jobs.config import Config
from jobs.errors import Failure
from jobs.monitor_records import Tally, read_board


class Reported(Struct, frozen=True):
    """What was written, and of what.

    Attributes
    ----------
    bytes : int
        Size of the file.
    records, left_out : dict
        Output -> how many records were read, and lines that are none.
    """

    file: str
    bytes: int
    records: dict[str, int]
    left_out: dict[str, int]


def report(config: Config, target: Path) -> Reported:
    """Read the outputs that are configured and write the page; an older one is replaced.

    Raises
    ------
    Failure
        The extra `report` is not installed; an output cannot be read; the file cannot be written.
    """
    _require_matplotlib()
    from jobs.report_page import page
    from jobs.report_view import Material

    tallies: dict[str, Tally] = {}
    board = read_board(config, tallies)

    def tally(output: str) -> Tally:
        return tallies.setdefault(output, Tally())

    material = Material(
        config=config,
        board=board,
        evaluations=report_facts.evaluations(config, tally("evaluations"))
        if config.evaluations
        else None,
        latency=report_facts.latency(config, tally("predictions")) if config.predictions else None,
        dead_letters=report_facts.dead_letters(config, tally("dead_letters"))
        if config.dead_letters
        else None,
        messages=report_facts.control(config, tallies)
        if config.control_acks or config.control_log
        else None,
        tallies=tallies,
        made_at=time.time_ns() // 1_000_000,
    )
    written = page(material).encode()
    _write(target, written)
    return Reported(
        str(target),
        len(written),
        {output: each.records for output, each in tallies.items()},
        {output: each.refused for output, each in tallies.items()},
    )


def _require_matplotlib() -> None:
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        if error.name is None or error.name.partition(".")[0] != "matplotlib":
            raise
        raise Failure(
            "matplotlib is not installed here: install riverrun with the extra report, "
            "`pip install 'riverrun[report]'`"
        ) from None


def _write(target: Path, page: bytes) -> None:
    """Whole or not at all."""
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        part.write_bytes(page)
        part.replace(target)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise Failure(f"{target}: {error.strerror}") from None
