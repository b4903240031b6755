"""The README says what is so: every key, every command, and examples that work."""

from __future__ import annotations

import re
import threading
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from crmhooks.connectors.http import make
from crmhooks.connectors.python import PythonHook
from crmhooks.functions import FUNCTIONS, carried
from pbxcore.cli import main
from pbxcore.hooks import Decision, IncomingCall, Proceed, Reject, Ring
from pbxcore.settings import Section, Settings
from pbxcore.settings_file import loads
from pbxcore.settings_file.connectors import KINDS, module_of
from pbxcore.settings_file.types import section_at
from tests.authority import Authority
from tests.contract.connecting import made

pytest_plugins = ["pytester"]

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text("utf-8")
KEYS = re.findall(r"^\| `([a-z_.]+)` \| ([^|]+) \|", README, re.MULTILINE)
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def keys_of(model: type[Section], path: tuple[str, ...] = ()) -> dict[str, object]:
    """Every key of the settings with its default."""
    found: dict[str, object] = {}
    for name, field in model.model_fields.items():
        inner = section_at((*path, name))
        if inner is None:
            found[".".join((*path, name))] = field.get_default()
        else:
            found |= keys_of(inner, (*path, name))
    return found


def call_from(number: str) -> IncomingCall:
    return IncomingCall("c1", number, "+12025550100", "inbound", 1.0, trunk="carrier")


def test_the_table_has_every_key_and_no_other() -> None:
    assert [key for key, _ in KEYS] == list(keys_of(Settings))


@pytest.mark.parametrize(("key", "said"), KEYS)
def test_the_defaults_in_the_table_are_those_of_the_settings(key: str, said: str) -> None:
    default = keys_of(Settings)[key]
    if said == "needed":
        assert "Undefined" in repr(default)
    elif said.startswith("`") and "crm.deadline_ms" not in said:
        text = said.strip("`").strip('"')
        plain = getattr(default, "get_secret_value", lambda: default)()
        shown = str(plain).lower() if isinstance(plain, bool) else str(plain).replace("()", "[]")
        assert text == shown or float(text) == plain


def test_every_standard_has_the_test_that_is_named() -> None:
    named = re.findall(r"^\| [0-9][^|]* \| [^|]+ \| `(tests/[^`]+)` \|$", README, re.MULTILINE)
    assert len(named) >= 25
    root = Path(__file__).resolve().parents[2]
    assert [path for path in named if not (root / path).is_file()] == []


def test_every_command_is_in_the_readme_and_every_option_it_names_exists() -> None:
    named = dict(re.findall(r"^\| `hookline (\w+)([^|]*)\|", README, re.MULTILINE))
    assert set(named) == set(main.commands)
    for name, rest in named.items():
        shown = CliRunner().invoke(main, [name, "--help"]).output
        for option in re.findall(r"--?[a-z][a-z-]*", rest):
            assert option in shown


def test_the_options_of_the_phone_exist() -> None:
    shown = CliRunner().invoke(main, ["phone", "--help"]).output
    (line,) = re.findall(r"^\| `hookline phone` \|(.*)$", README, re.MULTILINE)
    options = re.findall(r"--[a-z-]+", line)
    assert options
    assert all(option in shown for option in options)


def test_the_ten_lines_of_configuration_can_be_used() -> None:
    text, *_ = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)
    settings = loads(text)
    assert settings.inbound[0].to == settings.extension[0].number


def test_the_lines_for_tls_can_be_used(tmp_path: Path) -> None:
    _, text, *_ = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)
    pair = Authority(tmp_path).issue()
    for name, file in (("fullchain", pair.certificate), ("privkey", pair.key)):
        text = re.sub(rf'"[^"]*/{name}.pem"', f'"{file}"', text)
    settings = loads(text)
    assert (settings.sip.tls_certificate, settings.sip.tls_key) == (pair.certificate, pair.key)


