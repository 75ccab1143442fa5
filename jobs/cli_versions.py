"""The commands of versions: audit, erase, and `version` show, verify, diff, export, rebuild."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from jobs.cli_jobs import ConfigFile
from jobs.config import load_config
from jobs.terminal import JsonFlag, err, out, print_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from jobs.audit import Audit
    from jobs.versions import Made
    from state.signing import TrustedKeys

app = typer.Typer()
version_app = typer.Typer(
    name="version",
    help="Versions as files (.rrv): look, check, compare, make them of a learn log.",
    no_args_is_help=True,
)
app.add_typer(version_app, epilog="Example: riverrun version show fraud.rrv")

_SHOWN = 10

Artifact = Annotated[
    Path, typer.Argument(metavar="FILE.rrv", help="A version.", exists=True, dir_okay=False)
]
LearnLogs = Annotated[
    list[str] | None,
    typer.Option(
        "--learn-log",
        metavar="PATH|TOPIC",
        help="Instead of the configuration's; repeated, one goes on where the other ends.",
    ),
]
Out = Annotated[Path, typer.Option("--out", metavar="FILE.rrv", help="A file to be made.")]
From = Annotated[
    list[Path] | None,
    typer.Option(
        "--from",
        metavar="FILE.rrv",
        exists=True,
        dir_okay=False,
        help="Begin at this version instead of the beginning of its chain; may be repeated.",
    ),
]


@app.command(epilog="Example: riverrun audit job.toml --id t1")
def audit(
    config: ConfigFile,
    id: Annotated[
        str | None, typer.Option("--id", metavar="ID", help="Only this transaction's predictions.")
    ] = None,
    start: From = None,
    since: Annotated[
        list[str] | None,
        typer.Option(
            metavar="VERSION",
            help="Leave out what was predicted before this version; may be repeated.",
        ),
    ] = None,
    learn_log: LearnLogs = None,
    features: Annotated[
        str | None,
        typer.Option(metavar="PATH|TOPIC", help="Instead of the configuration's inputs."),
    ] = None,
    predictions: Annotated[
        str | None,
        typer.Option(metavar="PATH|TOPIC", help="Instead of the configuration's."),
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Rebuild every version from the learn log and make its predictions again; exit code 1 if anything is wrong."""
    from jobs import audit as auditing

    loaded = load_config(config)
    where = auditing.sources(
        loaded, features=features, predictions=predictions, learn_logs=learn_log or ()
    )
    with _counting() as show:
        found = auditing.audit(
            loaded,
            id=id,
            artifacts=start or (),
            since=since or (),
            where=where,
            progress=show,
        )
    if json:
        print_json(found)
    else:
        _print_audit(found)
    if not found.sound:
        raise typer.Exit(1)


def _print_audit(found: Audit) -> None:
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 3, 0, 0))
    for verdict, count in found.verdicts.items():
        table.add_row(str(verdict), f"{count:,}")
    if found.skipped:
        table.add_row("skipped", f"{found.skipped:,}")
    out.print(table, soft_wrap=False)
    out.print(
        f"{found.entries:,} entries in {found.chains:,} chains; attempts given up: {found.forks:,}, "
        f"entries twice: {found.repeated:,}, erased: {found.erased:,}"
    )
    for problem in found.problems[:_SHOWN]:
        place = (
            problem.position,
            problem.id and f"id {problem.id}",
            problem.model,
            problem.version,
        )
        out.print(f"{problem.verdict}: {', '.join(filter(None, place))}: {problem.detail}")
    if len(found.problems) > _SHOWN:
        out.print(f"and {len(found.problems) - _SHOWN:,} more: --json has them all")


