"""Contacts: search, view, create, edit, delete."""

from __future__ import annotations

from typing import Any, cast, get_args

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import Response

from pbxcore.control import Address, AddressKind, ContactEntry, Invalid, NumberKind
from pbxcore.store.repo import User
from web.auth import sees_all
from web.panel import Refused, invalid_words, is_htmx, number_of, page, panel_of, see_other, user_of

PAGE_SIZE = 50
OFFSET_LIMIT = 1_000_000
RECENT_LIMIT = 20
FORM_NUMBERS = 3
COMPANIES_SHOWN = 200
ADDRESS_PARTS = ("street", "city", "region", "postcode", "country")
NUMBER_KINDS, ADDRESS_KINDS = get_args(NumberKind), get_args(AddressKind)


def may_delete(user: User, contact: ContactEntry) -> bool:
    """Supervisors and administrators, and the agent whose contact it is."""
    return sees_all(user) or (user.extension is not None and contact.owner == user.extension)


async def listing(request: Request) -> Response:
    panel = panel_of(request)
    search = request.query_params.get("q", "").strip()[:200]
    offset = number_of(request, "offset", 0, OFFSET_LIMIT)
    found = await panel.desk.contacts(search, PAGE_SIZE + 1, offset)
    partial = is_htmx(request) and request.headers.get("hx-target", "").endswith("#results")
    name = "contacts/results.html" if partial else "contacts/list.html"
    return page(
        request,
        name,
        contacts=found[:PAGE_SIZE],
        q=search,
        offset=offset,
        more=len(found) > PAGE_SIZE,
        size=PAGE_SIZE,
        note=request.query_params.get("note", ""),
    )


async def view(request: Request) -> Response:
    panel = panel_of(request)
    contact = await panel.desk.contact(request.path_params["contact_id"])
    recent = await panel.desk.activities(contact_id=contact.id, limit=RECENT_LIMIT)
    return page(
        request,
        "contacts/view.html",
        contact=contact,
        recent=recent,
        people=panel.desk.people(contact.id) if contact.kind == "company" else (),
        owner=panel.extension(contact.owner),
        may_delete=may_delete(user_of(request), contact),
        note=request.query_params.get("note", ""),
    )


async def new(request: Request) -> Response:
    number = request.query_params.get("number", "")[:64]
    name = request.query_params.get("name", "")[:200]
    return await _form(request, ContactEntry("", name, (number,) if number else (), owner=user_of(request).extension))


async def edit(request: Request) -> Response:
    return await _form(request, await panel_of(request).desk.contact(request.path_params["contact_id"]))


async def save(request: Request) -> Response:
    """Create (no id in the path) or change."""
    contact_id = request.path_params.get("contact_id", "")
    entry = read_form(await request.form(), contact_id)
    try:
        stored = await panel_of(request).desk.save_contact(entry)
    except Invalid as error:
        return await _form(request, entry, {error.field: invalid_words(request, error)})
    return see_other(request, f"/contacts/{stored.id}", "stored")


async def confirm_delete(request: Request) -> Response:
    contact = await panel_of(request).desk.contact(request.path_params["contact_id"])
    return page(request, "contacts/delete.html", contact=contact)


async def delete(request: Request) -> Response:
    panel = panel_of(request)
    contact = await panel.desk.contact(request.path_params["contact_id"])
    if not may_delete(user_of(request), contact):
        raise Refused(403, "others_contact")
    await panel.desk.delete_contact(contact.id)
    return see_other(request, "/contacts", "deleted")


def read_form(fields: FormData, contact_id: str) -> ContactEntry:
    """The contact as it was typed; what it may not be is for the desk to say."""
    kinds = _list(fields, "number_kinds")
    numbers = {n: kinds[at] if at < len(kinds) else "work" for at, n in enumerate(_list(fields, "numbers")) if n}
    tags = (tag.strip() for tag in str(fields.get("tags", "")).split(","))
    email, *others = [*(text for text in _list(fields, "email") if text), ""]
    own = zip(_list(fields, "field_name"), _list(fields, "field_value"), strict=False)
    return ContactEntry(
        id=contact_id,
        name=str(fields.get("name", "")).strip(),
        numbers=tuple(numbers),
        number_kinds=cast(Any, tuple(numbers.values())),
        kind="company" if fields.get("kind") == "company" else "person",
        company=str(fields.get("company", "")).strip(),
        email=email,
        other_emails=tuple(text for text in others if text),
        owner=str(fields.get("owner", "")) or None,
        tags=tuple(dict.fromkeys(tag for tag in tags if tag)),
        instructions=str(fields.get("instructions", "")).strip().replace("\r\n", "\n"),
        vip=fields.get("vip") == "on",
        addresses=_addresses(fields),
        balance=str(fields.get("balance", "")).strip(),
        fields={name: value for name, value in own if name},
    )


def _list(fields: FormData, name: str) -> list[str]:
    return [str(value).strip() for value in fields.getlist(name)]


def _addresses(fields: FormData) -> tuple[Address, ...]:
    columns = [_list(fields, f"address_{part}") for part in ("kind", *ADDRESS_PARTS)]
    return tuple(Address(*cast(Any, row)) for row in zip(*columns, strict=False))


async def _form(request: Request, entry: ContactEntry, errors: dict[str, str] | None = None) -> Response:
    panel = panel_of(request)
    blanks = max(1, FORM_NUMBERS - len(entry.numbers))
    companies = [one.name for one in await panel.desk.contacts("", COMPANIES_SHOWN, companies=True)]
    return page(
        request,
        "contacts/form.html",
        422 if errors else 200,
        contact=entry,
        errors=errors or {},
        numbers=(*entry.numbered(), *[("", "mobile" if at else "work") for at in range(blanks)]),
        emails=(entry.email, *entry.other_emails),
        addresses=entry.addresses or (Address(),),
        own=(*entry.fields.items(), ("", "")),
        number_kinds=NUMBER_KINDS,
        address_kinds=ADDRESS_KINDS,
        address_parts=ADDRESS_PARTS,
        companies=companies,
        extensions=panel.control.extensions(),
    )
