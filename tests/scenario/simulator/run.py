"""One run: an office, its people, a number of calls and whatever goes wrong, all from one seed.

Three parts: a while of calls under weather; a while in which everything heals and every call must come to its end; and
an hour in which the last binding runs out and nothing may be left.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import tests.scenario.simulator.extensions
import tests.scenario.simulator.strays
import tests.scenario.simulator.transfers  # noqa: F401  # they fill the tables of deeds
from pbxcore.call.exchange import Exchange
from tests.scenario.office import EXCHANGE, PASSWORD
from tests.scenario.simulator.agent import Agent
from tests.scenario.simulator.building import CARRIERS, NUMBERS, Building
from tests.scenario.simulator.clock import START, Restless, raised
from tests.scenario.simulator.crm import MOODS, Crm
from tests.scenario.simulator.deeds import LIFE, STRAY
from tests.scenario.simulator.disk import Cabinet
from tests.scenario.simulator.invariants import AFTER_CALLS, AT_THE_END
from tests.scenario.simulator.network import Net, Weather
from tests.scenario.simulator.people import People
from tests.scenario.simulator.registrar import MOODS as REGISTRARS
from tests.scenario.simulator.session import Session
from tests.scenario.simulator.texts import write
from tests.scenario.simulator.watching import watch

CALLS = 60
SETTLE = 420.0      # seconds until every call is over: ringing, talking, 64*T1 again and again
REST = 4000.0       # and until the last binding is

KINDS = ("calm", "rough", "lossy", "stormy", "restart")
HELP = ("911", "9112", "112")
DIALLED = ("101", "102", "103", "104", "105", "9441234567", "9001", "777", "101", "102")
CALLERS = ("+15550001000", "+15550001001", "anonymous", "", "+442071234567")


@dataclass
class Result:
    """What came of a seed."""

    seed: int
    calls: int = 0
    done: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    ladder: list[str] = field(default_factory=list)
    messages: int = 0
    answered: int = 0


class Run:
    """One seed. `calls` is how many are tried; `keep` keeps the ladder. `broken` is given the exchange of every life,
    to break it in a test of the simulator itself."""

    def __init__(self, seed: int, cabinet: Cabinet, *, calls: int = CALLS, keep: bool = False) -> None:
        self.seed, self.cabinet, self.calls = seed, cabinet, calls
        self.net = Net(seed, keep=keep)
        self.rng = self.net.chance["world"]
        self.kind = KINDS[seed % len(KINDS)]
        self.people = People(self.net)
        self.crms = [Crm(self.net, f"crm {n}") for n in range(self.rng.choice((0, 0, 1, 1, 2)))]
        self.building = Building(self.net, cabinet, [(crm, 0.2) for crm in self.crms], self.people.talking)
        self.people.number_of = self.building.number_of
        self.people.killed_at = self.building.killed_at
        self.building.stopped = self._stopped
        self.people.rough = 0.15 if self.kind == "calm" else 1.0
        self.phones: list[Agent] = []
        self.strangers: list[Agent] = []

    def sessions(self) -> Iterator[Session]:
        for agent in self.people.agents:
            yield from agent.sessions.values()

    # ---- the office

    def _furnish(self) -> None:
        net, people, rng = self.net, self.people, self.rng
        port = 10_000
        for number in NUMBERS:
            for _ in range(rng.choice((1, 1, 1, 2, 3))):
                port += 1
                host = f"127.0.1.{port - 10_000}"
                transport = "TCP" if rng.random() < 0.15 else "UDP"
                agent = Agent(net, people, (host, port), number, exchange=EXCHANGE, transport=transport,
                              password=PASSWORD)  # fmt: skip
                agent.updates, agent.timers = rng.random() < 0.5, rng.random() < 0.6
                agent.remembers = rng.random() < 0.5
                self.phones.append(agent)
        self.carriers = [
            Agent(net, people, address, "+15550009000", exchange=EXCHANGE, trunk=True) for address in CARRIERS.values()
        ]
        self.strangers = [
            Agent(net, people, ("127.0.9.9", 5060), "101", exchange=EXCHANGE),
            Agent(net, people, ("127.0.9.8", 5060), "102", exchange=EXCHANGE, password="guess"),
        ]
        self.strangers[1].trusted = False
        people.agents = [*self.phones, *self.carriers, *self.strangers]
        for agent in self.phones:
            late = rng.random() < 0.12      # it is switched on later, and finds what was written to it meanwhile
            net.at(rng.uniform(5.0, 40.0) if late else rng.uniform(0.0, 0.5), agent.register)
            if rng.random() < 0.4:
                net.at(rng.uniform(0.6, 10.0), watch, agent, people.rng)

    def _call(self) -> None:
        rng, people = self.people.rng, self.people
        if rng.random() < 0.4:
            caller = rng.choice(self.carriers)
            caller.user = rng.choice(CALLERS)
            called = rng.choice(("+15550100", "+15550102", "15559999"))
        else:
            caller = rng.choice(self.phones)
            called = rng.choice(HELP if rng.random() < 0.04 else DIALLED)
        people.dial(people.plan(caller, called))

    def _script(self) -> float:
        """Everything that will happen by itself; returns when the last call begins."""
        net, rng = self.net, self.rng
        gap = rng.choice((0.05, 0.3, 1.0))
        at = 2.0
        for _ in range(self.calls):
            net.at(at, self._call)
            at += rng.expovariate(1.0 / gap)
        end = at
        calm = self.kind == "calm"
        for _ in range(int(self.calls * (0.02 if calm else 0.12))):
            net.at(rng.uniform(1.0, end), self._stray)
        for _ in range(0 if calm else rng.randint(0, 4)):
            net.at(rng.uniform(1.0, end + 10.0), self._life)
        for _ in range(rng.randint(0, 3)):
            net.at(rng.uniform(1.0, end), self._mood)
        for _ in range(rng.randint(0, 4)):
            net.at(rng.uniform(1.0, end), self._text)
        for _ in range(0 if calm else rng.choice((0, 0, 1, 2))):
            net.at(rng.uniform(0.0, end), self._carrier_mood)
        if self.kind in ("lossy", "stormy", "restart"):
            self._storms(end)
        for _ in range(rng.randint(0, 2)):
            net.at(rng.uniform(2.0, end), self._disk)
        if self.kind == "restart":
            for _ in range(rng.choice((1, 1, 2))):
                net.at(rng.uniform(2.0, end + 5.0), self._kill if rng.random() < 0.7 else self._drain)
        if not calm and rng.random() < 0.3:
            net.at(rng.uniform(2.0, end), self._office_hangs_up)
        for _ in range(rng.choice((0, 0, 1, 3))):
            net.at(rng.uniform(2.0, end), self._office_transfers)
        if not calm and rng.random() < 0.2:
            self.building.relay.sulks = 0.05
        if not calm and rng.random() < 0.2:
            self.building.max_calls = 3
            for trunk in self.building.trunks:
                trunk.max_calls = 3
        if not calm and rng.random() < 0.5:
            self.building.relay.delay = rng.choice((0.002, 0.05, 0.5))
        return end

    # ---- what goes wrong

    def _stray(self) -> None:
        agent = self.rng.choice(self.strangers + self.phones[:1])
        if agent.alive:
            STRAY.draw(self.people.rng).do(agent, self.people.rng)

    def _life(self) -> None:
        agent = self.people.rng.choice(self.phones)
        if agent.alive:
            deed = LIFE.draw(self.people.rng)
            self.net.note(f"{agent.user} at {agent.address[1]} {deed.name}")
            deed.do(agent, self.people.rng)

    def _mood(self) -> None:
        for crm in self.crms:
            crm.mood = self.rng.choice(MOODS)
            self.net.note(f"{crm.name} is {crm.mood}")

    def _text(self) -> None:
        rng = self.people.rng
        agent = rng.choice(self.phones)
        if agent.alive:
            write(agent, rng.choice(NUMBERS))

    def _carrier_mood(self) -> None:
        registrar = self.people.registrar
        registrar.mood = self.rng.choice(REGISTRARS)
        self.net.note(f"the carriers' registrar: {registrar.mood}")

    def _storms(self, end: float) -> None:
        net, rng = self.net, self.rng
        stormy = self.kind == "stormy"
        bad = Weather(
            loss=rng.choice((0.02, 0.1, 0.3)) if self.kind != "restart" else 0.0,
            doubled=rng.choice((0.0, 0.1, 0.3)),
            delay=rng.choice((0.001, 0.02, 0.1)),
            jitter=rng.choice((0.0, 0.005, 0.05, 0.5)),
            spike=0.02 if stormy else 0.0,
            spike_seconds=4.0,
        )
        net.at(0.5, self._weather, bad)
        if stormy:
            for _ in range(rng.randint(1, 3)):
                net.at(rng.uniform(2.0, end), self._partition, rng.uniform(0.5, 45.0))

    def _weather(self, weather: Weather) -> None:
        self.net.weather = weather
        self.net.note(f"weather: {weather}")

    def _partition(self, seconds: float) -> None:
        net = self.net
        cut = {agent.address for agent in self.people.agents if self.rng.random() < 0.4}
        net.done["net: partitions"] += 1
        net.note(f"cut off for {seconds:.1f} s: {sorted(cut)}")
        net.cut |= cut
        net.at(seconds, net.cut.difference_update, cut)

    def _disk(self) -> None:
        disk, net, seconds = self.building.disk, self.net, self.rng.choice((0.05, 0.4, 3.0))
        if self.rng.random() < 0.6:
            disk.stalled_until = net.now + seconds
            net.done["disk: stalled"] += 1
        else:
            disk.gone_until = net.now + seconds * 4
            net.done["disk: database gone"] += 1
        net.note(f"disk: {seconds} s")

    def _kill(self) -> None:
        building, net = self.building, self.net
        if not building.alive:
            return
        net.done["exchange: killed"] += 1
        self._check_faults()
        building.kill()
        self._left_alone()
        net.at(self.rng.choice((0.05, 1.0, 5.0, 40.0)), self._restart)

    def _drain(self) -> None:
        if self.building.alive and not self.building.exchange.draining:
            self.net.done["exchange: drained"] += 1
            self.building.drain()

    def _stopped(self, life: int) -> None:
        """An end in good order: whoever is still in a call was told, and if not, notices."""
        self._check_faults()
        self._left_alone()
        self.net.at(self.rng.choice((0.05, 1.0, 5.0)), self._restart)

    def _left_alone(self) -> None:
        for plan in self.people.plans.values():
            if any(session.state in ("up", "ringing", "calling") for session in plan.sessions):
                self.people.silence(plan)

    def _restart(self) -> None:
        if self.building.disk.gone_until > self.net.now:      # it would not start; whoever watches it tries again
            self.net.at(1.0, self._restart)
            return
        self.net.note("the exchange starts again")
        self.building.start()

    def _office_hangs_up(self) -> None:
        exchange = self.building.exchange
        if self.building.alive and exchange.live:
            call_id = self.rng.choice(sorted(exchange.live))
            what = self.rng.choice((exchange.hang_up, exchange.media_timed_out, exchange.media_lost))
            self.net.done[f"office: {what.__name__.replace('_', ' ')}"] += 1
            what(call_id)

    def _office_transfers(self) -> None:
        building, rng = self.building, self.rng
        if not building.alive or not building.exchange.live:
            return
        call_id = rng.choice(sorted(building.exchange.live))
        to = rng.choice((*NUMBERS, *NUMBERS, "9441234567", "999", "", "9" * 99))
        taken = building.transfer(call_id, to, rng.choice((None, None, *NUMBERS)))
        self.net.done[f"office: transfer {'ordered' if taken else 'refused'}"] += 1
        plan = self.people.plans.get(building.witness.seen[call_id])
        if taken and plan is not None:
            self.net.note(f"the office transfers #{plan.number} to {to}")
            self.people.silence(plan)

    def _check_faults(self) -> None:
        """Of a life that ends."""
        exchange: Exchange = self.building.exchange
        if exchange.counters.faults:
            self.net.faults.append(f"faults in calls before the kill: {'; '.join(self.building.reasons)}")

    # ---- the run

    def go(self) -> Result:
        self._furnish()
        end = self._script()
        net, building = self.net, self.building
        net.run_to(START + end + 10.0)
        if not building.alive:
            net.run(60.0)
        net.note("everything heals")
        net.weather = Weather()
        net.cut.clear()
        for crm in self.crms:
            crm.mood = "quick"
        self.people.registrar.mood = "plain"
        net.run(SETTLE)
        result = Result(self.seed)
        for check in AFTER_CALLS:
            result.violations += check(self)
        self.people.closing = True
        building.keeper.stop()
        net.run(REST)
        building.close()
        for check in AT_THE_END:
            result.violations += check(self)
        result.violations = [f"{n} times: {one}" if n > 1 else one for one, n in Counter(result.violations).items()]
        result.calls = len(self.people.plans)
        result.answered = sum(any(s.was_up for s in plan.sessions) for plan in self.people.plans.values())
        result.done = net.done
        result.messages = net.sent
        result.ladder = net.kept or []
        building.store.release()
        return result


def run(seed: int, cabinet: Cabinet, *, calls: int = CALLS, keep: bool = False) -> Result:
    """One seed from beginning to end. What the simulator itself raises is a violation, too."""
    gc.disable()
    try:
        one = Run(seed, cabinet, calls=calls, keep=keep)
        return one.go()
    except (Exception, Restless) as error:
        result = Result(seed)
        result.violations.append(f"the run did not end: {raised(error)}")
        return result
    finally:
        gc.enable()
