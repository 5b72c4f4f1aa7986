"""Many small blobs in one message: digests checked, bytes counted, each blob's own outcome."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from quartet.wire.reapi import cas_pb2 as pb
from quartet.wire.reapi import digests_pb2

from quartet_server.errors import FieldInvalid, QuartetError, RequestTooLarge
from quartet_server.objects.contract import BlobStore, Put
from quartet_server.objects.digest import Digest
from quartet_server.objects.wire.packing import Unpacker
from quartet_server.rpc.status import DOMAIN

BATCH = 1_000
"""Most blobs to read or to write in one call."""
BATCH_BYTES = 3_900_000
"""Most bytes of blobs in one message: with 1,000 digests and outcomes beside them it stays below 4 MiB."""
ASKED = 50_000
"""Most digests in one message that has no bytes: about 3.7 MB."""

_WORDS = 64  # characters of an outcome's text
_SAY_NOTHING = Status()
_IDENTITY, _ZSTD = digests_pb2.Compressor.IDENTITY, digests_pb2.Compressor.ZSTD


def check_function(function: int) -> None:
    """Raise FieldInvalid unless digests are made by SHA-256, or by what is not said."""
    if function not in (digests_pb2.DigestFunction.UNKNOWN, digests_pb2.DigestFunction.SHA256):
        raise FieldInvalid.of("digest_function", "must be SHA256, or left out")


def digest_of(message: digests_pb2.Digest, field: str) -> Digest:
    """Return the digest that a message names. Raises FieldInvalid."""
    return Digest.parse(message.hash, message.size_bytes, field)


def digests_of(messages: Sequence[digests_pb2.Digest], field: str) -> list[Digest]:
    """Return the digests that messages name. Raises FieldInvalid, RequestTooLarge."""
    check_count(len(messages), ASKED)
    return [digest_of(message, f"{field}[{at}]") for at, message in enumerate(messages)]


def message_of(digest: Digest) -> digests_pb2.Digest:
    """Return the message that names a digest."""
    return digests_pb2.Digest(hash=digest.hex, size_bytes=digest.size)


def check_count(count: int, most: int) -> None:
    """Raise RequestTooLarge for more than `most` of something."""
    if count > most:
        raise RequestTooLarge(f"{count} blobs at once, at most {most} are taken", limit=most)


async def update(
    store: BlobStore, zone: str, requests: Sequence[pb.BatchUpdateBlobsRequest.Request]
) -> pb.BatchUpdateBlobsResponse:
    """Store what is right of a batch. Raises RequestTooLarge, and what the store raises."""
    check_count(len(requests), BATCH)
    _check_bytes(request.digest.size_bytes for request in requests)
    outcomes: list[QuartetError | None] = []
    puts: list[Put] = []
    for at, request in enumerate(requests):
        try:
            puts.append(_put(request, at))
            outcomes.append(None)
        except FieldInvalid as error:
            outcomes.append(error)
    stored = iter(await store.put_many(zone, puts))
    return pb.BatchUpdateBlobsResponse(
        responses=[
            pb.BatchUpdateBlobsResponse.Response(digest=request.digest, status=_status(error or next(stored)))
            for request, error in zip(requests, outcomes, strict=True)
        ]
    )


async def read(store: BlobStore, zone: str, messages: Sequence[digests_pb2.Digest]) -> pb.BatchReadBlobsResponse:
    """Read what is there of a batch. Raises RequestTooLarge, and what the store raises."""
    check_count(len(messages), BATCH)
    _check_bytes(message.size_bytes for message in messages)
    wanted: list[Digest | FieldInvalid] = []
    for at, message in enumerate(messages):
        try:
            wanted.append(digest_of(message, f"digests[{at}]"))
        except FieldInvalid as error:
            wanted.append(error)
    found = await store.get_many(zone, [one for one in wanted if isinstance(one, Digest)], BATCH_BYTES)
    response = pb.BatchReadBlobsResponse()
    for message, one in zip(messages, wanted, strict=True):
        data = found[one] if isinstance(one, Digest) else one
        if isinstance(data, bytes):
            response.responses.add(digest=message, data=data, status=_SAY_NOTHING)
        else:
            response.responses.add(digest=message, status=_status(data))
    return response


def _put(request: pb.BatchUpdateBlobsRequest.Request, at: int) -> Put:
    try:
        digest = digest_of(request.digest, "")
    except FieldInvalid:
        digest = digest_of(
            request.digest, f"requests[{at}].digest"
        )  # again, to say where; all others are spared the words
    compressor = request.compressor
    if compressor == _IDENTITY:
        return Put(digest, request.data)
    if compressor == _ZSTD:
        return Put(digest, Unpacker(digest.size).unpacked(request.data))
    raise FieldInvalid.of(f"requests[{at}].compressor", "must be IDENTITY or ZSTD")


def _check_bytes(sizes: Iterable[int]) -> None:
    total = sum(max(size, 0) for size in sizes)
    if total > BATCH_BYTES:
        raise RequestTooLarge(
            f"{total} bytes of blobs at once, at most {BATCH_BYTES} are taken",
            hint="use ByteStream for large blobs",
            limit=BATCH_BYTES,
        )


def _status(error: QuartetError | None) -> Status:
    """Return one blob's outcome, short enough for a thousand of them beside the bytes."""
    if error is None:
        return _SAY_NOTHING
    status = Status(code=error.code.value[0], message=error.message[:_WORDS])
    status.details.add().Pack(ErrorInfo(reason=error.reason, domain=DOMAIN))
    return status
