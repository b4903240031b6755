"""The torture messages of RFC 4475 and RFC 5118 over real sockets, at a running exchange: from a stranger, from a
carrier, and over TCP. Each may do what the corpus allows and no more, and the exchange is there for the next one."""

from __future__ import annotations

import re
import select
import statistics
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack

import pytest

from tests.interop import wire
from tests.interop.server import PATIENCE, Server, running
from tests.interop.verdict import Verdict
from tests.torture.corpus import RFC4475, RFC5118, Sample

SAMPLES = [*RFC4475, *RFC5118]
STRANGERS, CARRIERS = "127.0.5.{}", "127.0.6.{}"
SILENCE = 0.3           # seconds without an answer, after which none is expected any more
USUAL = 1.0             # what an OPTIONS takes usually, also on a machine that has other things to do
STALLED = 33.0          # a message that never gets complete: 30 s, and a look once a second


def stalls(sample: Sample) -> bool:
    """Whether it is never complete on a stream."""
    return Verdict.of(sample, "tcp").stalls


IN_ORDER = sorted(range(len(SAMPLES)), key=lambda index: stalls(SAMPLES[index]))     # what takes long comes last


@pytest.fixture(scope="module", params=["stranger", "carrier", "tcp"])
def sender(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, sender: str) -> Iterator[Server]:
    """An exchange for each kind of sender: a message that was seen before, from wherever, is a copy (17.2.3)."""
    with running(tmp_path_factory.mktemp(sender), accept_from=CARRIERS.format("0/24")) as server:
        yield server


@pytest.fixture(scope="module")
def waits() -> Iterator[list[float]]:
    """How long the exchange took to answer an OPTIONS after each of the messages."""
    seconds: list[float] = []
    yield seconds
    assert statistics.median(seconds) < USUAL


class Stalled:
    """The messages that are never complete, each on a connection of its own since the exchange began."""

    def __init__(self, server: Server, samples: Iterable[Sample]) -> None:
        self.since = time.monotonic()
        self.streams: dict[str, wire.Tcp] = {}
        for sample in samples:
            self.streams[sample.name] = stream = wire.Tcp(server.address("tcp"))
            stream.send(sample.raw)


@pytest.fixture(scope="module")
def stalled(server: Server, sender: str) -> Stalled:
    return Stalled(server, [sample for sample in SAMPLES if sender == "tcp" and stalls(sample)])


def ports_named(raw: bytes) -> list[int]:
    """Where answers may go: to the port that a message came from, and to those its Vias name (18.2.2)."""
    head = raw.decode("latin-1").partition("\r\n\r\n")[0]
    rows = re.findall(r"^(?:Via|v)[ \t]*:.*(?:\n[ \t].*)*", head, re.IGNORECASE | re.MULTILINE)
    named = {int(port) for row in rows for port in re.findall(r":\s*(\d{4,5})\b", row)}
    return [5060, *sorted(port for port in named if port < 65536 and port != 5060)]


def place(sample: Sample) -> int:
    """Where it is sent from: messages of the same branch are copies, and answered where the first came from."""
    branch = re.search(rb"branch\s*=\s*([^;,\s]+)", sample.raw)
    same = [other for other in SAMPLES if branch and branch[1] in other.raw]
    return SAMPLES.index(same[0] if same else sample) + 1


def collect(peers: list[wire.Udp], seconds: float, first: bool) -> list[wire.Answer]:
    """What arrives within `seconds`; with `first` no longer than until a final answer."""
    deadline = time.monotonic() + seconds
    found: list[wire.Answer] = []
    while (left := deadline - time.monotonic()) > 0:
        for peer in select.select(peers, [], [], left)[0]:
            answer = peer.receive(0.1)
            if answer is not None:
                found.append(answer)
                if first and answer.status >= 200:
                    return found
    return found


def still_there(server: Server, waits: list[float]) -> None:
    """It answers OPTIONS, and has met no fault of its own."""
    with wire.Udp(server.address()) as peer:
        began = time.monotonic()
        assert wire.ask(peer, wire.options(peer, server.address()), PATIENCE).status == 200
        waits.append(time.monotonic() - began)
    assert server.metrics()["hookline_net_crashes_total"] == 0, server.complaints.read_text()


@pytest.mark.parametrize("index", IN_ORDER, ids=[SAMPLES[index].name for index in IN_ORDER])
def test_message(server: Server, sender: str, stalled: Stalled, waits: list[float], index: int) -> None:
    sample = SAMPLES[index]
    if sender == "tcp" and stalls(sample):
        is_cut_off(stalled, sample)
    elif sender == "tcp":
        over_tcp(server, sample)
    else:
        over_udp(server, sample, (STRANGERS if sender == "stranger" else CARRIERS).format(place(sample)))
    still_there(server, waits)


def over_udp(server: Server, sample: Sample, host: str) -> None:
    verdict = Verdict.of(sample, "udp")
    with ExitStack() as stack:
        ports = ports_named(sample.raw)
        peers = [stack.enter_context(wire.Udp(server.address(), host, port)) for port in ports]
        peers[0].send(sample.raw)
        answers = [] if verdict.drop else collect(peers, PATIENCE, first=True)
        if verdict.drop or verdict.once:
            answers += collect(peers, SILENCE, first=False)
    fault = verdict.fault(sample, answers)
    assert not fault, f"{fault}; allowed: {sample.acceptable}"
    assert all(answer.status for answer in answers), "a request came back"


def over_tcp(server: Server, sample: Sample) -> None:
    verdict = Verdict.of(sample, "tcp")
    address = server.address("tcp", "::1" if sample in RFC5118 else "127.0.0.1")
    with wire.Tcp(address) as peer:
        peer.send(sample.raw)
        answer = peer.receive(SILENCE if verdict.drop else PATIENCE)
        if verdict.closes:
            assert peer.receive(PATIENCE) is None
        fault = verdict.fault(sample, [answer] if answer else [], closed=peer.closed)
        assert not fault, f"{fault}; allowed: {sample.acceptable}"
        if not verdict.closes:
            assert wire.ask(peer, wire.options(peer, address), PATIENCE).status == 200


def is_cut_off(stalled: Stalled, sample: Sample) -> None:
    with stalled.streams[sample.name] as stream:
        answer = stream.receive(max(0.1, STALLED - (time.monotonic() - stalled.since)))
        assert answer is None
        assert stream.closed, "the stream is still open"
