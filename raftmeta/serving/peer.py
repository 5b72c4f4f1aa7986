"""Who is at the other end of a connection."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable, Mapping
from typing import Any

_KINDS = {"URI": "peer_uri", "DNS": "peer_dns", "email": "peer_email", "IP Address": "peer_ip"}
IDENTITY = "x509_subject_alternative_name"
FALLBACK = "x509_common_name"


class Peer:
    """Address and certificate of a peer.

    Attributes:
        name: As gRPC writes it: `ipv4:HOST:PORT`, `ipv6:[HOST]:PORT`.
        auth: What its certificate says, under gRPC's names; empty without TLS.
    """

    __slots__ = ("auth", "name")

    def __init__(self, transport: asyncio.BaseTransport) -> None:
        """Ask the transport."""
        where = transport.get_extra_info("peername")
        if isinstance(where, tuple):
            host, port = str(where[0]), where[1]
            self.name = f"ipv6:[{host}]:{port}" if ":" in host else f"ipv4:{host}:{port}"
        else:
            self.name = "unknown"
        tls = transport.get_extra_info("ssl_object")
        self.auth: Mapping[str, Iterable[bytes]] = {} if tls is None else _auth(tls)

    def identity_key(self) -> str | None:
        """Return under which of the names the peer is best known; None without a certificate."""
        for key in (IDENTITY, FALLBACK):
            if key in self.auth:
                return key
        return None


def _auth(tls: ssl.SSLObject) -> dict[str, list[bytes]]:
    found: dict[str, list[bytes]] = {
        "transport_security_type": [b"ssl"],
        "security_level": [b"TSI_PRIVACY_AND_INTEGRITY"],
    }
    certificate: dict[str, Any] = dict(tls.getpeercert() or {})
    encoded = tls.getpeercert(binary_form=True)
    if not certificate or encoded is None:
        return found
    found["x509_pem_cert"] = [ssl.DER_cert_to_PEM_cert(encoded).encode()]
    for part in certificate.get("subject", ()):
        for key, value in part:
            if key == "commonName":
                found.setdefault(FALLBACK, []).append(value.encode())
    for kind, value in certificate.get("subjectAltName", ()):
        if kind in _KINDS:
            found.setdefault(_KINDS[kind], []).append(value.encode())
            found.setdefault(IDENTITY, []).append(value.encode())
    return found
