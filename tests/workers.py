"""What makes it safe to run tests beside each other: a network of its own for each worker of pytest-xdist."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

CLONE_NEWNET = 0x40000000
BEFORE = Path("/proc/thread-self/ns/net")
HOST = "10.99.0.1"      # some tests want an address besides loopback's
COMMANDS = ("link set lo up", f"address add {HOST}/32 dev lo", f"route add default dev lo src {HOST}")


def own_network() -> bool:
    """This thread, and all that it starts, gets a network that ends at this machine: no port is taken by another
    worker, or by what else runs here, and nothing is sent out. Linux, and only root may; otherwise all stays as it was:
    then tests beside each other look for free ports in the same network."""
    ip, libc = shutil.which("ip", path="/usr/sbin:/sbin:/usr/bin:/bin"), ctypes.CDLL(None)
    if ip is None or not BEFORE.exists():
        return False
    with BEFORE.open() as before:
        if libc.unshare(CLONE_NEWNET):
            return False
        for command in COMMANDS:
            if subprocess.run([ip, *command.split()], capture_output=True, check=False).returncode:
                libc.setns(before.fileno(), CLONE_NEWNET)       # a container whose root may make one, but not use it
                return False
    return True
