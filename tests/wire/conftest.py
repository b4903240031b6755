"""What the tests of the relays share: who listens to them, and three parties with addresses of their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.wire.parties import Heard, Party


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def parties() -> Iterator[tuple[Party, Party, Party]]:
    three = Party("127.0.0.2", 0xA), Party("127.0.0.3", 0xB), Party("127.0.0.4", 0xC)
    yield three
    for party in three:
        party.close()
