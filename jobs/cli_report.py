"""The commands for people: report, watch."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from jobs.cli_jobs import ConfigFile
from jobs.config import load_config
from jobs.terminal import JsonFlag, err, out, print_json

app = typer.Typer()


@app.command(epilog="Example: riverrun report job.toml --out report.html")
def report(
    config: ConfigFile,
    target: Annotated[
        Path, typer.Option("--out", metavar="FILE.html", help="To be written, or replaced.")
    ],
    json: JsonFlag = False,
) -> None:
    """Write what the job has told so far as one HTML file: metrics, drift, labels, challengers."""
    from jobs.report import report as write

    loaded = load_config(config)
    with err.status("reading outputs"):
        written = write(loaded, target)
    if json:
        print_json(written)
        return
    records = sum(written.records.values())
    out.print(f"{records:,} records read, {written.bytes / 1000:,.0f} kB written to {target}")
    left_out = {output: count for output, count in written.left_out.items() if count}
    for output, count in left_out.items():
        err.print(f"[{output}]: {count:,} lines that are no record were left out")


@app.command(epilog="Example: riverrun watch job.toml --once --json")
def watch(
    config: ConfigFile,
    once: Annotated[bool, typer.Option("--once", help="Print what is known now, and end.")] = False,
    json: JsonFlag = False,
) -> None:
    """Show what monitors tell while the job runs, until Ctrl-C."""
    from jobs import watching

    if json and not once:
        raise typer.BadParameter("--json goes with --once")
    loaded = load_config(config)
    if once:
        frame = watching.once(loaded)
        if json:
            print_json(watching.as_json(frame))
        else:
            watching.print_frame(frame)
        return
    watching.watch(loaded, interactive=sys.stdout.isatty())
