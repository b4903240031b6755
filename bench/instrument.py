"""Marks the stages of calls from outside: the exchange's own functions, wrapped in the process that serves.

Only `bench.server --stages` calls `install`; an exchange without it runs the code as it is. What is wrapped is the
plain path of a call: INVITE by UDP, one phone, 180 and 200. Each mark costs some CPU: what a call costs is measured in
a process that is not marked.
"""

from __future__ import annotations

import functools
import socket
import struct
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from bench import stages
from bench.stages import Trace
from crmhooks.runner import Runner
from pbxcore.call import answering, b2bua, dialing
from pbxcore.call.b2bua import LiveCall
from pbxcore.call.branch import Branch
from pbxcore.call.exchange import Exchange
from pbxcore.call.leg import CallerLeg
from pbxcore.net import endpoint
from pbxcore.net.endpoint import Endpoint
from pbxcore.net.udp import UdpFlow, UdpSocket

SO_TIMESTAMPNS = 35         # Linux: when the kernel got a datagram (socket(7)); Python has no name for it
TIMESPEC = struct.Struct("ll")
ROOM = 64                   # octets for it
SECOND = 10**9

Patch = Callable[[Any, str, Any], None]
Function = Callable[..., Any]


class _Message:
    """The message that is being handled: when it arrived, and what became of it by when."""

    __slots__ = ("arrived", "dispatched", "parsed", "taken")

    def __init__(self, arrived: float, taken: float) -> None:
        self.arrived, self.taken = arrived, taken
        self.parsed = self.dispatched = 0.0


