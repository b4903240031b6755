"""What is known of a make of phone, with the phone itself: baresip says its instance without a reg-id and comes back on
another port after every start."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.interop.server import password_of, running, wait_until
from tests.interop.tool_baresip import Baresip

UUID = "6f1d2a30-5d0c-4c1e-9a57-9d1c2b7a1e55"


@pytest.mark.parametrize(("profile", "left"), [("", 1), ("generic", 2)])
def test_a_phone_that_died_and_came_back_is_there_once(tmp_path: Path, profile: str, left: int) -> None:
    """Known by its User-Agent it leaves nothing behind; with a profile that is not its own, its ghost stays."""
    (tmp_path / "office").mkdir()
    desk = f'[[extension]]\nnumber = "101"\npassword = "{password_of("101")}"\nprofile = "{profile}"\n'
    with running(tmp_path / "office", extensions=("102",), more=desk) as server:
        query = "select * from bindings where aor = '101'"
        with Baresip(tmp_path / "first", server, "101", 440, uuid=UUID) as first:
            first.registered()
            wait_until(lambda: len(server.rows(query)) == 1, "a binding in the database")
            first.kill()
        with Baresip(tmp_path / "second", server, "101", 440, uuid=UUID) as second:
            second.registered()
            wait_until(lambda: len(server.rows(query)) == left, f"{left} bindings in the database")
