"""What several files of the interop tests look at: the load, and the call that nobody acknowledges meanwhile."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.interop import load


@pytest.fixture(scope="session")
def unacknowledged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[load.Unacknowledged]:
    with load.unacknowledged(tmp_path_factory.mktemp("unacknowledged")) as call:
        yield call


@pytest.fixture(scope="session")
def loaded(unacknowledged: load.Unacknowledged, tmp_path_factory: pytest.TempPathFactory) -> Iterator[load.Loaded]:
    """That call has begun by then: it ends while the transactions of the load do."""
    with load.loaded(tmp_path_factory.mktemp("loaded")) as office:
        yield office
