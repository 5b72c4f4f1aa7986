"""HOST:PORT, and whether other machines can reach it."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Address:
    """A TCP address.

    Attributes:
        host: Name or IP address; an IPv6 address without its brackets.
        port: 0 to 65535; 0 asks for any free port.
    """

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read `HOST:PORT` or `[IPV6]:PORT`; raises ValueError with a sentence for people."""
        host, colon, port = text.rpartition(":")
        bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
        if not colon or not bare or not (port.isascii() and port.isdigit()) or int(port) > 65535:
            raise ValueError(f"{text!r} is not HOST:PORT, like 127.0.0.1:7400")
        if ":" in host and bare == host:
            raise ValueError(f"{text!r}: an IPv6 address goes in brackets, like [::1]:7400")
        return cls(bare, int(port))

    @property
    def loopback(self) -> bool:
        """Only this machine can reach it; a name other than localhost counts as reachable."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def __str__(self) -> str:
        """Return HOST:PORT."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
