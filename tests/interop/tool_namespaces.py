"""Networks of their own: Linux namespaces joined by cables, with routers that translate addresses (by ip and nft).

A program started inside of a namespace sees nothing else. The test itself goes inside with `Namespace.inside`, opens
its sockets and starts its programs there, and comes back. All of it is gone at the end, whatever happens; what a killed
run left behind goes with the next one.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import could_not, require_root, require_tool

PREFIX = "hookline"
CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


class Namespace:
    """One network: `host` is its name in the test."""

    _count = itertools.count(1)

    def __init__(self, host: str) -> None:
        self.name = f"{PREFIX}-{os.getpid()}-{next(self._count)}{host}"

    def ip(self, command: str) -> None:
        _run("ip", "-n", self.name, *command.split())

    def nft(self, rules: str) -> None:
        _run("ip", "netns", "exec", self.name, require_tool("nft"), "-f", "-", given=rules)

    def forwards(self) -> None:
        """It is a router."""
        with self.inside():
            Path("/proc/sys/net/ipv4/ip_forward").write_text("1")

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """This thread, and what it starts, is in there for as long as the block lasts."""
        back = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        try:
            with open(f"/run/netns/{self.name}") as there:
                _enter(there.fileno())
            yield
        finally:
            _enter(back)
            os.close(back)


class Networks:
    """Namespaces of one test."""

    def __init__(self) -> None:
        self._all: list[Namespace] = []

    def add(self, host: str) -> Namespace:
        namespace = Namespace(host)
        _run("ip", "netns", "add", namespace.name)
        self._all.append(namespace)
        namespace.ip("link set lo up")
        return namespace

    def cable(self, one: Namespace, device: str, address: str, other: Namespace, there: str, theirs: str) -> None:
        """Joins two by a cable, each with its name for it and its address on it."""
        _run(
            "ip", "link", "add", device, "netns", one.name, "type", "veth",
            "peer", "name", there, "netns", other.name,
        )  # fmt: skip
        for namespace, name, where in ((one, device, address), (other, there, theirs)):
            namespace.ip(f"address add {where} dev {name}")
            namespace.ip(f"link set {name} up")

    def close(self) -> None:
        for namespace in self._all:
            subprocess.run(["ip", "netns", "delete", namespace.name], check=False, capture_output=True)
        self._all.clear()


@contextlib.contextmanager
def networks() -> Iterator[Networks]:
    """For as long as the block lasts. The test is skipped where they cannot be made, and fails when CI is set."""
    require_root("network namespaces")
    require_tool("ip")
    require_tool("nft")
    _sweep()
    made = Networks()
    try:
        try:
            made.add("probe")
        except CannotBe as error:
            could_not(f"this machine makes no network namespaces: {error}")
        yield made
    finally:
        made.close()


class CannotBe(Exception):
    """A command was refused."""


def _run(*command: str, given: str = "") -> None:
    done = subprocess.run(command, input=given, text=True, capture_output=True, check=False)
    if done.returncode:
        raise CannotBe(f"{' '.join(command)}: {done.stderr.strip()}")


def _enter(descriptor: int) -> None:
    if _libc.setns(descriptor, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _sweep() -> None:
    """Namespaces whose test is not running any more."""
    for name in os.listdir("/run/netns") if os.path.isdir("/run/netns") else ():
        owner = re.fullmatch(rf"{PREFIX}-(\d+)-\w+", name)
        if owner and not os.path.exists(f"/proc/{owner[1]}"):
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)
