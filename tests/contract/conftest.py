"""The databases that the contract tests run on, SQLite in a file and a real PostgreSQL; and the CRM of a test file that
is about one kind alone: its `Fake`, and a connector to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from itertools import count
from pathlib import Path

import pytest

from crmhooks.connector import CrmConnector
from tests.conftest import could_not
from tests.contract.connecting import made
from tests.contract.fakes.base import FakeCrm
from tests.contract.postgres import Cluster, binaries

_names = count(1)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs(*abilities): of the connectors, those that have all of these")


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    programs = binaries()
    if programs is None:
        could_not("PostgreSQL's server is not installed")
    made = Cluster(programs)
    try:
        made.start()
        yield made
    finally:
        made.remove()


@pytest.fixture
def postgresql_url(cluster: Cluster) -> str:
    """An empty database of its own."""
    name = f"test{next(_names)}"
    cluster.sql(f"CREATE DATABASE {name}")
    return cluster.url(name)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)  # the backlog of a PostgreSQL store is below the working directory
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/office.db"
    return str(request.getfixturevalue("postgresql_url"))


@pytest.fixture
async def fake(request: pytest.FixtureRequest) -> AsyncIterator[FakeCrm]:
    fake: FakeCrm = request.module.Fake()
    async with fake.serving():
        yield fake


@pytest.fixture
async def crm(fake: FakeCrm) -> AsyncIterator[CrmConnector]:
    connector = made(fake.settings())
    yield connector
    await connector.close()
