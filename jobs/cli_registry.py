"""The commands of the registry: push, pull."""

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated

import typer

from jobs.config import Config, load_config
from jobs.errors import Failure
from jobs.terminal import JsonFlag, err, out, print_json

app = typer.Typer(
    name="registry", help="Versions in MLflow's model registry.", no_args_is_help=True
)

TrackingUri = Annotated[
    str,
    typer.Option(
        metavar="URI", envvar="MLFLOW_TRACKING_URI", help="MLflow's server, http://HOST:PORT."
    ),
]


@app.command(
    epilog="Example: riverrun registry push fraud.rrv --tracking-uri http://127.0.0.1:5000"
)
def push(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="FILE.rrv|CONFIG",
            help="An artifact, or the job's TOML file with versions that its learn log leads to.",
            exists=True,
            dir_okay=False,
        ),
    ],
    versions: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[VERSION]...", help="With CONFIG: NAME@N-HEX, or NAME, the newest."
        ),
    ] = None,
    *,
    tracking_uri: TrackingUri,
    registered_model: Annotated[
        str | None, typer.Option(metavar="NAME", help="In MLflow.", show_default="the model's name")
    ] = None,
    experiment: Annotated[
        str, typer.Option(metavar="NAME", help="Of the run that goes with each version.")
    ] = "riverrun",
    job: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The job it comes from, where `pull` deploys it.",
            show_default="that of CONFIG",
        ),
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Make registered model versions of versions; one that is there already stays as it is."""
    from jobs.registry import Registry

    if source.suffix == ".rrv" and versions:
        raise typer.BadParameter(f"{source} is one version: leave out {' '.join(versions)}")
    if source.suffix != ".rrv" and not versions:
        raise typer.BadParameter(f"which versions of {source}? NAME@N-HEX, or NAME for the newest")
    registry = Registry(tracking_uri)
    artifacts: Iterable[Path] = [source]
    if versions:
        loaded = load_config(source)
        job = job or loaded.job.name
        artifacts = _made(loaded, versions)
    for artifact in artifacts:
        with err.status("pushing"):
            pushed = registry.push(artifact, name=registered_model, experiment=experiment, job=job)
        if json:
            print_json(pushed._asdict())
        else:
            state = "is" if pushed.created else "was there already as"
            out.print(f"{pushed.version} {state} {pushed.model}:{pushed.number}")


def _made(config: Config, versions: list[str]) -> Iterator[Path]:
    """Each version, made of the learn log and signed where the job has a key."""
    from jobs.audit import learn_log_sinks
    from jobs.job_keys import trusted_keys
    from jobs.versions import export, write

    with tempfile.TemporaryDirectory(prefix="riverrun-versions-") as folder:
        for place, version in enumerate(versions):
            with err.status(f"learning {version} again"):
                made = export(
                    config, version, learn_log_sinks(config), trusted=trusted_keys(config)
                )
            path = Path(folder, f"{place}.rrv")
            write(made, path, config)
            yield path


@app.command(
    epilog="Example: riverrun registry pull fraud:3 --tracking-uri http://127.0.0.1:5000 "
    "--out fraud.rrv > deploy.json"
)
def pull(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME[:N]", help="A registered model; default: its newest version."),
    ],
    *,
    tracking_uri: TrackingUri,
    target: Annotated[Path, typer.Option("--out", metavar="FILE.rrv", help="A file to be made.")],
    trusted_key: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ENTRY",
            help="As in trusted_keys; one of those given must have signed it. May be repeated.",
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="CONFIG",
            help="Take the job's name and its trusted keys from here.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    job: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="To deploy it in.", show_default="the one it came from"),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="To deploy it as.", show_default="its own name"),
    ] = None,
    role: Annotated[str | None, typer.Option(help="champion, challenger or shadow.")] = None,
    issuer: Annotated[
        str | None, typer.Option(metavar="NAME", help="Who asks.", show_default="your login name")
    ] = None,
    message: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.json", help="For the deploy message.", show_default="standard output"
        ),
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Take a version out of the registry, and print the message that deploys it."""
    from jobs.control_commands import login_name, trusted_keys
    from jobs.registry import Registry
    from state.signing import TrustedKeys

    trusted = None
    if config is not None:
        loaded = load_config(config)
        job = job or loaded.job.name
        # Where nobody is trusted, nothing can be asked for.
        trusted = trusted_keys(loaded) or None
    if trusted_key:
        try:
            trusted = TrustedKeys(trusted_key)
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--trusted-key") from None
    registered, number = _numbered(name)
    with err.status("pulling"):
        pulled = Registry(tracking_uri).pull(
            registered,
            number,
            target,
            trusted=trusted,
            job=job,
            issuer=issuer or login_name(),
            model=model,
            role=role,
        )
    signed = "not looked at" if pulled.key_id is None else f"signed by {pulled.key_id}"
    err.print(f"{pulled.version} is in {target}; its signature: {signed}")
    if message is not None:
        try:
            message.write_text(pulled.payload + "\n", encoding="utf-8")
        except OSError as error:
            raise Failure(f"{message} cannot be written: {error.strerror}") from error
    if json:
        print_json({**pulled._asdict(), "out": str(target)})
    elif message is None:
        print(pulled.payload)


def _numbered(name: str) -> tuple[str, int | None]:
    model, colon, number = name.rpartition(":")
    if not colon:
        return name, None
    if not model or not number.isdecimal():
        raise typer.BadParameter(f"{name!r} is not NAME or NAME:N")
    return model, int(number)