class Recorder:
    """The traces of a process."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.clock = clock
        self.finished: list[Trace] = []
        self._traces: dict[str, Trace] = {}     # by our call id
        self._message: _Message | None = None
        self._arrived: float | None = None      # the datagram that was read last, if the kernel has said
        self._sending: tuple[Trace, str] | None = None      # whose datagram goes out next, and what it is

    def write(self, file: Path) -> None:
        """All calls that were answered, one line of JSON each."""
        file.write_text("".join(trace.line() + "\n" for trace in self.finished), "utf-8")

    def install(self, patch: Patch = setattr) -> None:
        """Wrap, before the exchange is made. `patch` sets an attribute of a class or module."""
        def wrap(owner: Any, name: str, wrapper: Callable[[Function], Function]) -> None:
            original = getattr(owner, name)
            patch(owner, name, functools.wraps(original)(wrapper(original)))

        wrap(UdpSocket, "__init__", self._socket)
        wrap(Endpoint, "handle", self._handle)
        wrap(UdpFlow, "send", self._send)
        wrap(endpoint, "parse", self._parse)
        wrap(Exchange, "on_request", self._on_request)
        wrap(LiveCall, "__init__", self._begin)
        wrap(LiveCall, "start", self._start)
        wrap(LiveCall, "refuse", self._refused)
        wrap(Runner, "on_incoming", lambda f: self._awaited(f, stages.HOOK, lambda given: given[1].call_id))
        wrap(b2bua, "plan", self._plan)
        wrap(b2bua, "dial", self._dial)
        wrap(dialing, "offer_by_relay", lambda f: self._awaited(f, stages.MEDIA, _of_first))
        wrap(Branch, "start", self._start_branch)
        wrap(Branch, "on_response", self._on_response)
        wrap(LiveCall, "_progress", lambda f: self._awaited(f, _named(stages.RINGING, stages.BACK), _of_first))
        wrap(b2bua, "answer", lambda f: self._awaited(f, _named(stages.ANSWERED, stages.BACK), _of_first))
        wrap(answering, "answer_by_relay", lambda f: self._awaited(f, stages.ANSWER_MEDIA, _of_first))
        wrap(answering, "_told_durable", lambda f: self._awaited(f, stages.COMMIT, _of_first))
        wrap(CallerLeg, "respond", self._respond)

    def _awaited(self, original: Function, stage: str, call_of: Callable[[tuple[Any, ...]], str]) -> Function:
        """A coroutine function during which its call is in `stage`, whatever it waits for."""
        async def wrapped(*given: Any, **named: Any) -> Any:
            trace = self._traces.get(call_of(given))
            waiting: Awaitable[Any] = original(*given, **named)
            if trace is None:
                return await waiting
            before = trace.enter(stage, self.clock())
            try:
                return await waiting
            finally:
                trace.enter(before, self.clock())

        return wrapped

    # ---- the socket

    def _socket(self, original: Function) -> Function:
        def wrapped(udp: UdpSocket, pump: Endpoint, sock: socket.socket, loop: Any) -> None:
            original(udp, pump, sock, loop)
            sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
            receive = sock.recvmsg

            def stamped(size: int) -> tuple[bytes, Any]:
                data, about, _, source = receive(size, ROOM)
                self._arrived = None
                for level, kind, value in about:
                    if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPNS):
                        seconds, nanoseconds = TIMESPEC.unpack(value)
                        age = time.time_ns() - (seconds * SECOND + nanoseconds)
                        self._arrived = self.clock() - age / SECOND
                return data, source

            udp._receive = stamped      # type: ignore[assignment]  # recvfrom has an overload more

        return wrapped

    def _handle(self, original: Function) -> Function:
        def wrapped(*given: Any) -> Any:
            now = self.clock()
            self._message = _Message(now if self._arrived is None else self._arrived, now)
            self._arrived = None
            try:
                return original(*given)
            finally:
                self._message = None

        return wrapped

    def _parse(self, original: Function) -> Function:
        def wrapped(data: bytes) -> Any:
            made = original(data)
            if self._message is not None:
                self._message.parsed = self.clock()
            return made

        return wrapped

    def _send(self, original: Function) -> Function:
        """The kernel has the datagram when this is over."""
        def wrapped(flow: UdpFlow, data: bytes) -> None:
            sending, self._sending = self._sending, None
            at = self.clock()
            original(flow, data)
            if sending is None:
                return
            trace, what = sending
            if what == stages.SENT:
                trace.enter(what, at)
                trace.enter(stages.PHONE, self.clock())
            elif trace.handed(what, at):
                trace.left(what, self.clock())
                if what == stages.ANSWERED:
                    self.finished.append(trace)

        return wrapped

    def _start_branch(self, original: Function) -> Function:
        def wrapped(branch: Branch, *given: Any) -> None:
            trace = self._of(branch.call)
            self._sending = None if trace is None else (trace, stages.SENT)
            try:
                original(branch, *given)
            finally:
                self._sending = None

        return wrapped

    # ---- the INVITE

    def _on_request(self, original: Function) -> Function:
        def wrapped(*given: Any) -> None:
            if self._message is not None:
                self._message.dispatched = self.clock()
            original(*given)

        return wrapped

    def _begin(self, original: Function) -> Function:
        def wrapped(live: LiveCall, *given: Any) -> None:
            message = self._message
            original(live, *given)
            if message is not None and message.dispatched:
                trace = self._traces[live.call.offered.call_id] = Trace(message.arrived, stages.WAITS)
                trace.enter(stages.PARSE, message.taken)
                trace.enter(stages.LAYER, message.parsed)
                trace.enter(stages.AUTH, message.dispatched)

        return wrapped

    def _start(self, original: Function) -> Function:
        def wrapped(live: LiveCall) -> None:
            trace = self._of(live)
            if trace is not None:
                trace.enter(stages.REST, self.clock())
            original(live)

        return wrapped

    def _plan(self, original: Function) -> Function:
        def wrapped(offered: Any, *given: Any) -> Any:
            trace = self._traces.get(offered.call_id)
            if trace is None:
                return original(offered, *given)
            before = trace.enter(stages.PLAN, self.clock())
            try:
                return original(offered, *given)
            finally:
                trace.enter(before, self.clock())

        return wrapped

    def _dial(self, original: Function) -> Function:
        dialed = self._awaited(original, stages.B_LEG, _of_first)

        async def wrapped(live: LiveCall, *given: Any) -> Any:
            branches = await dialed(live, *given)
            trace = self._of(live)
            if trace is not None and branches:
                trace.enter(stages.PHONE, self.clock())
            return branches

        return wrapped

    # ---- the phone's responses

    def _on_response(self, original: Function) -> Function:
        def wrapped(branch: Branch, tx: Any, response: Any) -> None:
            trace = self._of(branch.call)
            message = self._message
            if trace is None or message is None or tx is not branch.tx:
                original(branch, tx, response)
                return
            which = stages.RINGING if response.status < 200 else stages.ANSWERED
            reading = _named(which, stages.READ)
            trace.enter(_named(which, stages.WAITS), message.arrived)
            trace.enter(reading, message.taken)
            original(branch, tx, response)
            if trace.stage == reading:
                trace.enter(stages.PHONE, self.clock())

        return wrapped

    def _respond(self, original: Function) -> Function:
        def wrapped(leg: CallerLeg, status: int, *given: Any, **named: Any) -> None:
            live = leg.call
            trace = self._of(live)
            if trace is None or live is None or not 100 < status < 300:
                original(leg, status, *given, **named)
                return
            what = stages.RINGING if status < 200 else stages.ANSWERED
            self._sending = trace, what
            try:
                original(leg, status, *given, **named)
            finally:
                self._sending = None
            if what == stages.ANSWERED:
                del self._traces[live.call.offered.call_id]

        return wrapped

    def _refused(self, original: Function) -> Function:
        def wrapped(live: LiveCall, *given: Any, **named: Any) -> None:
            self._traces.pop(live.call.offered.call_id, None)
            original(live, *given, **named)

        return wrapped

    def _of(self, live: LiveCall | None) -> Trace | None:
        return None if live is None else self._traces.get(live.call.offered.call_id)


def _of_first(given: tuple[Any, ...]) -> str:
    return str(given[0].call.offered.call_id)


def _named(which: str, what: str) -> str:
    return f"{which} {what}"
