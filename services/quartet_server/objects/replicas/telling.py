"""What nodes tell each other of blobs and of failures, in messages and out of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from grpc import aio
from quartet.objects.peers.v1 import peers_pb2 as pb

from quartet_server import errors
from quartet_server.errors import BlobCorrupt, ObjectStoreUnreachable, QuartetError
from quartet_server.objects.contract import BlobInfo
from quartet_server.objects.digest import Digest
from quartet_server.rpc.status import DETAILS_KEY

_OF_BLOBS = (
    errors.BlobNotFound,
    errors.BlobCorrupt,
    errors.DigestMismatch,
    errors.LimitReached,
    errors.PlacementStale,
    errors.RangeInvalid,
    errors.StoreFull,
)
_TOLD: dict[str, type[QuartetError]] = {leaf.reason: leaf for leaf in _OF_BLOBS}
"""What a node may say of a blob, or of its disk, and be believed; anything else says that the node cannot be used."""
_HASHED_HERE = 64 << 10  # bytes up to which hashing is not worth a thread
_WORDS = 200


def told(error: aio.AioRpcError) -> QuartetError | None:
    """Return what a node says of the blobs of a call; None when it says nothing of them."""
    for key, value in error.trailing_metadata() or ():
        if key == DETAILS_KEY and isinstance(value, bytes):
            try:
                details = Status.FromString(value).details
                info = ErrorInfo()
                reason = next((info.reason for detail in details if detail.Unpack(info)), "")
            except DecodeError:
                return None
            kind = _TOLD.get(reason)
            return None if kind is None else kind(error.details() or reason)
    return None


def unreachable(address: str, error: aio.AioRpcError | TimeoutError) -> ObjectStoreUnreachable:
    """Return the error for a node that did not do what it was asked."""
    if isinstance(error, TimeoutError):
        why = "no answer in time"
    else:
        why = f"{error.code().name}, {error.details() or 'no reason'}"[:_WORDS]
    return ObjectStoreUnreachable(f"the node at {address} cannot be used: {why}", hint="quartet objects status")


def outcomes(failures: Iterable[pb.Failure], count: int) -> list[QuartetError | None]:
    """Return for each of `count` blobs why it was not kept."""
    found: list[QuartetError | None] = [None] * count
    for failure in failures:
        if failure.at < count:
            kind = _TOLD.get(failure.reason, ObjectStoreUnreachable)
            found[failure.at] = kind(failure.message[:_WORDS])
    return found


def failures_of(found: Iterable[object]) -> list[pb.Failure]:
    """Return what is an error among outcomes, with its position."""
    return [
        pb.Failure(at=at, reason=one.reason, message=one.message[:_WORDS])
        for at, one in enumerate(found)
        if isinstance(one, QuartetError)
    ]


def named(digests: Sequence[Digest], positions: Iterable[int]) -> set[Digest]:
    """Return the digests at `positions`; positions that nothing was asked about say nothing."""
    return {digests[at] for at in positions if at < len(digests)}


def positions_of(digests: Sequence[Digest], chosen: Iterable[Digest]) -> list[int]:
    """Return where the chosen ones are."""
    wanted = set(chosen)
    return [at for at, digest in enumerate(digests) if digest in wanted]


def info_of(message: pb.Info) -> BlobInfo:
    """Return what a message tells of a blob. Raises FieldInvalid."""
    condemned = message.condemned if message.HasField("condemned") else None
    return BlobInfo(Digest.unpack(message.digest), message.stored_bytes, message.touched, condemned)


def message_of(info: BlobInfo) -> pb.Info:
    """Return the message that tells what is known of a blob."""
    return pb.Info(digest=info.digest.packed, stored_bytes=info.stored, touched=info.touched, condemned=info.condemned)


async def checked(
    digests: Sequence[Digest], answer: pb.ReadManyResponse, address: str
) -> Sequence[bytes | QuartetError]:
    """Return what a node sent for each digest, each blob held against it. Raises ObjectStoreUnreachable."""
    if len(answer.data) != len(digests):
        raise ObjectStoreUnreachable(f"the node at {address} sent {len(answer.data)} of {len(digests)} blobs")
    failed = outcomes(answer.failures, len(digests))

    def check() -> list[bytes | QuartetError]:
        return [
            error or (data if Digest.of(data) == digest else _other_bytes(digest, address))
            for digest, data, error in zip(digests, answer.data, failed, strict=True)
        ]

    return check() if sum(map(len, answer.data)) <= _HASHED_HERE else await asyncio.to_thread(check)


async def held_against(digest: Digest, data: bytes, address: str) -> bytes | QuartetError:
    """Return the bytes of a large blob that a node sent, or BlobCorrupt if they are others."""
    found = await asyncio.to_thread(Digest.of, data)
    return data if found == digest else _other_bytes(digest, address)


def _other_bytes(digest: Digest, address: str) -> BlobCorrupt:
    return BlobCorrupt(f"the node at {address} sent other bytes than those of {digest}", digest=str(digest))
