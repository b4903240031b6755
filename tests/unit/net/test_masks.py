"""No secret of a message is shown: digests, passwords, keys of the media; everything else is."""

from __future__ import annotations

import time

import pytest

from pbxcore.net.masks import HIDDEN_BODY, masked

SECRET = b"c0ffee5ec2e7"
HEAD = b"INVITE sip:102@192.0.2.1 SIP/2.0\r\nCall-ID: 7@x\r\n"


@pytest.mark.parametrize(
    "line",
    [
        b'Authorization: Digest username="101", realm="hookline", nonce="n1", response="%s", qop=auth',
        b'Proxy-Authorization: Digest response="%s", username="101"',
        b'authorization : digest response = "%s"',
        b"AUTHORIZATION:Digest response=%s,username=101",
        b'Authorization:\r\n Digest username="101",\r\n\tresponse="%s"',
        b'Authorization: Digest username="a\\"b", response="%s',
        b'Authentication-Info: rspauth="%s", qop=auth',
        b"Authorization: Basic %s",
        b"Proxy-Authorization: Bearer %s\r\n %s",
        b"Authorization: %s",
        b"From: <sip:101:%s@192.0.2.1>;tag=1",
        b'Contact: "x" <sips:a:%s@[2001:db8::1]>',
    ],
)
def test_secrets_of_the_head(line: bytes) -> None:
    shown = masked(HEAD + line.replace(b"%s", SECRET) + b"\r\nMax-Forwards: 70\r\n\r\n")
    assert SECRET not in shown
    assert b"***" in shown
    assert b"Call-ID: 7@x" in shown
    assert b"Max-Forwards: 70" in shown


@pytest.mark.parametrize(
    "line",
    [
        b"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:%s|2^20|1:32",
        b"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:%s;inline:%s",
        b"a=ice-pwd:%s",
        b" a=ICE-PWD:%s",
        b"k=base64:%s",
        b"a=key-mgmt:mikey %s",
    ],
)
@pytest.mark.parametrize("end", [b"\r\n", b"\n", b"\r"])
def test_keys_of_the_media(line: bytes, end: bytes) -> None:
    sdp = end.join([b"v=0", b"s=-", b"m=audio 4000 RTP/SAVP 0", line.replace(b"%s", SECRET), b"a=sendrecv", b""])
    shown = masked(HEAD + b"Content-Type: application/sdp\r\n\r\n" + sdp)
    assert SECRET not in shown
    assert b"m=audio 4000 RTP/SAVP 0" in shown
    assert b"a=sendrecv" in shown


def test_keys_in_a_part_of_a_multipart_body() -> None:
    body = b"--x\r\nContent-Type: application/sdp\r\n\r\nv=0\r\na=ice-pwd:%s\r\n--x--\r\n" % SECRET
    assert SECRET not in masked(HEAD + b"Content-Type: multipart/mixed;boundary=x\r\n\r\n" + body)


def test_a_message_without_an_end_of_its_head() -> None:
    assert SECRET not in masked(HEAD + b"a=ice-pwd:" + SECRET)


@pytest.mark.parametrize("name", [b"Content-Encoding", b"e"])
def test_a_compressed_body_is_not_shown(name: bytes) -> None:
    shown = masked(HEAD + name + b": gzip\r\n\r\n\x1f\x8b" + SECRET)
    assert shown.endswith(HIDDEN_BODY)


def test_what_is_no_secret_stays_byte_for_byte() -> None:
    plain = (
        HEAD + b'WWW-Authenticate: Digest realm="r", nonce="n"\r\nFrom: "Anna" <sip:101@192.0.2.1:5070>;tag=1\r\n'
        b"Contact: <sip:192.0.2.1:5070>\r\n\r\nv=0\r\na=fingerprint:sha-256 AA:BB\r\na=ice-ufrag:abcd\r\n"
    )
    assert masked(plain) == plain
    digest = HEAD + b'Authorization: Digest username="101", nonce="n1", response="' + SECRET + b'", cnonce="c"\r\n\r\n'
    assert masked(digest) == digest.replace(b'"' + SECRET + b'"', b"***")


@pytest.mark.parametrize(
    "hostile",
    [b"sip:" * 16_000, b"Authorization: " * 4000, b'response="' * 6000, b"response" + b" " * 60_000, b"\r\n " * 20_000],
)
def test_no_message_keeps_the_masks_busy(hostile: bytes) -> None:
    began = time.process_time()
    masked(hostile + b"@")
    assert time.process_time() - began < 2.0
