"""TLS without sockets: who a certificate speaks for, and which files can be used."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from pbxcore.certificates import authorities_fault, certificate_fault
from pbxcore.net.tls import CertificateFault, Certificates, PeerRefused, TlsWire, check_name, identities
from tests.authority import Authority, Pair


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def certificate(*names: tuple[str, str]) -> dict[str, object]:
    return {"subject": ((("commonName", "common.example.net"),),), "subjectAltName": names}


@pytest.mark.parametrize(
    ("names", "domain", "good"),
    [
        ([("URI", "sip:example.com")], "example.com", True),
        ([("URI", "SIP:Example.COM")], "eXample.com", True),
        ([("URI", "sip:example.com;lr")], "example.com", True),
        ([("DNS", "example.com")], "example.com", True),
        ([("DNS", "example.com.")], "example.com", True),
        ([("URI", "sip:other.com"), ("DNS", "example.com")], "example.com", False),    # 7.1: DNS only without SIP URIs
        ([("URI", "sip:anna@example.com"), ("DNS", "example.com")], "example.com", True),
        ([("URI", "sip:anna@example.com")], "example.com", False),       # one user is not her domain
        ([("URI", "sips:example.com")], "example.com", False),           # 7.1 names the scheme sip alone
        ([("URI", "https://example.com")], "example.com", False),
        ([("DNS", "*.example.com")], "sip.example.com", False),          # 7.2: no wildcards
        ([("URI", "sip:*.example.com")], "sip.example.com", False),
        ([("DNS", "example.com")], "sip.example.com", False),            # nor any part of a name
        ([("DNS", "sip.example.com")], "example.com", False),
        ([], "common.example.net", False),                               # the common name counts for nothing
        ([("DNS", "example.com.evil.net")], "example.com", False),
        ([("IP Address", "192.0.2.1")], "192.0.2.1", True),
        ([("IP Address", "2001:DB8:0:0:0:0:0:1")], "[2001:db8::1]", True),
        ([("IP Address", "192.0.2.1")], "192.0.2.2", False),
        ([("DNS", "192.0.2.1")], "192.0.2.1", True),
    ],
)  # fmt: skip
def test_who_a_certificate_speaks_for(names: list[tuple[str, str]], domain: str, good: bool) -> None:
    if good:
        check_name(certificate(*names), domain)
    else:
        with pytest.raises(PeerRefused, match="is not for"):
            check_name(certificate(*names), domain)


def test_names_of_a_real_certificate(authority: Authority) -> None:
    pair = authority.issue(uris=["sip:example.com"], dns=["sip.example.com"])
    client, server = wires(authority, pair, "example.com")
    handshake(client, server)
    assert client.established
    assert client.version in ("TLSv1.2", "TLSv1.3")
    assert identities(client._tls.getpeercert() or {}) == ["example.com"]


def wires(authority: Authority, pair: Pair, domain: str) -> tuple[TlsWire, TlsWire]:
    ours = Certificates(pair.certificate, pair.key, authority.file)
    return TlsWire(ours.client(), domain), TlsWire(ours.server())


def handshake(client: TlsWire, server: TlsWire) -> None:
    client.start()
    for _ in range(4):
        server.receive(client.outgoing())
        client.receive(server.outgoing())


def test_two_wires_carry_more_than_one_record_and_say_goodbye(authority: Authority) -> None:
    client, server = wires(authority, authority.issue(dns=["pbx.example.net"]), "pbx.example.net")
    handshake(client, server)
    client.send(b"x" * 200_000)
    data = client.outgoing()
    assert b"".join(server.receive(data[at : at + 16_384]) for at in range(0, len(data), 16_384)) == b"x" * 200_000
    client.close()
    assert server.receive(client.outgoing()) == b""
    assert server.ended


@pytest.mark.parametrize("octets", [b"\x00", b"\xff", b"\x16\x03\x01\x00\x02\x01", b"OPTIONS sip:a SIP/2.0\r\n\r\n"])
def test_garbage_instead_of_a_handshake_is_refused(authority: Authority, octets: bytes) -> None:
    _, server = wires(authority, authority.issue(), "127.0.0.1")
    with pytest.raises(PeerRefused):
        server.receive(octets * 100)


@pytest.mark.parametrize("broken", ["another CA", "expired", "another name"])
def test_a_peer_that_is_not_who_it_should_be_is_refused(authority: Authority, tmp_path: Path, broken: str) -> None:
    issuer = Authority(tmp_path, "Other CA") if broken == "another CA" else authority
    pair = issuer.issue(dns=["pbx.example.net"], expired=broken == "expired")
    domain = "carrier.example.net" if broken == "another name" else "pbx.example.net"
    client, server = wires(authority, pair, domain)
    with pytest.raises(PeerRefused, match="certificate"):
        handshake(client, server)
    assert not client.established


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_old_versions_are_off_on_both_sides(authority: Authority, version: ssl.TLSVersion) -> None:
    pair = authority.issue(dns=["pbx.example.net"])
    ours = Certificates(pair.certificate, pair.key, authority.file)
    for context in (ours.client(), ours.server()):
        assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    old = ssl.create_default_context(cafile=authority.file)
    old.set_ciphers("ALL:@SECLEVEL=0")
    old.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    old.maximum_version = version
    client, server = TlsWire(old, "pbx.example.net"), TlsWire(ours.server())
    with pytest.raises(PeerRefused):
        handshake(client, server)


@pytest.mark.parametrize("domain", [".example.net", "a" * 70 + ".net", "sip..example.net"])
def test_a_name_that_no_certificate_can_have(authority: Authority, domain: str) -> None:
    with pytest.raises(PeerRefused):
        wires(authority, authority.issue(), domain)


# ---- files

def test_each_fault_of_a_certificate_has_its_own_sentence(authority: Authority, tmp_path: Path) -> None:
    good, other = authority.issue(), authority.issue()
    assert certificate_fault(good.certificate, good.key) is None
    text = tmp_path / "text"
    text.write_text("hello")
    damaged = tmp_path / "damaged"
    damaged.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    locked = tmp_path / "locked"
    key = serialization.load_pem_private_key(Path(good.key).read_bytes(), None)
    locked.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"x")
        )
    )
    faults = [
        certificate_fault(str(tmp_path / "none.pem"), good.key),
        certificate_fault(good.certificate, str(tmp_path / "none.key")),
        certificate_fault(str(tmp_path), good.key),
        certificate_fault(str(text), good.key),
        certificate_fault(str(damaged), good.key),
        certificate_fault(good.certificate, ""),
        certificate_fault(good.certificate, str(text)),
        certificate_fault(good.certificate, other.key),
        certificate_fault(good.certificate, str(locked)),
    ]
    assert [fault and fault[0] for fault in faults] == [
        "tls_certificate", "tls_key", "tls_certificate", "tls_certificate", "tls_certificate", "tls_certificate",
        "tls_key", "tls_key", "tls_key",
    ]  # fmt: skip
    sentences = [fault[1] for fault in faults if fault]
    assert len(set(sentences)) == 9
    words = ["no such file", "no such file", "is a directory", "no PEM certificate", "cannot be used",
             "no private key in", "no PEM private key", "is not the private key of", "pass phrase"]  # fmt: skip
    assert [word for word, sentence in zip(words, sentences, strict=True) if word not in sentence] == []


def test_a_key_behind_its_certificate_needs_no_file_of_its_own(authority: Authority, tmp_path: Path) -> None:
    pair = authority.issue()
    both = tmp_path / "both.pem"
    both.write_bytes(Path(pair.certificate).read_bytes() + Path(pair.key).read_bytes())
    assert certificate_fault(str(both), "") is None
    Certificates(str(both)).server()


def test_a_file_of_cas(authority: Authority, tmp_path: Path) -> None:
    assert authorities_fault(authority.file) is None
    assert "no such file" in (authorities_fault(str(tmp_path / "none")) or "")
    (tmp_path / "text").write_bytes(b"\xff\x00 no certificate")
    assert "no PEM certificate" in (authorities_fault(str(tmp_path / "text")) or "")
    with pytest.raises(CertificateFault, match="no PEM certificate"):
        Certificates().client(str(tmp_path / "text"))


# ---- new files while the exchange runs

def replace(old: Pair, new: Pair) -> None:
    Path(old.key).write_bytes(Path(new.key).read_bytes())
    Path(old.certificate).write_bytes(Path(new.certificate).read_bytes())


def shown(ours: Certificates, authority: Authority, domain: str) -> bool:
    """Whether the certificate in force speaks for this domain."""
    client, server = TlsWire(ours.client(authority.file), domain), TlsWire(ours.server())
    try:
        handshake(client, server)
    except PeerRefused:
        return False
    return client.established


def test_changed_files_are_read_again(authority: Authority) -> None:
    pair = authority.issue(dns=["old.example.net"])
    ours = Certificates(pair.certificate, pair.key)
    assert shown(ours, authority, "old.example.net")
    before = ours.server()
    ours.refresh()
    assert ours.server() is before
    replace(pair, authority.issue(dns=["new.example.net"]))
    ours.refresh()
    assert shown(ours, authority, "new.example.net")
    assert not shown(ours, authority, "old.example.net")


def test_a_broken_new_file_keeps_the_old_one_and_says_so_once(
    authority: Authority, capsys: pytest.CaptureFixture[str]
) -> None:
    pair = authority.issue(dns=["old.example.net"])
    ours = Certificates(pair.certificate, pair.key)
    assert shown(ours, authority, "old.example.net")
    new = authority.issue(dns=["new.example.net"])
    Path(pair.certificate).write_bytes(Path(new.certificate).read_bytes())   # its key has not come yet
    ours.refresh()
    ours.refresh()
    said = capsys.readouterr().out
    assert said.count("the old one stays") == 1
    assert "is not the private key of" in said
    assert shown(ours, authority, "old.example.net")
    Path(pair.certificate).unlink()
    ours.refresh()
    assert "no such file" in capsys.readouterr().out
    assert shown(ours, authority, "old.example.net")
    replace(pair, new)
    ours.refresh()
    assert shown(ours, authority, "new.example.net")


def test_what_is_said_after_the_end_is_refused_and_raises_nothing_else(authority: Authority) -> None:
    client, server = wires(authority, authority.issue(dns=["pbx.example.net"]), "pbx.example.net")
    with pytest.raises(PeerRefused):
        client.send(b"before the handshake")
    handshake(client, server)
    client.close()
    server.receive(client.outgoing())
    with pytest.raises(PeerRefused):
        client.send(b"afterwards")
    client.close()
