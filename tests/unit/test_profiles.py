"""Every profile that ships can be read, and says what its phone or carrier is; bad ones are told with file, key and
mend."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from pbxcore import profiles
from pbxcore.profiles import BadProfile, PhoneProfile, TrunkProfile, read

SHIPPED = Path(__file__).resolve().parents[2] / "sip_profiles"
BASE = (SHIPPED / "_base.toml").read_text("utf-8")
NAMED = ("generic", "rfc9796")   # by `extension.profile` alone
AGENTS = {
    "Linphone Desktop/4.2.4 (Fedora 33, Qt 5.12.5) LinphoneCore/4.4.9-1-g18c59c7db": "linphone",
    "LinphoneAndroid/5.2.3 (Pixel 7) LinphoneSDK/5.3.26": "linphone",
    "Zoiper rv2.10.20.4": "zoiper",
    "Z 5.6.1 v2.10.19.9": "zoiper",
    "MicroSIP/3.21.3": "microsip",
    "Bria 5 release 5.8.3 stamp 97321": "bria",
    "X-Lite release 5.4.0 stamp 94388": "bria",
    "baresip v1.0.0 (x86_64/linux)": "baresip",
    "Jami Daemon 13.4.0 (Linux)": "jami",
    "Groundwire/24.3.2 (build 1862323; iOS 17.4; arm64-neon)": "groundwire",
    "JsSIP 3.13.8": "browser",
    "SIP.js/0.21.1": "browser",
    "Yealink SIP-T23G 44.80.0.60": "yealink",
    "Yealink T58 58.80.0.5": "yealink",
    "snomD785/10.1.54.13": "snom",
    "Grandstream GXP2170 1.0.11.35": "grandstream",
    "Grandstream HT802 1.0.29.8": "grandstream_ht",
    "Fanvil X4U 2.12.1 0c383e2b3a4c": "fanvil",
    "Gigaset N510 IP PRO/42.258.00.000.000": "gigaset",
    "N670 IP PRO/83.V2.51.1": "gigaset",
    "PolycomSoundPointIP SPIP_550 UA 3.3.2.0413": "polycom",
    "PolycomVVX-VVX_410-UA/5.9.0.9373": "polycom",
    "Cisco-CP7841/12.5.1": "cisco",
    "Cisco-CP-8841-3PCC/11.3.2": "cisco",
    "Cisco-CP7960G/8.0": "cisco_79xx",
    "Cisco-CP-7940G/8.0": "cisco_79xx",
    "Cisco/SPA504G-7.6.2e": "cisco_spa_phone",
    "Sipura/SPA841-3.1.4(a0714sec)": "cisco_spa_phone",
    "Linksys/SPA2102-5.2.12": "cisco_spa",
    "Cisco/SPA112-1.4.1(SR1)": "cisco_spa",
    "Linksys/PAP2T-5.1.6(LS)": "cisco_spa",
    "pjsua2-test": "generic",
    "": "generic",
    "x" * 100_000: "generic",
}


@pytest.mark.parametrize("name", profiles.names("phones"))
def test_every_phone_profile_is_readable_and_can_be_told_by_its_user_agent(name: str) -> None:
    profile = profiles.phone(name)
    assert 0 < profile.register_min_seconds <= profile.register_seconds <= profile.register_max_seconds
    assert name in NAMED or name in AGENTS.values(), f"no User-Agent in this test is a {name}"
    assert (name in NAMED) == (not profile.user_agent)


@pytest.mark.parametrize("name", profiles.names("trunks"))
def test_every_trunk_profile_is_readable(name: str) -> None:
    assert 0 < profiles.trunk(name).default_port < 65536


@pytest.mark.parametrize("kind", ["phones", "trunks"])
def test_every_key_of_every_file_is_one_that_the_base_explains(kind: profiles.Kind) -> None:
    known = tomllib.loads(BASE)[kind.removesuffix("s")]
    model = PhoneProfile if kind == "phones" else TrunkProfile
    assert set(known) == set(model.model_fields)
    for name in profiles.names(kind):
        assert set(tomllib.loads((SHIPPED / kind / f"{name}.toml").read_text("utf-8"))) <= set(known)
    for key in known:
        assert re.search(rf"^{key} = .*#.{{15}}", BASE, re.MULTILINE), f"{key} is not explained on its line"


def test_there_are_at_least_fifteen_makes_of_phone() -> None:
    assert len(profiles.names("phones")) > 15


@pytest.mark.parametrize(("agent", "name"), AGENTS.items())
def test_a_phone_is_known_by_its_user_agent_and_to_one_profile_alone(agent: str, name: str) -> None:
    assert profiles.phone_of(agent) is profiles.phone(name)
    others = [one for one in profiles.names("phones") if (pattern := profiles.phone(one).user_agent)
              and re.search(pattern, agent[:200])]  # fmt: skip
    assert others == ([] if name == "generic" else [name])


def test_what_only_the_registrar_reads_makes_no_phone_special() -> None:
    assert profiles.is_plain(profiles.phone("generic"))
    assert profiles.is_plain(profiles.phone("zoiper"))
    assert not profiles.is_plain(profiles.phone("cisco_spa"))


def test_generic_is_what_settings_fall_back_to() -> None:
    assert "generic" in profiles.names("phones")
    assert "generic" in profiles.names("trunks")


def test_a_name_that_is_no_profile_is_named_with_those_that_are() -> None:
    with pytest.raises(KeyError, match=r"no profile .tin-can.*generic"):
        profiles.phone("tin-can")


@pytest.mark.parametrize("name", ["../_base", "phones/generic", ""])
def test_a_name_never_leads_out_of_the_directory(name: str) -> None:
    with pytest.raises(KeyError):
        profiles.trunk(name)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("registr_seconds = 5", r'x.toml: there is no switch "registr_seconds"; did you mean "register_seconds"'),
        ("zzz = 5", r'there is no switch "zzz"; there are user_agent, register_seconds'),
        ('register_seconds = "long"', r"phones/x.toml: register_seconds = 'long' will not do: .*integer"),
        ("register_seconds = 5", r"register_seconds = 5 must lie between register_min_seconds = 60"),
        ('reach = "moon"', r"phones/x.toml: reach = 'moon' will not do: .*'source' or 'contact'"),
        ("compact = 1", r"compact = 1 will not do: .*boolean"),
        ("display_characters = -1", r"display_characters = -1 will not do: .*greater than or equal to 0"),
        ('plus = "+7\\r\\nEvil: 1"', r"plus = .* will not do: .*pattern"),
        ('sdp_drop = ["rtcp-fb", "x y"]', r"sdp_drop = .* will not do"),
        ('user_agent = "("', r"phones/x.toml: user_agent is no regular expression"),
        ("reach = ", r"phones/x.toml: this is not TOML"),
    ],
)
def test_a_bad_profile_is_told_with_file_key_and_mend(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "phones").mkdir()
    (tmp_path / "_base.toml").write_text(BASE, "utf-8")
    (tmp_path / "phones" / "x.toml").write_text(text, "utf-8")
    with pytest.raises(BadProfile, match=words) as fault:
        read(tmp_path, "phones", "x", PhoneProfile)
    assert "\n" not in str(fault.value)


@pytest.mark.parametrize(
    ("base", "words"),
    [
        ("", r"_base.toml: the table \[phone\] is missing"),
        (BASE.replace("\nreach = ", "\nreached = "), r"_base.toml: reach .*required"),
        (BASE.replace('"source"  ', '"sauce"  '), r"_base.toml: reach = 'sauce' will not do"),
    ],
)
def test_a_bad_base_is_told_too(tmp_path: Path, base: str, words: str) -> None:
    (tmp_path / "phones").mkdir()
    (tmp_path / "_base.toml").write_text(base, "utf-8")
    (tmp_path / "phones" / "x.toml").write_text("", "utf-8")
    with pytest.raises(BadProfile, match=words):
        read(tmp_path, "phones", "x", PhoneProfile)


def test_a_file_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(BadProfile, match=r"_base.toml: cannot be read"):
        read(tmp_path, "phones", "x", PhoneProfile)
