"""Ports for programs that must be told theirs before they start. Whatever can listen on port 0 does that instead."""

from __future__ import annotations

import secrets
import socket

# Above those that the kernel hands out by itself (net.ipv4.ip_local_port_range): there a port that was free is taken a
# moment later by any connection of anybody.
PORTS = range(61_000, 65_000)
_given: set[int] = set()


def free_port(host: str = "127.0.0.1") -> int:
    """A port that is free at `host` for UDP and for TCP, and that this process has been given for the first time."""
    while True:
        port = secrets.choice(PORTS)
        if port not in _given and all(_free(host, port, kind) for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM)):
            _given.add(port)
            return port


def _free(host: str, port: int, kind: socket.SocketKind) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind) as sock:
        try:
            sock.bind((host, port))
        except OSError:
            return False
        return True
