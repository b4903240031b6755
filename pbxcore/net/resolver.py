"""Finding servers without waiting for them: RFC 3263 over dnspython, ahead of time.

A `Watch` keeps the last set of servers that is known to be good. Look-ups run in the background, when what was learned
has run out (RFC 2181 section 5.2), and a DNS that is slow, dead or hostile costs a call nothing: it goes where the
last good answer said. What does not exist is believed for as long as the zone says (RFC 2308). The names of /etc/hosts
come first, as everywhere on a machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import random
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pbxcore.net.flow import NoFlow, destination
from pbxcore.net.location import Answer, Ask, Kind, Naptr, NotFound, Srv, Unavailable, locate
from pbxcore.sip.location import Choice, Located, Question, Server, numeric

if TYPE_CHECKING:
    from dns.asyncresolver import Resolver as DnsResolver
    from dns.rdata import Rdata
    from dns.resolver import Answer as DnsAnswer

log = logging.getLogger(__name__)

HOSTS = Path("/etc/hosts")
ASK_SECONDS = 5.0           # for one question, all its tries together
SHORTEST, LONGEST = 5.0, 86_400.0   # seconds that an answer is believed, whatever it says itself
NEGATIVE_SHORTEST, NEGATIVE_LONGEST = 15.0, 900.0
RETRY_FIRST, RETRY_LONGEST = 5.0, 60.0   # seconds between tries while the DNS is silent
MOST_CACHED = 1024          # questions


class Dns:
    """Asks the DNS and remembers. `nameservers` are (address, port); without them those of the system."""

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        nameservers: Sequence[tuple[str, int]] = (),
        hosts: Path | None = HOSTS,
        seconds: float = ASK_SECONDS,
    ) -> None:
        self._clock = clock
        self._nameservers = tuple(nameservers)
        self._hosts = hosts
        self._seconds = seconds
        self._resolver: DnsResolver | None = None
        self._cache: dict[tuple[str, Kind], tuple[float, Answer]] = {}
        self._asking: dict[tuple[str, Kind], asyncio.Task[Answer]] = {}

    async def __call__(self, name: str, kind: Kind) -> Answer:
        """The records of a name. Raises Unavailable; a name without records is an answer without rows."""
        key = name.rstrip(".").lower(), kind
        cached = self._cache.get(key)
        now = self._clock()
        if cached is not None and cached[0] > now:
            return Answer(cached[1].rows, cached[0] - now)
        task = self._asking.get(key)
        if task is None:
            task = self._asking[key] = asyncio.ensure_future(self._ask(*key))
            task.add_done_callback(lambda done: self._asked(key, done))
        return await asyncio.shield(task)

    def _asked(self, key: tuple[str, Kind], done: asyncio.Task[Answer]) -> None:
        self._asking.pop(key, None)
        if done.cancelled() or done.exception() is not None:
            return
        if len(self._cache) >= MOST_CACHED:
            del self._cache[next(iter(self._cache))]
        self._cache[key] = self._clock() + done.result().seconds, done.result()

    async def _ask(self, name: str, kind: Kind) -> Answer:
        if kind in ("A", "AAAA") and self._hosts is not None:
            known = in_hosts(self._hosts, name, kind)
            if known:
                return Answer(known, RETRY_LONGEST)
        try:
            async with asyncio.timeout(self._seconds + 1.0):
                return await self._ask_servers(name, kind)
        except Unavailable:
            self._resolver = None   # the system's servers may have changed meanwhile
            raise
        except Exception as error:  # dnspython, the network and hostile answers fail in too many ways to name them
            self._resolver = None
            raise Unavailable(f"the DNS cannot be asked for {name}: {error or type(error).__name__}") from error

    async def _ask_servers(self, name: str, kind: Kind) -> Answer:
        import dns.exception  # a tenth of a second: only for who has names to look up
        import dns.resolver

        if self._resolver is None:
            self._resolver = self._made()
        try:
            answer = await self._resolver.resolve(
                name + ".", kind, lifetime=self._seconds, raise_on_no_answer=False, search=False
            )
        except dns.resolver.NXDOMAIN as error:
            response = next(iter(error.responses().values()), None)   # type: ignore[no-untyped-call]
            result = response.resolve_chaining() if response is not None else None
            return Answer((), _bounded(result.minimum_ttl if result else 0, NEGATIVE_SHORTEST, NEGATIVE_LONGEST))
        except (dns.resolver.NoNameservers, dns.resolver.LifetimeTimeout) as error:
            raise Unavailable(f"the DNS does not answer when asked for {name}") from error
        except dns.exception.DNSException as error:
            raise Unavailable(f"the DNS cannot be asked for {name}: {error}") from error
        return _answer(answer, kind)

    def _made(self) -> DnsResolver:
        from dns.asyncresolver import Resolver as DnsResolver
        from dns.nameserver import Do53Nameserver
        from dns.resolver import NoResolverConfiguration

        try:
            resolver = DnsResolver(configure=not self._nameservers)
        except NoResolverConfiguration as error:
            raise Unavailable("this machine knows no DNS server; name one in [sip] nameservers") from error
        if self._nameservers:
            resolver.nameservers = [Do53Nameserver(host, port) for host, port in self._nameservers]
        return resolver

    async def close(self) -> None:
        tasks = list(self._asking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _bounded(seconds: float, least: float, most: float) -> float:
    return min(max(float(seconds), least), most)


def _answer(answer: DnsAnswer, kind: Kind) -> Answer:
    if answer.rrset is None:
        return Answer((), _bounded(answer.chaining_result.minimum_ttl, NEGATIVE_SHORTEST, NEGATIVE_LONGEST))
    seconds = _bounded(answer.chaining_result.minimum_ttl, SHORTEST, LONGEST)
    return Answer(tuple(_row(row, kind) for row in answer.rrset), seconds)


def _row(row: Rdata, kind: Kind) -> Naptr | Srv | str:
    record: Any = row   # its attributes are those of its kind
    if kind == "NAPTR":
        flags, service = record.flags.decode("ascii", "replace"), record.service.decode("ascii", "replace")
        return Naptr(record.order, record.preference, flags, service, _name(record.replacement))
    if kind == "SRV":
        return Srv(record.priority, record.weight, record.port, _name(record.target))
    return str(record.address)


def _name(name: object) -> str:
    return str(name).rstrip(".").lower()


def in_hosts(path: Path, name: str, kind: Kind) -> tuple[str, ...]:
    """The addresses that hosts(5) has for a name; a machine has few lines there, so it is read anew every time."""
    found = []
    with contextlib.suppress(OSError, UnicodeDecodeError):
        for line in path.read_text("utf-8").splitlines():
            address, *names = line.partition("#")[0].split() or [""]
            if name in (n.rstrip(".").lower() for n in names):
                with contextlib.suppress(ValueError):
                    if ipaddress.ip_address(address).version == (4 if kind == "A" else 6):
                        found.append(address)
    return tuple(found)


@dataclass(eq=False, slots=True)
class Watch:
    """A question and what is known of it now. `problem` is empty, or says in words why there is no newer answer."""

    question: Question
    located: Located | None = None
    problem: str = ""
    told: list[Callable[[], None]] = field(default_factory=list)
    asked: bool = False         # at least once, with whatever outcome
    _retry: float = RETRY_FIRST

    @property
    def known(self) -> tuple[tuple[Choice, ...], str]:
        return self.located.choices if self.located is not None else (), self.problem


class Resolver:
    """Keeps what it watches up to date, inside one running event loop. `ask` is a `Dns`, or stands in for one."""

    def __init__(
        self,
        ask: Ask,
        *,
        transports: Sequence[str] = ("UDP", "TCP"),
        kinds: Sequence[Kind] = ("A", "AAAA"),
        loopback: bool = False,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`loopback` says whether names may lead to this machine: where phones of it can call, a forged answer must
        not make them a carrier."""
        self._ask = ask
        self._transports = tuple(transports)
        self._kinds = tuple(kinds)
        self._loopback = loopback
        self.chance = chance
        self._loop = asyncio.get_running_loop()
        self._watches: dict[Question, Watch] = {}
        self._handles: dict[Question, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    def watch(self, question: Question, told: Callable[[], None] | None = None) -> Watch:
        """What is known of `question`, kept up to date from now on; `told` is called after every change."""
        watch = self._watches.get(question)
        if watch is None:
            watch = self._watches[question] = Watch(question, numeric(question))
            watch.asked = watch.located is not None
            if not watch.asked:
                self._refresh(watch)
        if told is not None:
            watch.told.append(told)
        return watch

    async def settled(self, seconds: float) -> None:
        """Until every watch has been looked up once, with or without success, or so many seconds have passed."""
        waiting = [task for task in self._tasks if not task.done()]
        if waiting:
            await asyncio.wait(waiting, timeout=seconds)

    async def locate(self, question: Question) -> list[Server]:
        """Look up now, for who has time to wait. Raises NotFound, Unavailable."""
        return (await self._locate(question)).order(self.chance)

    def _locate(self, question: Question) -> Coroutine[Any, Any, Located]:
        return locate(question, self._ask, transports=self._transports, kinds=self._kinds, usable=self._usable)

    def _usable(self, address: str) -> bool:
        try:
            destination(address, 5060)
        except NoFlow:
            return False
        return self._loopback or not ipaddress.ip_address(address).is_loopback

    def _refresh(self, watch: Watch) -> None:
        if self._closed:
            return
        task = self._loop.create_task(self._look_up(watch))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _look_up(self, watch: Watch) -> None:
        before = watch.known
        try:
            watch.located = await self._locate(watch.question)
        except NotFound as error:
            watch.problem = str(error)
            again = error.seconds
        except Unavailable as error:
            watch.problem = str(error)
            again = watch._retry
            watch._retry = min(2 * watch._retry, RETRY_LONGEST)
        else:
            watch.problem, watch._retry = "", RETRY_FIRST
            again = watch.located.seconds
        watch.asked = True
        if not self._closed:
            self._handles[watch.question] = self._loop.call_later(again + 0.01, self._refresh, watch)
        if watch.known != before:
            for told in watch.told:
                told()

    async def close(self) -> None:
        self._closed = True
        for handle in self._handles.values():
            handle.cancel()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if isinstance(self._ask, Dns):
            await self._ask.close()


def families(hosts: Iterable[str]) -> tuple[Kind, ...]:
    """The kinds of addresses that listeners on these hosts reach; `::` takes both."""
    kinds: list[Kind] = []
    known = list(hosts)
    if any(":" not in host or host == "::" for host in known):
        kinds.append("A")
    if any(":" in host for host in known):
        kinds.append("AAAA")
    return tuple(kinds)
