"""`python -m bench`: every command that it names is there."""

from __future__ import annotations

import importlib
import sys

import pytest

from bench import __main__ as command


@pytest.mark.parametrize("name", command.COMMANDS)
def test_every_command_has_its_module(name: str) -> None:
    module = importlib.import_module(command.MODULES.get(name, f"bench.{name}"))
    assert callable(module.main)


@pytest.mark.parametrize(("words", "status"), [([], 2), (["nonsense"], 2), (["--help"], 0)])
def test_without_a_command_they_are_listed(
    words: list[str], status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", *words])
    assert command.main() == status
    told = capsys.readouterr().out
    assert all(name in told for name in command.COMMANDS)


def test_the_load_does_not_run_on_a_jit_but_the_parser_may(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command.machine, "has_jit", lambda: True)
    monkeypatch.setattr(sys, "argv", ["bench", "setup"])
    assert command.main() == 2
    assert f"bench setup --interpreter {sys.executable}" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", ["bench", "parse", "--help"])
    with pytest.raises(SystemExit):
        command.main()


def test_processors_that_are_not_ours_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    from bench import setup

    with pytest.raises(SystemExit):
        setup.main(["--cpus", "0,4095"])
    assert "--cpus" in capsys.readouterr().err
