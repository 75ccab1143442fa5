from importlib.metadata import version

import pytest

from jobs import cli
from jobs.config import ConfigError


def test_version_names_what_predictions_depend_on(capsys):
    assert cli.main(["--version"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"riverrun {version('riverrun')} (apache-flink 2.3.0, river 0.26.1, ")


def commands(group=cli.app, path=()):
    """Every command, as its words."""
    for info in group.registered_groups:
        name = info.name or info.typer_instance.info.name
        if not isinstance(name, str):  # added without a name: its commands are the group's
            yield from commands(info.typer_instance, path)
            continue
        yield (*path, name)
        yield from commands(info.typer_instance, (*path, name))
    for info in group.registered_commands:
        yield (*path, info.name or info.callback.__name__.replace("_", "-"))


@pytest.mark.parametrize("command", [(), *commands()], ids=" ".join)
def test_help_has_an_example(command, capsys):
    assert cli.main([*command, "--help"]) == 0
    assert f"Example: riverrun {' '.join(command)}".strip() in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["fly"], "No such command 'fly'"),
        (["cluster", "start"], "Missing option '--dir'"),
        (["cluster", "start", "--dir", "x", "-D", "key"], "'key' is not KEY=VALUE"),
        (
            ["cluster", "start", "--dir", "x", "--task-managers", "-1"],
            "Invalid value for '--task-managers'",
        ),
    ],
)
def test_wrong_usage_is_exit_code_2(arguments, said, capsys):
    assert cli.main(arguments) == 2
    assert said in capsys.readouterr().err


def test_every_mistake_in_a_configuration_is_a_line_and_exit_code_2(monkeypatch, capsys):
    def command() -> None:
        raise ConfigError(["[job] name: missing", "[join] retention: 1h is too short"])

    monkeypatch.setattr(cli, "app", lambda **_: command())
    assert cli.main([]) == 2
    printed = capsys.readouterr()
    assert printed.err == "[job] name: missing\n[join] retention: 1h is too short\n"
    assert printed.out == ""


def test_a_failure_is_one_line_as_it_was_written_and_exit_code_1(tmp_path, capsys):
    folder = tmp_path / ("[red]not markup[/red] and long" * 5)
    assert cli.main(["cluster", "status", "--dir", str(folder)]) == 1
    printed = capsys.readouterr()
    assert printed.err == f"riverrun: no cluster in {folder}\n"
    assert printed.out == ""


def test_ctrl_c_is_exit_code_130(monkeypatch):
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "Cluster", interrupted)
    assert cli.main(["cluster", "status", "--dir", "x"]) == 130
