"""What happened, in the past tense: frozen events on the bus, named after CSTA (ECMA-269) where it has a name.

`at` is Unix time in seconds. An event says what changed; who wants the whole call asks `control.call(call_id)`.
"""

from __future__ import annotations

from dataclasses import dataclass

from pbxcore.hooks import CallSnapshot


@dataclass(frozen=True, slots=True)
class Event:
    at: float


@dataclass(frozen=True, slots=True)
class CallEvent(Event):
    call_id: str


@dataclass(frozen=True, slots=True)
class Originated(CallEvent):
    """A call arrived from a phone or a trunk."""

    caller: str
    called: str


@dataclass(frozen=True, slots=True)
class Routed(CallEvent):
    """It was decided where the call rings: by the dial plan, or by the hook named."""

    decided_by: str


@dataclass(frozen=True, slots=True)
class Delivered(CallEvent):
    """A party is ringing."""

    party: str


@dataclass(frozen=True, slots=True)
class Established(CallEvent):
    """A party answered."""

    party: str


@dataclass(frozen=True, slots=True)
class Held(CallEvent):
    party: str


@dataclass(frozen=True, slots=True)
class Retrieved(CallEvent):
    party: str


@dataclass(frozen=True, slots=True)
class Failed(CallEvent):
    """A party could not be rung, or refused: `status` is its SIP status."""

    party: str
    status: int


@dataclass(frozen=True, slots=True)
class TransferBegan(CallEvent):
    """A party of a call that goes on is to be connected to `party`, which is rung now: its card may pop."""

    party: str


@dataclass(frozen=True, slots=True)
class CardHandedOver(CallEvent):
    """`party` is about to be rung for a call that goes on, from the CRM: its card is on his page before that."""

    party: str


@dataclass(frozen=True, slots=True)
class Transferred(CallEvent):
    """`party` has taken the place of the party `place`; `by` made it so (a party, or `exchange`)."""

    party: str
    place: str
    by: str


@dataclass(frozen=True, slots=True)
class Diverted(CallEvent):
    """A call that rang at `place` was taken by `party`."""

    party: str
    place: str


@dataclass(frozen=True, slots=True)
class LeftCall(CallEvent):
    """A party hung up while the call goes on: the other one is being transferred."""

    party: str


@dataclass(frozen=True, slots=True)
class ConnectionCleared(CallEvent):
    """The call is over; its last snapshot comes along because nobody can be asked for it any more."""

    call: CallSnapshot


@dataclass(frozen=True, slots=True)
class CardFound(CallEvent):
    """The CRM knows the other party (or knows that it does not). `late` is past the look-up's budget."""

    late: bool


@dataclass(frozen=True, slots=True)
class SummaryWritten(CallEvent):
    """The agent wrote his lines about the call; its activity is complete."""

    author: str


@dataclass(frozen=True, slots=True)
class AgentStateChanged(Event):
    """An agent is `ready`, `not ready` or in `after-call work` now (CSTA's AgentReady, AgentNotReady and
    AgentWorkingAfterCall)."""

    extension: str
    state: str


@dataclass(frozen=True, slots=True)
class RegistrationChanged(Event):
    """An extension gained or lost a binding; `bindings` is how many it has now."""

    extension: str
    bindings: int
