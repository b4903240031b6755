"""Hooks of an office's own module: how they are found, called, and kept from doing harm."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from crmhooks.connector import HookError, InvalidHook
from crmhooks.connectors.python import PythonHook, load
from pbxcore.hooks import Decision, IncomingCall, Proceed, Reject, Ring
from tests.unit.crmhooks.virtual import ANNA, ended, incoming


class Async:
    def __init__(self) -> None:
        self.seen: list[str] = []

    async def on_incoming(self, call: IncomingCall) -> Decision | None:
        return Ring(("101",), display_name="Anna\r\n")

    async def on_ended(self, call: Any) -> None:
        self.seen.append(call.call_id)


class Blocking:
    def on_incoming(self, call: IncomingCall) -> Decision | None:
        return Proceed(display_name=threading.current_thread().name)

    def lookup(self, number: str) -> list[Any]:
        return [ANNA] if number == "+12025550100" else []


async def test_any_subset_of_the_methods() -> None:
    hook = PythonHook("mine", Async())
    assert hook.answers == {"on_incoming", "on_ended"}
    assert await hook.on_incoming(incoming()) == Ring(("101",), display_name="Anna")
    await hook.on_ended(ended())
    assert PythonHook("mine", Blocking()).answers == {"on_incoming", "lookup"}


async def test_a_method_without_async_runs_in_a_thread() -> None:
    hook = PythonHook("mine", Blocking())
    decision = await hook.on_incoming(incoming())
    assert decision is not None
    assert decision.display_name == "hook mine"
    assert await hook.lookup("+12025550100") == (ANNA,)
    await hook.close()


async def test_a_blocked_hook_does_not_block_the_loop_nor_its_siblings_until_all_threads_are_taken() -> None:
    release = threading.Event()

    class Stuck:
        def on_incoming(self, call: IncomingCall) -> Decision | None:
            if call.call_id == "stuck":
                release.wait(10)
            return Reject()

    hook = PythonHook("mine", Stuck())
    stuck = [asyncio.create_task(hook.on_incoming(incoming("stuck"))) for _ in range(3)]
    await asyncio.sleep(0)
    assert await hook.on_incoming(incoming()) == Reject()
    stuck.append(asyncio.create_task(hook.on_incoming(incoming("stuck"))))
    waiting = asyncio.create_task(hook.on_incoming(incoming()))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    waiting.cancel()
    release.set()
    assert await asyncio.gather(*stuck) == [Reject()] * 4
    assert all(thread.daemon for thread in hook._threads._threads), "a stuck hook must not keep the process alive"
    await hook.close()


@pytest.mark.parametrize(
    ("fault", "words"),
    [(ValueError("no"), "raised ValueError: no"), (SystemExit(2), "raised SystemExit: 2"), (StopIteration(), "Stop")],
)
async def test_what_a_blocking_method_raises_comes_out_as_words(fault: BaseException, words: str) -> None:
    class Bad:
        def on_incoming(self, call: IncomingCall) -> None:
            raise fault

    hook = PythonHook("mine", Bad())
    for _ in range(2):  # the thread lives on
        with pytest.raises(HookError, match=words):
            await hook.on_incoming(incoming())
    await hook.close()


@pytest.mark.parametrize(
    ("lie", "words"),
    [
        ("ring 101", r"returned str; return a decision such as Ring\(\('101',\)\), or None"),
        ({"kind": "ring"}, "returned dict"),
        (Ring("101"), "wrong decision: targets: must be a list, not '101'"),  # type: ignore[arg-type]  # lies
        (Ring(("101\r\n",)), "wrong decision: targets"),
        (Decision(), "wrong decision: Decision"),
    ],
)
async def test_a_lie_is_refused_in_plain_words(lie: Any, words: str) -> None:
    class Liar:
        async def on_incoming(self, call: IncomingCall) -> Any:
            return lie

    with pytest.raises(HookError, match=words):
        await PythonHook("mine", Liar()).on_incoming(incoming())


async def test_a_plain_method_that_returns_an_awaitable_is_awaited() -> None:
    class Wrapped:
        def on_incoming(self, call: IncomingCall) -> Any:
            return Async().on_incoming(call)

    hook = PythonHook("mine", Wrapped())
    assert isinstance(await hook.on_incoming(incoming()), Ring)
    await hook.close()


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Writes a module that can be imported; returns its name."""
    monkeypatch.syspath_prepend(str(tmp_path))
    made: list[str] = []

    def write(source: str) -> str:
        name = f"office_hook_{tmp_path.name.replace('-', '_')}_{len(made)}"
        made.append(name)
        (tmp_path / f"{name}.py").write_text(source)
        return name

    return write


async def test_loading_a_class(module: Any) -> None:
    name = module("class Crm:\n    async def on_incoming(self, call): return None\n")
    hook = load("crm.hook[1].target", "mine", f"{name}:Crm")
    assert hook.name == "mine"
    assert hook.answers == {"on_incoming"}
    assert await hook.on_incoming(incoming()) is None


def test_loading_an_object(module: Any) -> None:
    name = module("class Crm:\n    def on_ended(self, call): pass\ncrm = Crm()\n")
    assert load("crm.hook[1].target", "mine", f"{name}:crm").answers == {"on_ended"}


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ("", "nonsense", "'nonsense' is no place; write \"module:Class\""),
        ("", ":Class", "':Class' is no place"),
        ("", "no_such_module_anywhere:Crm", "there is no module 'no_such_module_anywhere'; install it into"),
        ("import no_such_library", "{}:Crm", "there is no module 'no_such_library'"),
        ("1/0", "{}:Crm", "raised ZeroDivisionError"),
        ("def", "{}:Crm", "raised SyntaxError"),
        ("class Office: pass", "{}:Crm", "has no 'Crm'; it has Office"),
        ("class Crm:\n    def __init__(self): 1/0", "{}:Crm", "Crm() raised ZeroDivisionError"),
        ("class Crm:\n    def __init__(self, url): pass", "{}:Crm", "Crm() raised TypeError"),
        ("class Crm: pass", "{}:Crm", "has none of the methods lookup, on_incoming, on_answered, on_ended"),
    ],
)
def test_what_cannot_be_loaded_names_the_key_and_the_mend(
    module: Any, source: str, target: str, message: str
) -> None:
    with pytest.raises(InvalidHook) as caught:
        load("crm.hook[1].target", "mine", target.format(module(source)))
    assert str(caught.value).startswith("crm.hook[1].target: ")
    assert message in str(caught.value)
