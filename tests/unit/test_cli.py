"""The `hookline` command: what it takes, what it says, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from pbxcore import cli
from pbxcore.cli import main

FILE = """
[sip]
listen = ["udp:127.0.0.1:0"]
[media]
ports = "39000-39063"
[web]
listen = "127.0.0.1:0"
[database]
url = "sqlite:///{directory}/data.db"
[[extension]]
number = "101"
password = "a password that nobody guesses"
[[inbound]]
number = "+15550100"
to = "101"
"""


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def config(directory: Path) -> Path:
    path = directory / "office.toml"
    path.write_text(FILE.format(directory=directory))
    return path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_names_every_command(option: str) -> None:
    result = run(option)
    assert result.exit_code == 0
    for command in ("serve", "demo", "check", "phone", "explain"):
        assert command in result.output


@pytest.mark.parametrize("command", ["serve", "demo", "check", "phone", "explain"])
def test_every_command_explains_itself(command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    assert len(result.output.splitlines()) > 3


def test_version() -> None:
    assert "0." in run("--version").output


def test_check_prints_what_is_in_force_and_no_secret(config: Path) -> None:
    result = run("check", "-c", str(config))
    assert result.exit_code == 0, result.output
    assert "39000-39063" in result.output
    assert "drain_seconds" in result.output
    assert "a password that nobody guesses" not in result.output


def test_check_as_json(config: Path) -> None:
    result = run("check", "-c", str(config), "--json")
    settings = json.loads(result.output)
    assert settings["extension"][0]["number"] == "101"
    assert "guesses" not in result.output


def test_the_file_of_this_directory_is_read(config: Path) -> None:
    config.rename("hookline.toml")
    assert "39000-39063" in run("check").output


def test_without_a_file_the_defaults_are_in_force(directory: Path) -> None:
    result = run("check")
    assert result.exit_code == 0
    assert "20000-29999" in result.output
    assert not list(directory.iterdir())


@pytest.mark.parametrize("command", [("check",), ("serve",), ("explain", "+1555")])
def test_a_bad_file_is_2_and_the_line_at_fault(directory: Path, command: tuple[str, ...]) -> None:
    path = directory / "bad.toml"
    path.write_text('[office]\nname = "x"\n[sip]\nlisten = ["udp:nowhere:5060"]\n')
    result = run(*command, "-c", str(path))
    assert result.exit_code == 2
    assert "bad.toml, line 4" in result.output
    assert "Traceback" not in result.output


def test_a_file_that_is_not_there(directory: Path) -> None:
    result = run("check", "-c", "nowhere.toml")
    assert result.exit_code == 2
    assert "nowhere.toml" in result.output


def test_fail_says_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        cli.fail("it is so")
    assert left.value.code == 1
    assert capsys.readouterr().err == "it is so\n"


@pytest.mark.parametrize("uvloop", [True, False])
def test_run_ends_with_the_status(uvloop: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    async def seven() -> int:
        return 7

    if not uvloop:
        monkeypatch.setitem(sys.modules, "uvloop", None)
    with pytest.raises(SystemExit) as left:
        cli.run(seven())
    assert left.value.code == 7


def test_commands_are_imported_when_they_are_used() -> None:
    """`hookline check` in a script need not wait for the panel's and the phone's libraries."""
    code = "import sys, pbxcore.cli; print({'uvicorn', 'starlette', 'sqlmodel', 'aiortc'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"


# ---- serve, as a process


def start(config: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "pbxcore", "serve", "-c", str(config)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=config.parent)


def ready(server: subprocess.Popen[str]) -> list[str]:
    """What it printed up to the line `ready`."""
    assert server.stdout is not None
    lines = []
    for line in server.stdout:
        lines.append(line.rstrip())
        if line.startswith("ready "):
            return lines
    assert server.stderr is not None
    raise AssertionError(server.stderr.read())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serve_says_ready_and_ends_with_0(config: Path, number: signal.Signals) -> None:
    server = start(config)
    try:
        lines = ready(server)
        sip, panel = lines[-1].split()[1:]
        assert sip.startswith("sip=udp:127.0.0.1:")
        assert panel.startswith("panel=http://127.0.0.1:")
        assert any("admin" in line for line in lines)
        assert not any("guesses" in line for line in lines)
        began = time.monotonic()
        server.send_signal(number)
        _, err = server.communicate(timeout=60)
        assert server.returncode == 0, err
        assert time.monotonic() - began < 20      # it has no call to wait for; with one it would be 30
        assert "Traceback" not in err
    finally:
        server.kill()
        server.wait()
    again = start(config)
    try:
        assert [line for line in ready(again) if "admin" in line] == []   # passwords are shown once
    finally:
        again.terminate()
        again.wait(timeout=60)


def udp_taken(config: Path) -> tuple[str, Callable[[], None]]:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    config.write_text(config.read_text().replace("udp:127.0.0.1:0", f"udp:127.0.0.1:{sock.getsockname()[1]}"))
    return "is taken by another program", sock.close


def panel_taken(config: Path) -> tuple[str, Callable[[], None]]:
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    sock.listen()
    config.write_text(config.read_text().replace('"127.0.0.1:0"', f'"127.0.0.1:{sock.getsockname()[1]}"'))
    return "the panel cannot listen on", sock.close


def no_database(config: Path) -> tuple[str, Callable[[], None]]:
    (config.parent / "data.db").mkdir()
    return "cannot be opened", lambda: None


def no_hook(config: Path) -> tuple[str, Callable[[], None]]:
    config.write_text(config.read_text() + '[[crm.hook]]\nkind = "python"\ntarget = "no_such_module:Hook"\n')
    return "no_such_module", lambda: None


def no_postgres(config: Path) -> tuple[str, Callable[[], None]]:
    text = config.read_text()
    at = text.index("url = ")
    line = text[at : text.index("\n", at)]
    config.write_text(text.replace(line, 'url = "postgresql://nobody:secret-word@127.0.0.1:1/none"'))
    return "://nobody:***@127.0.0.1:1/none cannot be opened", lambda: None


@pytest.mark.parametrize("trouble", [udp_taken, panel_taken, no_database, no_hook, no_postgres])
def test_serve_cannot_start(config: Path, trouble: Callable[[Path], tuple[str, Callable[[], None]]]) -> None:
    """One sentence that says what and where, and 1."""
    words, undo = trouble(config)
    try:
        server = start(config)
        try:
            out, err = server.communicate(timeout=60)
        finally:
            server.kill()
        assert server.returncode == 1
        assert out == ""
        told = [line for line in err.splitlines() if line.startswith("hookline cannot start: ")]
        assert len(told) == 1, err
        assert words in told[0]
        assert "secret-word" not in err
        assert "Traceback" not in err
    finally:
        undo()


def test_a_reader_who_goes_away(config: Path) -> None:
    """`hookline check | head -1`."""
    command = f"{sys.executable} -m pbxcore check -c {config} | head -1"
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, timeout=60, env=dict(os.environ))
    assert "Traceback" not in done.stderr


assert isinstance(main, click.Group)
