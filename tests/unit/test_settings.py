"""hookline.toml: every fault has its line, its key and its mend, and all of them come out at once."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Collection
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pbxcore.settings import Settings
from pbxcore.settings_file import Problem, SettingsError, effective, load, loads
from pbxcore.settings_file.lines import Lines

GOOD = """
[office]
name = "Example & Co"
country = "ru"
timezone = "Europe/Moscow"

[sip]
listen = ["udp:0.0.0.0:5060", "tcp:[::]:5060"]
domain = "pbx.example.net"

[media]
ports = "20000-20999"

[database]
url = "postgresql://hookline:hidden@127.0.0.1/hookline"

[[crm.hook]]
kind = "http"
url = "https://crm.example.net/incoming"
secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
deadline_ms = 200

[[crm.hook]]
kind = "python"
target = "office.hooks:Vip"

[[extension]]
number = "101"
name = "Anna"
password = "correct horse"

[[extension]]
number = "102"
password = "battery staple"

[[trunk]]
name = "carrier"
server = "tcp:sip.example.net:5080"
username = "office"
password = "hunter22"
accept_from = ["192.0.2.1", "198.51.100.0/24"]
caller_id = "+7 (495) 123-45-67"

[[inbound]]
number = "8 (495) 123-45-67"
to = "101"

[[inbound]]
number = "*"
to = "102"

