"""ReplicaService: how the copies of blobs stand, for operators."""

from __future__ import annotations

import asyncio
from typing import Any

from grpc import aio
from quartet.objects.peers.v1 import peers_pb2
from quartet.objects.replicas.v1 import replicas_pb2 as pb
from quartet.objects.replicas.v1 import replicas_pb2_grpc

from quartet_server.errors import ClusterUnsupported, QuartetError
from quartet_server.meta.operators import demand_operator
from quartet_server.objects.replicas.opening import Replication

Context = aio.ServicerContext[Any, Any]
_PATIENCE = 3.0  # seconds for a node to say how it stands


class ReplicaService(replicas_pb2_grpc.ReplicaServiceServicer):
    """Serves `quartet.objects.replicas.v1.ReplicaService`."""

    name = pb.DESCRIPTOR.services_by_name["ReplicaService"].full_name

    def __init__(self, replication: Replication | None) -> None:
        """Tell about `replication`; None where nodes keep no copies for each other."""
        self._replication = replication

    def add_to(self, server: aio.Server) -> None:
        """Register the servicer."""
        replicas_pb2_grpc.add_ReplicaServiceServicer_to_server(self, server)

    async def GetStatus(self, request: pb.GetStatusRequest, context: Context) -> pb.Status:
        """Ask all nodes."""
        demand_operator(context, "seeing where blobs are")
        if self._replication is None:
            raise ClusterUnsupported(
                "the nodes keep no copies of blobs for each other: they share a store, or an external Metastore",
                hint="quartet check",
            )
        group = self._replication.group
        view = group.view if group.alone else await group.refresh(newest=True)
        members = group.members
        debts = await self._replication.debts.counts(members)
        answers = await asyncio.gather(*(self._ask(node) for node in members))
        status = pb.Status(
            placement=view.placement.number, replicas=view.placement.copies or 1, settled=group.alone or view.settled
        )
        for (node, member), answer in sorted(
            zip(members.items(), answers, strict=True), key=lambda one: one[0][1].name
        ):
            told = pb.Node(
                id=f"{node:016x}",
                name=member.name,
                address=member.client_address,
                reachable=isinstance(answer, peers_pb2.Status),
                placed=group.alone or node in view.placement.stores,
                debts=debts.get(node, 0),
                problem=answer if isinstance(answer, str) else answer.problem,
            )
            if isinstance(answer, peers_pb2.Status):
                told.blobs, told.logical_bytes, told.physical_bytes = (
                    answer.blobs,
                    answer.logical_bytes,
                    answer.physical_bytes,
                )
                told.copied_blobs, told.copied_bytes = answer.copied_blobs, answer.copied_bytes
                told.dropped_blobs = answer.dropped_blobs
                told.settled = group.alone or answer.placement == view.placement.number
                if answer.HasField("repair_time"):
                    told.repair_time.CopyFrom(answer.repair_time)
            status.nodes.append(told)
        if not all(node.settled for node in status.nodes if node.placed):
            status.settled = False  # a node that has just come back with an empty disk knows it before the others
        return status

    async def _ask(self, node: int) -> peers_pb2.Status | str:
        """Return a node's status, or why it has not told."""
        assert self._replication is not None
        try:
            if node == self._replication.group.me:
                return await self._replication.service.status()
            return await self._replication.link(node).status(_PATIENCE)
        except QuartetError as error:
            return error.message
