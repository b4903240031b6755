"""The door for `crmhooks`: what the exchange asks of the CRM side, and what it may answer.

Hooks get values and a budget, never a SIP message or a socket. The first decision wins; a hook that
raises, lies or is late is skipped and the call rings on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, Protocol

Direction = Literal["inbound", "outbound", "internal"]
Phrase = tuple[str, Mapping[str, str]]   # what is said and the values in it; `pbxcore.explained` has the words


class CallState(StrEnum):
    """Where a call is in its life; changed only in `pbxcore.call.call`."""

    ARRIVED = "arrived"
    ROUTING = "routing"
    DIALING = "dialing"
    RINGING = "ringing"
    ANSWERED = "answered"
    HELD = "held"
    RELEASING = "releasing"
    ENDED = "ended"


class Disposition(StrEnum):
    """How a call ended, in the words of the call record."""

    OPEN = "open"
    ANSWERED = "answered"
    NO_ANSWER = "no_answer"
    BUSY = "busy"
    CANCELLED = "cancelled"
    REJECTED = "rejected"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True)
class IncomingCall:
    """A call that is being set up, as a hook sees it.

    `caller` and `called` are the user parts as received (`+15550100`, `101`); `caller_name` is the name
    the caller's side sent. `direction` is `inbound` from a trunk, `internal` between extensions and
    `outbound` to a trunk. `received_at` is Unix time in seconds.
    """

    call_id: str
    caller: str
    called: str
    direction: Direction
    received_at: float
    caller_name: str | None = None
    trunk: str | None = None
    extension: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What to do with a call. Fields left `None` keep what the dial plan says.

    `display_name` is shown on the ringing phone; `alert_info` picks its ring tone; `instructions` are shown on
    the agent's card; `otherwise` is what to do when this decision fails (nobody answers, no such target).
    """

    display_name: str | None = None
    alert_info: str | None = None
    instructions: str | None = None
    contact_id: str | None = None
    tags: tuple[str, ...] = ()
    record: bool | None = None
    otherwise: Decision | None = None


@dataclass(frozen=True, slots=True)
class Proceed(Decision):
    """Route as the dial plan says, with this decision's name, instructions and tags."""


@dataclass(frozen=True, slots=True)
class Ring(Decision):
    """Ring extensions: all at once, or one after the other, `timeout` seconds each round."""

    targets: tuple[str, ...]
    strategy: Literal["all", "in_order"] = "all"
    timeout: float = 30.0


@dataclass(frozen=True, slots=True)
class Dial(Decision):
    """Dial a number out, by the outbound rules or through the trunk named."""

    number: str
    trunk: str | None = None


@dataclass(frozen=True, slots=True)
class Queue(Decision):
    """Put the caller in a queue."""

    name: str
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Ivr(Decision):
    """Send the caller to a menu, with variables that its announcements may speak."""

    name: str
    variables: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Voicemail(Decision):
    """Send the caller to a voice mailbox."""

    box: str


@dataclass(frozen=True, slots=True)
class Play(Decision):
    """Play a prompt and hang up."""

    prompt: str


@dataclass(frozen=True, slots=True)
class Reject(Decision):
    """Refuse the call with a SIP status (400..699) and a reason phrase."""

    status: int = 603
    reason: str = "Decline"


@dataclass(frozen=True, slots=True)
class Redirect(Decision):
    """Answer 302 Moved Temporarily with this SIP or tel URI as the Contact."""

    uri: str


@dataclass(frozen=True, slots=True)
class LegSnapshot:
    """One leg of a call. `party` is an extension number, or `trunk:NAME`; times are Unix seconds.

    A call that was transferred has more than two legs: the one that took somebody's place says who made it so, and
    when (`transferred_by` a party, or `exchange`); `side` is whose place it has.
    """

    party: str
    side: Literal["a", "b"]
    state: Literal["calling", "ringing", "answered", "held", "ended"]
    number: str
    started_at: float
    ringing_at: float | None = None
    answered_at: float | None = None
    ended_at: float | None = None
    status: int | None = None
    transferred_by: str | None = None
    transferred_at: float | None = None
    cause: int | None = None  # why it ended by ITU-T Q.850, where a carrier said so (RFC 3326)


@dataclass(frozen=True, slots=True)
class StreamStats:
    """What the relay counted for one direction of one call. `jitter_ms` is RFC 3550 section 6.4.1."""

    packets: int = 0
    octets: int = 0
    lost: int = 0
    jitter_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class CallSnapshot:
    """A call at one moment: what hooks, the panel and the journal get. Times are Unix seconds.

    `answered_by` is the party that answered (an extension, or `trunk:NAME`), and after a transfer the one in its place.
    `from_a` and `from_b` are what the relay received from either side, known once the call has ended. `merged_into` is
    the call that this one has become a part of, by an attended transfer: that one has the record.
    """

    call_id: str
    state: CallState
    direction: Direction
    caller: str
    called: str
    arrived_at: float
    caller_name: str | None = None
    display_name: str | None = None
    trunk: str | None = None
    extension: str | None = None
    contact_id: str | None = None
    instructions: str | None = None
    tags: tuple[str, ...] = ()
    ringing_at: float | None = None
    answered_at: float | None = None
    ended_at: float | None = None
    answered_by: str | None = None
    disposition: Disposition = Disposition.OPEN
    status: int | None = None
    reason: str | None = None
    hung_up_by: Literal["caller", "callee", "exchange"] | None = None
    legs: tuple[LegSnapshot, ...] = ()
    decided_by: str | None = None
    lookup_ms: float | None = None
    from_a: StreamStats | None = None
    from_b: StreamStats | None = None
    merged_into: str | None = None


@dataclass(frozen=True, slots=True)
class ExplainStep:
    """One thing that was asked on the way to a decision: who, what came of it in English, and in how many ms. `said`
    is the same for other languages. Steps of the source `route` say where the call rings."""

    source: str
    outcome: str
    elapsed_ms: float
    decision: Decision | None = None
    said: tuple[Phrase, ...] = ()


class CallHooks(Protocol):
    """What the exchange asks. The runner in `crmhooks` is the one implementation it is given.

    `on_incoming` is driven by the call's own coroutine, outside any asyncio task: it returns at once when the
    answer is in memory, and otherwise awaits futures only. It never raises and never outlives its budget.
    """

    async def on_incoming(self, call: IncomingCall) -> Decision | None: ...

    def on_answered(self, call: CallSnapshot) -> None: ...

    def on_ended(self, call: CallSnapshot) -> None: ...

    def explain(self, call_id: str) -> tuple[ExplainStep, ...]:
        """What was asked for a call and what came of it; empty for a call that is not known any more."""
        ...

    def decided_by(self, call_id: str) -> str | None:
        """Whose decision `on_incoming` gave for a call, in the words of `explain`."""
        ...


class CallJournal(Protocol):
    """Where calls are written down. Writing never blocks: rows are grouped and committed on a writer thread."""

    def write(self, call: CallSnapshot) -> None:
        """Take the newest state of a call; the row of that `call_id` is made or replaced in the next commit."""
        ...

    def merge(self, call: CallSnapshot) -> None:
        """This call has become a part of another (`merged_into`), which has the record: its own goes."""
        ...

    def when_durable(self, call_id: str, then: Callable[[], None]) -> bool:
        """True when all that was written of this call is committed already; otherwise `then` is called on the
        event loop once it is."""
        ...