[[outbound]]
prefix = "9"
strip = 1
trunks = ["carrier"]
"""


NAT = '[sip]\nexternal_address = "203.0.113.7"\n'


def problems(text: str, stored: dict[str, Collection[str]] | None = None) -> list[Problem]:
    with pytest.raises(SettingsError) as caught:
        loads(text, stored=None if stored is None else lambda url: stored.get(url, ()))
    return caught.value.problems


def the_problem(text: str) -> Problem:
    (problem,) = problems(text)
    return problem


def test_an_empty_file_gives_the_defaults() -> None:
    assert loads("") == Settings()


def test_a_whole_office_is_read() -> None:
    settings = loads(GOOD)
    assert [extension.number for extension in settings.extension] == ["101", "102"]
    assert settings.crm.hook[0].secret.get_secret_value().startswith("whsec_")
    assert settings.outbound[0].trunks == ("carrier",)


def test_an_office_behind_a_router_is_read() -> None:
    settings = loads(NAT + 'local_networks = ["192.168.1.0/24", "fd00::/8"]')
    assert settings.sip.external_address == "203.0.113.7"
    assert settings.sip.local_networks == ("192.168.1.0/24", "fd00::/8")


def test_a_listening_address_needs_no_port() -> None:
    assert loads('[sip]\nlisten = ["udp:0.0.0.0", "TCP:[::1]"]').sip.listen == ("udp:0.0.0.0:5060", "tcp:[::1]:5060")


@pytest.mark.parametrize(
    "server", ["sip.example.net", "192.0.2.1:5060", "TCP:sip.example.net", "udp:[2001:db8::1]:5070", "2001:db8::1"]
)
def test_servers_of_trunks_in_every_spelling(server: str) -> None:
    assert loads(f'[[trunk]]\nname = "a"\nserver = "{server}"').trunk[0].server == server


def test_national_numbers_and_the_country_are_made_uniform() -> None:
    settings = loads(GOOD)
    assert settings.office.country == "RU"
    assert settings.trunk[0].caller_id == "+74951234567"
    assert [row.number for row in settings.inbound] == ["+74951234567", "*"]


@pytest.mark.parametrize(
    ("text", "line", "key", "words"),
    [
        ('[sip]\nlisen = ["udp:0.0.0.0:5060"]', 2, "sip.lisen", 'did you mean "listen"?'),
        ("[ofice]\n", 1, "ofice", 'did you mean "office"?'),
        ('listen = ["udp:0.0.0.0:5060"]', 1, "listen", "belongs under [sip] or [web]"),
        ('\n[sip]\nlisten = [\n  "udp:0.0.0.0:5060",\n  "tls:0.0.0.0:5061",\n]', 5, "sip.listen", "a certificate"),
        ('[sip]\nlisten = [\n"udp:0.0.0.0:5060",\n"0.0.0.0:5060"]', 4, "sip.listen", "names no transport"),
        ('[sip]\nexternal_address = "pbx.example.net"', 2, "sip.external_address", "IP address of your router"),
        ('[sip]\nexternal_address = "192.168.1.1"', 2, "sip.external_address", 'can reach "192.168.1.1"'),
        ('[sip]\nexternal_address = "100.64.3.1"', 2, "sip.external_address", "on the side of the Internet"),
        ('[sip]\nexternal_address = "0.0.0.0"', 2, "sip.external_address", "nobody outside can reach"),
        (NAT + 'local_networks = [\n"10.0.0.0/8",\n"10.1.0.0/16"]', 5, "sip.local_networks", 'one, "10.1.0.0/16"'),
        (NAT + 'local_networks = ["10.1.0.0/16", "10.1.0.0/16"]', 3, "sip.local_networks", "stands here twice"),
        (NAT + 'local_networks = ["192.168.1"]', 3, "sip.local_networks", 'like "192.168.1.0/24"'),
        (NAT + 'local_networks = ["192.168.1.9/24"]', 3, "sip.local_networks", 'network, "192.168.1.0/24"'),
        (NAT + 'local_networks = ["0.0.0.0/0"]', 2, "sip.external_address", 'lies in the local network "0.0.0.0/0"'),
        ('[sip]\nlocal_networks = ["10.0.0.0/8"]', 2, "sip.local_networks", "set external_address"),
        ('[sip]\nlisten = ["udp:pbx:5060"]', 2, "sip.listen", "has no IP address"),
        ('[sip]\nlisten = ["udp:127.0.0.1:99999"]', 2, "sip.listen", "is no port"),
        ('[sip]\nlisten = ["udp:[::1:5060"]', 2, "sip.listen", "has no IP address"),
        ('[sip]\nlisten = ["udp:0.0.0.0:5060", "udp:0.0.0.0:5060"]', 2, "sip.listen", "twice"),
        ("[sip]\nlisten = []", 2, "sip.listen", "at least one"),
        ('[sip]\nlisten = "udp:0.0.0.0:5060"', 2, "sip.listen", 'must be a list: ["udp:0.0.0.0:5060"]'),
        ('[sip]\ndomain = "sip:x"', 2, "sip.domain", "without sip:"),
        ("[sip]\nmax_calls = 0", 2, "sip.max_calls", "at least 1"),
        ('[sip]\nmax_calls = "many"', 2, "sip.max_calls", "whole number"),
        ("[sip]\ndrain_seconds = nan", 2, "sip.drain_seconds", ""),
        ('[office]\ncountry = "UK"', 2, "office.country", 'did you mean "GB"?'),
        ('[office]\nemergency_numbers = ["help"]', 2, "office.emergency_numbers", 'write digits, such as "112"'),
        ('[office]\ntimezone = "Europe/Moskow"', 2, "office.timezone", '"Europe/Moscow"'),
        ('[office]\nlanguage = "de"', 2, "office.language", '"en", "ru"'),
        ('[media]\nports = "5000"', 2, "media.ports", '"20000-29999"'),
        ('[media]\nports = "30000-20000"', 2, "media.ports", "upward"),
        ('[media]\nports = "80-20000"', 2, "media.ports", "1024"),
        ('[media]\nports = "20000-20003"', 2, "media.ports", "eight"),
        ('[media]\nports = "5000-6000"\n[sip]\nlisten=["udp:0.0.0.0:5060"]', 2, "media.ports", "keep them apart"),
        ('[media]\nbackend = "rtpengine"', 2, "media.backend", "say where the daemon is"),
        ('[media]\nrtpengine = ["127.0.0.1"]', 2, "media.rtpengine", '"udp:127.0.0.1:2223"'),
        ('[web]\nlisten = "8080"', 2, "web.listen", '"127.0.0.1:8080"'),
        ('[web]\npublic_url = "pbx.example.net"', 2, "web.public_url", "https://"),
        ('[crm]\nworkstation_url = "https://crm;script-src *"', 2, "crm.workstation_url", "https://"),
        ('[database]\nurl = "mysql://u:secret@h/n"', 2, "database.url", "postgresql://"),
        ('[[crm.hook]]\nkind = "http"\nsecret = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"', 1, "crm.hook[1]", "needs a url"),
        ('[[crm.hook]]\nkind = "http"\nurl = "http://127.0.0.1/"', 1, "crm.hook[1]", "needs a secret"),
        ('[[crm.hook]]\nkind="http"\nurl="http://h/"\nsecret="not base64!"', 4, "crm.hook[1].secret", "is base64"),
        ('[[crm.hook]]\nkind="http"\nurl="http://h/"\nsecret="whsec_c2hvcnQ="', 4, "crm.hook[1].secret", "24 to 64"),
        ('[[crm.hook]]\nkind = "python"', 1, "crm.hook[1]", "needs a target"),
        ('[[crm.hook]]\nkind = "python"\ntarget = "a.b"', 3, "crm.hook[1].target", "module:Class"),
        ('[[crm.hook]]\nkind = "htp"', 2, "crm.hook[1].kind", 'did you mean "http"?'),
        ('[[extension]]\nnumber = 101\npassword = "x"', 2, "extension[1].number", 'in quotes: "101"'),
        ('[[extension]]\npassword="x"', 1, "extension[1]", 'needs a number: number = "101"'),
        ('[[extension]]\nnumber = "101"', 1, "extension[1]", 'needs a password: password = "..."'),
        ('[[extension]]\nnumber = "101"\npassword = ""', 3, "extension[1].password", "lets everybody in"),
        ('[[extension]]\nnumber = "101"\npassword = "101"', 3, "extension[1].password", "scanners"),
        ('[[extension]]\nnumber = "1 1"\npassword = "x"', 2, "extension[1].number", "cannot be dialled"),
        ('[[extension]]\nnumber="1"\npassword="x"\nprofile="genric"', 4, "extension[1].profile", '"generic"'),
        ('[extension]\nnumber = "101"', 1, "extension", "[[extension]] with two brackets"),
        ('[[sip]]\nmax_calls = 5', 1, "sip", "[sip] with single brackets"),
        ('[[trunk]]\nname = "a b"\nserver = "192.0.2.1"', 2, "trunk[1].name", "is no name"),
        ('[[trunk]]\nname = "a"\nserver = "sip:h"', 3, "trunk[1].server", "without sip:"),
        ('[[trunk]]\nname = "a"\nserver = "wss:h"', 3, "trunk[1].server", "are udp:, tcp: and tls:"),
        ('[[trunk]]\nname = "a"\nserver = "h:x"', 3, "trunk[1].server", "is no port"),
        ('[[trunk]]\nname = "a"\nserver = "h"\nusername = "u"', 4, "trunk[1].username", "needs a password"),
        ('[[trunk]]\nname="a"\nserver="h"\nbackup_servers=["sip:c"]', 4, "trunk[1].backup_servers", "without sip:"),
        ('[[trunk]]\nname="a"\nserver="h"\noutbound_proxy="ws:p"', 4, "trunk[1].outbound_proxy", "no carrier is"),
        ('[[trunk]]\nname="a"\nserver="h"\nregister=true', 4, "trunk[1].register", "needs a username"),
        ('[[trunk]]\nname="a"\nserver="h"\nauth_username="x"', 4, "trunk[1].auth_username", "needs a username"),
        ('[[trunk]]\nname="a"\nserver="h"\nnumbers=["0301234567"]', 4, "trunk[1].numbers", "country is needed"),
        ('[[extension]]\nnumber="1"\npassword="x"\ncaller_id="Anna"', 4, "extension[1].caller_id", "is no number"),
        ('[sip]\nnameservers=["dns.example.net"]', 2, "sip.nameservers", "is no IP address"),
        ('[sip]\nnameservers=["127.0.0.1:x"]', 2, "sip.nameservers", "is no port"),
        ("[sip]\nsession_seconds=60", 2, "sip.session_seconds", "is under 90"),
        ("[sip]\nsession_min_seconds=600\nsession_seconds=300", 3, "sip.session_seconds", "is under 600"),
        ("[sip]\nsession_min_seconds=30", 2, "sip.session_min_seconds", "90"),
        ('[[trunk]]\nname="a"\nserver="h"\naccept_from=["carrier"]', 4, "trunk[1].accept_from", "is no IP address"),
        ('[[trunk]]\nname="a"\nserver="h"\ncaller_id="Anna"', 4, "trunk[1].caller_id", "is no number"),
        ('[[inbound]]\nnumber = "+15550100"\nto = "101"', 3, "inbound[1].to", 'no extension "101"'),
        ('[[outbound]]\ntrunks = ["carrier"]', 2, "outbound[1].trunks", 'no trunk "carrier"'),
        ("[[outbound]]\ntrunks = []", 2, "outbound[1].trunks", "at least one"),
        ("[[outbound]]\nprefix = '9'", 1, "outbound[1]", "needs a trunks"),
    ],
)
def test_a_fault_is_named_with_its_line_its_key_and_its_mend(text: str, line: int, key: str, words: str) -> None:
    problem = the_problem(text)
    assert (problem.line, problem.key) == (line, key)
    assert words in problem.message


def test_numbers_without_a_country_cannot_be_read() -> None:
    text = '[[extension]]\nnumber = "101"\npassword = "x"\n[[inbound]]\nnumber = "8 (495) 123-45-67"\nto = "101"'
    problem = the_problem(text)
    assert (problem.line, problem.key) == (5, "inbound[1].number")
    assert problem.message.startswith("[office] country is needed to read 8 (495) 123-45-67")
    assert loads('[office]\ncountry = "RU"\n' + text).inbound[0].number == "+74951234567"


def test_one_number_in_two_spellings_is_a_duplicate() -> None:
    problem = the_problem(GOOD + '[[inbound]]\nnumber = "+7 495 1234567"\nto = "101"\n')
    assert problem.key == "inbound[3].number"
    assert "1st [[inbound]]" in problem.message


@pytest.mark.parametrize("number", ["100", "0815", "office-main"])
def test_short_numbers_and_names_of_a_trunk_need_no_country(number: str) -> None:
    text = f'[[extension]]\nnumber = "101"\npassword = "x"\n[[inbound]]\nnumber = "{number}"\nto = "101"'
    assert loads(text).inbound[0].number == number


def test_a_second_extension_with_a_number_names_the_first() -> None:
    twice = '[[extension]]\nnumber = "101"\npassword = "x"\n'
    problem = the_problem(twice * 2)
    assert (problem.line, problem.key) == (5, "extension[2].number")
    assert "1st [[extension]]" in problem.message


def test_a_near_miss_of_a_trunk_or_an_extension_is_offered() -> None:
    text = GOOD.replace('["carrier"]', '["carier"]').replace('to = "102"', 'to = "1O2"')
    messages = [problem.message for problem in problems(text)]
    assert 'there is no extension "1O2"; did you mean "102"?' in messages
    assert 'there is no trunk "carier"; did you mean "carrier"?' in messages


def test_all_faults_come_out_at_once_in_the_order_of_lines() -> None:
    found = problems('[sip]\nlisen = 1\nmax_calls = -1\n[media]\nports = "x"\n[[outbound]]\ntrunks = ["a"]\n')
    assert [problem.line for problem in found] == [2, 3, 5, 7]


def test_extensions_in_the_database_are_asked_for_when_the_file_has_none_such() -> None:
    text = '[[inbound]]\nnumber = "*"\nto = "103"\n'
    assert loads(text, stored=lambda url: {"103"} if url == Settings().database.url else ()).inbound[0].to == "103"
    (problem,) = problems('[database]\nurl = "sqlite:///x.db"\n' + text, {"sqlite:///x.db": {"104"}})
    assert problem.message == 'there is no extension "103"; did you mean "104"?'


def test_the_database_is_not_asked_without_need() -> None:
    def stored(url: str) -> Collection[str]:
        raise AssertionError(url)

    loads(GOOD, stored=stored)


def test_toml_that_cannot_be_read_has_its_line() -> None:
    problem = the_problem('[sip]\nmax_calls = 5\nlisten = [oops]\n')
    assert problem.line == 3
    assert problem.message.startswith("is not TOML")
    assert the_problem('[office]\nname = "never ends').line == 2


def test_a_message_reads_file_line_key_mend(tmp_path: Path) -> None:
    path = tmp_path / "hookline.toml"
    path.write_text("[media]\nworkers = 0\n")
    with pytest.raises(SettingsError) as caught:
        load(path)
    assert str(caught.value) == f"{path}, line 2: media.workers: must be at least 1, and 0 is not"


def test_a_file_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read: no such file"):
        load(tmp_path / "nothing.toml")


@pytest.mark.skipif(os.name != "posix", reason="bytes of a file")
def test_a_file_in_another_encoding_says_so(tmp_path: Path) -> None:
    path = tmp_path / "hookline.toml"
    path.write_bytes('[office]\nname = "Контора"\n'.encode("cp1251"))
    with pytest.raises(SettingsError, match="save it as UTF-8"):
        load(path)


def test_the_effective_settings_are_a_file_again_and_show_no_secret() -> None:
    settings = loads(GOOD)
    printed = effective(settings)
    for secret in ("correct horse", "battery staple", "hunter22", "hidden", "MfKQ9r8G"):
        assert secret not in printed
    again = tomllib.loads(printed)
    assert again["office"]["name"] == "Example & Co"
    assert again["crm"]["hook"][0]["deadline_ms"] == 200
    assert set(again["extension"][0]["password"]) == {"*"}
    assert again["media"] == {**settings.media.model_dump(), "rtpengine": []}


def test_the_effective_defaults_load_to_the_defaults() -> None:
    assert loads(effective(Settings())) == Settings()


def test_secrets_never_stand_in_a_message() -> None:
    text = '[[extension]]\nnumber = "1"\npassword = 987654\n[database]\nurl = "mysql://u:pa55word@h/n"\n'
    for problem in problems(text):
        assert "987654" not in str(problem)
        assert "pa55word" not in str(problem)


SECTIONS = sorted(Settings.model_fields)
VALUES = ['""', '"x"', "1", "-1.5", "true", "[]", "{}", "[[]]", "[1, {}]", "2000-01-01", '["x"]', "[{x = 1}]"]
KEYS = ["number", "to", "name", "server", "trunks", "listen", "ports", "url", "hook", "accept_from", "password", "x"]


def lines_at_fault(text: str) -> set[int]:
    try:
        loads(text)
    except SettingsError as error:
        return {problem.line for problem in error.problems}
    return set()


@pytest.mark.parametrize("section", SECTIONS)
@pytest.mark.parametrize("value", VALUES)
def test_a_section_of_any_shape_is_an_error_and_never_a_crash(section: str, value: str) -> None:
    assert lines_at_fault(f"{section} = {value}\n") <= {1}


@given(st.sampled_from(["[{}]", "[[{}]]"]), st.sampled_from(SECTIONS), st.sampled_from(KEYS), st.sampled_from(VALUES))
def test_a_key_of_any_shape_is_an_error_and_never_a_crash(header: str, section: str, key: str, value: str) -> None:
    assert lines_at_fault(f"# a comment\n{header.format(section)}\n{key} = {value}\n") <= {2, 3}


@pytest.mark.parametrize(
    ("text", "path", "line"),
    [
        ("a.b = 1\na.c = 2", ("a", "c"), 2),
        ("a = '''\n[b]\n'''\nc = 1", ("c",), 4),
        ('a = """x\n\\"""\n]"""\nc = 1', ("c",), 4),
        ("a = [ # ] '\n 1,\n]\nc = 1", ("c",), 4),
        ('a = {b = "}", c = [1]}\n"d e" = 1', ("d e",), 2),
        ("[[a]]\nx = 1\n[[a]]\n[a.b]\nx = 2", ("a", 1, "b", "x"), 5),
        ("[[a.b]]\n[[a.b]]\ny = 1", ("a", "b", 1, "y"), 3),
        ("[a]\r\nb = 1\r\nc = 2\r\n", ("a", "c"), 3),
        ("[a]\nb = 1", ("a", "missing"), 1),
        ("b = 1", ("missing",), 1),
    ],
)
def test_the_line_of_a_key_is_found(text: str, path: tuple[str | int, ...], line: int) -> None:
    tomllib.loads(text)
    assert Lines(text).find(path) == line


