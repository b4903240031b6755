"""What a REFER and a Replaces header ask for (RFC 3515, RFC 3891, RFC 4488), read and checked. Pure.

It does not look whether there is such a target or dialog, and whether the sender may: `referral` and `pickup` do.
"""

from __future__ import annotations

from dataclasses import dataclass

from pbxcore.sip import build
from pbxcore.sip.errors import SipError
from pbxcore.sip.headers import NameAddr
from pbxcore.sip.message import Request

MAX_WORD = 256


@dataclass(frozen=True, slots=True)
class Replaces:
    """A dialog, as the one who gets the header sees it: `to_tag` is his own tag, `from_tag` that of the sender's side
    (RFC 3891 section 3)."""

    call_id: str
    to_tag: str
    from_tag: str
    early_only: bool = False

    @classmethod
    def parse(cls, text: str) -> Replaces:
        """Raises SipError 400."""
        call_id, *params = (part.strip() for part in text.split(";"))
        found: dict[str, str] = {}
        for param in params:
            name, _, value = param.partition("=")
            name = name.strip().lower()
            if name in found:
                raise SipError(400, f"Replaces with two {name}")
            found[name] = value.strip()
        to_tag, from_tag = found.get("to-tag", ""), found.get("from-tag", "")
        if not call_id or not to_tag or not from_tag or " " in call_id or "," in text:
            raise SipError(400, "Malformed Replaces")
        if max(len(call_id), len(to_tag), len(from_tag)) > MAX_WORD:
            raise SipError(400, "Replaces too long")
        return cls(call_id, to_tag, from_tag, "early-only" in found)


@dataclass(frozen=True, slots=True)
class Reference:
    """Whom a REFER names: a number to call, or a dialog to take over. `silent`: no notifications (RFC 4488)."""

    number: str
    replaces: Replaces | None = None
    silent: bool = False


def reference(request: Request) -> Reference:
    """What a REFER asks for. Raises SipError: 400 when it is malformed, 416 for what is no telephone or SIP address,
    403 for another method than INVITE. Other headers in the URI are passed over: they would be a stranger's words in
    requests of ours."""
    values = request.values("refer-to")
    if len(values) != 1:
        raise SipError(400, "REFER has one Refer-To")
    uri = NameAddr.parse(values[0]).uri
    if uri.scheme not in ("sip", "sips", "tel"):
        raise SipError(416, build.REASONS[416])
    if (uri.params.get("method") or "INVITE").upper() != "INVITE":
        raise SipError(403, "Only INVITE Is Sent For A REFER")
    said = uri.header("replaces")
    number = uri.username if uri.scheme != "tel" else (uri.user or "")
    if not number and said is None:
        raise SipError(400, "Refer-To names nobody")
    wish = (request.first("refer-sub") or "").partition(";")[0].strip().lower()
    if wish not in ("", "true", "false"):
        raise SipError(400, "Refer-Sub is true or false")
    return Reference(number, None if said is None else Replaces.parse(said), wish == "false")


def replaces_in(request: Request) -> Replaces:
    """The Replaces of an INVITE. Raises SipError 400: there is one, and no Join beside it (RFC 3911 section 4)."""
    values = request.lines("replaces")
    if len(values) != 1 or "join" in request:
        raise SipError(400, "INVITE has one Replaces, and no Join")
    return Replaces.parse(request.first("replaces") or "")
