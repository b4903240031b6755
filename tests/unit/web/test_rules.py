"""The table of rules in the panel and the API."""

from __future__ import annotations

from collections.abc import Callable

from tests.unit.web.conftest import Browser
from tests.unit.web.fakes import World
from web.pages.rules import as_form, read

Browse = Callable[..., Browser]
FORM = {"name": "Sales", "caller": "+1202*, withheld", "vip": "yes", "hours": "09:00-18:00", "target": "101 102"}


def own(world: World) -> list[object]:
    return [dict(entry.fields) for entry in world.rules.all() if not entry.fixed]


def test_a_rule_is_added_changed_moved_and_removed(world: World, browse: Browse) -> None:
    admin = browse("admin")
    assert admin.post("/rules", FORM).status_code == 303
    assert admin.post("/rules", {"name": "<b>Rest</b>", "kind": "reject", "target": "486"}).status_code == 303
    sales = {
        "name": "Sales", "hours": "09:00-18:00", "caller": ["+1202*", "withheld"], "vip": True,
        "then": {"kind": "ring", "targets": ["101", "102"]},
    }  # fmt: skip
    rest = {"name": "<b>Rest</b>", "then": {"kind": "reject", "status": 486}}
    assert own(world) == [sales, rest]
    page = admin.get("/rules").text
    assert "caller +1202*, withheld; at 09:00-18:00; VIP → ring 101, 102" in page
    assert "&lt;b&gt;Rest&lt;/b&gt;" in page
    assert "from the settings file" in page
    assert admin.post("/rules/2/up").status_code == 303
    assert own(world) == [rest, sales]
    assert 'value="+1202*, withheld"' in admin.get("/rules?edit=2").text
    assert admin.post("/rules", FORM | {"place": "2", "target": "103"}).status_code == 303
    assert own(world)[1] == sales | {"then": {"kind": "ring", "targets": ["103"]}}
    assert admin.post("/rules/1/delete").status_code == 303
    assert len(own(world)) == 1
    assert admin.post("/rules/7/delete").status_code == 404
    assert admin.get("/rules?edit=x").status_code == 404


def test_what_is_wrong_is_said_and_what_was_typed_stays(world: World, browse: Browse) -> None:
    answer = browse("admin").post("/rules", FORM | {"hours": "noon", "name": "Typed"})
    assert answer.status_code == 422
    assert "are no hours" in answer.text
    assert 'value="Typed"' in answer.text
    assert 'id="f-hours-says"' in answer.text
    assert browse("admin").post("/rules", {"json": "{"}).status_code == 422
    assert 'id="f-json-says"' in browse("admin").post("/rules", {"json": "{}"}).text
    assert browse("admin").post("/rules", {"kind": "ring"}).text.count('<p class="error" id="f-target-says"') == 1
    assert own(world) == []


def test_a_decision_that_fits_no_field_is_kept_as_json() -> None:
    rule = {"then": {"kind": "ring", "targets": ["101"], "otherwise": {"kind": "proceed"}}}
    assert read(as_form(rule)) == rule
    plain = {"name": "x", "tag": "gold", "known": False, "then": {"kind": "dial", "number": "5", "display_name": "A"}}
    assert read(as_form(plain)) == plain
    assert "json" not in as_form(plain)


def test_in_russian(world: World, browse: Browse) -> None:
    admin = browse("admin")
    admin.post("/rules", FORM)
    page = admin.get("/rules", headers={"Accept-Language": "ru"}).text
    assert "звонит +1202*, withheld; в часы 09:00-18:00; VIP-клиент → звонить на 101, 102" in page


def test_programs(world: World, browse: Browse) -> None:
    admin = browse("admin")
    rule = {"tag": "gold", "then": {"kind": "ring", "targets": ["102"]}}
    answer = admin.send("PUT", "/api/v1/rules", {"rules": [rule]})
    assert answer.status_code == 200
    assert [(one["fixed"], one["fields"].get("tag")) for one in answer.json()["rules"]] == [
        (True, "gold"), (False, "gold"),
    ]  # fmt: skip
    wrong = admin.send("PUT", "/api/v1/rules", {"rules": [rule, {"then": {"kind": "ring", "targets": "102"}}]})
    assert (wrong.status_code, wrong.json()["error"]["field"]) == (422, "2.then.targets")
    assert own(world) == [rule]


def test_rules_are_the_administrators(browse: Browse) -> None:
    for name in ("anna", "super"):
        assert browse(name).get("/rules").status_code == 403
        assert browse(name).send("PUT", "/api/v1/rules", {"rules": []}).status_code == 403
