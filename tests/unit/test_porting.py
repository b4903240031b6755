"""`hookline import` and `hookline export`, as people call them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from pbxcore.cli import main

SHEET = "name,phone1\nAnn,2125550100\nBob,101\n"


@pytest.fixture
def office(tmp_path: Path) -> Path:
    settings = tmp_path / "hookline.toml"
    settings.write_text(f'[office]\ncountry = "US"\n[database]\nurl = "sqlite:///{tmp_path}/office.db"\n')
    (tmp_path / "in.csv").write_text(SHEET)
    return tmp_path


def call(office: Path, *words: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, [*words, "-c", str(office / "hookline.toml")])
    return done.exit_code, done.output


def test_in_and_out_and_in_again(office: Path) -> None:
    status, said = call(office, "import", str(office / "in.csv"), "--rejects", str(office / "bad.csv"))
    assert status == 1
    assert said.splitlines()[0] == "1 new, 0 merged, 0 unchanged, 1 not imported"
    assert said.splitlines()[1].startswith("line 3: '101' is no telephone number")
    assert '"Bob,101"' in (office / "bad.csv").read_text()
    for name in ("out.vcf", "out.csv"):
        assert call(office, "export", str(office / name)) == (0, "")
        status, said = call(office, "import", str(office / name), "--json")
        assert (status, json.loads(said)["same"]) == (0, 1)


def test_what_is_no_file_of_contacts_is_said(office: Path) -> None:
    (office / "x.csv").write_text("a,b\n")
    status, said = call(office, "import", str(office / "x.csv"))
    assert status == 1
    assert "names no column for names" in said
