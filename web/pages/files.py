"""Contacts from files and into files, and those that are there twice."""

from __future__ import annotations

from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import Response

from pbxcore.control import CardFile, ImportReport, Invalid
from web.auth import sees_all
from web.panel import Refused, invalid_words, page, panel_of, see_other, user_of, words_of

KINDS: dict[str, tuple[CardFile, str]] = {
    "csv": ("csv", "text/csv; charset=utf-8"), "vcf": ("vcard", "text/vcard; charset=utf-8"),
}  # fmt: skip
FAULTS_SHOWN = 200


async def show(request: Request) -> Response:
    return _page(request)


async def take_in(request: Request) -> Response:
    fields = await request.form()
    file = fields.get("file")
    if not isinstance(file, UploadFile) or not file.filename:
        return _page(request, 422, errors={"file": words_of(request)("file.none")})
    data = await file.read()
    kind: CardFile = "vcard" if b"BEGIN:VCARD" in data[:4096].upper() else "csv"
    try:
        report = await panel_of(request).desk.port.take_in(data, kind, merge_all=fields.get("merge_all") == "on")
    except Invalid as error:
        return _page(request, 422, errors={"file": invalid_words(request, error)})
    return _page(request, report=report)


async def give_out(request: Request) -> Response:
    suffix = request.path_params["suffix"]
    if suffix not in KINDS:
        raise Refused(404, "404")
    kind, media = KINDS[suffix]
    data = await panel_of(request).desk.port.give_out(kind)
    named = {"Content-Disposition": f'attachment; filename="contacts.{suffix}"'}
    return Response(data, headers=named, media_type=media)


async def merge(request: Request) -> Response:
    fields = await request.form()
    try:
        kept = await panel_of(request).desk.port.merge(str(fields.get("contact", "")), str(fields.get("other", "")))
    except Invalid as error:
        return _page(request, 422, errors={"other": invalid_words(request, error)})
    return see_other(request, f"/contacts/{kept.id}", "merged")


def _page(
    request: Request, status: int = 200, *, report: ImportReport | None = None, errors: dict[str, str] | None = None
) -> Response:
    return page(
        request,
        "contacts/files.html",
        status,
        report=report,
        faults=report.faults[:FAULTS_SHOWN] if report is not None else (),
        duplicates=panel_of(request).desk.port.duplicates(),
        may_write=sees_all(user_of(request)),
        errors=errors or {},
    )
