"""Free ports."""

from __future__ import annotations

import random
import socket
from pathlib import Path


def free_ports(count: int) -> list[int]:
    """Return `count` distinct loopback TCP ports that were free a moment ago."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]
    finally:
        for one in sockets:
            one.close()


def steady_ports(count: int) -> list[int]:
    """Return `count` distinct loopback TCP ports that were free a moment ago and that no outgoing connection is given.

    For servers that come back to their port: while one is down, the system could hand an ephemeral port to anybody,
    even to the very connection that looks for the server.
    """
    try:
        first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except OSError:
        first = 32768
    if first < 12_000:
        return free_ports(count)
    found: list[int] = []
    draw = random.SystemRandom()
    for _ in range(10_000):
        if len(found) == count:
            return found
        port = draw.randrange(10_000, first)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in found:
            found.append(port)
    raise OSError("no free ports below the ephemeral ones")
