"""TLS without sockets (RFC 3261 section 26.2.1, RFC 5922): certificates, contexts, and one side of one connection.

`Certificates` keeps what is read from files and looks at them again while the exchange runs: connections that come
later get what was read last, those that stand are left alone. `TlsWire` turns octets of the network into octets of
SIP and back; who reads and writes is `stream`. Not here: certificates of clients are not asked for, since phones prove
themselves by digest; revocation is not looked up.
"""

from __future__ import annotations

import ipaddress
import os
import ssl
from collections.abc import Iterable
from typing import Any

import structlog

from pbxcore.certificates import authorities_fault, certificate_fault

log = structlog.get_logger("net")

CHUNK = 64 * 1024


class CertificateFault(Exception):
    """A certificate, key or CA file that cannot be used; the message is a sentence for people."""


class PeerRefused(Exception):
    """The other side's certificate or its TLS is not acceptable; the message says why."""


class Certificates:
    """Our own certificate, and the CAs that others are checked by. Empty names: none of our own, the system's CAs."""

    def __init__(self, certificate: str = "", key: str = "", authorities: str = "") -> None:
        self._certificate = certificate
        self._key = key
        self._authorities = authorities
        self._server: ssl.SSLContext | None = None
        self._clients: dict[str, ssl.SSLContext] = {}
        self._seen: dict[str, object] = {}   # by file, what it looked like when it was last read or tried

    def server(self) -> ssl.SSLContext:
        """For connections that others open. Raises CertificateFault."""
        if self._server is None:
            if not self._certificate:
                raise CertificateFault('it needs a certificate: [sip] tls_certificate = "certificate.pem"')
            self._look_at(self._own_files())
            self._server = self._make_server()
        return self._server

    def client(self, authorities: str = "") -> ssl.SSLContext:
        """For connections that we open; `authorities` is a file of CAs instead of the office's. Reads files: not for
        the event loop's thread. Raises CertificateFault."""
        path = authorities or self._authorities
        context = self._clients.get(path)
        if context is None:
            self._look_at([path, *self._own_files()])
            context = self._clients[path] = self._make_client(path)
        return context

    def refresh(self) -> None:
        """Looks whether files have changed, and takes what they hold now; one that cannot be used is named in the log
        and the old one stays. Reads files: not for the event loop's thread."""
        changed = {path for path, look in self._seen.items() if _look(path) != look}
        if not changed:
            return
        self._look_at(changed)
        own = not changed.isdisjoint(self._own_files())
        try:
            if own and self._server is not None:
                self._server = self._make_server()
            for path in list(self._clients):
                if own or path in changed:
                    self._clients[path] = self._make_client(path)
        except CertificateFault as fault:
            log.error("the new certificate is not used, the old one stays", reason=str(fault))
        else:
            log.info("read again, new connections use it", files=sorted(changed))

    def _own_files(self) -> list[str]:
        return [path for path in (self._certificate, self._key) if path]

    def _look_at(self, paths: Iterable[str]) -> None:
        for path in paths:
            if path:
                self._seen[path] = _look(path)

    def _make_server(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        _harden(context)
        self._present(context)
        return context

    def _make_client(self, authorities: str) -> ssl.SSLContext:
        fault = authorities_fault(authorities) if authorities else None
        if fault:
            raise CertificateFault(fault)
        context = ssl.create_default_context(cafile=authorities or None)
        _harden(context)
        context.check_hostname = False   # done by RFC 5922, which knows SIP URIs and no wildcards: `check_name`
        if self._certificate:            # carriers that ask for one get it (section 7.5)
            self._present(context)
        return context

    def _present(self, context: ssl.SSLContext) -> None:
        fault = certificate_fault(self._certificate, self._key)
        if fault:
            raise CertificateFault(fault[1])
        try:
            context.load_cert_chain(self._certificate, self._key or None, password="")
        except OSError as error:   # the files were changed between the two looks: there will be a third
            raise CertificateFault(f'"{self._certificate}" cannot be used: {error}') from error


def _harden(context: ssl.SSLContext) -> None:
    """TLS 1.2 at least (RFC 8996); no renegotiation, which lets a client make us work without end."""
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION


def _look(path: str) -> object:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


class TlsWire:
    """One side of a connection. `domain` is whom we call and check; the empty one is for connections made to us.

    After `start` and each `receive`, `send` and `close`, what is to go onto the network waits in `outgoing`.
    """

    __slots__ = ("_incoming", "_outgoing", "_tls", "domain", "ended", "established")

    def __init__(self, context: ssl.SSLContext, domain: str = "") -> None:
        """Raises PeerRefused for a domain that no certificate can name."""
        self.domain = domain
        self.established = False
        self.ended = False     # the other side has said that it sends nothing more
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        try:
            self._tls = context.wrap_bio(
                self._incoming, self._outgoing, server_side=not domain, server_hostname=domain or None
            )
        except ValueError as error:   # UnicodeError is one
            raise PeerRefused(f"{domain!r} is no name of a host: {error}") from None

    def start(self) -> None:
        """The side that calls speaks first."""
        self._shake_hands()

    def receive(self, data: bytes) -> bytes:
        """Octets of the network; gives what they say, which may be nothing yet. Raises PeerRefused, after which
        `outgoing` holds the alert for the peer."""
        self._incoming.write(data)
        if not self.established:
            self._shake_hands()
            if not self.established:
                return b""
        pieces = []
        try:
            while not self.ended:
                piece = self._tls.read(CHUNK)
                self.ended = not piece
                pieces.append(piece)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        except ssl.SSLZeroReturnError:
            self.ended = True
        except ssl.SSLError as error:
            raise PeerRefused(_reason(error)) from None
        return b"".join(pieces)

    def _shake_hands(self) -> None:
        try:
            self._tls.do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return
        except ssl.SSLError as error:
            raise PeerRefused(_reason(error)) from None
        if self.domain:
            check_name(self._tls.getpeercert() or {}, self.domain)
        self.established = True

    def send(self, data: bytes) -> None:
        """Raises PeerRefused when this side of the connection is closed or broken."""
        try:
            self._tls.write(data)
        except ssl.SSLError as error:
            raise PeerRefused(_reason(error)) from None

    def close(self) -> None:
        """Says that nothing more will come; the answer is not waited for."""
        if self.established:
            try:
                self._tls.unwrap()
            except ssl.SSLError:   # wants the peer's own farewell, or the peer is past that
                return

    def outgoing(self) -> bytes:
        return self._outgoing.read()

    @property
    def version(self) -> str:
        return self._tls.version() or ""


def _reason(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {error.verify_message}"
    return (error.reason or str(error)).replace("_", " ").lower()


def identities(certificate: dict[str, Any]) -> list[str]:
    """The domains that a certificate speaks for (RFC 5922 section 7.1): its SIP URIs that have no user part; only when
    there is none, its DNS names. The subject's common name does not count (it MAY, and misleads)."""
    names = certificate.get("subjectAltName", ())
    uris = [value[4:].partition(";")[0] for kind, value in names if kind == "URI" and value[:4].lower() == "sip:"]
    hosts = [host for host in uris if "@" not in host]
    return hosts or [value for kind, value in names if kind == "DNS"]


def check_name(certificate: dict[str, Any], domain: str) -> None:
    """Whether the certificate speaks for the domain (RFC 5922 section 7.2): letter by letter without regard to case;
    no wildcard and no part of a name stands for another. An IP address is matched by value with the addresses that the
    certificate names. Raises PeerRefused."""
    names = identities(certificate)
    wanted = _host(domain)
    try:
        address = ipaddress.ip_address(wanted)
    except ValueError:
        matches = wanted in (_host(name) for name in names)
    else:
        names += [value for kind, value in certificate.get("subjectAltName", ()) if kind == "IP Address"]
        matches = address in (_address(name) for name in names)
    if not matches:
        raise PeerRefused(f"its certificate is not for {domain}, it names {', '.join(names[:5]) or 'nobody'}")


def _host(name: str) -> str:
    return name.strip("[]").rstrip(".").lower()


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(_host(name))
    except ValueError:
        return None
