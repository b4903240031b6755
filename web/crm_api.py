"""What else of the CRM is under /api/v1: activities' follow-ups, instructions."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pbxcore.store.repo import Role
from web.bodies import ActivityIn, InstructionIn
from web.live import may_write
from web.panel import Refused, guarded, json_body, panel_of, read, reply, user_of

CHIEFS: tuple[Role, ...] = ("admin", "supervisor")


def routes() -> list[Route]:
    instruction = "/api/v1/instructions/{instruction_id}"
    return [
        Route("/api/v1/activities/{call_id}", guarded(change_activity), methods=["PATCH"]),
        Route("/api/v1/instructions", guarded(instructions), methods=["GET"]),
        Route("/api/v1/instructions", guarded(create_instruction, CHIEFS), methods=["POST"]),
        Route(instruction, guarded(change_instruction, CHIEFS), methods=["PUT"]),
        Route(instruction, guarded(delete_instruction, CHIEFS), methods=["DELETE"]),
    ]


async def change_activity(request: Request) -> Response:
    """Outcome, follow-up and recording of a call, besides its summary."""
    panel, call_id = panel_of(request), request.path_params["call_id"]
    if not await may_write(panel, user_of(request), call_id):
        raise Refused(403, "This call is not yours.")
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
