"""What must hold after every run: DESIGN's invariants 1 to 6, as far as a simulation can see them.

Each check looks at a finished run (`Run`) and gives a sentence for everything that is wrong. An excuse is never taken
for granted: a call may end badly only when the network lost what would have ended it (`lost` counts that by Call-ID),
when somebody's phone died, or when the exchange was killed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from pbxcore.call.b2bua import LATE
from tests.scenario.simulator.building import BUDGET, FOR_HELP
from tests.scenario.simulator.session import Session
from tests.scenario.simulator.transactions import Client

if TYPE_CHECKING:
    from tests.scenario.simulator.run import Run

# What the network must have taken to leave a session in this state; of a phone that rings: what would have stopped it,
# or all that would have told the exchange that it rings.
LOST = {"up": ("BYE",), "calling": ("final INVITE",), "ringing": ("CANCEL", "INVITE", "1xx INVITE")}
LONGEST_REFUSAL = 700.0     # seconds until a carrier that said no is asked again
Check = Callable[["Run"], Iterator[str]]
AFTER_CALLS: list[Check] = []      # when every call is over
AT_THE_END: list[Check] = []       # when nothing is left but the clock


def after_calls(check: Check) -> Check:
    AFTER_CALLS.append(check)
    return check


def at_the_end(check: Check) -> Check:
    AT_THE_END.append(check)
    return check


def _name(session: Session) -> str:
    number = session.plan.number if session.plan is not None else "?"
    host, port = session.agent.address
    return f"#{number} {session.role} {session.agent.user} at {host}:{port} (Call-ID {session.call_id})"


@after_calls
def no_ghosts(run: Run) -> Iterator[str]:
    """Invariant 1: nobody believes that he is talking, and no phone rings, when all is over."""
    for session in run.sessions():
        if session.state not in ("up", "ringing", "calling") or not session.agent.alive:
            continue
        if run.people.forgotten(session.began):
            continue
        if session.agent.moved or run.people.lost(session, *LOST[session.state]):
            continue
        yield f"ghost: {_name(session)} is still {session.state}"


@after_calls
def every_invite_has_one_final_response(run: Run) -> Iterator[str]:
    """Invariant 1."""
    for agent in run.people.agents:
        for client in agent.clients.values():
            if client.method != "INVITE" or client.finals or not agent.alive:
                continue
            if not _excused(run, client):
                call_id = client.head["Call-ID"]
                yield f"INVITE without a final response: {agent.user}, CSeq {client.number}, Call-ID {call_id}"


def _excused(run: Run, client: Client) -> bool:
    if run.people.forgotten(client.started) or client.agent.moved or client.lost:
        return True
    return client.session is None or run.people.lost(client.session, "final INVITE", "INVITE", "1xx INVITE")


@at_the_end
def one_record_and_one_activity_a_call(run: Run) -> Iterator[str]:
    """Invariant 2."""
    building = run.building
    records = building.cabinet.select("SELECT call_id, state, disposition, ended_at, lookup_ms FROM calls")
    activities = building.cabinet.select("SELECT call_id, disposition, ended_at FROM activities")
    ids = [record[0] for record in records]
    if len(set(ids)) != len(ids):
        yield "a call has two records"
    of_activity = [activity[0] for activity in activities]
    if sorted(of_activity) != sorted(ids):
        yield f"records and activities differ: {set(ids) ^ set(of_activity)}"
    missing = building.seen.keys() - set(ids) - building.forgiven - building.merged
    if missing:
        yield f"calls without a record: {[f'{call_id} (#{building.seen[call_id]})' for call_id in sorted(missing)]}"
    strange = set(ids) - building.seen.keys()
    if strange:
        yield f"records of calls that never were: {sorted(strange)}"
    for call_id, state, disposition, ended_at, _ in records:
        if state != "ended" or ended_at is None or disposition == "open":
            yield f"record {call_id} (#{building.seen.get(call_id)}) is {state}, {disposition}"
    for call_id, disposition, ended_at in activities:
        if ended_at is None or disposition == "open":
            yield f"activity {call_id} is {disposition}"


@at_the_end
def a_merged_call_has_no_record(run: Run) -> Iterator[str]:
    """Invariant 2: what was said in a consultation is in the record of the call that went on; and no call vanishes
    into another unless somebody put the two together."""
    building = run.building
    records = {record[0] for record in building.cabinet.select("SELECT call_id FROM calls")}
    for call_id in sorted(building.merged):
        plan = run.people.plans.get(building.seen.get(call_id, ""))
        if plan is None or not plan.joined:
            yield f"the call {call_id} (#{building.seen.get(call_id)}) was merged, and nobody asked for it"
        if call_id in records and not building.killed_at:
            yield f"the merged call {call_id} (#{building.seen.get(call_id)}) has a record"


@after_calls
def every_transfer_comes_to_an_end(run: Run) -> Iterator[str]:
    """Whoever was promised to be told how his REFER goes is told the end of it (RFC 3515 section 2.4.4)."""
    for session in run.sessions():
        for referral in session.referrals if session.notify_status == 200 else ():
            if referral.over or referral.refused or referral.silent or not referral.accepted:
                continue
            agent, people = session.agent, run.people
            if not agent.alive or agent.moved or people.forgotten(referral.client.started):
                continue
            if not people.lost(session, "NOTIFY", "final NOTIFY"):
                yield f"a REFER (CSeq {referral.client.number}) has no end: {_name(session)}"


@at_the_end
def records_tell_what_the_caller_heard(run: Run) -> Iterator[str]:
    """Invariant 2: a record is worth something only when it is true. Where the network or a kill hid the truth from
    either side nothing is compared."""
    building, people = run.building, run.people
    if building.killed_at:
        return
    count = Counter(building.seen.values())
    rows = building.cabinet.select("SELECT call_id, answered_at, status, disposition FROM calls")
    for call_id, answered_at, status, disposition in rows:
        number = building.seen.get(call_id, "")
        plan = people.plans.get(number)
        if plan is None or count[number] != 1 or not plan.sessions:
            continue
        caller = plan.sessions[0]
        client = caller.client
        if client is None or caller.forked or not client.finals:
            continue
        if not caller.agent.alive or run.net.touched[caller.call_id]:
            continue
        heard = client.finals[0][0]
        if (heard < 300) != (answered_at is not None):
            yield f"the caller heard {heard}, the record {call_id} (#{number}) says {disposition}"
        elif heard >= 300 and status != heard:
            yield f"the caller heard {heard}, the record {call_id} (#{number}) says {status} ({disposition})"
        elif answered_at is not None and not any(_picked_up(one) for one in plan.sessions):
            yield f"the record {call_id} (#{number}) says that a call was answered that nobody picked up"


def _picked_up(session: Session) -> bool:
    """Whether this phone was in the call; of one that picks up calls of others, whether it was let in, or could not
    hear that it was."""
    if session.role == "picker" and session.client is not None:
        deaf = session.died or session.agent.moved or session.agent.people.lost(session, "final INVITE")
        finals = session.client.finals
        return any(status < 300 for status, _ in finals) or (deaf and not finals)
    return session.role != "caller" and session.was_up


@at_the_end
def hooks_are_told_once(run: Run) -> Iterator[str]:
    """Nobody is told twice that a call has ended."""
    for crm in run.crms:
        for call_id, times in Counter(crm.told).items():
            if times > 1:
                yield f"{crm.name} was told {times} times that {call_id} has ended"


@at_the_end
def the_crm_takes_no_more_than_its_budget(run: Run) -> Iterator[str]:
    """Invariant 3."""
    for call_id, lookup_ms in run.building.cabinet.select("SELECT call_id, lookup_ms FROM calls"):
        if lookup_ms is not None and lookup_ms > (BUDGET + LATE) * 1000 + 1:
            yield f"call {call_id} waited {lookup_ms:.0f} ms for the CRM"


@at_the_end
def nothing_is_left(run: Run) -> Iterator[str]:
    """Invariant 4."""
    building, exchange = run.building, run.building.exchange
    if exchange.live:
        yield f"live calls: {[building.witness.seen[call_id] for call_id in exchange.live]}"
    if exchange.dialogs:
        yield f"dialogs: {sorted(key[0] for key in exchange.dialogs)}"
    layer = exchange.layer
    if layer.server_count() or layer.client_count():
        yield f"transactions: {layer.server_count()} server, {layer.client_count()} client"
    if layer._by_dialog or layer._streams:
        yield f"rows of the layer: {len(layer._by_dialog)} by dialog, {len(layer._streams)} streams"
    if building.relay.ports_in_use():
        yield f"ports: {building.relay.ports}"
    if len(building.node.timers):
        yield f"timers: {len(building.node.timers)}"
    if exchange.registrar._bindings or exchange.registrar._armed:
        yield f"bindings: {exchange.registrar._bindings}"
    for trunk in building.trunks:
        if trunk.calls:
            yield f"trunk {trunk.name} counts {trunk.calls} calls"
    if exchange.endings.counting or exchange.endings._late:
        yield f"calls waiting for the relay's last word: {[*exchange.endings.counting, *exchange.endings._late]}"
    notifier, publications = exchange.events.notifier, exchange.events.publications
    if len(notifier) or notifier._watched or notifier._count:
        yield f"subscriptions: {sorted(notifier._count)}"
    if publications._held or publications._armed:
        yield f"publications: {sorted(publications._held)}"
    if exchange.texts._delivering or exchange.texts._due:
        yield f"texts under way: {sorted(exchange.texts._delivering)} {sorted(exchange.texts._due)}"
    if building.runner._tasks or building.runner._telling:
        yield f"tasks of the runner: {len(building.runner._tasks)} {len(building.runner._telling)}"


@at_the_end
def nothing_was_swallowed(run: Run) -> Iterator[str]:
    """Invariant 5: no fault of ours, in a call, in the runner, or past the shell."""
    if run.building.exchange.counters.faults:
        yield f"faults in calls: {run.building.exchange.counters.faults} ({'; '.join(run.building.reasons)})"
    if run.building.runner.errors:
        yield f"faults in the runner: {run.building.runner.errors} ({run.building.runner.last_error})"
    yield from run.net.faults


@at_the_end
def nobody_else_saw_anything_wrong(run: Run) -> Iterator[str]:
    """Invariants 1, 5 and 6, as the phones see them: two answers, a call that nobody was allowed to make."""
    yield from run.people.wrongs


# ---- between calls


@after_calls
def lamps_go_out(run: Run) -> Iterator[str]:
    """Whoever watches a phone is told that its last call is over, and whoever subscribed is told anything at all."""
    people, net = run.people, run.net
    for agent in people.agents:
        for watch in agent.watches.values():
            if watch.state != "active" or not agent.alive or agent.moved or people.forgotten(watch.began):
                continue
            key = watch.call_id
            excused = watch.notify_status != 200 or net.lost[key, "NOTIFY"] + net.lost[key, "final NOTIFY"]
            if excused or watch.given_up or watch.expires_at <= net.now:
                continue
            if not watch.told:
                yield f"{agent.user} watches {watch.event} of {watch.resource}, and was told nothing (Call-ID {key})"
            if watch.lit:
                yield f"{agent.user} watches {watch.resource}: the lamp still shows {watch.lit} (Call-ID {key})"


@after_calls
def trunks_are_registered_again(run: Run) -> Iterator[str]:
    """When the carrier has been well for longer than the longest pause between two tries."""
    for trunk in run.building.trunks:
        registration = trunk.registration
        if registration is None or registration.state.value == "registered":
            continue
        if run.people.registrar.refused_at < run.net.now - LONGEST_REFUSAL:
            yield f"trunk {trunk.name} is {registration.state}: {registration.reason}"


@at_the_end
def no_text_is_lost(run: Run) -> Iterator[str]:
    """A text that was taken reaches its phone, or waits for it."""
    building, people = run.building, run.people
    for text in people.texts.values():
        if text.refused or text.delivered or text.status not in (200, 202):
            continue
        if text.status == 200:
            yield f"{text.name} to {text.receiver} was delivered to nobody"
        kept = text.name in [one.body.decode() for one in building.exchange.texts.waiting(text.receiver)]
        if text.status == 202 and not kept:
            yield f"{text.name} to {text.receiver} was taken, and is gone"


@at_the_end
def calls_for_help_pass(run: Run) -> Iterator[str]:
    """Invariant 7: nobody is asked, and a carrier is reached."""
    for crm in run.crms:
        if crm.asked_for_help:
            yield f"{crm.name} was asked about calls for help: {crm.asked_for_help}"
    if run.kind not in ("calm", "rough"):
        return
    for plan in run.people.plans.values():
        if not plan.called.endswith(FOR_HELP) or not plan.allowed or not plan.sessions or plan.caller.trunk:
            continue
        caller = plan.sessions[0]
        client = caller.client
        if caller.role != "caller" or caller.forked or client is None or not client.finals or not caller.agent.alive:
            continue
        refused = client.finals[0][0]
        unfit = refused in (401, 408, 415, 420, 487) or client.cancelled or run.net.touched[caller.call_id]
        if refused >= 300 and not unfit and not any(one.agent.trunk for one in plan.sessions):
            yield f"#{plan.number}, a call for help, heard {refused} and reached no carrier"
