"""What makes it safe to run tests beside each other: a network of its own for each worker of pytest-xdist."""

from __future__ import annotations

import ctypes
import shutil
import subprocess

CLONE_NEWNET = 0x40000000


def own_network() -> bool:
    """This thread, and all that it starts, gets a network that has nothing but loopback: no port is taken by another
    worker, or by what else runs on this machine. Linux, and only root may; otherwise all stays as it was: then tests
    beside each other look for free ports in the same network."""
    ip = shutil.which("ip", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if ip is None or ctypes.CDLL(None).unshare(CLONE_NEWNET):
        return False
    subprocess.run([ip, "link", "set", "lo", "up"], check=True)
    return True
