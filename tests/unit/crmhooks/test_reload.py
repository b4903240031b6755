"""`reload = true`: a changed file is taken up, a broken one leaves the old hook at work."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from crmhooks.connector import InvalidHook
from crmhooks.connectors.python import load
from crmhooks.connectors.reload import ReloadingHook
from pbxcore.hooks import Reject, Ring
from tests.unit.crmhooks.virtual import ended, incoming

NAME = "an_office_that_is_being_written"
RING = "from pbxcore.hooks import *\nclass Desk:\n    async def on_incoming(self, call): return Ring(('{}',))\n"

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    monkeypatch.syspath_prepend(tmp_path)
    path, at = tmp_path / f"{NAME}.py", [1_000_000_000]

    def written(text: str) -> Path:
        path.write_text(text)
        at[0] += 1   # a nanosecond: two writes within one tick of the file system's clock are two
        os.utime(path, ns=(at[0], at[0]))
        return path

    yield written
    sys.modules.pop(NAME, None)


def made(attribute: str = "Desk") -> ReloadingHook:
    hook = load("crm.hook[1].target", "desk", f"{NAME}:{attribute}", reload=True)
    assert isinstance(hook, ReloadingHook)
    return hook


async def test_a_change_of_the_same_second_and_length_is_taken_up(write: Write) -> None:
    write(RING.format("101"))
    hook = made()
    assert await hook.on_incoming(incoming()) == Ring(("101",))
    assert not hook.look()
    write(RING.format("102"))
    assert hook.look()
    assert await hook.on_incoming(incoming()) == Ring(("102",))
    await hook.close()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("class Desk(", "raised SyntaxError"),
        ("import no_such_module_at_all", "raised ModuleNotFoundError"),
        ("Desk = None", "has none of the methods"),
        ("class Other: ...", "raised AttributeError"),
        ("import sys; sys.exit(3)", "raised SystemExit"),
        ("class Desk:\n    def __init__(self): 1/0", "raised ZeroDivisionError"),
    ],
)
async def test_one_that_does_not_load_leaves_the_old_one_and_says_so(
    write: Write, text: str, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write(RING.format("101"))
    hook = made()
    before = sys.modules[NAME]
    write(text)
    assert not hook.look()
    assert why in hook.trouble
    assert "the old one stays" in capsys.readouterr().out
    assert sys.modules[NAME] is before
    assert await hook.on_incoming(incoming()) == Ring(("101",))
    assert not hook.look()      # said once a change
    write(RING.format("103"))
    assert hook.look()
    assert hook.trouble == ""
    await hook.close()


async def test_methods_come_and_go(write: Write) -> None:
    write(RING.format("101"))
    hook = made()
    assert await hook.on_ended(ended("c1")) is None  # type: ignore[func-returns-value]
    write("told = []\nclass Desk:\n    def on_ended(self, call): told.append(call.call_id)\n")
    assert hook.look()
    assert await hook.on_incoming(incoming()) is None
    await hook.on_ended(ended("c1"))
    assert sys.modules[NAME].told == ["c1"]
    await hook.close()


async def test_a_file_that_is_being_replaced_is_waited_for(write: Write) -> None:
    path = write(RING.format("101"))
    hook = made()
    path.unlink()
    assert not hook.look()
    write("from pbxcore.hooks import *\nclass Desk:\n    def on_incoming(self, call): return Reject()\n")
    assert hook.look()
    assert isinstance(await hook.on_incoming(incoming()), Reject)
    await hook.close()


async def test_a_thread_looks_and_the_call_does_not(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    import crmhooks.connectors.reload as reloading

    monkeypatch.setattr(reloading, "LOOK_SECONDS", 0.001)
    write(RING.format("101"))
    hook = made()
    looked = threading.Event()
    look = hook.look

    def seen() -> bool:
        assert threading.current_thread() is not threading.main_thread()
        found = look()
        if found:
            looked.set()
        return found

    monkeypatch.setattr(hook, "look", seen)
    assert await hook.on_incoming(incoming()) == Ring(("101",))
    write(RING.format("102"))
    assert looked.wait(10)
    assert await hook.on_incoming(incoming()) == Ring(("102",))
    await hook.close()
    watcher = hook._watcher
    assert watcher is not None
    watcher.join(10)
    assert not watcher.is_alive()


def test_what_has_no_file_cannot_change() -> None:
    sys.modules[NAME] = type(sys)(NAME)
    sys.modules[NAME].Desk = type("Desk", (), {"on_ended": print})  # type: ignore[attr-defined]
    try:
        with pytest.raises(InvalidHook, match="has no file"):
            made()
    finally:
        del sys.modules[NAME]
