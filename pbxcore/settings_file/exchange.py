"""Faults of [office], [sip], [media], [web], [database] and [crm] that their types do not show.

Like `dialplan`, it works on the raw document and passes over what is missing or of the wrong type: that is reported
already, and so all faults of a file come out at once.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
import zoneinfo
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

import phonenumbers

from pbxcore.certificates import authorities_fault, certificate_fault
from pbxcore.settings_file import connectors
from pbxcore.settings_file.values import (
    Finding,
    Findings,
    Path,
    is_address,
    is_host,
    listen_fault,
    network_fault,
    port_fault,
    rows,
    split_port,
    table,
    text,
    texts,
)
from pbxcore.sip.addresses import Network, is_private

KEY_BYTES = range(24, 65)   # Standard Webhooks 1.0, "Symmetric"
LOWEST_PORT = 1024   # ports under it need root
_WEB_ADDRESS = re.compile(r"https?://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(:[0-9]{1,5})?(/[!-~]*)?\Z")

_ORIGIN = re.compile(r"https?://(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:\d{1,5})?")   # RFC 6454 section 6.2
_PYTHON_TARGET = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
_RECIPE = "make one with: echo whsec_$(openssl rand -base64 24)"


def check(raw: Mapping[str, Any]) -> Findings:
    for part in (_office, _sip, _media, _web, _database, _crm):
        yield from part(raw)


def _office(raw: Mapping[str, Any]) -> Findings:
    office = table(raw, "office")
    country = text(office, "country")
    if country and country.upper() not in phonenumbers.SUPPORTED_REGIONS:
        hint = '; did you mean "GB"?' if country.upper() == "UK" else ""
        message = f'"{country}" is no country; write two letters of ISO 3166, such as "US" or "RU"{hint}'
        yield Finding(("office", "country"), message)
    for number in texts(office, "emergency_numbers"):
        if not re.fullmatch(r"[0-9*#]{2,15}", number):
            message = f'"{number}" is no number that can be dialled; write digits, such as "112"'
            yield Finding(("office", "emergency_numbers"), message, number)
    zone = text(office, "timezone")
    known = zoneinfo.available_timezones()
    if zone and known and zone not in known:
        by_lower = {name.lower(): name for name in known}
        close = get_close_matches(zone.lower(), by_lower, n=1)
        hint = f'did you mean "{by_lower[close[0]]}"?' if close else 'write it like "Europe/Berlin"'
        yield Finding(("office", "timezone"), f'"{zone}" is no time zone; {hint}')


def _sip(raw: Mapping[str, Any]) -> Findings:
    sip = table(raw, "sip")
    path = ("sip", "listen")
    listen = sip.get("listen")
    if listen == []:
        yield Finding(path, 'name at least one address, such as "udp:0.0.0.0:5060"')
    seen: set[str] = set()
    for spec in texts(sip, "listen"):
        fault = listen_fault(spec)
        if fault is None and spec in seen:
            fault = f'"{spec}" stands here twice; remove one'
        if fault:
            yield Finding(path, fault, spec)
        seen.add(spec)
    yield from _tls(sip)
    path = ("sip", "websocket_path")
    if "websocket_path" in sip and re.fullmatch(r"/[^\s?#]*", text(sip, "websocket_path")) is None:
        yield Finding(path, f'"{text(sip, "websocket_path")}" is no path; it begins with /, like "/sip"')
    for origin in texts(sip, "websocket_origins"):
        if origin != "*" and _ORIGIN.fullmatch(origin) is None:
            message = f'"{origin}" is no origin of a page; write it like "https://crm.example.net", without a path'
            yield Finding(("sip", "websocket_origins"), message, origin)
    domain = text(sip, "domain")
    if domain and not is_host(domain):
        yield Finding(("sip", "domain"), f'"{domain}" is no host name; write it like "pbx.example.net", without sip:')
    yield from _nat(sip)
    for server in texts(sip, "nameservers"):
        host, port = split_port(server) if not is_address(server) else (server, None)
        if not is_address(host):
            message = f'"{server}" is no IP address; write a DNS server like "192.0.2.53" or "192.0.2.53:5353"'
            yield Finding(("sip", "nameservers"), message, server)
        elif port is not None and (wrong := port_fault(server, port)):
            yield Finding(("sip", "nameservers"), wrong, server)
    interval, least = sip.get("session_seconds", 1800), sip.get("session_min_seconds", 90)
    if type(interval) is int and type(least) is int and 0 < interval < max(least, 90):
        message = f"{interval} is under {max(least, 90)}, the shortest that is taken; write a longer one, or 0 for none"
        yield Finding(("sip", "session_seconds"), message)
    hep = text(sip, "hep")
    if hep:
        transport, _, address = hep.partition(":")
        host, port = split_port(address)
        if transport != "udp" or not (is_host(host) or is_address(host)) or (port and port_fault(hep, port)):
            yield Finding(("sip", "hep"), f'"{hep}" is no HEP collector; write it like "udp:homer.example.net:9060"')


def _nat(sip: Mapping[str, Any]) -> Findings:
    external, path = text(sip, "external_address"), ("sip", "local_networks")
    networks: list[Network] = []
    for network in texts(sip, "local_networks"):
        fault, found = network_fault(network)
        if found is not None:
            overlapping = next((one for one in networks if one.version == found.version and one.overlaps(found)), None)
            networks.append(found)
            if overlapping == found:
                fault = f'"{network}" stands here twice; remove one'
            elif overlapping is not None:
                smaller = max(overlapping, found, key=lambda one: one.prefixlen)
                fault = f'"{overlapping}" and "{found}" overlap; remove the smaller one, "{smaller}"'
        if fault:
            yield Finding(path, fault, network)
    if not external:
        if networks:
            message = "networks are local only to an external address; set external_address, or remove this"
            yield Finding(path, message)
        return
    key = ("sip", "external_address")
    if not is_address(external):
        mend = 'write the IP address of your router, like "203.0.113.7"; it has to be one that does not change'
        yield Finding(key, f'"{external}" is no IP address; {mend}')
        return
    address = ipaddress.ip_address(external)
    inside = next((one for one in networks if address in one), None)
    if is_private(external) or address.is_unspecified or address.is_multicast:
        mend = "write the one that your router has on the side of the Internet, or leave this out"
        yield Finding(key, f'nobody outside can reach "{external}"; {mend}')
    elif inside is not None:
        yield Finding(key, f'"{external}" lies in the local network "{inside}"; one of the two is wrong')


def _tls(sip: Mapping[str, Any]) -> Findings:
    certificate, key = text(sip, "tls_certificate"), text(sip, "tls_key")
    secure = [spec for spec in texts(sip, "listen") if spec.lower().startswith(("tls:", "wss:"))]
    if secure and not certificate:
        message = f'"{secure[0]}" needs a certificate; say where it is: tls_certificate = "certificate.pem"'
        yield Finding(("sip", "listen"), message, secure[0])
    if key and not certificate:
        yield Finding(("sip", "tls_key"), "a key without its certificate; add tls_certificate")
    fault = certificate_fault(certificate, key) if certificate else None
    if fault:
        yield Finding(("sip", fault[0]), fault[1])
    authorities = text(sip, "tls_ca")
    wrong = authorities_fault(authorities) if authorities else None
    if wrong:
        yield Finding(("sip", "tls_ca"), wrong)


def _media(raw: Mapping[str, Any]) -> Findings:
    media = table(raw, "media")
    path = ("media", "ports")
    first, dash, last = text(media, "ports").replace(" ", "").partition("-")
    if "ports" in media and isinstance(media["ports"], str):
        if not (dash and first.isdecimal() and last.isdecimal()):
            yield Finding(path, f'"{media["ports"]}" is no range of ports; write it like "20000-29999"')
        elif not LOWEST_PORT <= int(first) < int(last) <= 65535:
            yield Finding(path, f"a range of ports goes upward, from {LOWEST_PORT} at least to 65535 at most")
        elif int(last) - int(first) < 7:
            yield Finding(path, "a call takes four ports, so a range needs eight at least")
        else:
            yield from _ports_taken(raw, range(int(first), int(last) + 1))
    if text(media, "backend") == "rtpengine" and not media.get("rtpengine"):
        yield Finding(("media", "backend"), 'say where the daemon is: rtpengine = ["udp:127.0.0.1:2223"]')
    for spec in texts(media, "rtpengine"):
        transport, _, address = spec.partition(":")
        host, port = split_port(address)
        if transport != "udp" or not is_address(host) or port_fault(spec, port):
            message = f'"{spec}" is no address of an rtpengine; write it like "udp:127.0.0.1:2223"'
            yield Finding(("media", "rtpengine"), message, spec)


def _ports_taken(raw: Mapping[str, Any], ports: range) -> Findings:
    for spec in texts(table(raw, "sip"), "listen"):
        port = split_port(spec.partition(":")[2])[1] or ""
        if spec.startswith("udp:") and port.isdecimal() and int(port) in ports:
            yield Finding(("media", "ports"), f'the range takes in the port of sip.listen "{spec}"; keep them apart')


def _web(raw: Mapping[str, Any]) -> Findings:
    web = table(raw, "web")
    listen = text(web, "listen")
    if isinstance(web.get("listen"), str):
        host, port = split_port(listen)
        fault = None if is_address(host) else f'"{listen}" has no IP address; write it like "127.0.0.1:8080"'
        fault = fault or port_fault(listen, port)
        if fault:
            yield Finding(("web", "listen"), fault)
    url = text(web, "public_url")
    if url and not url.startswith(("http://", "https://")):
        yield Finding(("web", "public_url"), f'"{url}" is no web address; begin with https:// or http://')


def _database(raw: Mapping[str, Any]) -> Findings:
    database = table(raw, "database")
    url = text(database, "url")
    if isinstance(database.get("url"), str) and not url.startswith(("sqlite:///", "postgresql://")):
        message = 'is no database; write "sqlite:///hookline.db" or "postgresql://user:password@host/name"'
        yield Finding(("database", "url"), f'"{url.split("@")[-1]}" {message}')


def _crm(raw: Mapping[str, Any]) -> Findings:
    crm = table(raw, "crm")
    url = text(crm, "workstation_url")
    if url and not _WEB_ADDRESS.match(url):
        yield Finding(("crm", "workstation_url"), f'"{url}" is no web address; begin with https:// or http://')
    names: dict[str, int] = {}
    for index, hook in rows(crm, "hook"):
        path: Path = ("crm", "hook", index)
        kind = text(hook, "kind")
        if kind == "http":
            yield from _http_hook(hook, path)
        elif kind == "python":
            yield from _python_hook(hook, path)
        name = text(hook, "name")
        if name and name in names:
            yield Finding((*path, "name"), f'hook {names[name] + 1} is called "{name}" already; give this one another')
        names.setdefault(name, index)
    yield from connectors.check(crm)


def _http_hook(hook: Mapping[str, Any], path: Path) -> Findings:
    url, secret = text(hook, "url"), text(hook, "secret")
    if not url:
        yield Finding(path, 'an http hook needs a url: url = "https://crm.example.net/incoming"')
    elif not url.startswith(("http://", "https://")):
        yield Finding((*path, "url"), f'"{url}" is no web address; begin with https:// or http://')
    if not secret:
        yield Finding(path, f"an http hook needs a secret, with which its requests are signed; {_RECIPE}")
    elif not all(_is_key(word) for word in secret.split()):   # two, while one takes the place of the other
        yield Finding((*path, "secret"), f"a secret is base64 of 24 to 64 bytes (Standard Webhooks); {_RECIPE}")
    if "target" in hook:
        yield Finding((*path, "target"), 'only hooks of kind = "python" have a target; remove it')


def _python_hook(hook: Mapping[str, Any], path: Path) -> Findings:
    target = text(hook, "target")
    if not target:
        yield Finding(path, 'a python hook needs a target: target = "module:Class"')
    elif _PYTHON_TARGET.fullmatch(target) is None:
        yield Finding((*path, "target"), f'"{target}" is no target; write it like "module:Class"')
    for key in ("url", "secret"):
        if key in hook:
            yield Finding((*path, key), f'only hooks of kind = "http" have a {key}; remove it')


def _is_key(word: str) -> bool:
    try:
        return len(base64.b64decode(word.removeprefix("whsec_"), validate=True)) in KEY_BYTES
    except (binascii.Error, ValueError):
        return False
