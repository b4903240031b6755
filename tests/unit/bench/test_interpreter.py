"""A second interpreter: it says what it is, takes its turn, and is warmed up before what is measured."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench import interpreter, machine, memory, setup, table, trial
from bench.caller import GIVEN_UP
from bench.exchange import Book
from bench.interpreter import Interpreter, Unusable
from bench.options import Figures, Options
from bench.peers.registry import Peer
from bench.setup import Plan, contestants
from bench.subject import Subject
from tests.unit.bench.runs import run

PYPY = Interpreter("/opt/pypy3", "Hookline on PyPy 8.0", "PyPy 8.0.1, with a JIT", jit=True)
OTHER = Interpreter("/opt/python", "Hookline on CPython 3.13", "CPython 3.13.1", jit=False)


def program(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_an_interpreter_says_itself_what_it_is() -> None:
    found = interpreter.asked(sys.executable)
    assert found.path == sys.executable
    assert found.name == f"Hookline on {machine.implementation()}"
    assert found.facts.startswith(machine.interpreter())
    assert found.jit is machine.has_jit()
    assert interpreter.own() == replace(found, name="Hookline", facts=machine.interpreter())


def test_one_that_is_not_there_or_no_interpreter_or_without_packages_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(Unusable, match="nowhere/python is not there"):
        interpreter.asked(str(tmp_path / "nowhere/python"))
    bare = program(tmp_path / "bare", "echo 'Traceback' >&2; echo 'ModuleNotFoundError: No module named sqlmodel' >&2")
    with pytest.raises(Unusable, match=f"No module named sqlmodel. Its packages: .* -m pip --python {bare} install -e"):
        interpreter.asked(str(bare))
    with pytest.raises(Unusable, match="it says nothing"):
        interpreter.asked(str(program(tmp_path / "silent", "exit 0")))
    with pytest.raises(Unusable, match="cannot run Hookline"):
        interpreter.asked(str(program(tmp_path / "talks", "echo '[1]'")))


def test_a_bad_interpreter_is_a_mistake_of_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        setup.main(["--interpreter", "/nowhere/pypy3"])
    assert "--interpreter: /nowhere/pypy3 is not there" in capsys.readouterr().err


def test_two_of_one_name_are_told_apart_by_their_paths() -> None:
    twin = replace(PYPY, path="/usr/bin/pypy3")
    names = [one.name for one in interpreter.told_apart([PYPY, OTHER, twin])]
    assert names == [f"{PYPY.name} (/opt/pypy3)", OTHER.name, f"{PYPY.name} (/usr/bin/pypy3)"]
    assert interpreter.told_apart([PYPY, OTHER]) == (PYPY, OTHER)


def test_ours_are_told_from_others_by_name() -> None:
    names = ["nothing between", "Hookline", "Hookline on PyPy 8.0", "Kamailio", "Hooklines"]
    assert interpreter.suffixes(names) == ["", " on PyPy 8.0"]
    assert interpreter.suffixes(["worker on PyPy 8.0", "kernel"], "worker") == [PYPY.suffix]


def test_ours_takes_turns_on_every_interpreter_and_then_the_peers() -> None:
    peer = Peer("Kamailio", "C", lambda *_: pytest.fail("not started here"))
    plan = Plan(interpreters=(PYPY, OTHER))
    names = [one.name for one in contestants(plan, [peer])]
    assert names == ["Hookline", PYPY.name, OTHER.name, "Kamailio"]
    assert [one.name for one in contestants(replace(plan, only=True), [])] == [PYPY.name, OTHER.name]
    assert [one.name for one in contestants(Plan(only=True), [])] == ["Hookline"]
    assert plan.facts().items() >= {PYPY.name: PYPY.facts, OTHER.name: OTHER.facts}.items()


def test_one_with_a_jit_is_warmed_up_and_all_are_when_it_is_asked_for() -> None:
    plan = Plan(interpreters=(PYPY, OTHER))
    assert [plan.calls_before(on) for on in (PYPY, OTHER)] == [20_000, 0]
    assert plan.words().endswith("; before, to warm up Hookline on PyPy 8.0, 20,000 calls at 200/s")
    alike = replace(plan, warm_up=300)
    assert [alike.calls_before(on) for on in (PYPY, OTHER)] == [300, 300]
    assert alike.words().endswith("; before, on every server, 300 calls at 200/s")
    assert "before" not in Plan(interpreters=(OTHER,)).words()
    assert "before" not in replace(plan, warm_up=0).words()


def subject() -> Subject:
    return Subject("x", ("127.0.0.1", 5), 7, 6, "secret", signalling=[1], database=Path("bench.db"))


def test_what_goes_before_is_a_load_of_its_own_without_audio_whose_transactions_are_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[Any] = []

    def offer(options: Options, cpu: int) -> tuple[Figures, None, None]:
        said.append((options.rate, options.seconds, options.warm_up, options.audio, options.hold, options.raw))
        said.append((options.password, options.server))
        return Figures(offered=1000), None, None

    monkeypatch.setattr(trial, "offer", offer)
    monkeypatch.setattr(trial.time, "sleep", said.append)
    measured = Options(("", 0), rate=20, audio=True, hold=2.0, raw="calls.jsonl")
    one = subject()
    assert trial.warm(one, measured, 1000, 1).offered == 1000
    assert said == [(200.0, 5.0, 0.0, False, 0.0, ""), ("secret", ("127.0.0.1", 5)), memory.LINGER_SECONDS]
    assert one.password == ""
    assert (measured.rate, measured.audio, measured.raw) == (20, True, "calls.jsonl")
    assert trial.warm(one, measured, 0, 1) == Figures()
    assert len(said) == 3


def test_calls_that_went_before_are_in_the_books_and_in_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def exchange(hook: str, *, on: Interpreter, **_: Any) -> Iterator[Subject]:
        assert on is PYPY
        yield subject()

    monkeypatch.setattr(setup, "exchange", exchange)
    monkeypatch.setattr(setup, "warm", lambda one, options, calls, cpu: Figures(offered=calls, ok=calls - 1, failed=1))
    monkeypatch.setattr(setup, "trial", lambda one, options, cpu: run(offered=10, ok=10))
    monkeypatch.setattr(setup, "written", lambda database, offered: Book(offered, offered - 1, 9, offered))
    found = setup.ours(Plan(warm_up=5, interpreters=(PYPY,)), PYPY)
    assert (found.warmed, found.records, found.activities) == (5, 10, 10)
    assert found.faults == ["1 of 5 calls that went before failed"]
    assert any(remark.startswith("5 calls went before") for remark in table.remarks(found))


def test_what_has_become_of_calls_that_were_given_up_on_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def exchange(hook: str, **_: Any) -> Iterator[Subject]:
        yield subject()

    monkeypatch.setattr(setup, "exchange", exchange)
    monkeypatch.setattr(setup, "trial", lambda one, options, cpu: run(failed=1, reasons={GIVEN_UP: 1}))
    monkeypatch.setattr(setup, "written", lambda database, offered: pytest.fail("it is not waited for, either"))
    found = setup.ours(Plan(), interpreter.own())
    assert (found.records, found.faults) == (None, [])


def test_a_peer_is_warmed_up_only_when_everybody_is(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def once(peer: Peer, options: Options, cpus: tuple[int, int], *, warm_up: int) -> object:
        asked.append(warm_up)
        return run()

    monkeypatch.setattr(setup.registry, "run", once)
    peer = Peer("Kamailio", "C", lambda *_: pytest.fail("not started here"))
    for plan in (Plan(interpreters=(PYPY,)), Plan(warm_up=300)):
        contestants(plan, [peer])[-1].run()
    assert asked == [0, 300]


def test_stages_are_marked_on_one_interpreter_at_a_time(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        setup.main(["--stages", "--interpreter", sys.executable])
    assert "--only and one --interpreter" in capsys.readouterr().err
