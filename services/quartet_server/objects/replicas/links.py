"""Another node's disk as a `Place`, over gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import grpc
from google.protobuf.message import Message
from grpc import aio
from quartet.objects.peers.v1 import peers_pb2 as pb
from quartet.objects.peers.v1 import peers_pb2_grpc

from quartet_server.errors import BlobCorrupt, BlobNotFound, QuartetError
from quartet_server.objects.contract import BlobInfo, BlobWriter, Put
from quartet_server.objects.digest import Digest
from quartet_server.objects.replicas import telling
from quartet_server.objects.replicas.gathering import Gathering
from quartet_server.objects.replicas.sending import Sending

if TYPE_CHECKING:
    from quartet.objects.peers.v1.peers_pb2_grpc import PeerServiceAsyncStub

Request = TypeVar("Request", bound=Message)
Answer = TypeVar("Answer", bound=Message)
BATCH = 1_000
"""Most blobs in one call."""
ASKED = 5_000
"""Most digests in a question whether they are missing."""
PIECE = 1 << 20
"""Most bytes of a blob in one message of a stream."""
_BESIDE = 128 << 10  # bytes of a message beside the blobs: a thousand digests and what frames them
_ANEW = 3  # failures after which a connection is made anew
_LAST_ANSWERS = 60.0  # seconds for what is under way on a connection that is given up
_DOUBT, _LONGEST_DOUBT = 1.0, 15.0  # seconds for which a node that failed is asked last; doubled with each failure
_SLOWEST = 16 << 20  # bytes a second that a disk reads or syncs at the least


@dataclass(frozen=True, slots=True)
class Calling:
    """How nodes are called.

    Attributes:
        credentials: Makes the credentials of a channel; None: the ports are plaintext.
        patience: Seconds without progress after which a node is taken for dead.
        message_bytes: Most bytes of a message that nodes take.
        clock: Seconds, monotonic.
    """

    credentials: Callable[[], grpc.ChannelCredentials | None]
    patience: float
    message_bytes: int
    clock: Callable[[], float]

    @property
    def batch_bytes(self) -> int:
        """Most bytes of blobs in one message."""
        return max(self.message_bytes - _BESIDE, self.message_bytes // 2)

    @property
    def piece(self) -> int:
        """Most bytes of a blob in one message of a stream."""
        return min(PIECE, self.message_bytes // 2)

    def wait_for(self, size: int) -> float:
        """Return the seconds that a node may take to read or to sync `size` bytes."""
        return self.patience + size / _SLOWEST


class Link:
    """A connection to one node. Single puts, questions and reads of small blobs that come at once share calls."""

    def __init__(self, node: int, address: str, calling: Calling) -> None:
        """Call the member `node` at HOST:PORT; nothing is sent before the first call."""
        self.node = node
        self.address = address
        self._calling = calling
        self._channel: aio.Channel | None = None
        self._stub: PeerServiceAsyncStub | None = None
        self._doubted_until = 0.0
        self._doubt = _DOUBT
        self._failures = 0
        self._closing = set[asyncio.Task[None]]()
        most = calling.batch_bytes
        self._puts = Gathering(self._put_all, lambda blob: len(blob.data), most=BATCH, most_bytes=most)
        self._missings = Gathering(self._missing_all, lambda digest: 0, most=BATCH, most_bytes=1)
        self._stats = Gathering(self._stat_all, lambda digest: 0, most=BATCH, most_bytes=1)
        self._gets = Gathering(self._get_all, lambda digest: digest.size, most=BATCH, most_bytes=most)

    @property
    def usable(self) -> bool:
        """See `Place.usable`."""
        return self._calling.clock() >= self._doubted_until

    def doubt(self) -> None:
        """The node has failed: ask it last for a while, longer each time."""
        self._doubted_until = self._calling.clock() + self._doubt
        self._doubt = min(2 * self._doubt, _LONGEST_DOUBT)
        self._failures += 1
        if self._failures % _ANEW == 0:
            self._let_go()

    def _let_go(self) -> None:
        """Call over a new connection from now on, with the certificates of now; what is under way may end."""
        if self._channel is not None:
            task = asyncio.create_task(self._channel.close(_LAST_ANSWERS))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
        self._channel = self._stub = None

    def _open(self) -> PeerServiceAsyncStub:
        if self._stub is None:
            most = self._calling.message_bytes + _BESIDE
            options = [
                ("grpc.max_receive_message_length", most),
                ("grpc.max_send_message_length", most),
                ("grpc.min_reconnect_backoff_ms", 200),
                ("grpc.initial_reconnect_backoff_ms", 200),
                ("grpc.max_reconnect_backoff_ms", 2_000),
                ("grpc.use_local_subchannel_pool", 1),
            ]
            credentials = self._calling.credentials()
            if credentials is None:
                self._channel = aio.insecure_channel(self.address, options=options)
            else:
                self._channel = aio.secure_channel(self.address, credentials, options=options)
            self._stub = peers_pb2_grpc.PeerServiceStub(self._channel)
        return self._stub

    async def _call(
        self,
        method: Callable[[PeerServiceAsyncStub], Callable[..., Awaitable[Answer]]],
        request: Message,
        patience: float | None = None,
    ) -> Answer:
        """Call once. Raises ObjectStoreUnreachable, or what the node says about the blobs themselves."""
        try:
            answer = await method(self._open())(request, timeout=patience or self._calling.patience)
        except aio.AioRpcError as error:
            raise self.failed(error) from error
        self.succeeded()
        return answer

    def succeeded(self) -> None:
        """The node has answered: it is as good as any."""
        self._doubted_until, self._doubt, self._failures = 0.0, _DOUBT, 0

    def failed(self, error: aio.AioRpcError | TimeoutError) -> QuartetError:
        """Return what a failed call means; doubt the node unless it was the blob's fault."""
        told = telling.told(error) if isinstance(error, aio.AioRpcError) else None
        if told is None:
            self.doubt()
            return telling.unreachable(self.address, error)
        return told

    async def put(self, zone: str, blob: Put, placement: int) -> None:
        """See `Place.put`."""
        if len(blob.data) > self._calling.batch_bytes:
            writer = self.writer(zone, blob.digest, placement)
            try:
                await writer.write(blob.data)
                await writer.commit()
            finally:
                await writer.abort()
        elif (error := await self._puts.ask(f"{placement} {zone}", blob)) is not None:
            raise error

    async def _put_all(self, group: str, blobs: list[Put]) -> Sequence[QuartetError | None]:
        placement, _, zone = group.partition(" ")
        return await self._put(blobs, zone, int(placement))

    async def _put(self, blobs: Sequence[Put], zone: str, placement: int) -> list[QuartetError | None]:
        request = pb.PutRequest(placement=placement, zone=zone)
        for blob in blobs:
            request.digests.append(blob.digest.packed)
            request.data.append(blob.data)
        answer = await self._call(lambda stub: stub.Put, request)
        return telling.outcomes(answer.failures, len(blobs))

    async def put_many(self, zone: str, blobs: Sequence[Put], placement: int) -> list[QuartetError | None]:
        """See `Place.put_many`."""
        outcomes: list[QuartetError | None] = []
        for batch in _batches(blobs, lambda blob: len(blob.data), self._calling.batch_bytes):
            if len(batch) == 1 and len(batch[0].data) > self._calling.batch_bytes:
                try:
                    await self.put(zone, batch[0], placement)
                    outcomes.append(None)
                except QuartetError as error:
                    outcomes.append(error)
            else:
                outcomes += await self._put(batch, zone, placement)
        return outcomes

    def writer(self, zone: str, digest: Digest, placement: int) -> BlobWriter:
        """See `Place.writer`."""
        first = pb.WriteRequest(placement=placement, zone=zone, digest=digest.packed)
        calling = self._calling
        return Sending(self, lambda: self._open().Write(), first, digest, calling.piece, calling.wait_for)

    async def missing(self, zone: str, digests: Sequence[Digest]) -> set[Digest]:
        """See `Place.missing`."""
        if len(digests) == 1:
            return set(digests) if await self._missings.ask(zone, digests[0]) else set()
        return await self._missing_of(zone, digests)

    async def _missing_all(self, zone: str, digests: list[Digest]) -> Sequence[bool]:
        missing = await self._missing_of(zone, digests)
        return [digest in missing for digest in digests]

    async def _missing_of(self, zone: str, digests: Sequence[Digest]) -> set[Digest]:
        found: set[Digest] = set()
        for at in range(0, len(digests), ASKED):
            part = digests[at : at + ASKED]
            request = pb.MissingRequest(zone=zone, digests=[digest.packed for digest in part])
            answer = await self._call(lambda stub: stub.Missing, request)
            found |= telling.named(part, answer.missing)
        return found

    async def hold(self, zone: str, digests: Sequence[Digest], placement: int) -> set[Digest]:
        """See `Place.hold`."""
        request = pb.HoldRequest(placement=placement, zone=zone, digests=[digest.packed for digest in digests])
        return telling.named(digests, (await self._call(lambda stub: stub.Hold, request)).held)

    async def stat(self, zone: str, digest: Digest) -> BlobInfo | None:
        """See `Place.stat`."""
        return await self._stats.ask(zone, digest)

    async def _stat_all(self, zone: str, digests: list[Digest]) -> Sequence[BlobInfo | None]:
        found = await self.stat_many(zone, digests)
        return [found.get(digest) for digest in digests]

    async def stat_many(self, zone: str, digests: Sequence[Digest]) -> dict[Digest, BlobInfo]:
        """See `Place.stat_many`."""
        found: dict[Digest, BlobInfo] = {}
        for at in range(0, len(digests), BATCH):
            packed = [digest.packed for digest in digests[at : at + BATCH]]
            answer = await self._call(lambda stub: stub.StatMany, pb.StatManyRequest(zone=zone, digests=packed))
            found |= {info.digest: info for info in map(telling.info_of, answer.blobs)}
        return found

    async def get(self, zone: str, digest: Digest) -> bytes:
        """See `Place.get`."""
        found = await self._gets.ask(zone, digest)
        if isinstance(found, QuartetError):
            raise found
        return found

    async def _get_all(self, zone: str, digests: list[Digest]) -> Sequence[bytes | QuartetError]:
        request = pb.ReadManyRequest(zone=zone, digests=[digest.packed for digest in digests])
        answer = await self._call(lambda stub: stub.ReadMany, request)
        return await telling.checked(digests, answer, self.address)

    async def get_many(self, zone: str, digests: Sequence[Digest]) -> Mapping[Digest, bytes | QuartetError]:
        """See `Place.get_many`."""
        found: dict[Digest, bytes | QuartetError] = {}
        most = self._calling.batch_bytes
        small = [digest for digest in dict.fromkeys(digests) if digest.size <= most]
        for batch in _batches(small, lambda digest: digest.size, most):
            found |= dict(zip(batch, await self._get_all(zone, list(batch)), strict=True))
        for digest in digests:
            if digest.size > most and digest not in found:
                found[digest] = await self._get_large(zone, digest)
        return found

    async def _get_large(self, zone: str, digest: Digest) -> bytes | QuartetError:
        try:
            data = b"".join([piece async for piece in self.read(zone, digest, 0, digest.size, None)])
        except (BlobNotFound, BlobCorrupt) as error:
            return error
        return await telling.held_against(digest, data, self.address)

    async def read(
        self, zone: str, digest: Digest, offset: int, length: int, verify: bool | None
    ) -> AsyncGenerator[bytes, None]:
        """See `Place.read`."""
        request = pb.ReadRequest(zone=zone, digest=digest.packed, offset=offset, length=length, verify=verify)
        call: Any = self._open().Read(request)
        patience = self._calling.wait_for(digest.size if verify else 0)
        try:
            while True:
                async with asyncio.timeout(patience):
                    answer = await call.read()
                if answer is aio.EOF:
                    break
                patience = self._calling.patience
                yield answer.data
        except (aio.AioRpcError, TimeoutError) as error:
            raise self.failed(error) from error
        finally:
            call.cancel()
        self.succeeded()

    async def delete(self, zone: str, digests: Sequence[Digest]) -> set[Digest]:
        """See `Place.delete`."""
        return await self._in_batches(
            digests, lambda part: pb.DeleteRequest(zone=zone, digests=part), lambda stub: stub.Delete, "deleted"
        )

    async def condemn(self, zone: str, digests: Sequence[Digest], untouched_since: float) -> set[Digest]:
        """See `Place.condemn`."""
        return await self._in_batches(
            digests,
            lambda part: pb.CondemnRequest(zone=zone, digests=part, untouched_since=untouched_since),
            lambda stub: stub.Condemn,
            "condemned",
        )

    async def sweep(self, zone: str, digests: Sequence[Digest], condemned_until: float) -> set[Digest]:
        """See `Place.sweep`."""
        return await self._in_batches(
            digests,
            lambda part: pb.SweepRequest(zone=zone, digests=part, condemned_until=condemned_until),
            lambda stub: stub.Sweep,
            "gone",
        )

    async def _in_batches(
        self,
        digests: Sequence[Digest],
        request: Callable[[list[bytes]], Message],
        method: Callable[[PeerServiceAsyncStub], Callable[..., Awaitable[Any]]],
        field: str,
    ) -> set[Digest]:
        found: set[Digest] = set()
        for at in range(0, len(digests), BATCH):
            part = digests[at : at + BATCH]
            answer = await self._call(method, request([digest.packed for digest in part]))
            found |= telling.named(part, getattr(answer, field))
        return found

    async def scan(self, zone: str, after: Digest | None, limit: int) -> Sequence[BlobInfo]:
        """See `Place.scan`."""
        request = pb.ReadPageRequest(zone=zone, after=b"" if after is None else after.packed, limit=limit)
        return [telling.info_of(info) for info in (await self._call(lambda stub: stub.ReadPage, request)).blobs]

    async def zones(self) -> Sequence[str]:
        """See `Place.zones`."""
        return list((await self._call(lambda stub: stub.GetZones, pb.GetZonesRequest())).zones)

    async def status(self, patience: float) -> pb.Status:
        """Return how its share stands, within `patience` seconds. Raises ObjectStoreUnreachable."""
        return await self._call(lambda stub: stub.GetStatus, pb.GetStatusRequest(), patience)

    def retire(self) -> None:
        """The node is called elsewhere from now on; what is under way may end."""
        self._let_go()

    async def close(self) -> None:
        """Close the connection; calls under way end."""
        for gathering in (self._puts, self._missings, self._stats, self._gets):
            await gathering.close()
        if self._channel is not None:
            await self._channel.close()
        for task in list(self._closing):
            task.cancel()
        await asyncio.gather(*self._closing, return_exceptions=True)


Item = TypeVar("Item")


def _batches(items: Sequence[Item], size: Callable[[Item], int], most_bytes: int) -> list[Sequence[Item]]:
    """Cut `items` into stretches of at most BATCH with at most `most_bytes`; what is larger is alone."""
    batches: list[Sequence[Item]] = []
    start = total = 0
    for at, item in enumerate(items):
        if at > start and (at - start >= BATCH or total + size(item) > most_bytes):
            batches.append(items[start:at])
            start, total = at, 0
        total += size(item)
    if start < len(items):
        batches.append(items[start:])
    return batches