def test_the_crms_of_the_example_can_be_used_and_every_kind_is_in_the_table() -> None:
    (text,) = [one for one in re.findall(r"```toml\n(.*?)```", README, re.DOTALL) if "crm.connector" in one]
    assert [connector.kind for connector in loads(text).crm.connector] == ["dataverse", "espocrm"]
    section = README.partition("\n## CRMs")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` ", section, re.MULTILINE) == sorted(KINDS)


KEYS_OF: dict[str, dict[str, Any]] = {
    "3cx": {
        "template": str(ROOT / "tests/contract/fakes/threecx.xml"),
        "parameters": {"URL": "https://crm.example.net", "ClientSecret": "x"},
    },
    "bitrix24": {"api_key": "1/x"},
    "odoo": {"api_key": "x"},
    "tryton": {"password": "x"},
    "rest": {"template": str(ROOT / "tests/contract/fakes/rest.toml")},
}


def test_the_table_of_functions_is_what_each_connector_declares() -> None:
    section = README.partition("\n### What each of them carries")[2].partition("\n### ")[0]
    head, _, *lines = [line for line in section.splitlines() if line.startswith("|")]
    assert [cell.strip() for cell in head.split("|")[2:-1]] == list(FUNCTIONS)
    rows = {line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[2:-1]] for line in lines}
    assert rows.pop("embedded") == ["yes"] * len(FUNCTIONS)
    expected = {}
    for kind, keys in KINDS.items():
        needed = {key: "https://crm.example.net" if key == "url" else "x" for key in keys.needs}
        connector = made({"kind": kind} | needed | KEYS_OF.get(kind, {}))
        expected[kind] = list(carried(connector))
    assert rows == expected


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_connector_shows_the_field_that_it_names_and_no_other(kind: str) -> None:
    source = (ROOT / f"crmhooks/connectors/{module_of(kind)}.py").read_text("utf-8")
    named = re.search(r'^    instructs = "(\w+)"$', source, re.MULTILINE)
    shown = re.search(r"^ +instructions=(.*),$", source, re.MULTILINE)
    assert (named is None) == (shown is None)
    assert named is None or shown is None or f'"{named[1]}"' in shown[1]


async def decide(hook: Any, number: str) -> Decision | None:
    found: Decision | None = await hook.on_incoming(call_from(number))
    return found


async def test_the_python_hook_works() -> None:
    names: dict[str, Any] = {}
    exec(PYTHON[0], names)  # noqa: S102 - the example as it is printed
    hook = PythonHook("desk", names["Desk"]())
    expected = Ring(("101",), timeout=15, display_name="Anna Ivanova (VIP)", otherwise=Proceed())
    assert await decide(hook, "+12025550123") == expected
    assert await decide(hook, "+19005550123") == Reject(603, "Decline")
    assert await decide(hook, "+12025550124") is None
    await hook.close()


def test_the_test_of_a_hook_passes(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(office=PYTHON[0], test_office=PYTHON[1])
    pytester.syspathinsert()
    pytester.runpytest_inprocess("-p", "no:hookline", "-p", "crmhooks.testing").assert_outcomes(passed=1)


async def test_the_http_hook_works() -> None:
    names: dict[str, Any] = {"__name__": "readme"}
    exec(PYTHON[2], names)  # noqa: S102 - the example as it is printed
    names["Desk"].log_message = lambda *_: None
    server = ThreadingHTTPServer(("127.0.0.1", 0), names["Desk"])
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        hook = make("crm.hook[1]", "desk", f"http://127.0.0.1:{server.server_port}/", names["SECRET"])
        found = await decide(hook, "+12025550123")
        assert isinstance(found, Ring)
        assert (found.targets, found.instructions, found.otherwise) == (("101",), "Ask about the printer.", Proceed())
        assert await decide(hook, "+12025550124") is None
        await hook.close()
        stranger = make("crm.hook[1]", "desk", f"http://127.0.0.1:{server.server_port}/", "A" * 32)
        with pytest.raises(Exception, match="401"):
            await decide(stranger, "+12025550123")
        await stranger.close()
    finally:
        server.shutdown()
        server.server_close()


def test_what_the_readme_points_to_is_there() -> None:
    root = Path(__file__).resolve().parents[2]
    for name in re.findall(r"\]\((?!https?:)([^)]+)\)", README):
        assert (root / name).exists(), name
