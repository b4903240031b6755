"""A certificate that cannot be used: `check` and `serve` say so before anything starts, with line and mend."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from pbxcore.cli import main
from tests.authority import Authority


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def said(directory: Path, command: str, sip: str, more: str = "") -> tuple[int, str]:
    path = directory / "hookline.toml"
    path.write_text(f'[sip]\nlisten = ["tls:127.0.0.1:0"]\n{sip}\n{more}')
    result = CliRunner().invoke(main, [command, "-c", str(path)])
    return result.exit_code, result.output


@pytest.mark.parametrize("command", ["check", "serve"])
def test_each_fault_has_its_own_sentence(authority: Authority, tmp_path: Path, command: str) -> None:
    good, other = authority.issue(), authority.issue()
    faults = {
        "": "line 2: sip.listen: \"tls:127.0.0.1:0\" needs a certificate",
        'tls_certificate = "none.pem"': 'line 3: sip.tls_certificate: the certificate "none.pem" cannot be read',
        f'tls_certificate = "{tmp_path}"': "cannot be read: is a directory",
        f'tls_certificate = "{good.certificate}"': "line 3: sip.tls_certificate: there is no private key in",
        f'tls_certificate = "{good.certificate}"\ntls_key = "no.key"': 'line 4: sip.tls_key: the private key "no.key"',
        f'tls_certificate = "{good.certificate}"\ntls_key = "{other.key}"': "is not the private key of the certificate",
        f'tls_key = "{good.key}"': "a key without its certificate",
        f'{good.settings}tls_ca = "none.pem"': 'line 5: sip.tls_ca: the file of CA certificates "none.pem"',
        f'{good.settings}websocket_path = "sip"': "is no path; it begins with /",
        f'{good.settings}websocket_origins = ["https://crm.example.net/page"]': "is no origin of a page",
        f"{good.settings}keep_alive_seconds = -1": "keep_alive_seconds",
    }
    for sip, words in faults.items():
        status, output = said(tmp_path, command, sip)
        assert status == 2
        assert words in output
        assert "Traceback" not in output


def test_a_carrier_s_ca_is_looked_at_too(authority: Authority, tmp_path: Path) -> None:
    trunk = '[[trunk]]\nname = "carrier"\nserver = "tls:sip.example.net"\ntls_ca = "none.pem"\n'
    status, output = said(tmp_path, "check", authority.issue().settings, trunk)
    assert status == 2
    assert 'trunk[1].tls_ca: the file of CA certificates "none.pem" cannot be read' in output


def test_a_good_pair_is_in_force(authority: Authority, tmp_path: Path) -> None:
    status, output = said(tmp_path, "check", authority.issue().settings + 'websocket_origins = ["*"]')
    assert status == 0
    assert 'listen = ["tls:127.0.0.1:0"]' in output


def test_ports_that_are_left_out_are_those_of_the_transport(authority: Authority, tmp_path: Path) -> None:
    path = tmp_path / "hookline.toml"
    listen = '["udp:127.0.0.1", "tcp:[::1]", "tls:127.0.0.1", "ws:127.0.0.1", "wss:[::1]"]'
    path.write_text(f"[sip]\nlisten = {listen}\n{authority.issue().settings}")
    output = CliRunner().invoke(main, ["check", "-c", str(path)]).output
    for spec in ("udp:127.0.0.1:5060", "tcp:[::1]:5060", "tls:127.0.0.1:5061", "ws:127.0.0.1:80", "wss:[::1]:443"):
        assert f'"{spec}"' in output
