"""A call is transferred from the CRM, and its card handed over in the same act.

Whoever is to be rung has the card and the notes so far on his page first; then his phone rings. A page that is slow is
waited for half a second, one that is not open not at all.
"""

from __future__ import annotations

from pbxcore.control import Invalid, NotFound
from pbxcore.events import CardHandedOver, Failed
from pbxcore.hooks import CallSnapshot
from web.panel import Panel

PATIENCE = 0.5      # seconds
UNAVAILABLE = 480   # RFC 3261 section 21.4.18


async def hand_over(panel: Panel, call: CallSnapshot, to: str, party: str | None, notes: str = "") -> None:
    """Store the notes, show the card, transfer the call. Raises NotFound, Invalid; StoreUnavailable for notes that
    cannot be stored, and then nothing has happened."""
    rung = panel.control.rung_by(call.call_id, to, party)
    if notes.strip() and call.direction != "internal":
        await panel.desk.change_activity(call.call_id, {"notes": notes})
    for extension in rung:
        await panel.hub.tell(CardHandedOver(panel.wall(), call.call_id, extension), extension, PATIENCE)
    try:
        panel.control.transfer(call.call_id, to, party, notes)
    except (NotFound, Invalid):     # it has ended meanwhile, or goes elsewhere already
        for extension in rung:
            await panel.hub.tell(Failed(panel.wall(), call.call_id, extension, UNAVAILABLE), extension, 0.0)
        raise
