"""Where a call rings: a pure function of the call, the CRM's decision and the dial plan.

`plan` answers with a route: rounds of targets to ring one after the other, or a refusal, or a redirection. The dial
plan is an in-memory snapshot; a changed one replaces it whole. Sans I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from pbxcore.call.services.entries import Attend, Menu, QueueEntry, RingGroup
from pbxcore.hooks import Decision, Dial, IncomingCall, Ivr, Play, Proceed, Queue, Redirect, Reject, Ring, Voicemail
from pbxcore.sip.errors import ParseError
from pbxcore.sip.uri import Uri

RING_SECONDS = 60.0
MAX_RING_SECONDS = 3600.0
MAX_OTHERWISE = 8


@dataclass(frozen=True, slots=True)
class Target:
    """Whom to ring: an extension at its phones, or a number through a trunk; `urgent` knows no limit of the trunk."""

    number: str
    trunk: str | None = None
    urgent: bool = False

    @property
    def party(self) -> str:
        return f"trunk:{self.trunk}" if self.trunk else self.number


@dataclass(frozen=True, slots=True)
class ExtensionEntry:
    """An extension as the dial plan knows it."""

    number: str
    name: str = ""
    crm_control: Literal["third-party", "first-party"] = "third-party"
    caller_id: str = ""  # its own number on calls out
    target: Target = field(init=False, repr=False, compare=False)  # made once, and not for every call
    alone: tuple[Step, ...] = field(init=False, repr=False, compare=False)  # the steps to it and nobody else

    def __post_init__(self) -> None:
        object.__setattr__(self, "target", Target(self.number))
        object.__setattr__(self, "alone", (Round((self.target,)),))


@dataclass(frozen=True, slots=True)
class OutboundRule:
    """Numbers that start with `prefix` lose `strip` digits, gain `prepend`, and go to `trunks` in order."""

    prefix: str
    strip: int
    prepend: str
    trunks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DialPlan:
    """Everything that routing looks at. `inbound` maps a trunk's number (digits only, `*` for the rest) to a
    destination, `numbers` what is dialled inside for a group, queue or menu; `watched` are the extensions of which
    somebody asks how long they have been without a call. `emergency` has what a phone may dial for help, prefixes of
    the office included, and the number that goes out for it; an extension of that number stays an extension."""

    extensions: Mapping[str, ExtensionEntry] = field(default_factory=dict)
    inbound: Mapping[str, str] = field(default_factory=dict)
    outbound: tuple[OutboundRule, ...] = ()
    trunks: frozenset[str] = frozenset()
    emergency: Mapping[str, str] = field(default_factory=dict)
    groups: Mapping[str, RingGroup] = field(default_factory=dict)
    queues: Mapping[str, QueueEntry] = field(default_factory=dict)
    menus: Mapping[str, Menu] = field(default_factory=dict)
    boxes: frozenset[str] = frozenset()
    prompts: frozenset[str] = frozenset()
    mailbox_number: str = ""
    numbers: Mapping[str, str] = field(default_factory=dict)
    watched: frozenset[str] = frozenset()
    international: Mapping[str, str] = field(init=False, repr=False, compare=False)  # `inbound`, with a plus in front

    def __post_init__(self) -> None:
        object.__setattr__(self, "international", {f"+{number}": to for number, to in self.inbound.items()})


@dataclass(slots=True)
class Round:
    """Targets that ring together for `timeout` seconds. With `only_on_trouble` it is reached only when the round
    before could not be delivered (time-out of the far server, 5xx), not when a person was busy or declined.

    Not changed once it is made, like the other steps; some are made for a call, and being frozen would cost more.
    """

    targets: tuple[Target, ...]
    timeout: float = RING_SECONDS
    only_on_trouble: bool = False


@dataclass(frozen=True, slots=True)
class Refusal:
    """Answer with this status."""

    status: int
    reason: str


@dataclass(frozen=True, slots=True)
class Redirection:
    """Answer 302 with this Contact."""

    uri: str


Step = Round | Refusal | Redirection | Attend
Idle = Callable[[Iterable[str]], list[str]]   # puts whoever has been without a call longest first

PATIENT = (Round, Attend)  # steps that may fail, so that another one follows
NOT_FOUND = Refusal(404, "Not Found")
DECLINE = Refusal(603, "Decline")


def digits(number: str) -> str:
    """A number without its plus and its punctuation, as inbound numbers are compared."""
    bare = number[1:] if number[:1] == "+" else number
    return bare if bare.isdigit() else "".join([c for c in number if c.isdigit()]) or number


def default_target(call: IncomingCall, plan: DialPlan) -> str | None:
    """Where the dial plan sends it, when it does: an extension, or another destination."""
    if call.direction == "inbound":
        called = call.called
        return plan.international.get(called) or plan.inbound.get(digits(called)) or plan.inbound.get("*")
    return call.called if call.called in plan.extensions else plan.numbers.get(call.called)


def asks_crm(call: IncomingCall, plan: DialPlan) -> bool:
    """Whether the CRM is asked before anything rings: not for an extension under first-party control, whose own
    workstation asks, and never for a call for help."""
    if call.extension is not None and (is_emergency(call, plan) or is_own_mailbox(call, plan)):
        return False
    number = default_target(call, plan)
    entry = plan.extensions.get(number) if number else None
    return entry is None or entry.crm_control == "third-party"


def owner_may_ring(call: IncomingCall, plan: DialPlan) -> bool:
    """Whether a customer's call may ring at his owner's desk before where the dial plan leads it: not where that is a
    queue, a menu, a group or a mailbox, nor an extension whose own number (its caller id) was dialled."""
    number = default_target(call, plan)
    if number is None:
        return True
    entry = plan.extensions.get(number)
    return entry is not None and (not entry.caller_id or digits(entry.caller_id) != digits(call.called))


def is_own_mailbox(call: IncomingCall, plan: DialPlan) -> bool:
    """Whether somebody of the office wants to hear his messages."""
    return call.called == plan.mailbox_number and call.extension in plan.boxes


def is_emergency(call: IncomingCall, plan: DialPlan) -> bool:
    """Whether somebody of the office calls for help: neither the CRM nor a hook nor a limit may stand in the way."""
    return call.extension is not None and call.called in plan.emergency


def emergency_numbers(numbers: Iterable[str], plan: DialPlan) -> dict[str, str]:
    """`DialPlan.emergency` for these numbers: as they are, and behind the digits that an outbound rule strips."""
    found: dict[str, str] = {}
    for number in numbers:
        spellings = [number, *[rule.prefix[: rule.strip] + number for rule in plan.outbound]]
        found.update({dialed: number for dialed in spellings if dialed not in plan.extensions})
    return found


def plan(call: IncomingCall, decision: Decision | None, dial_plan: DialPlan, idle: Idle = list) -> tuple[Step, ...]:
    """The steps to take in order, never empty. What a decision names and the office does not have, or what is no
    address, is passed over for its `otherwise`, and in the end for the dial plan."""
    if call.extension is not None and is_emergency(call, dial_plan):
        return _for_help(call.called, dial_plan)
    steps: list[Step] = []
    for _ in range(MAX_OTHERWISE):
        if decision is None or isinstance(decision, Proceed):
            break
        found = _decided(decision, dial_plan)
        steps += found
        if found and (decision.otherwise is None or not isinstance(found[-1], PATIENT)):
            return _joined(steps)
        decision = decision.otherwise
    return _joined([*steps, *_default(call, dial_plan, idle)])


def passed_over(decision: Decision | None, dial_plan: DialPlan) -> list[Decision]:
    """The decisions along `otherwise` that name what the office does not have, for whoever asks why."""
    found: list[Decision] = []
    for _ in range(MAX_OTHERWISE):
        if decision is None or isinstance(decision, Proceed):
            break
        steps = _decided(decision, dial_plan)
        if not steps:
            found.append(decision)
        elif not isinstance(steps[-1], PATIENT):
            break
        decision = decision.otherwise
    return found


def _joined(steps: list[Step]) -> tuple[Step, ...]:
    """Two rounds in a row that ring the same targets are one, of both their times; not so a second try of a trunk."""
    if len(steps) == 1:
        return (steps[0],)
    joined: list[Step] = []
    for step in steps:
        before = joined[-1] if joined else None
        if not isinstance(step, Round) or not isinstance(before, Round) or step.only_on_trouble:
            joined.append(step)
        elif step.targets == before.targets:
            joined[-1] = Round(step.targets, before.timeout + step.timeout, before.only_on_trouble)
        else:
            joined.append(step)
    return tuple(joined)


def _decided(decision: Decision, dial_plan: DialPlan) -> list[Step]:
    """Empty for what the office does not have."""
    match decision:
        case Ring():
            known = dial_plan.extensions
            seconds = decision.timeout if 0 < decision.timeout <= MAX_RING_SECONDS else RING_SECONDS
            if len(decision.targets) == 1:  # as nearly always
                entry = known.get(decision.targets[0])
                return [Round((entry.target,), seconds)] if entry is not None else []
            targets = [known[number].target for number in dict.fromkeys(decision.targets) if number in known]
            if decision.strategy == "in_order":
                return [Round((target,), seconds) for target in targets]
            return [Round(tuple(targets), seconds)] if targets else []
        case Queue():
            step = Attend("queue", decision.name, priority=decision.priority)
            return [step] if decision.name in dial_plan.queues else []
        case Ivr():
            return [Attend("ivr", decision.name, decision.variables)] if decision.name in dial_plan.menus else []
        case Voicemail():
            return [Attend("voicemail", decision.box)] if decision.box in dial_plan.boxes else []
        case Play():
            return [Attend("play", decision.prompt)] if decision.prompt in dial_plan.prompts else []
        case Reject():
            possible = 400 <= decision.status < 700 and decision.status not in (401, 407)
            return [Refusal(decision.status, decision.reason) if possible else DECLINE]
        case Redirect():
            return [Redirection(decision.uri)] if _is_address(decision.uri) else []
        case Dial():
            if decision.trunk is None:
                return list(outbound(decision.number, dial_plan))
            if not decision.number or decision.trunk not in dial_plan.trunks:
                return []
            return [Round((Target(decision.number, decision.trunk),))]
        case _:
            return []


def lead(
    to: str, dial_plan: DialPlan, variables: Mapping[str, str] | None = None, *, idle: Idle = list, depth: int = 0
) -> tuple[Step, ...]:
    """The steps to a destination (`services.entries`); empty when the office has none of that name. Groups that lead
    to each other in a circle have an end."""
    kind, colon, name = to.partition(":")
    if not colon:
        if to in dial_plan.extensions:
            return dial_plan.extensions[to].alone
        if to in dial_plan.numbers and depth < MAX_OTHERWISE:
            return lead(dial_plan.numbers[to], dial_plan, variables, idle=idle, depth=depth + 1)
        return tuple(outbound(to, dial_plan))
    known: Mapping[str, object] | frozenset[str] = {
        "queue": dial_plan.queues, "ivr": dial_plan.menus, "voicemail": dial_plan.boxes, "play": dial_plan.prompts,
    }.get(kind, {})  # type: ignore[assignment]  # mappings and a set: only looked into
    if name in known:
        return (Attend(kind, name, variables or {}),)
    group = dial_plan.groups.get(name) if kind == "group" else None
    return tuple(_grouped(group, dial_plan, idle, depth)) if group is not None else ()


def _grouped(group: RingGroup, dial_plan: DialPlan, idle: Idle, depth: int) -> Iterator[Step]:
    targets = [Target(number) for number in group.members if number in dial_plan.extensions]
    if group.strategy == "longest_idle":
        targets = [Target(number) for number in idle([target.number for target in targets])]
    if group.strategy == "all":
        if targets:
            yield Round(tuple(targets), group.seconds)
    else:
        yield from [Round((target,), group.seconds) for target in targets]
    if group.otherwise and depth < MAX_OTHERWISE:
        yield from lead(group.otherwise, dial_plan, idle=idle, depth=depth + 1)


def _is_address(uri: str) -> bool:
    try:
        return Uri.parse(uri).scheme in ("sip", "sips", "tel")
    except ParseError:
        return False


def _default(call: IncomingCall, dial_plan: DialPlan, idle: Idle) -> tuple[Step, ...]:
    number = default_target(call, dial_plan)
    entry = dial_plan.extensions.get(number) if number is not None else None
    if entry is not None:
        return entry.alone
    if call.extension is not None and is_own_mailbox(call, dial_plan):
        return (Attend("mailbox", call.extension),)
    if number is not None and (":" in number or number in dial_plan.numbers):
        return lead(number, dial_plan, idle=idle) or (NOT_FOUND,)
    if call.direction == "inbound":
        return (NOT_FOUND,)
    return tuple(outbound(call.called, dial_plan)) or (NOT_FOUND,)


def _for_help(called: str, dial_plan: DialPlan) -> tuple[Step, ...]:
    """One trunk after the other until one takes it: those of the outbound rule, then all others."""
    ruled = [target.trunk for step in outbound(called, dial_plan) for target in step.targets]
    trunks = dict.fromkeys([*[trunk for trunk in ruled if trunk is not None], *sorted(dial_plan.trunks)])
    number = dial_plan.emergency[called]
    return tuple([Round((Target(number, trunk, urgent=True),)) for trunk in trunks]) or (NOT_FOUND,)


def outbound(number: str, dial_plan: DialPlan) -> Iterator[Round]:
    """The trunks of the outbound rule for a number, one after the other."""
    matching = [rule for rule in dial_plan.outbound if number.startswith(rule.prefix)]
    if not matching or not number:
        return
    rule = max(matching, key=lambda rule: len(rule.prefix))
    dialed = rule.prepend + number[rule.strip :]
    if not dialed:
        return
    for place, trunk in enumerate(rule.trunks):
        yield Round((Target(dialed, trunk),), only_on_trouble=place > 0)
