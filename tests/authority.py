"""A certificate authority for one test run: makes certificates with the names, dates and faults that a test asks for.

Keys are of P-256: they are made in a millisecond.
"""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = datetime.timedelta(days=1)


@dataclass(frozen=True)
class Pair:
    """Files of a certificate and its key."""

    certificate: str
    key: str

    @property
    def settings(self) -> str:
        """For section [sip]."""
        return f'tls_certificate = "{self.certificate}"\ntls_key = "{self.key}"\n'


class Authority:
    """`file` holds its own certificate, for those who trust it."""

    def __init__(self, directory: Path, name: str = "Test CA") -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        own = self._builder(self._name, self._key, DAY * 30).add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        )
        self._count = 0
        self.file = str(directory / f"{name.replace(' ', '-')}.pem")
        Path(self.file).write_bytes(own.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, lasts: datetime.timedelta
    ) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - 2 * DAY)
            .not_valid_after(now + lasts)
        )

    def issue(
        self,
        *,
        dns: Sequence[str] = (),
        uris: Sequence[str] = (),
        addresses: Sequence[str] = ("127.0.0.1", "::1"),
        common_name: str = "",
        expired: bool = False,
        name: str = "",
    ) -> Pair:
        """A certificate of a server that speaks for these names."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)] if common_name else [])
        names: list[x509.GeneralName] = [x509.DNSName(host) for host in dns]
        names += [x509.UniformResourceIdentifier(uri) for uri in uris]
        names += [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses]
        made = self._builder(subject, key, -DAY if expired else DAY * 20)
        if names:
            made = made.add_extension(x509.SubjectAlternativeName(names), critical=not common_name)
        self._count += 1
        stem = self._directory / (name or f"peer-{self._count}")
        pair = Pair(f"{stem}.pem", f"{stem}.key")
        Path(pair.certificate).write_bytes(
            made.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        )
        Path(pair.key).write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return pair
