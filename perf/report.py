"""What every script here prints and writes: rows of one shape, and what they depend on."""

import os
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct
from rich.console import Console
from rich.table import Table


class Row(Struct):
    """One number.

    Attributes
    ----------
    case : str
        What was measured: `workload/model`, or the like.
    ratio : float or None
        To the same metric of `baseline`: the median of the rounds' own ratios.
    ok : bool
        Whether all systems of the case predicted the same.
    """

    case: str
    system: str
    metric: str
    value: float
    unit: str
    ratio: float | None
    baseline: str | None
    ok: bool


def write_json(path: Path, described: dict[str, Any], rows: Sequence[Struct]) -> None:
    """The rows under `rows`, what they depend on under `environment`."""
    document = {"environment": described, "rows": rows}
    path.write_bytes(msgspec.json.format(msgspec.json.encode(document)) + b"\n")


def conclude(
    console: Console, rows: list[Row], described: dict[str, Any], path: Path | None
) -> int:
    """Print the table, write the JSON where it is asked for; the exit code, 1 where a row is not ok."""
    console.print(table(rows))
    if path is not None:
        write_json(path, described, rows)
    return 0 if all(row.ok for row in rows) else 1


def told(row: Row) -> str:
    ratio = "" if row.ratio is None else f", {row.ratio:.2f} of the {row.baseline}"
    return f"{row.case} {row.system} {row.metric} {row.value:,.1f} {row.unit}{ratio}"


def table(rows: list[Row]) -> Table:
    table = Table("case", "system", "metric", box=None)
    for title in ("value", "unit", "ratio"):
        table.add_column(title, justify="right")
    table.add_column("ok")
    for row in rows:
        table.add_row(
            row.case,
            row.system,
            row.metric,
            f"{row.value:,.1f}" if row.value < 1000 else f"{row.value:,.0f}",
            row.unit,
            "" if row.ratio is None else f"{row.ratio:.2f}",
            "yes" if row.ok else "NO",
        )
    return table


def environment(**own: Any) -> dict[str, Any]:
    """What the numbers depend on besides the code; `own` is what a script adds."""
    from importlib.metadata import version

    root = Path(__file__).parent.parent
    commit = subprocess.run(
        ["git", "-C", str(root), "describe", "--always", "--dirty"],
        check=False,  # not every copy is a repository
        capture_output=True,
        text=True,
    )
    return {
        **own,
        "commit": commit.stdout.strip(),
        "python": platform.python_version(),
        "river": version("river"),
        "flink": version("apache-flink"),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
    }


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