ESPO = """
[[crm.connector]]
kind = "espocrm"
url = "https://crm.example.net"
api_key = "hidden-key"
users = ["101=5f2c", "*=5f2d"]
"""


def test_a_connector_takes_the_keys_of_its_kind_and_hides_its_secrets() -> None:
    settings = loads(ESPO)
    assert settings.crm.connector[0].users == ("101=5f2c", "*=5f2d")
    printed = effective(settings)
    assert "hidden-key" not in printed
    assert loads(printed).crm.connector[0].kind == "espocrm"


@pytest.mark.parametrize(
    ("change", "line", "key", "said"),
    [
        (('kind = "espocrm"', 'kind = "espo"'), 3, "crm.connector[1].kind", 'did you mean "espocrm"?'),
        (('api_key = "hidden-key"', ""), 2, "crm.connector[1]", 'needs api_key: api_key = "..."'),
        (('api_key = "hidden-key"', 'api_kye = "x"'), 5, "crm.connector[1].api_kye", 'did you mean "api_key"?'),
        (('users = ["101=5f2c", "*=5f2d"]', 'tenant = "x"'), 6, "crm.connector[1].tenant", "has no tenant"),
        (('"https://crm.example.net"', '"crm.example.net"'), 4, "crm.connector[1].url", "is no web address"),
        (('"*=5f2d"', '"102"'), 6, "crm.connector[1].users", 'write "101=" and the id'),
    ],
)
def test_a_connector_at_fault(change: tuple[str, str], line: int, key: str, said: str) -> None:
    found = [problem for problem in problems(ESPO.replace(*change)) if problem.key == key]
    assert [(problem.line, said in problem.message) for problem in found] == [(line, True)]


def test_two_connectors_of_one_name() -> None:
    (found,) = problems(ESPO + ESPO)
    assert 'connector 1 is called "espocrm" already' in found.message
    assert len(loads(ESPO + ESPO + 'name = "second"').crm.connector) == 2
