"""Which of several refusals the caller gets (RFC 3261 section 16.7, step 6)."""

from __future__ import annotations

from dataclasses import dataclass, field

from pbxcore.call.passing import passed_back
from pbxcore.sip import build
from pbxcore.sip.message import Field, Response

_TROUBLE = frozenset({408, 500, 501, 502, 503, 504, 505, 513, 580})
_TELLING = (415, 484)  # the caller can mend these: preferred among the 4xx
_OF_ONE_LEG = frozenset({420, 421, 422, 494})  # about an extension between the exchange and that peer


@dataclass(frozen=True, slots=True)
class Outcome:
    """A final response of a branch, as the caller may get it."""

    status: int
    reason: str
    fields: list[Field] = field(default_factory=list)

    @property
    def trouble(self) -> bool:
        """The call could not be delivered, as against: a person or a phone said no."""
        return self.status in _TROUBLE

    @classmethod
    def of(cls, response: Response) -> Outcome:
        """A branch's refusal. Its challenges are ours to answer, never the caller's (401, 407 become 502); a 503 would
        say that this exchange is overloaded (16.7: 500), and no extension of our leg is his to mend; a 3xx takes its
        Contacts along."""
        status = response.status
        if status in (401, 407):
            return cls(502, build.REASONS[502])
        if status == 503 or status in _OF_ONE_LEG:
            return cls(500, build.REASONS[500], [row for row in response.fields if row[0] == "reason"])
        fields = passed_back(response)
        if status < 400:
            fields += [row for row in response.fields if row[0] == "contact"]
        return cls(status, response.reason, fields)


    @classmethod
    def unreached(cls, status: int, *, phone: bool) -> Outcome:
        """Nothing came back (8.1.3.1): 408, or 503 for a connection that is gone. That one is no word about this
        exchange either; a phone that is gone is a person who is."""
        if status == 503:
            status = 480 if phone else 500
        return cls(status, build.REASONS[status])


def rank(status: int) -> int:
    """Lower is better: a 6xx before all, then the lowest class; in the 4xx those that say how to mend the request, and
    what a person said (486) before what a phone's absence says (480, 408)."""
    if status >= 600:
        return 0
    if status < 400:
        return 1
    if status >= 500:
        return 6
    if status in _TELLING:
        return 2
    if status == 486:
        return 3
    return 5 if status in (408, 480) else 4


def worse(held: Outcome, new: Outcome) -> bool:
    """Whether `held` gives way to `new`."""
    return rank(new.status) < rank(held.status)


def as_ours(response: Response) -> tuple[int, str, list[Field]]:
    """A response of one side as the other gets it: a refusal as in call set-up, where its status may become another."""
    if response.status < 300:
        return response.status, response.reason, passed_back(response)
    outcome = Outcome.of(response)
    return outcome.status, outcome.reason, outcome.fields
