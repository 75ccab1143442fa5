"""The commands of control: keygen, sign, send, list, log."""

import sys
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from jobs.cli_jobs import ConfigFile
from jobs.config import load_config
from jobs.durations import parse_duration
from jobs.errors import Failure
from jobs.terminal import JsonFlag, err, out, print_json

app = typer.Typer(
    name="control",
    help="Deploy, promote, roll back, retire while the job runs.",
    no_args_is_help=True,
)

KeyFile = Annotated[
    Path | None, typer.Option("--key", metavar="FILE", help="The private key that signs.")
]
ModelOption = Annotated[
    str | None, typer.Option("--model", metavar="NAME", help="Of this model only.")
]
IssuerOption = Annotated[
    str | None, typer.Option("--issuer", metavar="NAME", help="Of this issuer only.")
]


@app.command(epilog="Example: riverrun control keygen ops.pem --issuer ops")
def keygen(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="For the private key, to be made.")],
    issuer: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The only issuer that the key signs for; default: any."),
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Make a key: FILE keeps the private one, FILE.pub the entry for trusted_keys."""
    from jobs.control_keys import make_key

    made = make_key(file, issuer)
    if json:
        print_json(made._asdict())
        return
    out.print(f"key {made.key_id} is in {file}: keep it to yourself")
    out.print("what the job's configuration needs, under [security]:")
    out.print(f"trusted_keys = [{msgspec.json.encode(made.entry).decode()}]")


@app.command(epilog="Example: riverrun control sign payload.json --key ops.pem > message.json")
def sign(
    payload: Annotated[
        str, typer.Argument(metavar="PAYLOAD.json", help="The payload; - is standard input.")
    ] = "-",
    *,
    key: Annotated[Path, typer.Option("--key", metavar="FILE", help="The private key.")],
) -> None:
    """Print the signed form of a payload, whose text is kept to the byte."""
    from jobs import control_messages

    text = _text(payload)
    print(control_messages.sign(text, _key(key)))


@app.command(
    epilog="Example: riverrun control send job.toml deploy --model b --task classification "
    "--spec b.json --role shadow --wait"
)
def send(
    config: ConfigFile,
    what: Annotated[
        str,
        typer.Argument(
            metavar="OP|MESSAGE.json",
            help="deploy, promote, rollback, pin, unpin, freeze, unfreeze, split, retire, publish; "
            "or a file with a payload or a signed message; - is standard input.",
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Default: the one of the artifact, version or weights."),
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="deploy: classification, regression or anomaly.")
    ] = None,
    role: Annotated[
        str | None, typer.Option(help="deploy: champion, challenger or shadow.")
    ] = None,
    spec: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="deploy: a spec, as JSON or TOML.", exists=True),
    ] = None,
    artifact: Annotated[
        str | None, typer.Option(metavar="FILE.rrv", help="deploy: a version's artifact.")
    ] = None,
    by_path: Annotated[
        bool, typer.Option("--by-path", help="Send the artifact's path, not what is in it.")
    ] = False,
    from_version: Annotated[
        str | None, typer.Option(metavar="VERSION", help="deploy: a retained version.")
    ] = None,
    version: Annotated[
        str | None, typer.Option(metavar="VERSION", help="rollback, pin: to which.")
    ] = None,
    weights: Annotated[
        str | None, typer.Option(metavar="A=95,B=5", help="split: percent of the transactions.")
    ] = None,
    effective_at: Annotated[
        str | None, typer.Option(metavar="TIME", help="From when on: ms, or ISO 8601 with zone.")
    ] = None,
    expires_at: Annotated[
        str | None, typer.Option(metavar="TIME", help="Likewise: until when.")
    ] = None,
    issuer: Annotated[
        str | None, typer.Option(metavar="NAME", help="Who asks.", show_default="your login name")
    ] = None,
    seq: Annotated[
        int | None, typer.Option(min=0, help="Rises per issuer.", show_default="the time in ms")
    ] = None,
    key: KeyFile = None,
    topic: Annotated[str | None, typer.Option(help="Which, where the job reads several.")] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="For the job's answer, and print it.")
    ] = False,
    timeout: Annotated[str, typer.Option(metavar="DURATION", help="For --wait.")] = "60s",
    json: JsonFlag = False,
) -> None:
    """Send a control message to a running job; with --wait, exit code 1 if the job refuses it."""
    from jobs import control_commands as commands
    from jobs.control_sending import require_input
    from jobs.control_sending import send as send_message

    timeout_s = _seconds(timeout)
    loaded = load_config(config)
    require_input(loaded)
    wish = commands.Wish(
        what, model, task, role, spec, artifact, from_version, version, weights,
        effective_at, expires_at, issuer, seq, by_path,
    )  # fmt: skip
    signer = None if key is None else _key(key)
    if commands.names_file(what):
        if wish != commands.Wish(what):
            raise typer.BadParameter(f"{what} says what to do: leave out the options of operations")
        made = commands.finish(loaded, _text(what), signer, _warn)
    else:
        made = commands.compose(loaded, wish, signer, _warn)
    known = len(commands.answers(loaded, made.payload)) if wait else 0
    place = send_message(loaded, made.payload, made.record, topic)
    payload = made.payload
    if not wait:
        if json:
            print_json({"issuer": payload.issuer, "seq": payload.seq, "position": place})
        else:
            out.print(f"{payload.op} {payload.model} is at {place}: {payload.issuer} {payload.seq}")
        return
    with err.status("waiting for the job's answer"):
        ack = commands.wait_for_ack(loaded, payload, known, timeout_s)
    if json:
        print_json(ack)
    elif ack.accepted:
        out.print(f"accepted: {ack.op} {ack.model} {ack.version or ''}".rstrip())
    else:
        out.print(f"refused: {ack.op} {ack.model}: {ack.reason}")
    if not ack.accepted:
        raise typer.Exit(1)


@app.command("list", epilog="Example: riverrun control list job.toml")
def list_(config: ConfigFile, json: JsonFlag = False) -> None:
    """Print every deployed model with its last operation, and the messages without an answer."""
    from jobs import control_history as history

    loaded = load_config(config)
    models, waiting = history.deployed(loaded), history.pending(loaded)
    if json:
        print_json({"models": models, "pending": [each._asdict() for each in waiting]})
        return
    for model in models:
        weight = "" if model.weight is None else f" {model.weight:g} %"
        last = "as configured" if model.op is None else f"{model.op} {model.issuer} {model.seq}"
        out.print(f"{model.model} {model.role}{weight}: {last} {model.version or ''}".rstrip())
    for each in waiting:
        out.print(f"no answer yet: {each.op} {each.model} {each.issuer} {each.seq} {each.position}")


@app.command(epilog="Example: riverrun control log job.toml --model fraud")
def log(
    config: ConfigFile,
    model: ModelOption = None,
    issuer: IssuerOption = None,
    json: JsonFlag = False,
) -> None:
    """Print what the job decided, a line a message, in order."""
    from datetime import UTC, datetime

    from jobs.control_history import history

    for event in history(load_config(config)):
        if model not in (None, event.model) or issuer not in (None, event.issuer):
            continue
        if json:
            print_json(event)
            continue
        when = "no answer yet"
        if event.at is not None:
            when = datetime.fromtimestamp(event.at / 1000, UTC).isoformat(" ", "milliseconds")
        verdict = {True: "accepted", False: f"refused {event.reason}", None: "passed"}
        line = f"{when} {event.issuer} {event.seq} {event.op} {event.model}"
        out.print(f"{line}: {verdict[event.accepted]} {event.version or ''}".rstrip())


def _key(path: Path) -> Any:
    from jobs import control_keys

    key = control_keys.load_key(path)
    if control_keys.open_to_others(path):
        _warn(f"others than you can read {path}: chmod 600 {path}")
    return key


def _text(source: str) -> str:
    """What is in a file, or on standard input, to the byte."""
    try:
        raw = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
        return raw.decode()
    except OSError as error:
        raise Failure(f"{source} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise Failure(f"{source} is not UTF-8: {error}") from error


def _seconds(duration: str) -> float:
    try:
        return parse_duration(duration) / 1000
    except ValueError:
        raise typer.BadParameter(f"--timeout {duration}: a duration like 30s is expected") from None


def _warn(text: str) -> None:
    err.print(f"warning: {text}")
