"""What the office has, made of the settings and of what is kept in the database: dial plan, secrets, trunks.

An extension of the settings file wins over a stored one of the same number.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from pbxcore import profiles
from pbxcore.call.router import DialPlan, ExtensionEntry, OutboundRule, digits
from pbxcore.call.trunks import FlowTo, Trunk
from pbxcore.settings import Extension, Settings
from pbxcore.settings import Trunk as TrunkSettings
from pbxcore.sip.digest import Secret
from pbxcore.store.repo import StoredExtension


class TrunkUnresolved(Exception):
    """A trunk's server cannot be found; the message says which and what to do."""


@dataclass(frozen=True, slots=True)
class Office:
    """What the exchange is told at start."""

    dial_plan: DialPlan
    secrets: dict[str, Secret]
    profiles: dict[str, profiles.PhoneProfile]


def build(settings: Settings, stored: Iterable[StoredExtension], realm: str) -> Office:
    """Join the two sources."""
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
    return Office(
        plan,
        {number: Secret.from_password(number, realm, secret) for number, (_, secret, _) in extensions.items()},
        {number: profiles.phone(profile) for number, (_, _, profile) in extensions.items()},
    )


def _from_file(extension: Extension) -> tuple[ExtensionEntry, str, str]:
    entry = ExtensionEntry(extension.number, extension.name, extension.crm_control)
    return entry, extension.password.get_secret_value(), extension.profile


async def trunks(settings: Sequence[TrunkSettings], flow_to: FlowTo, token: Callable[[], str]) -> list[Trunk]:
    """The trunks with the addresses of their servers looked up. Raises TrunkUnresolved."""
    return [await _trunk(trunk, flow_to, token) for trunk in settings]


async def _trunk(trunk: TrunkSettings, flow_to: FlowTo, token: Callable[[], str]) -> Trunk:
    transport, host, port = server_of(trunk.server, profiles.trunk(trunk.profile).default_port)
    return Trunk(
        trunk.name,
        transport,
        host,
        await _address(trunk.name, host),
        port,
        flow_to,
        token,
        trunk.username,
        trunk.password.get_secret_value(),
        trunk.caller_id,
        trunk.max_calls,
        [ipaddress.ip_network(source, strict=False) for source in trunk.accept_from],
    )


def server_of(server: str, default_port: int) -> tuple[str, str, int]:
    """`tcp:sip.example.net:5070` as transport, host and port; UDP and the profile's port where they are left out."""
    transport = "UDP"
    head, colon, rest = server.partition(":")
    if colon and head.lower() in ("udp", "tcp"):
        transport, server = head.upper(), rest
    if server.startswith("["):
        host, _, port = server[1:].partition("]")
        return transport, host, int(port.lstrip(":") or default_port)
    host, _, port = server.partition(":")
    if ":" in port:  # an IPv6 address without brackets
        return transport, server, default_port
    return transport, host, int(port or default_port)


async def _address(name: str, host: str) -> str:
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_DGRAM)
    except OSError as error:
        raise TrunkUnresolved(
            f"trunk {name}: the server {host} cannot be found ({error.strerror}); "
            "check [[trunk]] server, or write its IP address"
        ) from error
    return str(found[0][4][0])
