"""What breaks pages, for the CRM that ships: long words, markup of strangers, everything that a contact can have."""

from __future__ import annotations

from dataclasses import replace

from pbxcore.control import Address, ContactEntry, Instruction, ScheduledCall
from pbxcore.hooks import ExplainStep, Reject
from tests.browser.office import CrmOffice
from tests.unit.store.calls import ended

LONG = "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft"
MARKUP = "<img src=x onerror=alert(1)>"
NUMBER = "+12125550100"
EXPLAINED = (
    ExplainStep("rules", "", 0.02, None, (("unmatched", {"count": 4}),)),
    ExplainStep("embedded CRM", "", 0.3, None, (("knows", {"names": LONG}), ("remembered", {}))),
    ExplainStep(f"https://crm.example/{LONG}", "", 302.5, None, (("late", {"ms": 300}),)),
    ExplainStep("python", "", 1.5, Reject(603, MARKUP), (("decides.reject", {"to": MARKUP}),)),
    ExplainStep("route", "", 0.0, None, (("ring", {"to": "101, 102", "seconds": 30}),)),
)


def fill_crm(office: CrmOffice) -> None:
    """Contacts `person` and `company`, call `c-old`, an instruction, rules and planned calls."""
    office.world.users.put("chief", "admin", "101")
    office.do(lambda: office.world.control.steps.__setitem__("c-old", EXPLAINED))
    office.wait(_contacts(office))
    office.wait(_orders(office))
    office.do(lambda: _calls(office))


async def _contacts(office: CrmOffice) -> None:
    company = await office.crm.save_contact(ContactEntry("", f"ACME {LONG}", (NUMBER,), kind="company"))
    person = await office.crm.save_contact(
        ContactEntry(
            "", f"Elena {LONG}", (NUMBER, "+12125550101"), number_kinds=("mobile", "fax"), company_id=company.id,
            email=f"{'long' * 14}@example.org", other_emails=("elena@example.org",), owner="101", vip=True,
            tags=(LONG[:64], "gold"), instructions=f"Say hello.\n{LONG} {LONG}", balance="-12.50",
            addresses=(Address("home", f"1 {LONG}", LONG, "Bayern", "80331", "Germany"), Address("work", MARKUP)),
            fields={LONG[:60]: LONG, "Contract": MARKUP},
        )
    )  # fmt: skip
    await office.crm.save_contact(ContactEntry("", MARKUP, ("+12125550101",)))
    office.company, office.person = company.id, person.id


async def _orders(office: CrmOffice) -> None:
    crm, now = office.crm, office.world.wall()
    await crm.book.save(Instruction("", f"{LONG} {MARKUP}", prefix="+1212", days="12345", begins=540, ends=1050))
    await crm.book.save(Instruction("", "Say that we are closed.", called="queue:sales", tag=LONG[:60]))
    for agent, hours in (("101", 30), ("102", -2)):
        planned = ScheduledCall("", agent, NUMBER, now + 3600 * hours, "Europe/Berlin", f"{MARKUP} {LONG}")
        await crm.schedule.save(planned)
    await crm.schedule.save(ScheduledCall("", "101", "+12125550177", now + 60, "Europe/Berlin"))
    then = {"kind": "ring", "targets": ["101", "102"], "instructions": LONG}
    await office.world.rules.replace([
        {"name": LONG, "caller": ["+49*", "+7*"], "days": "mon-fri", "hours": "09:00-18:00", "vip": True, "then": then},
        {"name": MARKUP, "tag": LONG[:60], "then": {"kind": "reject", "status": 603}},
    ])  # fmt: skip


def _calls(office: CrmOffice) -> None:
    now = office.world.wall()
    for call_id, caller, ago in (("c-old", NUMBER, 4000), ("c-more", "+12125550177", 90000), ("c-none", "", 9000)):
        moved = {name: now - ago + at for name, at in (("arrived_at", 0), ("ringing_at", 1), ("answered_at", 5))}
        call = ended(call_id, caller=caller, ended_at=now - ago + 60, called="+12025550100", **moved)
        legs = tuple(replace(leg, started_at=now - ago, answered_at=now - ago + 5) for leg in call.legs)
        office.crm.journal.write(replace(call, legs=legs, tags=("gold", LONG), instructions=f"{LONG} {MARKUP}"))
