"""Which zone a call about blobs is for: the caller's, or the one that an instance name of the Remote Execution API says."""

from __future__ import annotations

from typing import Any

from quartet_server.errors import ZoneDenied, ZoneNotFound
from quartet_server.meta import system
from quartet_server.meta.snapshot import Snapshot
from quartet_server.rpc.call import DEFAULT_ZONE, current_zone
from quartet_server.rpc.zones import ZONE_KEY, certified_zones, check_allowed, check_zone
from raftmeta.metastore import Metastore


class Zones:
    """Finds the zone of a call, and refuses one that was never created."""

    def __init__(self, store: Metastore) -> None:
        """Look for zones in `store`; one that was seen is not looked for again."""
        self._store = store
        self._seen = {DEFAULT_ZONE}

    async def current(self) -> str:
        """Return the caller's zone. Raises ZoneNotFound, ZoneDenied, MetastoreError."""
        return await self._existing(_chosen(current_zone()))

    async def of_instance(self, instance: str, context: Any) -> str:
        """Return the zone that an instance name stands for; the caller's for an empty one.

        Raises:
            ZoneInvalid: The name is none of a zone.
            ZoneDenied: The caller's certificate does not list it, or its `quartet-zone` metadata names another.
            ZoneNotFound: It was never created.
            MetastoreError: The zone was not seen yet, and the Metastore cannot tell.
        """
        if not instance:
            return await self.current()
        zone = check_zone(instance)
        check_allowed(zone, certified_zones(context.auth_context()))
        named = next((value for key, value in context.invocation_metadata() if key == ZONE_KEY), zone)
        if named != zone:
            raise ZoneDenied(
                f"the call's metadata says zone {named}, its instance name {zone}", hint="name one of them", zone=zone
            )
        return await self._existing(zone)

    async def _existing(self, zone: str) -> str:
        if zone not in self._seen:
            key = system.zone(zone)
            if key not in await Snapshot(self._store).get([key]):
                raise ZoneNotFound(f"zone {zone} does not exist", zone=zone, hint=f"quartet zone create {zone}")
            self._seen.add(zone)
        return zone


def _chosen(zone: str) -> str:
    """Return the zone of a call that said which, in the metadata or by a certificate for one zone. Raises ZoneDenied."""
    if not zone:
        raise ZoneDenied(
            "the client certificate lists several zones and the call names none",
            hint="give the zone as instance name, or in the metadata quartet-zone",
        )
    return zone
