"""What the office has, made of the settings and of what is kept in the database: dial plan, secrets, trunks.

An extension of the settings file wins over a stored one of the same number.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import phonenumbers

from pbxcore import profiles
from pbxcore.call.router import DialPlan, ExtensionEntry, OutboundRule, digits, emergency_numbers
from pbxcore.call.servers import Servers
from pbxcore.call.services.entries import Menu, QueueEntry, RingGroup
from pbxcore.call.trunks import FlowTo, Trunk
from pbxcore.settings import Extension, Settings
from pbxcore.settings import Trunk as TrunkSettings
from pbxcore.settings_file.values import TRUNK_TRANSPORTS, split_port
from pbxcore.sip.digest import Secret
from pbxcore.sip.location import Question, numeric
from pbxcore.sip.uri import join_host
from pbxcore.store.repo import StoredExtension


@dataclass(frozen=True, slots=True)
class Office:
    """What the exchange is told at start."""

    dial_plan: DialPlan
    secrets: dict[str, Secret]
    profiles: dict[str, profiles.PhoneProfile]


def build(settings: Settings, stored: Iterable[StoredExtension], realm: str) -> Office:
    """Join the two sources. Raises BadProfile, also for a make of phone that nobody has yet."""
    profiles.check_all()
    extensions: dict[str, tuple[ExtensionEntry, str, str]] = {}
    for kept in stored:
        entry = ExtensionEntry(kept.number, kept.name, kept.crm_control)
        extensions[kept.number] = (entry, kept.secret, kept.profile)
    for extension in settings.extension:
        extensions[extension.number] = _from_file(extension)
    plan = DialPlan(
        extensions={number: entry for number, (entry, _, _) in extensions.items()},
        inbound={rule.number if rule.number == "*" else digits(rule.number): rule.to for rule in settings.inbound},
        outbound=tuple(OutboundRule(r.prefix, r.strip, r.prepend, r.trunks) for r in settings.outbound),
        trunks=frozenset(trunk.name for trunk in settings.trunk),
    )
    plan = with_services(plan, settings)
    return Office(
        replace(plan, emergency=emergency_numbers(for_help(settings), plan)),
        {number: Secret.from_password(number, realm, secret) for number, (_, secret, _) in extensions.items()},
        {number: profiles.phone(profile) for number, (_, _, profile) in extensions.items() if profile},
    )


def first_party(settings: Settings, stored: Iterable[StoredExtension]) -> frozenset[str]:
    """The extensions whose own workstation asks and tells the CRM of their calls."""
    control = {kept.number: kept.crm_control for kept in stored}
    control |= {extension.number: extension.crm_control for extension in settings.extension}
    return frozenset(number for number, scheme in control.items() if scheme == "first-party")


def with_services(plan: DialPlan, settings: Settings) -> DialPlan:
    """The dial plan with ring groups, queues, menus and mailboxes."""
    groups = {
        each.name: RingGroup(each.name, each.members, each.strategy, each.ring_seconds, each.otherwise)
        for each in settings.ring_group
    }
    queues = {
        each.name: QueueEntry(
            each.name, each.agents, each.strategy, each.music, each.ring_seconds, each.announce_seconds,
            each.max_wait_seconds, each.max_callers, each.otherwise,
        )
        for each in settings.queue
    }  # fmt: skip
    menus = {
        each.name: Menu(
            each.name, each.say, dict(key.split("=", 1) for key in each.keys), each.key_seconds, each.tries,
            each.otherwise,
        )
        for each in settings.ivr
    }  # fmt: skip
    idle = [*(g.members for g in groups.values() if g.strategy == "longest_idle"),
            *(q.agents for q in queues.values() if q.strategy == "longest_idle")]  # fmt: skip
    kinds = (("group", settings.ring_group), ("queue", settings.queue), ("ivr", settings.ivr))
    return replace(
        plan, groups=groups, queues=queues, menus=menus,
        boxes=frozenset(extension.number for extension in settings.extension if extension.voicemail),
        numbers={each.number: f"{kind}:{each.name}" for kind, several in kinds for each in several if each.number},
        watched=frozenset(number for members in idle for number in members),
        mailbox_number=settings.office.mailbox_number,
    )  # fmt: skip


def for_help(settings: Settings) -> tuple[str, ...]:
    """The numbers that are dialled for help, by libphonenumber's tables where the settings name none."""
    office = settings.office
    if office.emergency_numbers:
        return office.emergency_numbers
    if not office.country:
        return ("112", "911")
    short = [str(number) for number in range(100, 1000)]
    return tuple([number for number in short if phonenumbers.is_emergency_number(number, office.country)])


