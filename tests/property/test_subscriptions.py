"""Whatever a SUBSCRIBE or PUBLISH holds it gets one answer; whatever the network does, a lamp ends up right."""

from __future__ import annotations

import random
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.scenario.office import EXCHANGE, Office
from tests.scenario.watcher import DIALOG, Watch, Watcher

ANSWERS = {200, 400, 401, 403, 404, 406, 412, 413, 415, 416, 420, 423, 481, 482, 489, 500}
HEADERS = st.sampled_from((
    "Event", "Expires", "Accept", "SIP-If-Match", "Content-Type", "Contact", "Supported", "Record-Route",
    "Accept-Encoding",
))  # fmt: skip
VALUES = st.one_of(
    st.sampled_from((
        "dialog", "presence", "reg", "message-summary;id=1", "0", "60", "-1", "4294967296", "*/*", "*", "<sip:a@b>", "",
        ";", '"', "application/pidf+xml", "dialog;id=" + "9" * 100, ",,,", "<sip:h;lr>, <sip:i>", "tel:1",
        "application/*",
    )),
    st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=30),
)  # fmt: skip
OFFICE = Office()
PHONE = Watcher(OFFICE, "102")


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(("SUBSCRIBE", "PUBLISH")), st.sampled_from(("101", "102", "999", "")),
    st.lists(st.tuples(HEADERS, VALUES), max_size=6), st.binary(max_size=80),
)  # fmt: skip
def test_one_answer_whatever_it_holds(method: str, number: str, rows: list[tuple[str, str]], body: bytes) -> None:
    uri = f"sip:{number}@127.0.0.1" if number else "sip:127.0.0.1"
    request = PHONE._request(method, uri, f"<{uri}>", rows)
    request.body = body
    before = len(PHONE.answers)
    PHONE.ask(request)
    assert len(PHONE.answers) > before, OFFICE.world.ladder()
    assert PHONE.answers[-1].status in ANSWERS
    assert OFFICE.exchange.counters.faults == 0


class Lamp:
    """A phone's own picture of its colleague's dialogs, made of the documents as RFC 4235 section 4.3 says."""

    def __init__(self, watch: Watch) -> None:
        self.dialogs: dict[str, str] = {}
        self.versions: list[int] = []
        received = {notify.cseq.number: notify for notify in watch.seen}
        for _, notify in sorted(received.items()):
            document = ElementTree.fromstring(notify.body.decode())  # noqa: S314 - our own
            self.versions.append(int(document.get("version") or -1))
            if document.get("state") == "full":
                self.dialogs.clear()
            for dialog in document.findall(f"{DIALOG}dialog"):
                self.dialogs[dialog.get("id") or ""] = dialog.findtext(f"{DIALOG}state") or ""
        self.dialogs = {key: state for key, state in self.dialogs.items() if state != "terminated"}


@pytest.mark.parametrize("seed", range(12))
def test_a_lamp_ends_up_right_on_a_bad_network(seed: int) -> None:
    office, rng = Office(seed), random.Random(seed)
    phones = [office.phone("101", port) for port in (10101, 10102)]
    watch = Watcher(office, "102").subscribe("101", expires=7000)
    assert watch.status == 200
    carrier = office.carrier()
    network = office.world.network
    network.loss, network.doubled, network.jitter = 0.15, 0.15, 0.4
    for _ in range(12):
        for phone in phones:
            phone.manners.answer_after = rng.choice((None, 0.05, 2.0))
            phone.manners.refuse_with = rng.choice((None, None, 486))
        talk = carrier.call("+15550100", EXCHANGE)
        office.world.run(rng.uniform(0.1, 6.0))
        if talk.state == "up" and rng.random() < 0.7:
            carrier.bye(talk)
        elif rng.random() < 0.8:
            carrier.cancel(talk)
        office.world.run(rng.uniform(0.0, 3.0))
    network.loss = network.doubled = network.jitter = 0.0
    office.world.run(100.0)
    lamp = Lamp(watch)
    live = {
        f"{call_id}-{leg.label}"
        for call_id, call in office.exchange.live.items()
        for leg in call.call.legs.values()
        if leg.party == "101" and leg.ended_at is None
    }
    assert set(lamp.dialogs) == live, office.world.ladder()
    assert lamp.versions == list(range(len(lamp.versions)))
    assert office.exchange.counters.faults == 0
