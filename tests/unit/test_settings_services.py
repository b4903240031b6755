"""Ring groups, queues, menus, mailboxes and mail in hookline.toml: what is wrong is said, with its mend."""

from __future__ import annotations

import pytest

from pbxcore.office import build
from pbxcore.settings_file import SettingsError, loads

OFFICE = """
[[extension]]
number = "101"
password = "a long one"
voicemail = true
email = "anna@example.net"

[[extension]]
number = "102"
password = "another one"
"""
WHOLE = """
[[ring_group]]
name = "front"
number = "600"
members = ["101", "102"]
strategy = "in_order"
otherwise = "voicemail:101"

[[queue]]
name = "sales"
number = "601"
agents = ["101", "102"]
otherwise = "group:front"

[[ivr]]
name = "main"
say = ["welcome", "Press one for sales."]
keys = ["1=queue:sales", "2=101", "3=+15550199", "9=again", "0=hangup"]
otherwise = "group:front"

[[inbound]]
number = "*"
to = "ivr:main"
"""


def test_an_office_with_all_of_it() -> None:
    plan = build(loads(OFFICE + WHOLE), (), "hookline").dial_plan
    assert plan.numbers == {"600": "group:front", "601": "queue:sales"}
    assert plan.inbound == {"*": "ivr:main"}
    assert plan.boxes == {"101"}
    assert plan.watched == {"101", "102"}
    assert plan.menus["main"].keys["3"] == "+15550199"
    assert plan.groups["front"].strategy == "in_order"
    assert plan.queues["sales"].otherwise == "group:front"


@pytest.mark.parametrize(
    ("before", "after", "key", "words"),
    [
        ('"group:front"\n\n[[ivr]]', '"group:frnt"\n\n[[ivr]]', "queue[1].otherwise", 'did you mean "front"?'),
        ('to = "ivr:main"', 'to = "menu:main"', "inbound[1].to", '"menu:" leads nowhere'),
        ('to = "ivr:main"', 'to = "ivr:man"', "inbound[1].to", 'did you mean "main"?'),
        ('"voicemail:101"', '"voicemail:102"', "ring_group[1].otherwise", "give that extension voicemail = true"),
        ('"voicemail:101"', '"somebody"', "ring_group[1].otherwise", "neither an extension nor a number"),
        ('agents = ["101", "102"]', 'agents = ["101", "103"]', "queue[1].agents", 'there is no extension "103"'),
        ('agents = ["101", "102"]', "agents = []", "queue[1].agents", "name at least one extension"),
        ('number = "601"', 'number = "600"', "queue[1].number", "600 is group front already"),
        ('number = "601"', 'number = "101"', "queue[1].number", "101 is extension 101 already"),
        ('number = "601"', 'number = "6 0"', "queue[1].number", "cannot be dialled"),
        ('"2=101"', '"2"', "ivr[1].keys", 'write it like "1=101"'),
        ('"2=101"', '"22=101"', "ivr[1].keys", 'write it like "1=101"'),
        ('"2=101"', '"1=101"', "ivr[1].keys", "key 1 is there already"),
        ('"2=101"', '"2=queue:sale"', "ivr[1].keys", 'did you mean "sales"?'),
        ('say = ["welcome", "Press one for sales."]', "say = []", "ivr[1].say", "a menu that says nothing"),
        ('"anna@example.net"', '"anna"', "extension[1].email", "no mail address"),
    ],
)
def test_faults(before: str, after: str, key: str, words: str) -> None:
    assert before in OFFICE + WHOLE
    with pytest.raises(SettingsError) as caught:
        loads((OFFICE + WHOLE).replace(before, after, 1))
    assert [problem.key for problem in caught.value.problems] == [key]
    assert words in caught.value.problems[0].message
    assert caught.value.problems[0].line > 0


@pytest.mark.parametrize(
    ("mail", "key"),
    [
        ('server = "mail.example.net"\nsender = "a@b"', "mail.server"),
        ('server = "mail.example.net:587"', "mail.sender"),
        ('server = "mail.example.net:587"\nsender = "a@b"\nusername = "pbx"', "mail.username"),
        ('server = "mail example:587"\nsender = "a@b"', "mail.server"),
    ],
)
def test_mail(mail: str, key: str) -> None:
    with pytest.raises(SettingsError) as caught:
        loads(f"[mail]\n{mail}\n")
    assert [problem.key for problem in caught.value.problems] == [key]


def test_a_name_that_is_none() -> None:
    with pytest.raises(SettingsError, match=r"is no name; use letters"):
        loads(OFFICE + WHOLE + '\n[[queue]]\nname = "sales team"\nagents = ["101"]\n')


def test_a_second_queue_of_the_same_name() -> None:
    with pytest.raises(SettingsError, match="is there already, as the 1st"):
        loads(OFFICE + WHOLE + '\n[[queue]]\nname = "sales"\nagents = ["101"]\n')