@app.command(epilog="Example: riverrun erase job.toml --id t1 --everything")
def erase(
    config: ConfigFile,
    id: Annotated[str, typer.Option("--id", metavar="ID", help="The transaction.")],
    everything: Annotated[
        bool,
        typer.Option(
            "--everything",
            help="Also in the files of inputs, predictions, evaluations and dead letters.",
        ),
    ] = False,
    target: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="FILE", help="For a learn log in Kafka: a file to be made instead."
        ),
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Replace what the learn log holds of a transaction by its digest; every chain stays whole."""
    from jobs import erasing

    done = erasing.erase(load_config(config), id, everything=everything, out=target)
    if json:
        print_json(done)
        return
    for place in done.erased:
        out.print(f"erased: {place.records:,} of {place.what}, {place.where}")
    if not done.erased:
        out.print(f"nothing of {id} is in the learn log")
    for place in done.left:
        err.print(f"still there: {place.records:,} of {place.what}, {place.where}")
    err.print("a job's state and checkpoints hold it until retention ends; so may saved versions")


@version_app.command(epilog="Example: riverrun version show fraud.rrv --json")
def show(file: Artifact, json: JsonFlag = False) -> None:
    """Print what is known of a version; nothing of its model is loaded."""
    from jobs import versions

    shown = versions.show(file)
    if json:
        print_json(shown)
        return
    fields = msgspec.to_builtins(shown.manifest)
    fields |= {"model_bytes": shown.model_bytes, "signed_by": shown.signed_by or "nobody"}
    for name, value in fields.items():
        text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
        out.print(f"{name:<12} {text}")


@version_app.command(epilog="Example: riverrun version verify fraud.rrv --config job.toml")
def verify(
    file: Artifact,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            metavar="CONFIG",
            exists=True,
            dir_okay=False,
            help="Whose keys are trusted, and whose learn log must lead to it.",
        ),
    ] = None,
    key: Annotated[
        list[str] | None,
        typer.Option(
            "--trusted-key", metavar="BASE64", help="A key that is trusted; may be repeated."
        ),
    ] = None,
    learn_log: LearnLogs = None,
    json: JsonFlag = False,
) -> None:
    """Check a version: whole, signed by a trusted key, in the learn log; exit code 1 if not."""
    from jobs import versions
    from jobs.audit import learn_log_sinks

    if learn_log and config is None:
        raise typer.BadParameter("--learn-log needs --config: the chain begins there")
    loaded = None if config is None else load_config(config)
    logged = loaded is not None and bool(learn_log or loaded.learn_log)
    sinks = learn_log_sinks(loaded, learn_log or ()) if loaded is not None and logged else ()
    with _counting() as show:
        checks = list(
            versions.verify(
                file,
                _trusted(loaded, key or []),
                loaded if logged else None,
                sinks,
                progress=lambda n: show("learning again", n),
            )
        )
    if json:
        print_json(checks)
    else:
        for check in checks:
            said = {True: "yes", False: "NO", None: "not checked"}[check.passed]
            out.print(f"{check.what:<16} {said}: {check.detail}")
    if any(check.passed is False for check in checks):
        raise typer.Exit(1)


def _trusted(config: Any, keys: list[str]) -> TrustedKeys | None:
    from jobs.job_keys import own_and_trusted, parsed

    entries = [*keys, *(own_and_trusted(config) if config is not None else [])]
    return parsed(entries, "--trusted-key") if entries else None


@version_app.command(epilog="Example: riverrun version diff monday.rrv tuesday.rrv")
def diff(
    one: Artifact,
    other: Artifact,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            metavar="CONFIG",
            exists=True,
            dir_okay=False,
            help="Also say what its learn log has between the two.",
        ),
    ] = None,
    learn_log: LearnLogs = None,
    json: JsonFlag = False,
) -> None:
    """Print where two versions differ: what is known of them, their specs, their sizes."""
    from jobs import versions
    from jobs.audit import learn_log_sinks

    found = versions.diff(one, other)
    between = None
    if config is not None:
        loaded = load_config(config)
        with _counting() as show:
            between = versions.between(
                loaded,
                one,
                other,
                learn_log_sinks(loaded, learn_log or ()),
                lambda n: show("reading the learn log", n),
            )
    if json:
        print_json({"differences": found, "between": between})
        return
    for difference in found:
        a, b = (msgspec.json.encode(v).decode() for v in (difference.one, difference.other))
        out.print(f"{difference.field}: {a} -> {b}")
    if between is not None:
        entries = ", ".join(f"{count:,} {kind}" for kind, count in between.entries.items())
        span = f", from {between.first} to {between.last}" if between.first else ""
        out.print(f"between them: {entries or 'nothing'}{span}")


@version_app.command(
    epilog="Example: riverrun version export job.toml fraud@1207-5f0c93a1be77 --out fraud.rrv"
)
def export(
    config: ConfigFile,
    version: Annotated[
        str, typer.Argument(metavar="VERSION", help="NAME@N-HEX, or NAME for the newest.")
    ],
    target: Out,
    start: From = None,
    learn_log: LearnLogs = None,
    json: JsonFlag = False,
) -> None:
    """Make a file of any version that the learn log leads to."""
    _make(config, version, target, start or [], learn_log or [], json, unpickle=True)


@version_app.command(epilog="Example: riverrun version rebuild job.toml --out fraud.rrv")
def rebuild(
    config: ConfigFile,
    version: Annotated[
        str | None,
        typer.Argument(
            metavar="[VERSION]",
            help="NAME@N-HEX, or NAME for the newest.",
            show_default="the champion's newest",
        ),
    ] = None,
    *,
    target: Out,
    learn_log: LearnLogs = None,
    json: JsonFlag = False,
) -> None:
    """Make a version of the learn log alone, for a River that cannot read the bytes of the old one."""
    _make(config, version, target, [], learn_log or [], json, unpickle=False)


def _make(
    config: Path,
    version: str | None,
    target: Path,
    artifacts: list[Path],
    learn_log: list[str],
    json: bool,
    unpickle: bool,
) -> None:
    from jobs import versions
    from jobs.audit import learn_log_sinks
    from jobs.job_keys import trusted_keys

    loaded = load_config(config)
    with _counting() as show:
        made: Made = versions.export(
            loaded,
            version,
            learn_log_sinks(loaded, learn_log),
            artifacts=artifacts,
            trusted=trusted_keys(loaded),
            unpickle=unpickle,
            progress=lambda n: show("learning again", n),
        )
    key_id = versions.write(made, target, loaded)
    if json:
        print_json({"file": str(target), "manifest": made.manifest, "key_id": key_id})
    else:
        signed = (
            f"signed by {key_id}" if key_id else "not signed: [security] has no signing_key_file"
        )
        out.print(f"{made.manifest.version} is in {target}, {signed}")


@contextlib.contextmanager
def _counting() -> Iterator[Callable[[str, int], None]]:
    """Shows what is being done and how far that is; on standard error, where that is a terminal."""
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        console=err,
        transient=True,
        disable=not sys.stderr.isatty(),
    ) as progress:
        task = progress.add_task("reading", total=None)
        yield lambda phase, count: progress.update(task, description=f"{phase}: {count:,} records")
