"""Who may change what belongs to the whole cluster."""

from __future__ import annotations

from typing import Any

from grpc import aio

from quartet_server.errors import SystemProtected
from quartet_server.rpc.zones import EVERY_ZONE, certified_zones


def demand_operator(context: aio.ServicerContext[Any, Any], what: str) -> None:
    """Let operators pass: callers whose certificate names every zone, or without one where none is asked for.

    (A port that asks for certificates never lets a call without one get this far.) Raises SystemProtected.
    """
    zones = certified_zones(context.auth_context())
    if zones is not None and EVERY_ZONE not in zones:
        raise SystemProtected(
            f"{what} takes a client certificate for every zone", hint="quartet cert client NAME --zone '*'"
        )
