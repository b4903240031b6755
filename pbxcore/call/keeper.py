"""Keeping the trunks going: their names are looked up, their servers probed, their registrations kept; and whatever
changes is said once, in words, in the log."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import structlog

from pbxcore.call.qualify import Probes
from pbxcore.call.registration import Registration, State, Tools
from pbxcore.call.trunks import Trunk, Trunks
from pbxcore.control import TrunkState
from pbxcore.net.resolver import Watch
from pbxcore.sip.location import Question
from pbxcore.sip.uri import join_host

log = structlog.get_logger("trunk")


class Finder(Protocol):
    """`net.resolver.Resolver`, as far as it is needed here."""

    def watch(self, question: Question, told: Callable[[], None] | None = None) -> Watch: ...


class TrunkKeeper:
    """All trunks of the office. `questions` are each trunk's servers in the order to try them, `registering` the names
    of those that register."""

    def __init__(
        self,
        trunks: Trunks,
        tools: Tools,
        finder: Finder,
        questions: Mapping[str, Sequence[Question]],
        registering: frozenset[str] = frozenset(),
    ) -> None:
        self._trunks = trunks
        self._kept = [_Kept(self, trunk, tools, trunk.name in registering) for trunk in trunks]
        self._finder = finder
        self._questions = questions

    def start(self) -> None:
        """Look the names up, then register and probe. Goes on by itself."""
        for kept in self._kept:
            kept.find(self._finder, self._questions.get(kept.trunk.name, ()))
            kept.start()

    def stop(self) -> None:
        """Take the registrations back; the answers are waited for by `busy`."""
        for kept in self._kept:
            kept.stop()

    @property
    def busy(self) -> bool:
        return any(kept.registration is not None and kept.registration.busy for kept in self._kept)

    def moved(self) -> None:
        """A trunk has other servers now."""
        self._trunks.moved()


class _Kept:
    """One trunk and what goes on for it."""

    def __init__(self, keeper: TrunkKeeper, trunk: Trunk, tools: Tools, registers: bool) -> None:
        self.trunk = trunk
        self._keeper = keeper
        self._watches: list[Watch] = []
        self._probes = Probes(trunk, tools)
        self.registration = Registration(trunk, tools, self._registration_changed) if registers else None
        trunk.registration = self.registration
        trunk.servers.told = self._health_changed
        self._reachable = True

    def find(self, finder: Finder, questions: Sequence[Question]) -> None:
        self._watches = [finder.watch(question, self._located) for question in questions]
        if self._watches:
            self._take()

    def start(self) -> None:
        self._probes.start()
        if self.registration is not None:
            self.registration.start()

    def stop(self) -> None:
        self._probes.stop()
        if self.registration is not None:
            self.registration.stop()

    # ---- where its servers are

    def _take(self) -> bool:
        trunk = self.trunk
        trunk.problem = "; ".join(watch.problem for watch in self._watches if watch.problem)
        moved = trunk.servers.locate([watch.located for watch in self._watches if watch.located is not None])
        if moved:
            self._keeper.moved()
        return moved

    def _located(self) -> None:
        trunk, before = self.trunk, self.trunk.problem
        moved = self._take()
        if moved:
            found = ", ".join(str(server) for server in trunk.servers.all())
            log.info(f"trunk {trunk.name}: its servers are {found}", trunk=trunk.name)
            self._probes.stop()
            self._probes.start()
            if self.registration is not None and not trunk.servers.has(self.registration.at):
                self.registration.again()
        if trunk.problem and trunk.problem != before:
            kept = "; the servers found before are used" if trunk.servers.known else "; calls cannot go out"
            log.warning(f"trunk {trunk.name}: {trunk.problem}{kept}", trunk=trunk.name)

    # ---- how it is

    def _health_changed(self) -> None:
        trunk, servers = self.trunk, self.trunk.servers
        reachable = servers.reachable
        if reachable is not self._reachable:
            self._reachable = reachable
            if reachable:
                log.info(f"trunk {trunk.name}: it answers again", trunk=trunk.name)
            else:
                log.warning(f"trunk {trunk.name}: it does not answer ({servers.reason}); calls go to the next trunk",
                            trunk=trunk.name)
        elif servers.reason:
            log.warning(f"trunk {trunk.name}: a server does not answer ({servers.reason}); calls go to another",
                        trunk=trunk.name)
        else:
            log.info(f"trunk {trunk.name}: all its servers answer again", trunk=trunk.name)
        registration = self.registration
        if registration is not None and reachable:
            held = registration.at
            if held is None or servers.is_down(held):
                registration.again()

    def _registration_changed(self) -> None:
        registration, trunk = self.registration, self.trunk
        if registration is None:
            return
        match registration.state:
            case State.REGISTERED if not registration.reason:
                log.info(f"trunk {trunk.name}: registered for {registration.granted} s", trunk=trunk.name)
            case State.REGISTERED:
                log.warning(f"trunk {trunk.name}: the registration could not be refreshed yet: {registration.reason}",
                            trunk=trunk.name)
            case State.FAILED:
                log.warning(f"trunk {trunk.name}: not registered: {registration.reason}", trunk=trunk.name)


def state_of(trunk: Trunk) -> TrunkState:
    """A trunk as the panel and /metrics show it."""
    registration = trunk.registration
    reachable = trunk.servers.reachable
    reason = ""
    if registration is not None and registration.reason:
        reason = registration.reason
    elif not reachable:
        reason = trunk.servers.reason or trunk.problem or "its servers are not known yet"
    where = join_host(trunk.host, trunk.port or None)
    return TrunkState(
        trunk.name,
        f"{trunk.transport.lower()}:{where}" if trunk.transport else where,
        trunk.calls,
        registration.state.value if registration is not None else "off",
        reachable,
        reason,
    )
