"""Instructions: what agents are told of calls; everybody reads them, supervisors write them."""

from __future__ import annotations

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import Response

from pbxcore.control import Instruction, Invalid, NotFound
from web.auth import sees_all
from web.panel import invalid_words, page, panel_of, see_other, user_of

DAYS = "1234567"


async def listing(request: Request) -> Response:
    return _page(request)


async def edit(request: Request) -> Response:
    wanted = request.path_params["instruction_id"]
    found = next((one for one in panel_of(request).desk.book.all() if one.id == wanted), None)
    if found is None:
        raise NotFound(f"no instruction {wanted}")
    return _page(request, typed=found)


async def save(request: Request) -> Response:
    """Create (no id in the path) or change."""
    fields = await request.form()
    begins, ends = str(fields.get("begins", "")), str(fields.get("ends", ""))
    typed = _typed(fields, request.path_params.get("instruction_id", ""))
    try:
        await panel_of(request).desk.book.save(
            Instruction(
                typed.id, typed.text, typed.number, typed.prefix, typed.tag, typed.called, typed.days,
                read_minutes("begins", begins), read_minutes("ends", ends),
            )
        )  # fmt: skip
    except Invalid as error:
        return _page(request, 422, typed=typed, errors={error.field: invalid_words(request, error)})
    return see_other(request, "/instructions", "stored")


async def delete(request: Request) -> Response:
    await panel_of(request).desk.book.delete(request.path_params["instruction_id"])
    return see_other(request, "/instructions", "deleted")


def read_minutes(field: str, text: str) -> int | None:
    """`09:30` as minutes of the day; None for nothing. Raises Invalid."""
    if not text.strip():
        return None
    hours, _, minutes = text.strip().partition(":")
    if not (hours.isdecimal() and minutes.isdecimal() and int(hours) <= 24 and int(minutes) < 60):
        raise Invalid(field, "moment.clock", said=text)
    return int(hours) * 60 + int(minutes)


def show_minutes(minutes: int | None) -> str:
    return "" if minutes is None else f"{minutes // 60:02}:{minutes % 60:02}"


def _typed(fields: FormData, instruction_id: str) -> Instruction:
    number, prefix, tag, called = (str(fields.get(name, "")).strip() for name in ("number", "prefix", "tag", "called"))
    text = str(fields.get("text", "")).strip().replace("\r\n", "\n")
    return Instruction(instruction_id, text, number, prefix, tag, called, "".join(map(str, fields.getlist("days"))))


def _page(
    request: Request,
    status: int = 200,
    *,
    typed: Instruction | None = None,
    errors: dict[str, str] | None = None,
) -> Response:
    panel = panel_of(request)
    return page(
        request,
        "instructions/list.html",
        status,
        instructions=panel.desk.book.all(),
        typed=typed or Instruction("", ""),
        errors=errors or {},
        days=DAYS,
        time_of=show_minutes,
        may_write=sees_all(user_of(request)),
        note=request.query_params.get("note", ""),
    )
