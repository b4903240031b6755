"""What else of the CRM is under /api/v1: ordered calls, contacts' files and twins, follow-ups, instructions."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pbxcore.store.repo import Role
from web.auth import sees_all
from web.bodies import ActivityIn, CallIn, InstructionIn, MergeIn
from web.live import may_write
from web.pages import schedule
from web.pages.files import KINDS
from web.panel import Refused, guarded, json_body, panel_of, read, reply, user_of

CHIEFS: tuple[Role, ...] = ("admin", "supervisor")


def routes() -> list[Route]:
    instruction = "/api/v1/instructions/{instruction_id}"
    return [
        Route("/api/v1/calls", guarded(originate), methods=["POST"]),
        Route("/api/v1/contacts/import", guarded(take_in, CHIEFS), methods=["POST"]),
        Route("/api/v1/contacts/export", guarded(give_out, CHIEFS), methods=["GET"]),
        Route("/api/v1/contacts/duplicates", guarded(duplicates), methods=["GET"]),
        Route("/api/v1/contacts/{contact_id}/merge", guarded(merge, CHIEFS), methods=["POST"]),
        Route("/api/v1/activities/{call_id}", guarded(change_activity), methods=["PATCH"]),
        *schedule.api_routes(),
        Route("/api/v1/instructions", guarded(instructions), methods=["GET"]),
        Route("/api/v1/instructions", guarded(create_instruction, CHIEFS), methods=["POST"]),
        Route(instruction, guarded(change_instruction, CHIEFS), methods=["PUT"]),
        Route(instruction, guarded(delete_instruction, CHIEFS), methods=["DELETE"]),
    ]


async def originate(request: Request) -> Response:
    """Order a call: an agent from his own phone (first-party), a supervisor from any. The same Idempotency-Key gives
    the same answer, and orders nothing twice."""
    panel, user = panel_of(request), user_of(request)
    said = read(CallIn, await json_body(request))
    if not sees_all(user) and said.from_ != user.extension:
        raise Refused(403, "own_phone", "from")
    call_id = panel.orders.once(
        user.username, request.headers.get("idempotency-key", ""), (said.from_, said.to),
        lambda: panel.control.originate(said.from_, said.to),
    )  # fmt: skip
    response = reply({"call_id": call_id}, 201)
    response.headers["Location"] = f"/api/v1/calls/{call_id}"
    return response


async def take_in(request: Request) -> Response:
    """A file as the body, text/csv or text/vcard."""
    said = request.headers.get("content-type", "").partition(";")[0].strip()
    kind = {media.partition(";")[0]: kind for kind, media in KINDS.values()}.get(said)
    if kind is None:
        raise Refused(415, "no_card_file")
    merge_all = request.query_params.get("merge_all") == "true"
    return reply(await panel_of(request).desk.port.take_in(await request.body(), kind, merge_all=merge_all))


async def give_out(request: Request) -> Response:
    wanted = request.query_params.get("format", "vcard")
    found = next(((kind, media) for kind, media in KINDS.values() if kind == wanted), None)
    if found is None:
        raise Refused(422, "card_format", "format")
    return Response(await panel_of(request).desk.port.give_out(found[0]), media_type=found[1])


async def duplicates(request: Request) -> Response:
    return reply({"duplicates": panel_of(request).desk.port.duplicates()})


async def merge(request: Request) -> Response:
    said = read(MergeIn, await json_body(request))
    return reply(await panel_of(request).desk.port.merge(request.path_params["contact_id"], said.other))


async def change_activity(request: Request) -> Response:
    """Outcome, follow-up and recording of a call, besides its summary."""
    panel, call_id = panel_of(request), request.path_params["call_id"]
    if not await may_write(panel, user_of(request), call_id):
        raise Refused(403, "not_yours")
    said = read(ActivityIn, await json_body(request))
    return reply(await panel.desk.change_activity(call_id, said.change(panel.settings.office.timezone)))


async def instructions(request: Request) -> Response:
    return reply({"instructions": panel_of(request).desk.book.all()})


async def create_instruction(request: Request) -> Response:
    said = read(InstructionIn, await json_body(request))
    stored = await panel_of(request).desk.book.save(said.instruction(""))
    response = reply(stored, 201)
    response.headers["Location"] = f"/api/v1/instructions/{stored.id}"
    return response


async def change_instruction(request: Request) -> Response:
    said = read(InstructionIn, await json_body(request))
    return reply(await panel_of(request).desk.book.save(said.instruction(request.path_params["instruction_id"])))


async def delete_instruction(request: Request) -> Response:
    await panel_of(request).desk.book.delete(request.path_params["instruction_id"])
    return Response(status_code=204)
