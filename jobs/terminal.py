"""Where the command line prints to."""

from typing import Annotated

import msgspec
import typer
from rich.console import Console

# Paths and messages are data: no markup in them, and a script that reads lines gets them unwrapped.
out = Console(markup=False, highlight=False, soft_wrap=True)
err = Console(markup=False, highlight=False, soft_wrap=True, stderr=True)

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON for a script to read.")]


def print_json(value: object) -> None:
    """Print one JSON document on one line."""
    out.print(msgspec.json.encode(value).decode())
