"""`reload = true` of a Python hook: its file is read again when it changes, for whoever is writing it.

A thread looks at the file, imports and makes the new object; a call meets either the old one or the new one and waits
for neither. A file that does not load leaves the old one at work and is named in the log. Modules that the file imports
are not read again.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import structlog

from crmhooks.connector import Question, raised
from crmhooks.connectors.python import QUESTIONS, PythonHook, answers_of

LOOK_SECONDS = 0.5
ALWAYS: frozenset[Question] = frozenset(("on_incoming", "on_answered", "on_ended"))

log = structlog.get_logger("hook")


class ReloadingHook(PythonHook):
    """`attribute` of `module`, made again from the module's file. A `lookup` that was not there at the start is not
    asked until the next one. Nothing is watched before the first question."""

    def __init__(self, name: str, target: object, module: ModuleType, attribute: str) -> None:
        super().__init__(name, target)
        self.answers = self.answers | ALWAYS
        self.trouble = ""      # why the file as it is now does not load; empty when it does
        self._module = module
        self._attribute = attribute
        self._path = Path(str(module.__file__))
        self._seen = self._mark()
        self._over = threading.Event()
        self._watcher: threading.Thread | None = None

    async def close(self) -> None:
        self._over.set()
        await super().close()

    async def _call(self, question: Question, argument: Any) -> Any:
        if self._watcher is None:
            loop = asyncio.get_running_loop()
            self._watcher = threading.Thread(target=self._watch, args=(loop,), name=f"reload {self.name}", daemon=True)
            self._watcher.start()
        return await super()._call(question, argument) if hasattr(self._target, question) else None

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        while not self._over.wait(LOOK_SECONDS) and not loop.is_closed():
            self.look()

    def look(self) -> bool:
        """Take up the file if it has changed; True when there is a new hook. On any thread."""
        mark = self._mark()
        if mark is None or mark == self._seen:
            return False
        self._seen = mark
        try:
            target = self._made()
        except BaseException as error:  # the user's module may raise anything, SystemExit too
            self.trouble = raised(error)
            log.warning("hook not reloaded, the old one stays", hook=self.name, file=str(self._path), why=self.trouble)
            return False
        self.trouble = ""
        self._target = target  # one assignment: a question has either
        log.info("hook reloaded", hook=self.name, file=str(self._path))
        return True

    def _made(self) -> object:
        """The object of the file as it is now. Compiled here, because the bytecode that Python keeps goes by the second
        in which a file was written."""
        name = self._module.__name__
        fresh = ModuleType(name)
        for own in ("__file__", "__spec__", "__package__", "__loader__"):
            setattr(fresh, own, getattr(self._module, own, None))
        code = compile(self._path.read_bytes(), str(self._path), "exec", dont_inherit=True)
        before = sys.modules.get(name)
        sys.modules[name] = fresh  # dataclasses look there while the module runs
        try:
            exec(code, fresh.__dict__)  # noqa: S102  # the file that the settings name
            found = getattr(fresh, self._attribute)
            target: object = found() if isinstance(found, type) else found
            if not answers_of(target):
                raise TypeError(f"{self._attribute} has none of the methods {', '.join(QUESTIONS)}")
        except BaseException:
            if before is not None:
                sys.modules[name] = before
            raise
        self._module = fresh
        return target

    def _mark(self) -> tuple[int, int] | None:
        """What changes when the file is written; None while an editor is replacing it."""
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size
