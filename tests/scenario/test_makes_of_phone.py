"""What each switch of a phone's profile changes on the wire, against a phone that has none of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pbxcore import profiles
from pbxcore.hooks import Ring
from pbxcore.profiles import PhoneProfile
from pbxcore.sip.layer import Flow
from pbxcore.sip.message import Request, Response
from tests.scenario.office import EXCHANGE, PASSWORD, Office
from tests.scenario.party import SDP, Party

PLAIN = profiles.phone("generic")
CALLER = "+12025550199"


class Phone(Party):
    """A phone with a User-Agent, of which REGISTERs may say more than usual."""

    agent = "Tin Can/1.0"
    said: tuple[tuple[str, str], ...] = ()

    def _request(
        self, method: str, uri: str, to: str, headers: list[tuple[str, str]], body: bytes = b""
    ) -> Request:
        more = list(self.said) if method == "REGISTER" else []
        return super()._request(method, uri, to, [*headers, *more, ("User-Agent", self.agent)], body)


def phone(office: Office, port: int = 0, number: str = "101", agent: str = "Tin Can/1.0",
          said: tuple[tuple[str, str], ...] = ()) -> Phone:  # fmt: skip
    made = Phone(office.world, ("127.0.0.1", port or 10_000 + int(number)), number)
    made.password, made.agent, made.said = PASSWORD, agent, said
    made.register(EXCHANGE)
    assert office.world.until(lambda: made.registered), office.world.ladder()
    return made


def with_profile(office: Office, number: str = "101", **switches: object) -> PhoneProfile:
    """The extension's phone is of a make that differs in these switches."""
    profile = PhoneProfile.model_validate(PLAIN.model_dump() | switches)
    office.exchange.registrar.profiles = {number: profile}
    return profile


def ringing(office: Office, ringer: Party, headers: list[tuple[str, str]] | None = None) -> Request:
    """The INVITE that the phone gets when the carrier calls its number."""
    carrier = office.carrier(CALLER)
    talk = carrier.call("+15550100", EXCHANGE, headers=headers)
    assert office.world.until(lambda: any(seen.method == "INVITE" for seen in ringer.seen)), office.world.ladder()
    office.world.run(1.0)
    carrier.bye(talk)
    office.world.run(1.0)
    return next(seen for seen in ringer.seen if seen.method == "INVITE")


def invite_with(headers: list[tuple[str, str]] | None = None, name: str | None = None, alert: str | None = None,
                **switches: object) -> Request:  # fmt: skip
    office = Office()
    if switches:
        with_profile(office, **switches)
    if name or alert:
        office.hooks.decide = lambda call: Ring(("101",), display_name=name, alert_info=alert)
    found = ringing(office, phone(office), headers)
    office.assert_nothing_left()
    return found


def test_every_switch_has_a_scenario() -> None:
    """Here, or in the file of the feature that it belongs to."""
    text = "".join(file.read_text("utf-8") for file in Path(__file__).parent.glob("test_*.py"))
    missing = [key for key in PhoneProfile.model_fields if f"{key}=" not in text and f"_{key}" not in text]
    assert not missing


def test_a_plain_phone_gets_what_it_always_got() -> None:
    invite = invite_with([("X-Tariff", "7")])
    assert invite.from_.uri.user == CALLER
    assert invite.first("x-tariff") == "7"
    assert invite.first("p-asserted-identity") is invite.first("remote-party-id") is None
    assert any(line.startswith("From:") for _, line in invite.fields)


# ---- who calls


def test_identity() -> None:
    asserted = invite_with(name="Anna", identity="asserted")
    assert asserted.first("p-asserted-identity") == f'"Anna" <{asserted.from_.uri}>'
    remote = invite_with(name="Anna", identity="remote-party")
    assert remote.first("remote-party-id") == f'"Anna" <{remote.from_.uri}>;party=calling;privacy=off;screen=yes'


