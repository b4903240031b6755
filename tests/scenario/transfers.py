"""What scenarios of transfers have in common: calls that are up, a REFER, and what its sender was told."""

from __future__ import annotations

from urllib.parse import quote

from pbxcore.sip.message import Response
from tests.scenario.office import EXCHANGE, Office
from tests.scenario.party import Party, Talk
from tests.scenario.world import Network


class Switchboard(Office):
    """The carrier's caller talks to 101; 102 and 103 have phones as well."""

    def __init__(self, seed: int = 1, network: Network | None = None) -> None:
        super().__init__(seed, network)
        self.desk, self.second, self.third = self.phone("101"), self.phone("102"), self.phone("103")
        self.outside = self.carrier()

    def inbound(self) -> tuple[Talk, Talk]:
        """The caller's dialog and 101's."""
        talk = self.outside.call("+15550100", EXCHANGE)
        assert self.world.until(lambda: talk.state == "up" and self.desk.last.acked), self.world.ladder()
        self.world.run(0.1)
        return talk, self.desk.last

    def call(self, caller: Party, callee: Party) -> tuple[Talk, Talk]:
        """A call between two phones: the dialog of either."""
        talk = caller.call(callee.user, EXCHANGE)
        assert self.world.until(lambda: talk.state == "up" and callee.last.acked), self.world.ladder()
        self.world.run(0.1)
        return talk, callee.last

    def talk_together(self, *parties: tuple[Party, Talk]) -> bool:
        """Whether these two have each been told the relay's port that faces them, and all others are out of it."""
        return all(talk.state == "up" and b"a=sendrecv" in talk.remote_sdp for _, talk in parties)


def refer(party: Party, talk: Talk, to: str, *headers: tuple[str, str]) -> None:
    target = to if to[:1] == "<" or ":" in to else f"<sip:{to}@127.0.0.1>"
    party.send(talk, "REFER", headers=[("Refer-To", target), *headers])


def replaces(talk: Talk, *, early_only: bool = False, swapped: bool = False) -> str:
    """What a phone writes to name a dialog of its own to the exchange."""
    dialog = talk.dialog
    if dialog is None:  # still ringing: the tag comes from the provisional
        [response] = talk.responses[-1:]
        call_id, theirs, ours = response.call_id, response.to_tag or "", response.from_tag or ""
    else:
        call_id, theirs, ours = dialog.call_id, dialog.remote_tag, dialog.local_tag
    if swapped:
        theirs, ours = ours, theirs
    return f"{call_id};to-tag={theirs};from-tag={ours}" + (";early-only" if early_only else "")


def referred_to(talk: Talk, user: str, **how: bool) -> str:
    return f"<sip:{user}@127.0.0.1?Replaces={quote(replaces(talk, **how), safe='')}>"


def told(party: Party) -> list[str]:
    """The status lines of the notifications it got."""
    return [request.body.decode().strip() for request in party.seen if request.method == "NOTIFY"]


def answer_to_refer(party: Party) -> Response:
    return next(response for response in reversed(party.answers) if response.cseq.method == "REFER")


def invites(party: Party) -> int:
    return sum(request.method == "INVITE" and request.to_tag is None for request in party.seen)
