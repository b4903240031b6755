"""What the bus is told of an input to a call: one event for each that has one."""

from __future__ import annotations

from pbxcore import events
from pbxcore.call import inputs
from pbxcore.call.call import Call
from pbxcore.call.inputs import Input


def originated(call: Call) -> events.Originated:
    offered = call.offered
    return events.Originated(offered.received_at, offered.call_id, offered.caller, offered.called)


def event_of(call: Call, happened: Input) -> events.Event | None:
    """The event for `happened`, which `call` has just taken in."""
    call_id = call.offered.call_id
    at = happened.at
    match happened:
        case inputs.Decided():
            return events.Routed(at, call_id, happened.decided_by)
        case inputs.LegDialed() | inputs.LegJoined() if call.answered_at is not None:
            return events.TransferBegan(at, call_id, call.legs[happened.leg].party)
        case inputs.LegRang():
            return events.Delivered(at, call_id, call.legs[happened.leg].party)
        case inputs.LegFailed():
            return events.Failed(at, call_id, call.legs[happened.leg].party, happened.status)
        case inputs.LegAnswered():
            return events.Established(at, call_id, call.legs[happened.leg].party)
        case inputs.LegHeld():
            return events.Held(at, call_id, call.legs[happened.leg].party)
        case inputs.LegRetrieved():
            return events.Retrieved(at, call_id, call.legs[happened.leg].party)
        case inputs.LegLeft():
            return events.LeftCall(at, call_id, call.legs[happened.leg].party)
        case inputs.Transferred():
            leg, place = call.legs[happened.leg], call.legs[happened.place]
            if place.answered_at is None:
                return events.Diverted(at, call_id, leg.party, place.party)
            return events.Transferred(at, call_id, leg.party, place.party, happened.by)
        case inputs.Cleared() | inputs.Absorbed():
            return events.ConnectionCleared(at, call_id, call.snapshot())
        case _:
            return None
