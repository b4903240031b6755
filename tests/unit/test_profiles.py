"""Every profile that ships can be read, and says what its phone or carrier is."""

from __future__ import annotations

import pytest

from pbxcore import profiles


@pytest.mark.parametrize("name", profiles.names("phones"))
def test_every_phone_profile_is_readable(name: str) -> None:
    profile = profiles.phone(name)
    assert 0 < profile.register_min_seconds <= profile.register_seconds <= profile.register_max_seconds


@pytest.mark.parametrize("name", profiles.names("trunks"))
def test_every_trunk_profile_is_readable(name: str) -> None:
    assert 0 < profiles.trunk(name).default_port < 65536


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
