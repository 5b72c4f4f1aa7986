"""Blobs, for synchronous callers."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

import grpc

from quartet._digests import PIECE, Digest, pieces
from quartet._errors import DataLoss, Unavailable
from quartet._placing import placed
from quartet._retry import Backoff
from quartet._transport import Endpoint, Transport, Unary
from quartet.objects.replicas.v1 import replicas_pb2
from quartet.objects.v1 import objects_pb2 as pb

BATCH = 1000
"""The most digests in one call."""
RESUMPTIONS = 6
"""How often a read is resumed that brings nothing."""
SLOWEST = 1 << 20
"""Bytes a second below which an upload runs out of time."""

Named: TypeAlias = "Digest | pb.Digest | str"
Requests = Callable[[], Iterator[pb.PutStreamRequest]]


class Objects:
    """Immutable bytes by their digest: one copy of equal bytes in a zone.

    A digest is given as `quartet.Digest`, or as text: HASH/SIZE. Bytes are checked against it on both sides. All methods
    raise `quartet.CallError`; every call may be repeated, and is, when a node fails.
    """

    def __init__(self, transport: Transport) -> None:
        """Call over `transport`."""
        self._transport = transport

    def put(self, data: bytes, *, timeout: float | None = None) -> Digest:
        """Store bytes; those that are there already are not sent again. `timeout` as in `put_file`."""
        return self._put(Digest.of(data), lambda: (data[at : at + PIECE] for at in range(0, len(data), PIECE)), timeout)

    def put_file(self, path: str | Path, *, timeout: float | None = None) -> Digest:
        """Store what a file holds, however large; what is there already is not sent again.

        `timeout` is in seconds; None: the client's, and one more for each MiB. Raises OSError too.
        """
        return self._put(Digest.of_file(path), lambda: pieces(path), timeout)

    def get(self, digest: Named, *, offset: int = 0, length: int | None = None) -> bytes:
        """Return a blob, or `length` bytes (None: all) of it from `offset` on.

        Raises NotFound, OutOfRange; DataLoss when a whole blob is not what its digest says.
        """
        named = Digest.named(digest)
        data = b"".join(self.read(named, offset=offset, length=length))
        if offset == 0 and length is None:
            check(named, Digest.of(data))
        return data

    def get_file(self, digest: Named, path: str | Path) -> None:
        """Write a blob into a file, which appears when it is whole, in the place of one that was there. Raises OSError too."""
        named, found = Digest.named(digest), hashlib.sha256()
        with placed(path) as file:
            for piece in self.read(named):
                found.update(piece)
                file.write(piece)
            check(named, Digest(found.digest(), file.tell()))

    def read(self, digest: Named, *, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Yield a blob, or a part of it, in pieces; goes on with another node when one fails. Checks no digest."""
        named = Digest.named(digest)
        end = named.size if length is None else min(offset + length, named.size)
        if length == 0:
            return
        tries, backoff = 0, Backoff()
        while True:
            request = part(named, offset, end)
            try:
                for answer in self._transport.stream(lambda at: at.objects.GetRange, request):
                    if answer.data:
                        yield answer.data
                        offset += len(answer.data)
                        tries, backoff = 0, Backoff()
            except Unavailable as error:
                tries += 1
                if tries > RESUMPTIONS:
                    raise
                if offset >= end > 0:
                    return
                self._transport.rest(backoff.after(error))
            else:
                return

    def stat(self, digest: Named) -> pb.Blob:
        """Tell about a blob. Raises NotFound."""
        request = pb.StatRequest(digest=Digest.named(digest).message)
        return self._transport.call(lambda at: at.objects.Stat, request, safe=True)

    def stat_many(self, digests: Sequence[Named]) -> tuple[list[pb.Blob], list[Digest]]:
        """Tell about any number of blobs, 1,000 per call: those that are there, and the digests of the others."""
        blobs: list[pb.Blob] = []
        missing: list[Digest] = []
        for some in batches(digests):
            request = pb.BatchStatRequest(digests=some)
            answer = self._transport.call(lambda at: at.objects.BatchStat, request, safe=True)
            blobs += answer.blobs
            missing += map(Digest.named, answer.missing)
        return blobs, missing

    def status(self) -> replicas_pb2.Status:
        """Tell where the copies of blobs are, node by node, and what is missing; for operators."""
        request = replicas_pb2.GetStatusRequest()
        return self._transport.call(lambda at: at.replicas.GetStatus, request, safe=True)

    def pin(self, pin_id: str, digests: Sequence[Named], *, seconds: int = 3600) -> pb.PinResponse:
        """Keep at most 1,000 blobs for so long, under an id that the caller chooses; again to renew. Raises NotFound."""
        request = pin_request(pin_id, digests, seconds)
        return self._transport.call(lambda at: at.objects.Pin, request, safe=True)

    def unpin(self, pin_id: str) -> bool:
        """End a pin; tell whether there was one."""
        request = pb.UnpinRequest(pin_id=pin_id)
        return self._transport.call(lambda at: at.objects.Unpin, request, safe=True).existed

    def delete(self, digests: Sequence[Named]) -> int:
        """Remove blobs, 1,000 per call; return how many were there. Raises FailedPrecondition while one is held."""
        deleted = 0
        for some in batches(digests):
            request = pb.DeleteRequest(digests=some)
            deleted += self._transport.call(lambda at: at.objects.Delete, request, safe=True).deleted
        return deleted

    def _put(self, digest: Digest, data: Callable[[], Iterable[bytes]], timeout: float | None) -> Digest:
        def requests() -> Iterator[pb.PutStreamRequest]:
            yield pb.PutStreamRequest(expected=digest.message)
            for piece in data():
                yield pb.PutStreamRequest(data=piece)

        def method(at: Endpoint) -> Unary[Requests, pb.PutStreamResponse]:
            def put(
                request: Requests, *, timeout: float | None, metadata: tuple[tuple[str, str], ...]
            ) -> pb.PutStreamResponse:
                return at.objects.PutStream(request(), timeout=timeout, metadata=metadata)

            return put

        allowed = self._transport.timeout + digest.size / SLOWEST if timeout is None else timeout
        return Digest.named(self._transport.call(method, requests, safe=True, timeout=allowed).digest)


def part(digest: Digest, offset: int, end: int) -> pb.GetRangeRequest:
    """Return the request for the bytes from `offset` up to `end`."""
    whole = end >= digest.size
    return pb.GetRangeRequest(digest=digest.message, offset=offset, length=0 if whole else end - offset)


def pin_request(pin_id: str, digests: Sequence[Named], seconds: int) -> pb.PinRequest:
    """Return the request for a pin."""
    request = pb.PinRequest(pin_id=pin_id, digests=[Digest.named(digest).message for digest in digests])
    request.pin_ttl.FromSeconds(seconds)
    return request


def batches(digests: Sequence[Named]) -> Iterator[list[pb.Digest]]:
    """Yield digests as they are sent, as many at once as a call takes."""
    for at in range(0, len(digests), BATCH):
        yield [Digest.named(digest).message for digest in digests[at : at + BATCH]]


def check(expected: Digest, found: Digest) -> None:
    """Raise DataLoss when what came is not what was asked for."""
    if expected != found:
        raise DataLoss(
            grpc.StatusCode.DATA_LOSS,
            f"asked for {expected}, but {found} came",
            reason="BLOB_CORRUPT",
            metadata={"digest": str(expected)},
        )
