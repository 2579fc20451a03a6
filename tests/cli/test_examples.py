"""Examples under the help are commands that would be understood."""

from __future__ import annotations

import re
import shlex
from typing import Any

import pytest
from typer.main import get_command

from wsigraph.cli.examples import EXAMPLES
from wsigraph.cli.main import app

TOP: Any = get_command(app)


def verbs() -> list[str]:
    found = []
    for name, command in TOP.commands.items():
        found += [f"{name} {inner}" for inner in command.commands] if hasattr(command, "commands") else [name]
    return found


def command_of(verb: str) -> Any:
    command = TOP
    for word in verb.split():
        command = command.commands[word]
    return command


@pytest.mark.parametrize("verb", verbs())
def test_every_verb_has_examples_whose_options_exist(verb: str) -> None:
    assert EXAMPLES[verb]
    command = command_of(verb)
    known = {option for parameter in command.params for option in parameter.opts}
    n_arguments = sum(parameter.param_type_name == "argument" for parameter in command.params)
    for line in EXAMPLES[verb]:
        words = shlex.split(line)
        assert " ".join(words).startswith(f"wsigraph {verb}")
        assert {word for word in words if word.startswith("--")} <= known
        given = words[1 + len(verb.split()) :]
        assert n_arguments or not given or given[0].startswith("--")


@pytest.mark.parametrize("verb", verbs())
def test_they_are_shown_as_they_are_typed(verb: str) -> None:
    from click.testing import CliRunner

    shown = CliRunner().invoke(TOP, [*verb.split(), "--help"]).stdout
    for line in EXAMPLES[verb]:
        assert f"  {line}\n" in shown


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_verbs(shell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from click.testing import CliRunner

    variables = {"_WSIGRAPH_COMPLETE": f"complete_{shell}", "_TYPER_COMPLETE_ARGS": "wsigraph pre"}
    variables |= {"COMP_WORDS": "wsigraph pre", "COMP_CWORD": "1", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    shown = CliRunner().invoke(TOP, [], env=variables, prog_name="wsigraph")
    assert "predict" in shown.output
    assert not re.search("doctor", shown.output)