@pytest.mark.parametrize(("plus", "user"), [("00", "0012025550199"), ("", "12025550199"), ("+", CALLER)])
def test_plus(plus: str, user: str) -> None:
    assert invite_with(plus=plus, compact=True).from_.uri.user == user


def test_display_ascii() -> None:
    assert invite_with(name="Щукина Łucja", display_ascii=True).from_.display == "Shchukina Lucja"
    assert invite_with(name="日本", display_ascii=True).from_.display is None
    assert invite_with(name="Щукина Łucja").from_.display == "Щукина Łucja"


def test_display_characters() -> None:
    assert invite_with(name="Anna Maria Ivanova", display_characters=11).from_.display == "Anna Maria"


@pytest.mark.parametrize(
    ("said", "plain", "written"),
    [
        ("family", "<urn:alert:source:family>", "<http://ring.invalid>;info=family"),
        ("Bellcore-dr3", "Bellcore-dr3", "<http://ring.invalid>;info=Bellcore-dr3"),
        ("<urn:alert:source:external>", "<urn:alert:source:external>", "<http://ring.invalid>;info=external"),
        ("<http://127.0.0.1/Bellcore-dr2>", "<http://127.0.0.1/Bellcore-dr2>", "<http://127.0.0.1/Bellcore-dr2>"),
    ],
)
def test_alert_info(said: str, plain: str, written: str) -> None:
    assert invite_with(alert=said, alert_info="info").first("alert-info") == written
    assert invite_with(alert=said).first("alert-info") == plain


def test_alert_source() -> None:
    assert invite_with().first("alert-info") == "<urn:alert:source:external>"
    assert invite_with([("Priority", "emergency")]).first("alert-info") == "<urn:alert:source:external>"  # a stranger's
    assert invite_with(alert_source=False).first("alert-info") is None
    assert invite_with(alert="<urn:alert:source:friend>", alert_source=False).first("alert-info")


# ---- how large it is


def test_foreign_headers() -> None:
    spared = invite_with([("X-Tariff", "7"), ("Subject", "hi")], foreign_headers=False)
    assert spared.first("x-tariff") is spared.first("subject") is None
    assert spared.first("x-hookline-call")
    assert spared.body


def test_compact() -> None:
    short, long = invite_with(compact=True), invite_with()
    assert {line.partition(":")[0] for _, line in short.fields} >= {"f", "t", "i", "m", "c"}
    assert short.from_.uri.user == long.from_.uri.user
    assert len(short.to_bytes()) < len(long.to_bytes())