def _from_file(extension: Extension) -> tuple[ExtensionEntry, str, str]:
    entry = ExtensionEntry(extension.number, extension.name, extension.crm_control, extension.caller_id)
    return entry, extension.password.get_secret_value(), extension.profile


def trunks(
    settings: Settings,
    flow_to: FlowTo,
    token: Callable[[], str],
    clock: Callable[[], float],
    chance: Callable[[], float],
) -> list[Trunk]:
    """The trunks. Where the servers are that have names is found out later, from `questions`."""
    made = [_trunk(trunk, settings.office.country, flow_to, token, clock, chance) for trunk in settings.trunk]
    asked = questions(settings)
    for trunk in made:   # those with addresses are known by them before the first packet comes
        trunk.servers.locate([found for question in asked[trunk.name] if (found := numeric(question)) is not None])
    return made


def _trunk(
    trunk: TrunkSettings,
    country: str,
    flow_to: FlowTo,
    token: Callable[[], str],
    clock: Callable[[], float],
    chance: Callable[[], float],
) -> Trunk:
    profile = profiles.trunk(trunk.profile)
    named = server_of(trunk.server, profile)
    made = Trunk(
        trunk.name,
        named.transport,
        named.host,
        "",
        named.port or 0,
        flow_to,
        token,
        trunk.username,
        trunk.password.get_secret_value(),
        trunk.caller_id,
        trunk.max_calls,
        [ipaddress.ip_network(source, strict=False) for source in trunk.accept_from],
        auth_username=trunk.auth_username,
        profile=profile,
        trusted=trunk.trusted,
        numbers=frozenset(digits(number) for number in trunk.numbers),
        country=country,
        authorities=trunk.tls_ca,
        clock=clock,
        chance=chance,
        servers=Servers(profile.options_down_after),
    )
    if trunk.outbound_proxy and profile.proxy_in_route:
        proxy = server_of(trunk.outbound_proxy, profile)
        transport = f";transport={proxy.transport.lower()}" if proxy.transport not in ("", "UDP") else ""
        made.proxy = f"<sip:{join_host(proxy.host, proxy.port)}{transport};lr>"
    return made


def questions(settings: Settings) -> dict[str, list[Question]]:
    """By trunk, whom to look for in the order to try them (RFC 3263); an outbound proxy takes the server's place."""
    found: dict[str, list[Question]] = {}
    for trunk in settings.trunk:
        profile = profiles.trunk(trunk.profile)
        servers = [trunk.outbound_proxy or trunk.server, *trunk.backup_servers]
        found[trunk.name] = [server_of(server, profile) for server in servers]
    return found


def server_of(server: str, profile: profiles.TrunkProfile) -> Question:
    """`tcp:sip.example.net:5070` as what is to be found; what is left out is the profile's word, or the DNS's."""
    transport: str = profile.transport
    head, colon, rest = server.partition(":")
    if colon and head.lower() in TRUNK_TRANSPORTS:
        transport, server = head.lower(), rest
    host, port = server, None
    if server.count(":") < 2 or server.startswith("["):   # else an IPv6 address without brackets
        host, text = split_port(server)
        port = int(text) if text else None
    return Question(host, port, transport.upper(), profile.default_port)
