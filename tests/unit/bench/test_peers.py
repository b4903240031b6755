"""Peers: what is not installed is said, what is gets a configuration of its own."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from bench.peers import asterisk_pbx, kamailio, registry, sippy
from bench.setup import Contestant, in_turn
from bench.subject import CannotStart
from tests.unit.bench.runs import run


@pytest.fixture
def nothing_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(kamailio, "PLACES", str(tmp_path))
    monkeypatch.delenv(sippy.VARIABLE, raising=False)
    monkeypatch.setattr(sippy.importlib.util, "find_spec", lambda name: None)
    return tmp_path


def program(path: Path) -> Path:
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_peers_that_are_not_installed_are_said_and_not_failed(nothing_installed: Path) -> None:
    found, missing = registry.look()
    assert [peer.name for peer in found] == [registry.NOTHING]
    assert set(missing) == {"Kamailio", "Sippy B2BUA", "Asterisk"}


def test_peers_on_the_path_are_found(nothing_installed: Path) -> None:
    for name in ("kamailio", "b2bua_simple", "asterisk"):
        program(nothing_installed / name)
    found, missing = registry.look()
    assert [peer.name for peer in found] == [registry.NOTHING, "Kamailio", "Sippy B2BUA", "Asterisk"]
    assert all(peer.does for peer in found)
    assert missing == {}


def test_sippy_is_found_where_it_is_said_to_be(nothing_installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = program(nothing_installed / "elsewhere")
    assert sippy.find(str(there)) == [str(there)]
    monkeypatch.setenv(sippy.VARIABLE, str(there))
    assert sippy.find() == [str(there)]
    assert sippy.find(str(nothing_installed / "wrong")) == []


def test_every_place_in_asterisks_configuration_is_filled_in(tmp_path: Path) -> None:
    main = asterisk_pbx.write_config(tmp_path, 15060, 15064)
    written = {file.name: file.read_text("utf-8") for file in tmp_path.glob("*.conf")}
    assert main.name in written
    assert not re.search("@[A-Z_]+@", "".join(written.values()))
    assert "bind = 127.0.0.1:15060" in written["pjsip.conf"]
    assert "contact = sip:101@127.0.0.1:15064" in written["pjsip.conf"]
    assert str(tmp_path) in written["asterisk.conf"]


def test_everybody_takes_turns_and_one_that_does_not_start_is_said() -> None:
    order = []

    def contestant(name: str, *, starts: bool = True) -> Contestant:
        def once():  # type: ignore[no-untyped-def]  # a run, or no return
            order.append(name)
            if not starts:
                raise CannotStart("its last words")
            return run()

        return Contestant(name, "", once)

    missing: dict[str, str] = {}
    made = in_turn([contestant("ours"), contestant("b"), contestant("c", starts=False)], 2, missing, lambda _: None)
    assert order == ["ours", "b", "c"] * 2
    assert {name: len(runs) for name, runs in made.items()} == {"ours": 2, "b": 2}
    assert made["b"][0].name == "b"
    assert missing == {"c": "did not start, or did not stay: its last words"}
    with pytest.raises(CannotStart):
        in_turn([contestant("ours", starts=False)], 1, {}, lambda _: None)


def test_configurations_are_where_their_peers_look() -> None:
    assert kamailio.CONFIG.is_file()
    assert os.listdir(asterisk_pbx.CONFIG)
