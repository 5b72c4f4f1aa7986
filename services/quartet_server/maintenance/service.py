"""MaintenanceService: upkeep of the store of blobs, the check of the tree, and what it takes, over gRPC."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from grpc import aio
from quartet.maintenance.v1 import maintenance_pb2, maintenance_pb2_grpc
from quartet.maintenance.v1 import maintenance_pb2 as pb

from quartet_server.domain import Resources
from quartet_server.errors import FieldInvalid
from quartet_server.files import paths
from quartet_server.files.check.check import Check
from quartet_server.files.check.usage import Usage
from quartet_server.files.inos import Inos
from quartet_server.files.principals import enter
from quartet_server.files.tree import Tree
from quartet_server.meta.ledger import LedgerLease
from quartet_server.meta.mutation import Mutator
from quartet_server.meta.operators import demand_operator
from quartet_server.meta.times import timestamps
from quartet_server.objects.contract import BlobStore
from quartet_server.objects.gc.records import told
from quartet_server.objects.gc.upkeep import Mounts, Upkeep
from quartet_server.rpc.zones import check_zone

Context = aio.ServicerContext[Any, Any]
ZONES = 100
"""Most zones in one call."""


async def start(resources: Resources) -> MaintenanceService:
    """Serve the upkeep of the node's store, and checks of the tree."""
    assert resources.objects is not None, "the composition root opens the store when this service is on"
    assert resources.upkeep is not None
    store, lease = resources.metastore, LedgerLease(resources.metastore)
    tree = Tree(store, Mutator(store, lease), lease, Inos(store), timestamps(resources.clock))
    return MaintenanceService(tree, resources.objects, resources.upkeep)


class MaintenanceService(maintenance_pb2_grpc.MaintenanceServiceServicer):
    """Serves `quartet.maintenance.v1.MaintenanceService`."""

    names = (maintenance_pb2.DESCRIPTOR.services_by_name["MaintenanceService"].full_name,)

    def __init__(self, tree: Tree, blobs: BlobStore, upkeep: Upkeep) -> None:
        """Check `tree`, whose bytes are in `blobs`; `upkeep` looks after the node's own store."""
        self._tree = tree
        self._blobs = blobs
        self._upkeep = upkeep

    def add_to(self, server: aio.Server) -> None:
        """Register the servicer."""
        maintenance_pb2_grpc.add_MaintenanceServiceServicer_to_server(self, server)

    async def stop(self) -> None:
        """Nothing runs in the background here: upkeep is the composition root's."""

    async def Collect(self, request: pb.CollectRequest, context: Context) -> AsyncIterator[pb.CollectResponse]:
        """Do a round."""
        demand_operator(context, "collecting blobs")
        if len(request.zones) > ZONES:
            raise FieldInvalid.of("zones", f"{len(request.zones)} were given, at most {ZONES} are taken")
        zones = [check_zone(zone) for zone in dict.fromkeys(request.zones)]
        yield pb.CollectResponse(node=self._upkeep.node, shared=self._upkeep.shared)
        mounts = Mounts.NONE if request.own_only else Mounts.ALL
        async with aclosing(self._upkeep.collect(zones, dry=not request.run, mounts=mounts)) as rounds:
            async for tally, done in rounds:
                yield pb.CollectResponse(
                    node=self._upkeep.node,
                    shared=self._upkeep.shared,
                    collection=told(tally),
                    done=done,
                    skipped=tally.skipped,
                )

    async def Adopt(self, request: pb.AdoptRequest, context: Context) -> pb.AdoptResponse:
        """Make the store this cluster's."""
        demand_operator(context, "adopting a store of blobs")
        owners, mounted = await self._upkeep.adopt()
        return pb.AdoptResponse(
            node=self._upkeep.node,
            shared=self._upkeep.shared,
            owners=sorted(owners),
            mounts=[pb.AdoptedMount(zone=one.zone, name=one.name, owners=sorted(marks)) for one, marks in mounted],
        )

    async def GetUpkeep(self, request: pb.GetUpkeepRequest, context: Context) -> pb.Upkeep:
        """Read what all nodes told."""
        demand_operator(context, "reading what was collected")
        return pb.Upkeep(nodes=await self._upkeep.reports())

    async def Check(self, request: pb.CheckRequest, context: Context) -> AsyncIterator[pb.CheckResponse]:
        """Check the tree."""
        demand_operator(context, "checking the tree")
        zone, path = enter(context), paths.parse(request.path or "/")
        check = Check(
            self._tree.store, self._blobs, self._tree, zone, self._tree.now, repair=request.repair, read=request.bytes
        )
        async with aclosing(check.run(path)) as findings:
            async for response in findings:
                yield response

    async def GetUsage(self, request: pb.GetUsageRequest, context: Context) -> AsyncIterator[pb.GetUsageResponse]:
        """Measure a path."""
        zone, path = enter(context), paths.parse(request.path or "/")
        async with aclosing(Usage(self._tree, self._blobs, zone, request.depth).run(path)) as rows:
            async for row in rows:
                yield row
