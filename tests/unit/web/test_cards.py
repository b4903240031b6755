"""Cards that phones fetch: without a session, and nothing but the card itself."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.unit.web.conftest import Browser
from tests.unit.web.fakes import World

Browse = Callable[..., Browser]
CARD = b'["vcard",[["version",{},"text","4.0"],["fn",{},"text","Anna <b>"]]]'


def test_a_phone_gets_its_card_without_signing_in(browse: Browse, world: World) -> None:
    world.control.cards["t0ken"] = CARD
    answer = browse().get("/cards/t0ken")
    assert (answer.status_code, answer.content) == (200, CARD)
    assert answer.headers["content-type"] == "application/vcard+json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", ["/cards/guess", "/cards/", "/cards", "/cards/%2e%2e", "/cards/a/b"])
def test_who_guesses_gets_nothing(browse: Browse, world: World, path: str) -> None:
    world.control.cards["t0ken"] = CARD
    answer = browse().get(path)
    assert answer.status_code in (303, 404)
    assert b"vcard" not in answer.content
