"""Whom connectors trust: the machine's authorities and nobody else, read once for all of them."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx2
import pytest

from crmhooks.connector import Unreachable
from crmhooks.connectors import site
from tests.authority import Authority


@pytest.fixture(autouse=True)
def read() -> Iterator[None]:
    """Before and after the test they are read anew."""
    site._trust.cache_clear()
    yield
    site._trust.cache_clear()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
async def url(authority: Authority) -> AsyncIterator[str]:
    pair = authority.issue(dns=["localhost"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")

    server = await asyncio.start_server(answer, "localhost", 0, ssl=context)
    yield f"https://localhost:{server.sockets[0].getsockname()[1]}"
    server.close()


async def test_a_certificate_of_an_unknown_authority_is_refused(url: str) -> None:
    crm = site.Site(url, time.time)
    with pytest.raises(Unreachable, match="certificate"):
        await crm.ask("GET", "/")
    await crm.close()


async def test_the_machines_authorities_are_trusted_and_read_once(
    url: str, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = []

    def reads(*, trust_env: bool) -> ssl.SSLContext:
        times.append(trust_env)
        return ssl.create_default_context(cafile=authority.file)

    monkeypatch.setattr(httpx2, "create_ssl_context", reads)
    for _ in range(3):
        crm = site.Site(url, time.time)
        assert (await crm.ask("GET", "/")).body == {}
        assert (await crm.ask("POST", "/")).body == {}
        await crm.close()
    assert times == [False]
