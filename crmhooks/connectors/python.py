"""`kind = "python"`: a plain object from a module of the office's own.

The class needs no base and has any of these methods, `async` or not:

    on_incoming(call: IncomingCall) -> Decision | None      decides; asked for every call
    on_answered(call: CallSnapshot), on_ended(call)         told afterwards
    lookup(number: str) -> list[ContactEntry]               who has this number (E.164); shared and kept for a minute

A method without `async` runs in a thread. An `async` one runs on the exchange's event loop and must not block it.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Sequence
from typing import Any, get_args

from crmhooks.connector import HookError, InvalidHook, Question
from crmhooks.connectors.threads import Threads
from crmhooks.decisions import check
from crmhooks.lookups import checked
from crmhooks.rules import InvalidDecision
from pbxcore.control import ContactEntry
from pbxcore.hooks import CallSnapshot, Decision, IncomingCall

QUESTIONS: tuple[Question, ...] = get_args(Question)


def answers_of(target: object) -> frozenset[Question]:
    """Which of the methods it has."""
    return frozenset(question for question in QUESTIONS if callable(getattr(target, question, None)))


class PythonHook:
    """A user's object as a hook. `target` is an instance, or anything with at least one of the methods."""

    def __init__(self, name: str, target: object) -> None:
        self.name = name
        self._target = target
        self._threads = Threads(name)
        self.answers = answers_of(target)

    async def lookup(self, number: str) -> Sequence[ContactEntry]:
        return checked(await self._call("lookup", number))

    async def on_incoming(self, call: IncomingCall) -> Decision | None:
        answer = await self._call("on_incoming", call)
        if answer is None:
            return None
        if not isinstance(answer, Decision):
            kind = type(answer).__name__
            raise HookError(f"on_incoming returned {kind}; return a decision such as Ring(('101',)), or None")
        try:
            return check(answer)
        except InvalidDecision as error:
            raise HookError(f"wrong decision: {error}") from None

    async def on_answered(self, call: CallSnapshot) -> None:
        await self._call("on_answered", call)

    async def on_ended(self, call: CallSnapshot) -> None:
        await self._call("on_ended", call)

    async def close(self) -> None:
        self._threads.close()

    async def _call(self, question: Question, argument: Any) -> Any:
        method: Callable[[Any], Any] = getattr(self._target, question)
        if inspect.iscoroutinefunction(method):
            return await method(argument)
        answer = await self._threads.run(method, argument)
        return await answer if inspect.isawaitable(answer) else answer


def load(key: str, name: str, target: str, *, reload: bool = False) -> PythonHook:
    """The hook at `module:Class`, read again when its file changes if `reload` says so. Raises InvalidHook naming
    `key`, such as `crm.hook[1].target`."""
    module_name, _, attribute = target.partition(":")
    if not module_name or not attribute:
        raise InvalidHook(key, f'{target!r} is no place; write "module:Class"')
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        mend = "install it into hookline's environment or put its folder on PYTHONPATH"
        raise InvalidHook(key, f"there is no module {error.name!r}; {mend}") from error
    except Exception as error:  # the user's module may raise anything while it is imported
        raise InvalidHook(key, f"importing {module_name!r} raised {type(error).__name__}: {error}") from error
    try:
        found = getattr(module, attribute)
    except AttributeError:
        raise InvalidHook(key, f"module {module_name!r} has no {attribute!r}{_classes(module)}") from None
    try:
        instance = found() if isinstance(found, type) else found
    except Exception as error:  # so may its constructor
        raise InvalidHook(key, f"{target}() raised {type(error).__name__}: {error}") from error
    if not answers_of(instance):
        raise InvalidHook(key, f"{target!r} has none of the methods {', '.join(QUESTIONS)}")
    if not reload:
        return PythonHook(name, instance)
    from crmhooks.connectors.reload import ReloadingHook

    if not getattr(module, "__file__", None):
        raise InvalidHook(key, f"module {module_name!r} has no file that could change; leave `reload` out")
    return ReloadingHook(name, instance, module, attribute)


def _classes(module: Any) -> str:
    own = [n for n, value in vars(module).items() if isinstance(value, type) and value.__module__ == module.__name__]
    return f"; it has {', '.join(own[:5])}" if own else ""
