"""The location service: bindings, their order, their end."""

from __future__ import annotations

from typing import Any

import pytest

from pbxcore.call.registrar import MAX_BINDINGS, Binding, Registrar, TooBrief
from pbxcore.profiles import phone
from pbxcore.sip.errors import SipError
from pbxcore.sip.message import Response
from pbxcore.sip.timers import Timers
from tests.unit.call.fakes import FakeFlow, request

PROFILE = phone("generic").model_copy(update={"register_seconds": 600, "register_max_seconds": 3600})


class Desk:
    """A registrar on a clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 100.0
        self.skew = 1_000_000.0
        self.timers = Timers()
        self.kept: dict[tuple[str, str], Binding] = {}
        self.changes: list[tuple[str, int]] = []
        self.flows: list[FakeFlow] = []
        self.registrar = Registrar(
            self.timers, clock=lambda: self.now, wall=lambda: self.now + self.skew, flow_to=self.flow_to, store=self,
            changed=lambda extension, bindings: self.changes.append((extension, bindings)),
        )  # fmt: skip
        self.registrar.profiles = {"101": PROFILE}
        self.cseq = 0

    def flow_to(self, transport: str, host: str, port: int) -> FakeFlow:
        self.flows.append(FakeFlow(transport, (host, port)))
        return self.flows[-1]

    def put_binding(self, binding: Binding) -> None:
        self.kept[binding.extension, binding.name] = binding

    def drop_binding(self, extension: str, name: str) -> None:
        self.kept.pop((extension, name), None)

    def send(
        self, *contacts: str, expires: int | None = None, call_id: str = "r", cseq: int = 0,
        flow: FakeFlow | None = None, agent: str = "",
    ) -> Response:  # fmt: skip
        self.cseq = cseq or self.cseq + 1
        headers = [("Contact", contact) for contact in contacts]
        headers += [("Expires", str(expires))] if expires is not None else []
        headers += [("Call-ID", call_id), ("CSeq", f"{self.cseq} REGISTER"), ("User-Agent", agent)]
        register = request("REGISTER", "sip:127.0.0.1", *headers)
        if not contacts:
            register.remove("contact")
        return self.registrar.register(register, flow or FakeFlow(), "101", "tag")

    def pass_time(self, seconds: float) -> None:
        end = self.now + seconds
        while (at := self.timers.next_at()) is not None and at <= end:
            self.now = max(self.now, at)
            self.timers.fire(self.now)
        self.now = end

    def contacts(self) -> list[str]:
        return [binding.contact for binding in self.registrar.bindings("101")]


A, B = "sip:101@10.0.0.1", "sip:101@10.0.0.2:5070"


@pytest.mark.parametrize(
    ("contact", "header", "granted"),
    [
        (f"<{A}>", None, 600), (f"<{A}>", 120, 120), (f"<{A}>;expires=90", 120, 90), (f"<{A}>", 99999, 3600),
        (f"<{A}>;expires=99999999999999999999", None, 3600), (f"<{A}>;expires=soon", 120, 120),
        (f"<{A}>;expires=-5", 120, 120), (f"<{A}>;expires=٣٠٠", 120, 120), (A, 60, 60),
    ],
)  # fmt: skip
def test_for_how_long(contact: str, header: int | None, granted: int) -> None:
    desk = Desk()
    answer = desk.send(contact, expires=header)
    assert answer.status == 200
    assert answer.first("contact") == f"<{A}>;expires={granted}"
    assert desk.changes == [("101", 1)]


def test_the_newest_is_first_and_a_refresh_makes_new() -> None:
    desk = Desk()
    desk.send(f"<{A}>")
    desk.send(f"<{B}>")
    assert desk.contacts() == [B, A]
    desk.send(f"<{A}>")
    assert desk.contacts() == [A, B]
    assert sorted(contact for _, contact in desk.kept) == [A, B]


def test_two_spellings_are_one_binding() -> None:
    """19.1.4: an escaped character, another case of the host, parameters in another order."""
    desk = Desk()
    desk.send("<sip:101@desk.example;ob;transport=udp>")
    desk.send("<sip:10%31@DESK.example;transport=UDP;ob>")
    assert len(desk.contacts()) == 1


def test_several_contacts_at_once() -> None:
    desk = Desk()
    answer = desk.send(f"<{A}>;expires=100", f"<{B}>;expires=200")
    assert len(answer.values("contact")) == 2
    desk.send(f"<{A}>;expires=0", f"<{B}>;expires=300")
    assert desk.contacts() == [B]
    assert list(desk.kept) == [("101", B)]


@pytest.mark.parametrize(
    "contacts",
    [("*", f"<{A}>"), ("<mailto:a@b>",), ("<tel:+1555>",), (f"<{A}>", "<mailto:a@b>"), (f"<sip:{'x' * 600}@h>",)],
)
def test_what_is_wrong_changes_nothing(contacts: tuple[str, ...]) -> None:
    desk = Desk()
    desk.send(f"<{B}>")
    with pytest.raises(SipError) as refused:
        desk.send(*contacts, expires=0 if "*" in contacts else 100)
    assert refused.value.status == 400
    assert desk.contacts() == [B]


def test_too_brief() -> None:
    with pytest.raises(TooBrief) as refused:
        Desk().send(f"<{A}>", expires=59)
    assert (refused.value.status, refused.value.minimum) == (423, 60)


def test_star_takes_all_away() -> None:
    desk = Desk()
    desk.send(f"<{A}>", f"<{B}>")
    answer = desk.send("*", expires=0)
    assert (answer.status, answer.values("contact"), desk.kept) == (200, [], {})
    assert desk.changes[-1] == ("101", 0)


def test_a_question_changes_nothing() -> None:
    desk = Desk()
    desk.send(f"<{A}>")
    desk.pass_time(100.0)
    assert desk.send().first("contact") == f"<{A}>;expires=500"
    assert len(desk.changes) == 1


def test_more_than_anybody_has() -> None:
    desk = Desk()
    for number in range(MAX_BINDINGS):
        desk.send(f"<sip:101@10.0.0.{number}>")
    with pytest.raises(SipError) as refused:
        desk.send("<sip:101@10.0.1.1>")
    assert refused.value.status == 403
    desk.send("<sip:101@10.0.0.3>")
    desk.send("<sip:101@10.0.0.3>;expires=0")
    desk.send("<sip:101@10.0.1.1>")
    assert len(desk.contacts()) == MAX_BINDINGS


@pytest.mark.parametrize(
    ("call_id", "cseq", "refused"), [("r", 9, True), ("r", 10, False), ("r", 11, False), ("s", 1, False)]
)
def test_an_old_register_changes_nothing(call_id: str, cseq: int, refused: bool) -> None:
    desk = Desk()
    desk.send(f"<{A}>", cseq=10)
    for contact, expires in ((f"<{A}>", 100), ("*", 0)):
        if refused:
            with pytest.raises(SipError):
                desk.send(contact, expires=expires, call_id=call_id, cseq=cseq)
        else:
            assert desk.send(contact, expires=expires, call_id=call_id, cseq=cseq).status == 200


def test_a_phone_is_reached_where_it_registered_from() -> None:
    desk = Desk()
    flow = FakeFlow("TCP", ("192.0.2.7", 40000))
    desk.send(f"<{A}>", flow=flow, agent="Phone 1.0")
    [binding] = desk.registrar.bindings("101")
    assert (binding.transport, binding.remote, binding.user_agent) == ("TCP", ("192.0.2.7", 40000), "Phone 1.0")
    assert desk.registrar.flow(binding) is flow
    flow.closed = True
    again = desk.registrar.flow(binding)
    assert again is desk.flows[0]
    assert again.remote == ("192.0.2.7", 40000)
    assert desk.registrar.flow(binding) is again


def test_the_end_of_a_binding() -> None:
    desk = Desk()
    desk.send(f"<{A}>", expires=60)
    desk.pass_time(59.9)
    assert desk.contacts() == [A]
    desk.pass_time(0.2)
    assert (desk.contacts(), desk.kept, desk.changes[-1]) == ([], {}, ("101", 0))
    assert len(desk.timers) == 0


def test_a_binding_is_over_when_its_time_is_whatever_the_timers_do() -> None:
    desk = Desk()
    desk.send(f"<{A}>", expires=60)
    desk.now += 61
    assert desk.contacts() == []


def test_refreshes_share_a_timer() -> None:
    desk = Desk()
    for _ in range(100):
        desk.send(f"<{A}>", expires=3600)
        desk.pass_time(30.0)
    assert len(desk.timers) == 1
    desk.pass_time(3600.0)
    assert (desk.contacts(), len(desk.timers)) == ([], 0)


def test_the_first_to_run_out_runs_out_first() -> None:
    desk = Desk()
    desk.send(f"<{A}>", expires=600)
    desk.send(f"<{B}>", expires=60)
    desk.pass_time(61.0)
    assert desk.contacts() == [A]
    desk.pass_time(540.0)
    assert (desk.contacts(), len(desk.timers)) == ([], 0)


@pytest.mark.parametrize("jump", [-500.0, 500.0])
def test_the_wall_clock_jumps(jump: float) -> None:
    desk = Desk()
    desk.send(f"<{A}>", expires=600)
    desk.pass_time(10.0)
    desk.skew += jump
    desk.pass_time(600.0 - 10.0 - jump - 1.0)
    assert desk.contacts() == [A]
    desk.pass_time(601.0)
    assert (desk.contacts(), desk.kept, len(desk.timers)) == ([], {}, 0)


def stored(expires_in: float, contact: str = A) -> Binding:
    return Binding("101", contact, 1_000_100.0 + expires_in, "UDP", ("192.0.2.7", 5060), "r", 7, "Phone")


def test_bindings_of_an_earlier_run() -> None:
    desk = Desk()
    dead, living = stored(-1.0, B), stored(100.0)
    desk.kept = {("101", B): dead, ("101", A): living}
    assert desk.registrar.restore([dead, living]) == 1
    assert desk.contacts() == [A]
    assert list(desk.kept) == [("101", A)]
    flow: Any = desk.registrar.flow(living)
    assert flow.remote == ("192.0.2.7", 5060)
    with pytest.raises(SipError):
        desk.send(f"<{A}>", cseq=6)
    desk.pass_time(101.0)
    assert (desk.contacts(), desk.kept) == ([], {})


def test_nobody_keeps_and_nobody_is_told() -> None:
    timers = Timers()
    registrar = Registrar(timers, clock=lambda: 0.0, wall=lambda: 0.0, flow_to=lambda *_: FakeFlow())
    register = request("REGISTER", "sip:127.0.0.1", ("Contact", f"<{A}>"), ("CSeq", "1 REGISTER"))
    assert registrar.register(register, FakeFlow(), "102", "t").status == 200
    assert registrar.bindings("101") == []
    assert len(registrar.bindings("102")) == 1
