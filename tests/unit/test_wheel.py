"""A wheel made from this tree carries what is not Python: profiles, templates, scripts of the panel."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("pbxcore", "crmhooks", "web", "sip_profiles")
DATA = {"sip_profiles": ("**/*.toml",), "web": ("templates/**/*", "static/**/*"), "pbxcore": ("**/*.mako",)}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The names in a wheel built from a copy, because a build leaves its traces in the tree."""
    copy = tmp_path_factory.mktemp("tree")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy / name)
    for name in PACKAGES:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", "out", "."]
    subprocess.run(command, cwd=copy, check=True, capture_output=True, timeout=120)
    (path,) = (copy / "out").glob("hookline-*.whl")
    return set(zipfile.ZipFile(path).namelist())


def _expected(package: str) -> set[str]:
    found = (path for pattern in DATA.get(package, ()) for path in (ROOT / package).glob(pattern))
    return {path.relative_to(ROOT).as_posix() for path in found if path.is_file() and "__pycache__" not in path.parts}


@pytest.mark.parametrize("package", PACKAGES)
def test_every_module_is_in_the_wheel(wheel: set[str], package: str) -> None:
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / package).rglob("*.py")}
    assert modules - wheel == set()


@pytest.mark.parametrize("package", sorted(DATA))
def test_data_files_are_in_the_wheel(wheel: set[str], package: str) -> None:
    assert _expected(package) - wheel == set()


def test_the_profiles_are_among_them(wheel: set[str]) -> None:
    assert {"sip_profiles/_base.toml", "sip_profiles/phones/generic.toml", "sip_profiles/trunks/generic.toml"} <= wheel


def test_typing_marks_are_in_the_wheel(wheel: set[str]) -> None:
    assert {"pbxcore/py.typed", "crmhooks/py.typed", "web/py.typed"} <= wheel


def test_nothing_of_the_tests_is_in_the_wheel(wheel: set[str]) -> None:
    assert not [name for name in wheel if name.startswith(("tests/", "bench/"))]
