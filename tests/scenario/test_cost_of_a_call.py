"""What a call costs, without a clock: how many of our functions run for one answered call.

Counted in the virtual world, in the exchange alone: the messages it receives, and what follows a commit of
the journal. The figure grows when work is added to the path of every call, whatever machine the test runs on.
Set-up in time is measured by `python -m bench setup`.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import pbxcore
from pbxcore.hooks import Ring
from pbxcore.sip.rows import TABLES
from tests.scenario.office import EXCHANGE, Office

CALLS: dict[tuple[int, int], int] = {(3, 11): 316}
"""Function calls of one call by minor version of Python: comprehensions are functions in some and not in others.
To be lowered with every gain, and raised only for something that a call needs."""
MORE = 1.03  # times that

OURS = str(Path(pbxcore.__path__[0])) + "/"


class Meter:
    """Counts the functions of ours that run inside of what it wraps."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, inner: Callable[..., Any]) -> Callable[..., Any]:
        def measured(*arguments: Any) -> Any:
            before = sys.getprofile()
            sys.setprofile(self._count)
            try:
                return inner(*arguments)
            finally:
                sys.setprofile(before)

        return measured

    def _count(self, frame: FrameType, event: str, argument: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(OURS):
            self.calls += 1


@contextmanager
def undisturbed() -> Iterator[None]:
    """Nothing that ran before is counted: what other tests have read is forgotten, and the coroutines that they left
    waiting are not closed, each by a call of its function, when the cycle collector happens to come by."""
    for remembered in TABLES:
        remembered.clear()
    collected = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if collected:
            gc.enable()


def cost_of_calls(count: int) -> list[int]:
    """What each of `count` calls from the carrier to 101 costs: rings, is answered, the caller hangs up."""
    with undisturbed():
        return _counted(count)


def _counted(count: int) -> list[int]:
    office = Office()
    phone = office.phone("101")
    phone.manners.ring_after = 0.01
    phone.manners.answer_after = 0.02
    carrier = office.carrier()
    office.hooks.decide = lambda call: Ring(("101",), display_name="Anna")
    meter = Meter()
    office.node.receive = meter(office.node.receive)  # type: ignore[method-assign]  # of this one
    office.journal.commit = meter(office.journal.commit)  # type: ignore[method-assign]  # of this one
    costs = []
    for number in range(count):
        talk = carrier.call("+15550100", EXCHANGE)
        office.world.run(1.0)
        carrier.bye(talk)
        office.world.run(1.0)
        assert len(office.hooks.ended) == number + 1, office.world.ladder()
        costs.append(meter.calls)
        meter.calls = 0
    office.assert_nothing_left()
    return costs


def test_a_call_costs_no_more_functions_than_before() -> None:
    known = CALLS.get(sys.version_info[:2])
    if known is None:
        pytest.skip(f"no figure for Python {sys.version_info[0]}.{sys.version_info[1]}")
    cost = cost_of_calls(2)[-1]
    assert cost <= known * MORE, f"{cost} functions a call, {known} before: what was added to the path of every call?"


def test_every_call_costs_the_same() -> None:
    """Nothing that a call leaves behind makes the next one dearer."""
    first, *others = cost_of_calls(20)[1:]
    assert others == [first] * len(others)