def test_sdp_drop(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the first offer and in every later one; the rest of the offer stays."""
    more = SDP + "a=extmap:1 urn:x\r\na=extmap-allow-mixed\r\na=rtcp-fb:* nack\r\n"
    monkeypatch.setattr("tests.scenario.party.SDP", more)
    office = Office()
    with_profile(office, sdp_drop=("extmap", "rtcp-fb"))
    ringer, carrier = phone(office), office.carrier(CALLER)
    talk = carrier.call("+15550100", EXCHANGE)
    office.world.run(1.0)
    carrier.send(talk, "INVITE", carrier.sdp("sendonly"))
    office.world.run(1.0)
    offers = [seen.body for seen in ringer.seen if seen.method == "INVITE"]
    assert len(offers) == 2, office.world.ladder()
    for offer in offers:
        assert b"a=extmap:" not in offer
        assert b"a=rtcp-fb" not in offer
        assert b"a=extmap-allow-mixed\r\n" in offer
        assert b"m=audio" in offer
    carrier.bye(talk)
    office.assert_nothing_left()


# ---- where it is


class TwoPorts(Phone):
    """Sends from one port and listens on another: what goes to the first is lost."""

    listens = 12_345

    @property
    def contact(self) -> str:
        return f"<sip:{self.user}@127.0.0.1:{self.listens}>"


class Ear(Party):
    """The port it listens on: hands what it hears to the phone that sends elsewhere."""

    phone: TwoPorts

    def receive(self, transport: str, source: tuple[str, int], data: bytes) -> None:
        self.phone.heard.append(data)  # type: ignore[attr-defined]  # made below
        Party.receive(self.phone, transport, source, data)


def two_ports(office: Office) -> TwoPorts:
    made = TwoPorts(office.world, ("127.0.0.1", 23_456), "101")
    made.password = PASSWORD
    ear = Ear(office.world, ("127.0.0.1", TwoPorts.listens), "101")
    ear.phone = made
    made.heard = []  # type: ignore[attr-defined]  # for this test
    made.register(EXCHANGE)
    assert office.world.until(lambda: made.registered), office.world.ladder()
    return made


@pytest.mark.parametrize("reach", ["source", "contact"])
def test_reach(reach: str) -> None:
    office = Office()
    with_profile(office, reach=reach)
    made = two_ports(office)
    carrier = office.carrier(CALLER)
    talk = carrier.call("+15550100", EXCHANGE)
    office.world.run(2.0)
    carrier.bye(talk)
    office.world.run(2.0)
    heard = [data.split(b" ", 1)[0] for data in made.heard]  # type: ignore[attr-defined]  # as above
    assert heard == ([b"INVITE", b"ACK", b"BYE"] if reach == "contact" else [])
    made.heard.clear()  # type: ignore[attr-defined]
    made.call("94951234567", EXCHANGE)   # and of its own call, once that is up
    office.world.run(2.0)
    carrier.bye(next(talk for talk in carrier.talks.values() if talk.state == "up"))
    office.world.run(2.0)
    heard = [data.split(b" ", 1)[0] for data in made.heard]  # type: ignore[attr-defined]
    assert heard == ([b"BYE"] if reach == "contact" else []), office.world.ladder()
    office.assert_nothing_left()


def test_a_contact_of_another_address_is_not_reached_whatever_the_profile_says() -> None:
    office = Office()
    with_profile(office, reach="contact")
    made = Phone(office.world, ("127.0.0.1", 23_456), "101")
    made.password = PASSWORD
    made.said = (("Contact", "<sip:101@127.0.0.99:5060>"),)
    made.register(EXCHANGE)
    assert office.world.until(lambda: made.registered)
    assert ringing(office, made).method == "INVITE"


# ---- registration


def answers(office: Office, made: Party) -> Response:
    made.register(EXCHANGE)
    office.world.run(1.0)
    return [answer for answer in made.answers if answer.status == 200][-1]


@pytest.mark.parametrize(("own", "count"), [("all", 2), ("own", 1)])
def test_register_contacts(own: str, count: int) -> None:
    office = Office()
    with_profile(office, register_contacts=own)
    first = phone(office, 10_201)
    phone(office, 10_202)
    contacts = answers(office, first).contacts
    assert len(contacts) == count
    assert contacts[0].uri.port == 10_201


INSTANCE = ';+sip.instance="<urn:uuid:00000000-0000-1000-8000-000A95A0E128>"'


def restarted(office: Office, *, instance: str = "", agents: tuple[str, str] = ("A/1", "A/1")) -> int:
    """How many phones ring when one has come back on another port without a word."""
    rung: list[Phone] = []
    for port, agent in zip((10_301, 10_302), agents, strict=True):
        contact = f"<sip:101@127.0.0.1:{port}>{instance}"
        rung.append(phone(office, port, agent=agent, said=(("Contact", contact),)))
    carrier = office.carrier(CALLER)
    talk = carrier.call("+15550100", EXCHANGE)
    office.world.run(1.0)
    carrier.bye(talk)
    office.world.run(1.0)
    return sum(any(seen.method == "INVITE" for seen in one.seen) for one in rung)


@pytest.mark.parametrize(
    ("replaces", "instance", "agents", "ring"),
    [
        ("contact", INSTANCE, ("A/1", "A/1"), 2),
        ("instance", INSTANCE, ("A/1", "A/2"), 1),
        ("instance", "", ("A/1", "A/1"), 2),
        ("host", "", ("A/1", "A/1"), 1),
        ("host", "", ("A/1", "B/1"), 2),
    ],
)
def test_replaces(replaces: str, instance: str, agents: tuple[str, str], ring: int) -> None:
    office = Office()
    with_profile(office, replaces=replaces)
    assert restarted(office, instance=instance, agents=agents) == ring
    office.assert_nothing_left()


def test_a_phone_that_always_comes_back_elsewhere_never_fills_its_extension() -> None:
    office = Office()
    with_profile(office, replaces="host")
    for port in range(10_400, 10_420):
        phone(office, port)
    assert len(office.exchange.registrar.bindings("101")) == 1
    assert len(office.bindings.kept) == 1


def test_register_seconds() -> None:
    office = Office()
    with_profile(office, register_seconds=300, register_min_seconds=100, register_max_seconds=400)
    made = Phone(office.world, ("127.0.0.1", 10_101), "101")
    made.password = PASSWORD
    made.register(EXCHANGE, expires=9999)
    office.world.run(1.0)
    assert answers(office, made).contacts[0].params["expires"] == "400"
    made.register(EXCHANGE, expires=50)
    office.world.run(1.0)
    assert made.answers[-1].status == 423
    assert made.answers[-1].first("min-expires") == "100"
    made.said = (("Contact", made.contact),)
    request = made._request("REGISTER", "sip:127.0.0.1", "<sip:101@127.0.0.1>", [])
    flow: Flow = made.flow_to("UDP", *EXCHANGE)
    made.layer.request(request, flow, made)
    office.world.run(1.0)
    assert made.answers[-1].contacts[0].params["expires"] == "300"


# ---- which profile it is


def test_a_phone_without_a_profile_is_known_by_its_user_agent() -> None:
    office = Office()
    office.hooks.decide = lambda call: Ring(("101",), display_name="Щукина")
    invite = ringing(office, phone(office, agent="Grandstream HT802 1.0.29.8"))
    assert invite.from_.display == "Shchukina"
    assert invite.from_.uri.user == "12025550199"


def test_a_profile_that_was_set_wins_over_the_user_agent() -> None:
    office = Office()
    with_profile(office, plus="00")
    invite = ringing(office, phone(office, agent="Grandstream HT802 1.0.29.8"))
    assert invite.from_.uri.user == "0012025550199"


def test_two_makes_at_one_extension_each_get_their_own() -> None:
    office = Office()
    office.hooks.decide = lambda call: Ring(("101",), alert_info="family")
    desk, adapter = phone(office, 10_501, agent="Yealink T58 58.80.0.5"), phone(office, 10_502, agent="Linksys/PAP2T-5")
    first = ringing(office, desk)
    assert first.first("alert-info") == "<http://ring.invalid>;info=family"
    assert first.from_.uri.user == CALLER
    other = next(seen for seen in adapter.seen if seen.method == "INVITE")
    assert other.first("alert-info") == "<urn:alert:source:family>"
    assert other.from_.uri.user == "12025550199"
    office.assert_nothing_left()


def test_a_phone_that_was_another_make_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same Contact with another User-Agent: what was known is forgotten, and nothing stays when all have gone."""
    office = Office()
    made = phone(office, agent="Grandstream HT802 1.0.29.8")
    assert office.exchange.registrar.makes
    made.agent = "Tin Can/2.0"
    answers(office, made)
    assert not office.exchange.registrar.makes
    made.agent = "Grandstream HT802 1.0.29.8"
    answers(office, made)
    made.register(EXCHANGE, expires=0)
    office.world.run(1.0)
    assert not office.exchange.registrar.bindings("101")
    assert not office.exchange.registrar.makes
