"""Driving a coroutine without a task.

A call is one coroutine, and most of them never wait for anything but the next message: a task of the event loop for
each would cost more than it gives. `drive` runs a coroutine at once, on the caller's stack, as far as it goes; where it
awaits a future it goes on from the future's callback.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def drive(coroutine: Coroutine[Any, None, T], then: Callable[[T], None]) -> None:
    """Run `coroutine` and call `then` with its result: before this returns, when it never had to wait."""
    try:
        waited = coroutine.send(None)
    except StopIteration as done:
        then(done.value)
        return
    resume_after(waited, lambda: drive(coroutine, then))


def resume_after(waited: object, resume: Callable[[], None]) -> None:
    """Call `resume` when the future that a driven coroutine awaits is done."""
    if not isinstance(waited, asyncio.Future):
        raise TypeError(f"a driven coroutine awaits futures only, not {waited!r}")
    # The future's own mark that its `await` has reached whoever drives it; a task clears it just so.
    waited._asyncio_future_blocking = False
    waited.add_done_callback(lambda _: resume())
