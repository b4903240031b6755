"""`hookline trace` prints a ladder that fits a terminal, and says what to do when there is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from click.testing import CliRunner

from pbxcore.cli import main
from pbxcore.trace import ladder, line


def step(at: float, party: int, out: bool, text: str, again: bool = False) -> dict[str, Any]:
    return {
        "at": at, "party": party, "out": out, "text": text, "again": again, "transport": "UDP",
        "local": "127.0.0.1:5060", "remote": "127.0.0.9:5070", "message": f"{text} sip:x SIP/2.0\r\nVia: y\r\n\r\n",
    }  # fmt: skip


def party(name: str, side: str) -> dict[str, Any]:
    return {"name": name, "address": "127.0.0.9:5070", "transport": "UDP", "side": side}


PARTIES = [party("101", "a"), party("102", "b")]
STEPS = [
    step(1000.0, 0, False, "INVITE (SDP)"),
    step(1000.25, 1, True, "INVITE (SDP)"),
    step(1000.5, 0, False, "INVITE (SDP)", again=True),
    step(1001.0, 1, False, "486 A reason that is much too long for its arrow"),
]


def test_a_ladder() -> None:
    lines = ladder("ours", PARTIES, STEPS).splitlines()
    assert lines[0].startswith("Call ours, ")
    assert lines[2].split() == ["101", "Hookline", "102"]
    assert lines[3].split() == ["udp:127.0.0.9:5070", "127.0.0.1:5060", "udp:127.0.0.9:5070"]
    assert lines[5:9] == [
        "      0.000  |------ INVITE (SDP) ---->|                         |",
        "      0.250  |                         |------ INVITE (SDP) ---->|",
        "      0.500  |----- INVITE (SDP) * --->|                         |",
        "      1.000  |                         |< 486 A reason that is… -|",
    ]
    assert lines[-1] == "* sent again"
    assert max(map(len, lines)) <= 80


def test_an_arrow_to_the_second_of_two_phones_crosses_the_first() -> None:
    arrows = ladder("ours", [*PARTIES, party("103", "b")], [step(1.0, 2, True, "CANCEL")]).splitlines()[5]
    assert arrows.startswith("      0.000  |" + " " * 25 + "|--")
    assert arrows.endswith("->|")
    assert " CANCEL " in arrows


def test_a_ladder_with_every_message() -> None:
    text = ladder("ours", PARTIES, STEPS[:1], whole=True)
    assert "    INVITE (SDP) sip:x SIP/2.0\n    Via: y\n" in text


def test_a_call_without_callee_and_one_without_caller() -> None:
    assert "Hookline" in ladder("ours", PARTIES[:1], STEPS[:1])
    assert "Hookline" in ladder("ours", PARTIES[1:], [step(1.0, 0, True, "OPTIONS")])
    assert ladder("ours", [], []) == "Call ours: no messages"


def test_a_line_of_what_follows() -> None:
    assert line(STEPS[1])[12:].split() == ["->", "udp:127.0.0.9:5070", "INVITE", "(SDP)"]


def test_no_exchange_answers(tmp_path: Path) -> None:
    file = tmp_path / "hookline.toml"
    file.write_text(f'[database]\nurl = "sqlite:///{tmp_path}/office.db"\n')
    found = CliRunner().invoke(main, ["trace", "-c", str(file)])
    assert found.exit_code == 1
    assert "no exchange answers at" in found.output
    assert "hookline serve" in found.output
