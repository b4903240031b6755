"""What can be wrong with a value is said by codes; each has its words, and each place that raises one its values."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from string import Formatter

import crmhooks
import pbxcore
import web
from pbxcore.control import Invalid
from pbxcore.faults import ENGLISH
from web.words import CATALOGUES

ROOMS = tuple(Path(room.__file__ or "").parent for room in (pbxcore, crmhooks, web))
RAISERS = {"Invalid": 1, "InvalidDecision": 1, "Refused": 1}     # where the code stands
ELSEWHERE = (   # where Refused is something else, and the catalogues themselves
    "pbxcore/inquiry.py", "pbxcore/call/subscriptions/", "crmhooks/connector", "pbxcore/sip/", "faults.py",
)  # fmt: skip


def trees() -> Iterator[ast.Module]:
    for path in (path for room in ROOMS for path in room.rglob("*.py")):
        if not any(part in path.as_posix() for part in ELSEWHERE):
            yield ast.parse(path.read_text(encoding="utf-8"))


def codes(node: ast.expr) -> Iterator[str]:
    """The codes that an argument may be."""
    if isinstance(node, ast.Constant):
        yield str(node.value)
    elif isinstance(node, ast.IfExp):
        yield from codes(node.body)
        yield from codes(node.orelse)
    elif isinstance(node, ast.JoinedStr) and isinstance(node.values[0], ast.Constant):
        prefix = str(node.values[0].value)
        yield from (code for code in ENGLISH if code.startswith(prefix))
    else:
        assert isinstance(node, ast.Name), ast.unparse(node)
        assert node.id == "why", "a code that is handed over, as crmhooks.rules.integer does"


def raised(*names: str) -> Iterator[tuple[str, set[str]]]:
    """Each code with the names of its values, where they stand in the source."""
    for tree in trees():
        for node in ast.walk(tree):
            called = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
            if isinstance(node, ast.Call) and called in names and len(node.args) > RAISERS[called]:
                if any(word.arg is None for word in node.keywords):
                    continue        # handed on from another fault
                for code in codes(node.args[RAISERS[called]]):
                    yield code, {word.arg or "" for word in node.keywords}


def wanted(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name}


def test_every_fault_that_is_raised_has_words_and_gives_them_their_values() -> None:
    found = dict(raised("Invalid", "InvalidDecision"))
    assert len(found) > 60
    for code, values in found.items():
        assert code in ENGLISH, code
        assert values == wanted(ENGLISH[code]), code


def test_every_refusal_has_words_and_gives_them_their_values() -> None:
    found = dict(raised("Refused"))
    assert len(found) > 20
    for code, values in found.items():
        for language, words in CATALOGUES.items():
            assert f"error.{code}" in words, (language, code)
            assert values == wanted(words[f"error.{code}"]), (language, code)


def test_every_fault_that_has_words_is_raised() -> None:
    said = {code for code, _ in raised("Invalid", "InvalidDecision")}
    literal = {node.value for tree in trees() for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    assert ENGLISH.keys() <= said | literal


def test_a_fault_is_said_in_both_languages() -> None:
    error = Invalid("email", "contact.email", said="anna")
    assert str(error) == "'anna' is no e-mail address: write it as name@example.net, or leave it empty"
    code, values = error.said
    assert "anna" in CATALOGUES["ru"][f"fault.{code}"].format(**values)
    for key in ENGLISH:
        russian = CATALOGUES["ru"][f"fault.{key}"]
        assert any("а" <= letter.lower() <= "я" for letter in russian), key
