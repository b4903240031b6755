"""What a REGISTER says about the way back."""

from __future__ import annotations

import pytest

from pbxcore.call.outbound import check_first_hop, gruu, instance_in, instance_of, path_of, reg_id_of, speaks
from pbxcore.sip.errors import SipError
from pbxcore.sip.headers import NameAddr
from tests.unit.call.fakes import request


@pytest.mark.parametrize(("text", "instance"), [
    ('"<urn:uuid:1>"', "urn:uuid:1"), ('"urn:uuid:1"', "urn:uuid:1"), ('""', ""), ('"<>"', ""),
    ('"<urn:\u202e>"', ""), ('"<a b>"', ""), (f'"<{"x" * 200}>"', ""), ('"<a\\"b>"', ""),
])  # fmt: skip
def test_instances(text: str, instance: str) -> None:
    assert instance_of(NameAddr.parse(f"<sip:101@x>;+sip.instance={text}")) == instance


@pytest.mark.parametrize(("text", "number"), [
    ("1", 1), ("0", 0), ("-1", 0), ("x", 0), ("2147483647", 2147483647), ("2147483648", 0), ("9" * 30, 0),
    ("\u0661", 0),
])  # fmt: skip
def test_flow_numbers(text: str, number: int) -> None:
    assert reg_id_of(NameAddr(NameAddr.parse("<sip:x>").uri, None, {"reg-id": text})) == number


def test_options() -> None:
    register = request("REGISTER", "sip:x", ("Supported", "Path"), ("Require", "OUTBOUND"))
    assert speaks(register, "path")
    assert speaks(register, "outbound")
    assert not speaks(register, "gruu")


def test_no_path() -> None:
    assert path_of(request("REGISTER", "sip:x")) == ()


def test_first_hop() -> None:
    register = request("REGISTER", "sip:x")
    check_first_hop(register, ())  # straight from the phone
    register.add("Via", "SIP/2.0/UDP 10.0.0.1;branch=z9hG4bKy")
    check_first_hop(register, ("<sip:inner;lr>", "<sip:edge;lr;ob>"))
    with pytest.raises(SipError) as refused:
        check_first_hop(register, ("<sip:edge;lr;ob>", "<sip:first;lr>"))
    assert refused.value.status == 439


def test_a_gruu_and_back() -> None:
    made = gruu("101", "urn:uuid:a;b=c", "pbx.example.net")
    assert instance_in(made, "101") == "urn:uuid:a;b=c"
    assert instance_in(made, "102") == ""
    assert instance_in("sip:101@pbx.example.net", "101") == ""
    assert instance_in("no uri", "101") == ""
