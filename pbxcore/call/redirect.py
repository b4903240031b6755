"""A 3xx of a phone or a carrier, followed (RFC 3261 section 8.1.3.4): where to, how far, and what is told of it.

A Contact is followed to an extension, or to a number that the dial plan would have called: by an outbound rule for a
phone that forwards its calls, through the same carrier for one that says another number. A host that is neither ours
nor that of whoever answered is followed nowhere, and a target that this call has been at ends a loop. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from pbxcore.call.router import DialPlan, Target, outbound
from pbxcore.sip.errors import ParseError
from pbxcore.sip.headers import NameAddr, quote
from pbxcore.sip.message import Field, Response
from pbxcore.sip.uri import escape_user, same_host

FOLLOWED = frozenset({300, 301, 302})
MOST = 5  # redirections one after the other
MOST_BRANCHES = 16  # that one call has by redirections
MOST_CONTACTS = 8
REASONS = frozenset(
    ("user-busy", "no-answer", "unavailable", "unconditional", "time-of-day", "do-not-disturb", "deflection",
     "follow-me", "out-of-service", "away")
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Hop:
    """A redirection on the way of a call: who sent it on, with what status, and why in the words of RFC 5806."""

    number: str
    name: str
    status: int
    reason: str


def targets(response: Response, by: Target, hosts: Collection[str], plan: DialPlan) -> list[Target]:
    """Where a 3xx of `by` may lead, the best first. `hosts` are ours, and those of whoever answered."""
    try:
        contacts = response.contacts[:MOST_CONTACTS]
    except ParseError:
        return []
    found: list[Target] = []
    for contact in sorted(contacts, key=_preference):
        uri = contact.uri
        here = uri.scheme == "tel" or (uri.scheme in ("sip", "sips") and _is_one_of(uri.host, hosts))
        number = uri.username.partition(";")[0]
        if number and here:
            found += _allowed(number, by, plan)
    return list(dict.fromkeys(found))


def _preference(contact: NameAddr) -> float:
    """The highest q first (section 20.10); who says none means 1."""
    try:
        return -min(1.0, max(0.0, float(contact.params.get("q") or 1.0)))
    except ValueError:
        return -1.0


def _is_one_of(host: str, hosts: Collection[str]) -> bool:
    return any(same_host(host, own) for own in hosts if own)


def _allowed(number: str, by: Target, plan: DialPlan) -> list[Target]:
    if number in plan.extensions:
        return [Target(number)]
    if by.trunk is None:
        return [target for step in outbound(number, plan) for target in step.targets]
    ruled = [rule.prepend + rule.prefix[rule.strip :] for rule in plan.outbound if by.trunk in rule.trunks]
    return [Target(number, by.trunk)] if any(number.startswith(prefix) for prefix in ruled) else []


def hop(response: Response, number: str, name: str, *, rang: bool) -> Hop:
    """What a 3xx is as a step on the call's way: by its own account where it gives one."""
    reason = "deflection" if rang else "unconditional"
    for value in response.values("diversion"):
        said = _parsed_reason(value)
        if said in REASONS:
            reason = said
        break
    return Hop(number, name, response.status, reason)


def _parsed_reason(value: str) -> str:
    try:
        return (NameAddr.parse(value).params.get("reason") or "").strip('"').lower()
    except ParseError:
        return ""


def marks(hops: Sequence[Hop], number: str, host: str, kinds: Collection[str], before: str = "") -> list[Field]:
    """What an INVITE to `number` says of these hops: the latest Diversion first (RFC 5806 section 5), History-Info from
    the first on, each one level below the one before it (RFC 7044 sections 5 and 10.3). `before` is the last index of
    what a carrier has said."""
    rows: list[Field] = []
    if "diversion" in kinds:
        rows += [("diversion", f"Diversion: {_address(h, host)};reason={h.reason}") for h in reversed(hops)]
    if "history-info" in kinds:
        index, cause = f"{before}.1" if before else "1", ""
        for h in hops:
            uri = f"<sip:{escape_user(h.number)}@{host}{cause}>"
            rows.append(("history-info", f"History-Info: {uri};index={index}{_from(index, cause)}"))
            index, cause = f"{index}.1", f";cause={h.status}"
        last = f"<sip:{escape_user(number)}@{host}{cause}>;index={index}{_from(index, cause)}"
        rows.append(("history-info", f"History-Info: {last}"))
    return rows


def _from(index: str, cause: str) -> str:
    """`mp`: whoever was at this index has sent it here (RFC 7044 section 10.4)."""
    return f";mp={index.rpartition('.')[0]}" if cause else ""


def _address(one: Hop, host: str) -> str:
    uri = f"<sip:{escape_user(one.number)}@{host}>"
    return f"{quote(one.name)} {uri}" if one.name else uri
