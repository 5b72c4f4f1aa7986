"""PeerService: what a node does for the others, on its own disk and nowhere else."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from grpc import aio
from quartet.objects.peers.v1 import peers_pb2 as pb
from quartet.objects.peers.v1 import peers_pb2_grpc

from quartet_server.errors import FieldInvalid, PlacementStale, RequestTooLarge
from quartet_server.objects.contract import LIST_LIMIT, Put
from quartet_server.objects.digest import EMPTY, Digest
from quartet_server.objects.replicas import telling
from quartet_server.objects.replicas.group import Group
from quartet_server.objects.replicas.links import ASKED, BATCH
from quartet_server.objects.replicas.own import OwnShare
from quartet_server.objects.replicas.pace import Progress
from quartet_server.objects.replicas.place import keep, removed, stats
from quartet_server.objects.wire.flow import next_request, resized
from quartet_server.rpc.zones import check_zone, require_node

Context = aio.ServicerContext[Any, Any]


class PeerService(peers_pb2_grpc.PeerServiceServicer):
    """Serves `quartet.objects.peers.v1.PeerService`."""

    name = pb.DESCRIPTOR.services_by_name["PeerService"].full_name

    def __init__(
        self,
        group: Group,
        own: OwnShare,
        progress: Progress,
        piece: int,
        answer_bytes: int,
        on_extra: Callable[[], None],
    ) -> None:
        """Serve the members of `group` from `own`.

        Args:
            group: Who may call, and the placement.
            own: This node's disk.
            progress: Of its repair.
            piece: Most bytes of a blob in one message of a stream.
            answer_bytes: Most bytes of blobs in one answer.
            on_extra: Called when the disk gets a copy that is not its to keep.
        """
        self._group = group
        self._own = own
        self._progress = progress
        self._piece = piece
        self._answer_bytes = answer_bytes
        self._on_extra = on_extra

    def add_to(self, server: aio.Server) -> None:
        """Register the servicer."""
        peers_pb2_grpc.add_PeerServiceServicer_to_server(self, server)

    async def Put(self, request: pb.PutRequest, context: Context) -> pb.PutResponse:
        """Keep blobs."""
        zone, digests = self._admit(context, request.zone), digests_of(request.digests)
        if len(request.data) != len(digests):
            raise FieldInvalid.of("data", f"{len(request.data)} for {len(digests)} digests")
        self._check_placement(request.placement)
        blobs = [Put(digest, data) for digest, data in zip(digests, request.data, strict=True)]
        # repair prolongs no life: what is there by now is left as it is
        there = await stats(self._own, zone, digests) if not request.placement else {}
        kept = iter(await keep(self._own, zone, [blob for blob in blobs if blob.digest not in there]))
        outcomes = [None if digest in there else next(kept) for digest in digests]
        self._check_placement(request.placement)
        self._look_for_extra(digests)
        return pb.PutResponse(failures=telling.failures_of(outcomes))

    async def Write(self, request_iterator: AsyncIterator[pb.WriteRequest], context: Context) -> pb.WriteResponse:
        """Keep a large blob."""
        first = await next_request(request_iterator)
        if first is None:
            raise FieldInvalid.of("digest", "nothing was sent")
        zone, digest = self._admit(context, first.zone), Digest.unpack(first.digest)
        self._check_placement(first.placement)
        async with self._own.writer(zone, digest) as writer:
            request: pb.WriteRequest | None = first
            while request is not None:
                if request.data:
                    await writer.write(request.data)
                request = await next_request(request_iterator)
            await writer.commit()
        self._check_placement(first.placement)
        self._look_for_extra([digest])
        return pb.WriteResponse()

    async def Missing(self, request: pb.MissingRequest, context: Context) -> pb.MissingResponse:
        """Tell which are missing, hit the others."""
        zone, digests = self._admit(context, request.zone), digests_of(request.digests, ASKED)
        return pb.MissingResponse(missing=telling.positions_of(digests, await self._own.missing(zone, digests)))

    async def Hold(self, request: pb.HoldRequest, context: Context) -> pb.HoldResponse:
        """Tell which this node keeps, and hit them."""
        zone, digests = self._admit(context, request.zone), digests_of(request.digests)
        placement = self._group.view.placement
        if request.placement != placement.number:
            raise PlacementStale(f"this node follows placement {placement.number}", placement=placement.number)
        mine = [digest for digest in digests if self._group.me in placement.owners(digest)]
        missing = set(await self._own.missing(zone, mine))
        return pb.HoldResponse(held=telling.positions_of(digests, (one for one in mine if one not in missing)))

    async def StatMany(self, request: pb.StatManyRequest, context: Context) -> pb.StatManyResponse:
        """Tell what is known of blobs."""
        zone, digests = self._admit(context, request.zone), digests_of(request.digests)
        return pb.StatManyResponse(blobs=map(telling.message_of, (await stats(self._own, zone, digests)).values()))

    async def ReadMany(self, request: pb.ReadManyRequest, context: Context) -> pb.ReadManyResponse:
        """Read small blobs."""
        zone, digests = self._admit(context, request.zone), digests_of(request.digests)
        if sum(digest.size for digest in digests) > self._answer_bytes:
            raise RequestTooLarge(f"an answer has at most {self._answer_bytes} bytes", limit=self._answer_bytes)
        found = await self._own.get_many(zone, digests, self._answer_bytes)
        outcomes = [found[digest] for digest in digests]
        return pb.ReadManyResponse(
            data=[outcome if isinstance(outcome, bytes) else b"" for outcome in outcomes],
            failures=telling.failures_of(outcomes),
        )

    async def Read(self, request: pb.ReadRequest, context: Context) -> AsyncIterator[pb.ReadResponse]:
        """Stream a blob."""
        zone, digest = self._admit(context, request.zone), Digest.unpack(request.digest)
        verify = request.verify if request.HasField("verify") else None
        pieces = self._own.read(zone, digest, request.offset, request.length, verify=verify)
        async with aclosing(resized(pieces, self._piece)) as source:
            async for piece in source:
                yield pb.ReadResponse(data=piece)

    async def Delete(self, request: pb.DeleteRequest, context: Context) -> pb.DeleteResponse:
        """Remove blobs."""
        zone, digests = self._admit(context, request.zone), digests_of(request.digests)
        return pb.DeleteResponse(deleted=telling.positions_of(digests, await removed(self._own, zone, digests)))

    async def Condemn(self, request: pb.CondemnRequest, context: Context) -> pb.CondemnResponse:
        """Condemn blobs."""
        zone, digests = self._admit(context, request.zone), digests_of(request.digests)
        condemned = await self._own.condemn(zone, digests, request.untouched_since)
        return pb.CondemnResponse(condemned=telling.positions_of(digests, condemned))

    async def Sweep(self, request: pb.SweepRequest, context: Context) -> pb.SweepResponse:
        """Sweep blobs."""
        zone, digests = self._admit(context, request.zone), digests_of(request.digests)
        gone = await self._own.sweep(zone, digests, request.condemned_until)
        return pb.SweepResponse(gone=telling.positions_of(digests, gone))

    async def ReadPage(self, request: pb.ReadPageRequest, context: Context) -> pb.ReadPageResponse:
        """Tell which blobs are here."""
        zone = self._admit(context, request.zone)
        after = Digest.unpack(request.after, "after") if request.after else None
        page = await self._own.scan(zone, after, min(request.limit, LIST_LIMIT + 1))
        return pb.ReadPageResponse(blobs=map(telling.message_of, page))

    async def GetZones(self, request: pb.GetZonesRequest, context: Context) -> pb.GetZonesResponse:
        """Tell in which zones there are blobs."""
        self._demand_node(context)
        return pb.GetZonesResponse(zones=await self._own.zones())

    async def GetStatus(self, request: pb.GetStatusRequest, context: Context) -> pb.Status:
        """Tell how this node's share stands."""
        self._demand_node(context)
        return await self.status()

    async def status(self) -> pb.Status:
        """Return how this node's share stands."""
        usage, progress = await self._own.usage(), self._progress
        status = pb.Status(
            blobs=usage.blobs,
            logical_bytes=usage.logical,
            physical_bytes=max(usage.physical, 0),
            placement=progress.placement,
            waiting=progress.waiting,
            copied_blobs=progress.copied_blobs,
            copied_bytes=progress.copied_bytes,
            dropped_blobs=progress.dropped_blobs,
            problem=progress.problem[:200],
        )
        if progress.ended is not None:
            moment = Timestamp()
            moment.FromMicroseconds(int(progress.ended * 1_000_000))
            status.repair_time.CopyFrom(moment)
        return status

    def _admit(self, context: Context, zone: str) -> str:
        self._demand_node(context)
        return check_zone(zone)

    def _demand_node(self, context: Context) -> None:
        """Let members pass, or anybody where the port asks for no certificate. Raises NodeRequired."""
        require_node(context.auth_context(), (member.name for member in self._group.members.values()))

    def _check_placement(self, number: int) -> None:
        """Refuse what was sent by a placement that is over: the nodes it went to need not be those that should have it."""
        current = self._group.view.placement.number
        if 0 < number < current:
            raise PlacementStale(f"placement {number} is over, {current} is in force", placement=current)

    def _look_for_extra(self, digests: Sequence[Digest]) -> None:
        placement, me = self._group.view.placement, self._group.me
        if any(me not in placement.owners(digest) for digest in digests):
            self._on_extra()


def digests_of(packed: Sequence[bytes], most: int = BATCH) -> list[Digest]:
    """Return the digests that a message names, none of them the empty blob's. Raises FieldInvalid, RequestTooLarge."""
    if len(packed) > most:
        raise RequestTooLarge(f"{len(packed)} digests at once, at most {most} are taken", limit=most)
    digests = [Digest.unpack(one, f"digests[{at}]") for at, one in enumerate(packed)]
    if EMPTY in digests:
        raise FieldInvalid.of("digests", "the empty blob is everywhere")
    return digests
