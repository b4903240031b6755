"""Which dialog a Replaces header names (RFC 3891 section 3)."""

from __future__ import annotations

from collections.abc import Mapping

from pbxcore.call.leg import Leg
from pbxcore.call.refer import Replaces
from pbxcore.sip import build
from pbxcore.sip.errors import SipError


def find(dialogs: Mapping[tuple[str, str], Leg], replaces: Replaces) -> Leg:
    """The leg of this dialog. Raises SipError 481 for one that is not there (any more), and 486 for an answered one
    that was to be replaced only before. Some phones name the two tags the other way round: that is taken as well, since
    both must be right anyway."""
    for ours, theirs in ((replaces.to_tag, replaces.from_tag), (replaces.from_tag, replaces.to_tag)):
        leg = dialogs.get((replaces.call_id, ours))
        if leg is None or leg.call is None or leg.ending:
            continue
        dialog = leg.dialog
        if dialog is not None and dialog.remote_tag != theirs:
            continue
        if replaces.early_only and dialog is not None and dialog.state == "confirmed":
            raise SipError(486, build.REASONS[486])
        return leg
    raise SipError(481, build.REASONS[481])
