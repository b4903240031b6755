"""What is wrong with the files that TLS is told to use, one sentence a fault: for `check`, for the start, and for the
log when a file changes while the exchange runs. Reads the files; opens no connection."""

from __future__ import annotations

import ssl
from pathlib import Path

_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"
_KEY = b"PRIVATE KEY-----"
_ENCRYPTED = (b"BEGIN ENCRYPTED PRIVATE KEY-----", b"Proc-Type: 4,ENCRYPTED")


def certificate_fault(certificate: str, key: str) -> tuple[str, str] | None:
    """The settings key at fault (`tls_certificate` or `tls_key`) and the sentence; None when the pair can be used.
    Without `key`, the private key is expected behind the certificate, in the same file."""
    shown = read(certificate)
    if isinstance(shown, str):
        return "tls_certificate", f"the certificate {shown}"
    if _CERTIFICATE not in shown:
        return "tls_certificate", f'there is no PEM certificate in "{certificate}"; it begins with BEGIN CERTIFICATE'
    hidden = read(key or certificate)
    if isinstance(hidden, str):
        return "tls_key", f"the private key {hidden}"
    if _KEY not in hidden:
        if not key:
            where = 'say where it is: tls_key = "key.pem"'
            return "tls_certificate", f'there is no private key in "{certificate}"; {where}'
        return "tls_key", f'there is no PEM private key in "{key}"; it begins with BEGIN PRIVATE KEY'
    if any(mark in hidden for mark in _ENCRYPTED):
        mend = "take the pass phrase off with: openssl pkey -in KEY -out KEY"
        return "tls_key", f'the private key "{key or certificate}" asks for a pass phrase; {mend}'
    return _pair_fault(certificate, key)


def _pair_fault(certificate: str, key: str) -> tuple[str, str] | None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key or None, password="")
    except ssl.SSLError as error:
        reason = (error.reason or "").upper()
        if "MISMATCH" in reason:
            return "tls_key", f'"{key or certificate}" is not the private key of the certificate "{certificate}"'
        if "TOO_SMALL" in reason or "TOO_WEAK" in reason:
            return "tls_certificate", f'the certificate "{certificate}" is too weak ({_words(reason)}); make a new one'
        why = _words(reason) or "it is damaged"
        return "tls_certificate", f'the certificate "{certificate}" or its key cannot be used: {why}'
    except OSError as error:   # removed or locked between the two looks
        return "tls_certificate", f'the certificate "{certificate}" cannot be read: {_words(error.strerror or "")}'
    return None


def authorities_fault(path: str) -> str | None:
    """What is wrong with a file of CA certificates."""
    found = read(path)
    if isinstance(found, str):
        return f"the file of CA certificates {found}"
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=found.decode("ascii", "ignore"))
    except (ssl.SSLError, ValueError):
        return f'there is no PEM certificate of a CA in "{path}"; it begins with BEGIN CERTIFICATE'
    return None


def read(path: str) -> bytes | str:
    """The file; or, of one that cannot be read, its name and why."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        return f'"{path}" cannot be read: {_words(error.strerror or str(error))}'


def _words(reason: str) -> str:
    return reason.replace("_", " ").lower()
