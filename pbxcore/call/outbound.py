"""What a REGISTER says about the way back to a phone: instance and flow (RFC 5626), Path (RFC 3327), GRUU (RFC 5627).

A phone that names itself (`+sip.instance`) and its flow (`reg-id`) has one binding for each of its flows, whatever its
Contact says: one that comes back from another port replaces its old binding instead of standing beside it. Public GRUUs
are made, temporary ones are not. Pure functions; the bindings are the registrar's.
"""

from __future__ import annotations

from collections.abc import Iterable

from pbxcore.sip import build
from pbxcore.sip.errors import ParseError, SipError
from pbxcore.sip.headers import NameAddr, unquote
from pbxcore.sip.message import Request
from pbxcore.sip.uri import Uri, escape_param, escape_user, unescape

EXTENSIONS = frozenset({"path", "gruu", "outbound"})
"""What a REGISTER may require."""
MAX_INSTANCE = 128
MAX_REG_ID = 1 << 31
MAX_PATH = 4            # proxies between a phone and us
MAX_PATH_VALUE = 256
FLOW_TIMER = 120        # seconds within which a phone keeps its flow alive (RFC 5626 section 5.4)


def instance_of(contact: NameAddr) -> str:
    """The URN of `+sip.instance`, without quotes and angle brackets; empty when there is none that can be used."""
    text = unquote(contact.params.get("+sip.instance") or "").strip()
    urn = text[1:-1] if text[:1] == "<" and text[-1:] == ">" else text
    usable = urn.isascii() and urn.isprintable() and not set(urn) & set(' "<>\\')
    return urn if usable and len(urn) <= MAX_INSTANCE else ""


def reg_id_of(contact: NameAddr) -> int:
    """The number of the flow; 0 when there is none."""
    text = contact.params.get("reg-id") or ""
    if not (text.isascii() and text.isdigit() and len(text) <= 10):
        return 0
    number = int(text)
    return number if number < MAX_REG_ID else 0


def speaks(request: Request, option: str) -> bool:
    """Whether the sender knows an extension: it offers it, or requires it."""
    option = option.lower()
    return any(option == known.lower() for known in (*request.supported, *request.require))


def path_of(request: Request) -> tuple[str, ...]:
    """The proxies that requests to this phone go through, the nearest to us first (RFC 3327 section 5.3).

    Raises SipError 420 where the phone does not know of it (section 5.3), 400 for what is no route.
    """
    values = request.values("path")
    if not values:
        return ()
    if not speaks(request, "path"):
        raise SipError(420, build.REASONS[420])
    if len(values) > MAX_PATH or any(len(value) > MAX_PATH_VALUE for value in values):
        raise SipError(400, f"Path has at most {MAX_PATH} proxies of {MAX_PATH_VALUE} characters")
    for value in values:
        uri = NameAddr.parse(value).uri
        if uri.scheme not in ("sip", "sips") or not uri.host:
            raise SipError(400, "Path must hold SIP URIs")
    return tuple(values)


def check_first_hop(request: Request, path: Iterable[str]) -> None:
    """439 when a proxy that does not know of flows stands between the phone and us (RFC 5626 section 6)."""
    if len(request.values("via")) < 2:
        return
    first = list(path)[-1:]  # the proxy next to the phone was the first to add its Path
    if not first or "ob" not in NameAddr.parse(first[0]).uri.params:
        raise SipError(439, build.REASONS[439])


def gruu(extension: str, instance: str, host: str) -> str:
    """The public GRUU of a phone: its address of record and its instance (RFC 5627 section 3.1)."""
    return f"sip:{escape_user(extension)}@{host};gr={escape_param(instance)}"


def instance_in(uri: str, extension: str) -> str:
    """The instance that a GRUU of this extension names; empty for a URI that is none."""
    try:
        found = Uri.parse(uri)
    except ParseError:
        return ""
    return unescape(found.params.get("gr") or "") if found.username == extension else ""
