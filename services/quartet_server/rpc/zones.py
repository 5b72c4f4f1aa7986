"""Which zone a call acts in, and whether its caller may."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from urllib.parse import unquote

from quartet_server.errors import CertificateRequired, NodeRequired, ZoneDenied, ZoneInvalid
from quartet_server.rpc.call import DEFAULT_ZONE
from raftmeta.tls import NODE_URI, ZONE_URI

ZONE_KEY = "quartet-zone"
EVERY_ZONE = "*"
NODE_ZONE = "-node"

_NAME = re.compile(r"[a-z][a-z0-9-]{0,62}")


def check_zone(name: str) -> str:
    """Return `name` if it is 1 to 63 of a-z, 0-9 and `-`, beginning with a letter; raises ZoneInvalid."""
    if _NAME.fullmatch(name) is None:
        raise ZoneInvalid(
            f"zone {name[:64]!r} is not 1 to 63 of a-z, 0-9 and -, beginning with a letter", zone=name[:64]
        )
    return name


def certified_zones(identity: Mapping[str, Iterable[bytes]]) -> frozenset[str] | None:
    """Return the zones a client certificate lists, from a call's auth context; None when there is no certificate.

    They are its URI alternative names `quartet://zone/NAME` (RFC 5280 4.2.1.6); `*` stands for every zone. A node's own
    certificate, with which it may join, lists one that no zone can be called.
    """
    if "x509_pem_cert" not in identity:
        return None
    names = (name.decode("utf-8", "replace") for name in identity.get("peer_uri", ()))
    zones = set()
    for name in names:
        if name.startswith(ZONE_URI):
            zones.add(unquote(name.removeprefix(ZONE_URI)))
        elif name.startswith(NODE_URI):
            zones.add(NODE_ZONE)
    return frozenset(zones)


def certified_nodes(identity: Mapping[str, Iterable[bytes]]) -> frozenset[str] | None:
    """Return the names of the nodes whose certificate a caller showed, none for a client's; None without a certificate."""
    if "x509_pem_cert" not in identity:
        return None
    names = (name.decode("utf-8", "replace") for name in identity.get("peer_uri", ()))
    return frozenset(unquote(name.removeprefix(NODE_URI)) for name in names if name.startswith(NODE_URI))


def require_node(identity: Mapping[str, Iterable[bytes]], members: Iterable[str]) -> frozenset[str] | None:
    """Return the names in the certificate of a caller who is one of `members`; None where the port asks for no certificate.

    Raises NodeRequired for everybody else.
    """
    names = certified_nodes(identity)
    if names is not None and names.isdisjoint(members):
        raise NodeRequired("only nodes of this cluster call this")
    return names


def zone_of(named: str | None, allowed: frozenset[str] | None) -> str:
    """Return the zone of a call that named `named`, by a caller who may act in `allowed` (None: in any).

    A caller who names none acts in `default`, or in the only zone its certificate lists. Raises ZoneInvalid, ZoneDenied.
    """
    if allowed is None or EVERY_ZONE in allowed:
        return check_zone(named) if named is not None else DEFAULT_ZONE
    only = next(iter(allowed)) if len(allowed) == 1 else DEFAULT_ZONE
    zone = only if named is None else check_zone(named)
    check_allowed(zone, allowed)
    return zone


def may_act(zone: str, allowed: frozenset[str] | None) -> bool:
    """Tell whether a caller who may act in `allowed` (None: in any) may in `zone`."""
    return allowed is None or EVERY_ZONE in allowed or zone in allowed


def check_allowed(zone: str, allowed: frozenset[str] | None) -> None:
    """Let a caller pass who may act in `zone`. Raises ZoneDenied."""
    if not may_act(zone, allowed):
        may = ", ".join(sorted(allowed or ())) or "none"
        raise ZoneDenied(
            f"the client certificate does not allow zone {zone}; it lists: {may}",
            zone=zone,
            hint=f"quartet cert client NAME --zone {zone}",
        )


def require_certificate(allowed: frozenset[str] | None) -> frozenset[str]:
    """Return `allowed`; raises CertificateRequired when the call came without a certificate."""
    if allowed is None:
        raise CertificateRequired("this port takes calls with a client certificate only")
    return allowed
