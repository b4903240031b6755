"""PIDF, the document of presence (RFC 3863), with what RFC 4479 and RFC 4480 add of persons: read and written.

Of what a phone publishes only values are taken over, each of them bounded: status, contact, notes, activities. So
nothing that one phone writes reaches another's parser as it came. Documents with a DTD are refused: nobody needs them,
and entities are how small documents become large.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from xml.etree import ElementTree

from pbxcore.call.subscriptions.package import text
from pbxcore.sip.errors import SipError

CONTENT_TYPE = "application/pidf+xml"
MAX_BYTES = 16_384
MAX_TUPLES = 8
MAX_NOTES = 4
MAX_ACTIVITIES = 8
MAX_TEXT = 256

PIDF = "urn:ietf:params:xml:ns:pidf"
MODEL = "urn:ietf:params:xml:ns:pidf:data-model"
RPID = "urn:ietf:params:xml:ns:pidf:rpid"
ACTIVITIES = frozenset(
    (
        "appointment", "away", "breakfast", "busy", "dinner", "holiday", "in-transit", "looking-for-work", "lunch",
        "meal", "meeting", "on-the-phone", "performance", "permanent-absence", "playing", "presentation", "shopping",
        "sleeping", "spectator", "steering", "travel", "tv", "unknown", "vacation", "working", "worship",
    )
)  # fmt: skip

_name = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}").fullmatch
_prolog = re.compile(r"<!(?:DOCTYPE|ENTITY|ELEMENT|ATTLIST|NOTATION)", re.IGNORECASE).search


@dataclass(frozen=True, slots=True)
class Status:
    """One tuple: a way of reaching the person, `open` or not."""

    id: str
    open: bool
    contact: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Document:
    """What one phone, or the office, says of a person."""

    tuples: tuple[Status, ...] = ()
    activities: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def parse(body: bytes) -> Document:
    """Read what a phone publishes. Raises SipError 413 for too much of it, 400 for what is no PIDF."""
    if len(body) > MAX_BYTES:
        raise SipError(413, "Presence documents have at most 16 kB")
    try:
        source = body.decode("utf-8")
    except UnicodeDecodeError:
        raise SipError(400, "Presence documents are written in UTF-8") from None
    if _prolog(source):
        raise SipError(400, "Presence documents have no DTD")
    try:
        root = ElementTree.fromstring(source)  # noqa: S314 - without a DTD there are no entities
    except ElementTree.ParseError:
        raise SipError(400, "Malformed presence document") from None
    if root.tag != f"{{{PIDF}}}presence":
        raise SipError(400, "Not a presence document")
    tuples = [_status(element) for element in root.findall(f"{{{PIDF}}}tuple")[:MAX_TUPLES]]
    activities: dict[str, None] = {}
    notes = _notes(root, PIDF)
    for element in root.iter():
        space, _, name = str(element.tag).rpartition("}")
        if space.startswith("{" + RPID) and name in ACTIVITIES:
            activities[name] = None
        elif space == "{" + MODEL and name == "person":
            notes += _notes(element, MODEL)
    return Document(tuple(tuples), tuple(activities)[:MAX_ACTIVITIES], tuple(dict.fromkeys(notes))[:MAX_NOTES])


def _status(element: ElementTree.Element) -> Status:
    basic = element.findtext(f"{{{PIDF}}}status/{{{PIDF}}}basic") or ""
    identifier = element.get("id") or ""
    return Status(
        identifier if _name(identifier) else "t",
        basic.strip().lower() == "open",
        (element.findtext(f"{{{PIDF}}}contact") or "").strip()[:MAX_TEXT],
        tuple(_notes(element, PIDF)[:MAX_NOTES]),
    )


def _notes(element: ElementTree.Element, space: str) -> list[str]:
    found = [(note.text or "").strip()[:MAX_TEXT] for note in element.findall(f"{{{space}}}note")[:MAX_NOTES]]
    return [note for note in found if note]


def render(entity: str, parts: Iterable[Document]) -> bytes:
    """One document of several: the tuples one after the other, the persons as one."""
    tuples, activities, notes = "", dict[str, None](), dict[str, None]()
    seen: set[str] = set()
    for number, part in enumerate(parts):
        for each in part.tuples:
            identifier = each.id if each.id not in seen else f"{each.id}-{number}-{len(seen)}"
            seen.add(identifier)
            tuples += _tuple(identifier, each)
        activities.update(dict.fromkeys(part.activities))
        notes.update(dict.fromkeys(part.notes))
    person = "".join([f"<dm:note>{text(note)}</dm:note>" for note in notes])
    if activities:
        doing = "".join([f"<rpid:{name}/>" for name in activities])
        person = f"<rpid:activities>{doing}</rpid:activities>{person}"
    if person:
        person = f'\r\n<dm:person id="person">{person}</dm:person>'
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\r\n'
        f'<presence xmlns="{PIDF}" xmlns:dm="{MODEL}" xmlns:rpid="{RPID}" entity="{text(entity)}">'
        f"{tuples}{person}\r\n</presence>\r\n"
    ).encode()


def _tuple(identifier: str, status: Status) -> str:
    contact = f"<contact>{text(status.contact)}</contact>" if status.contact else ""
    notes = "".join([f"<note>{text(note)}</note>" for note in status.notes])
    basic = "open" if status.open else "closed"
    return f'\r\n<tuple id="{identifier}"><status><basic>{basic}</basic></status>{contact}{notes}</tuple>'
