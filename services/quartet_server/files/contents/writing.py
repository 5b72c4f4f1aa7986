"""WriteStream: a file gets its content, all of it or nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from quartet.files.v1 import files_pb2 as pb

from quartet_server.errors import (
    DeadlinePassed,
    DigestMismatch,
    FieldInvalid,
    QuartetError,
    SizeMismatch,
    TooManyRequests,
)
from quartet_server.files import keys, locks
from quartet_server.files.contents.body import Body, check_size
from quartet_server.files.contents.contents import Contents
from quartet_server.files.contents.intake import Intake
from quartet_server.files.contents.target import Target, inode_of, placed
from quartet_server.files.principals import current
from quartet_server.files.resolve import Resolver
from quartet_server.files.tree import Tree
from quartet_server.files.writing import write
from quartet_server.meta.ledger import Claim, claim
from quartet_server.meta.mutation import Plan
from quartet_server.meta.snapshot import Snapshot
from quartet_server.objects.digest import HASH_BYTES, Digest
from raftmeta.etcd import rpc_pb2

PATIENCE = 60.0
"""Seconds that a sender may let pass between two messages."""
AT_ONCE = 256
"""Writes that a node takes at once: each may hold 16 MiB."""


@dataclass(frozen=True, slots=True)
class Writing:
    """One WriteStream call."""

    tree: Tree
    contents: Contents
    zone: str

    async def run(self, requests: AsyncIterator[pb.WriteStreamRequest], places: asyncio.Semaphore) -> pb.Entry:
        """Take the stream and write the file, if one of the `places` is free. Raises TooManyRequests."""
        if places.locked():
            raise TooManyRequests("too many files are being written on this node", retry_after=0.5)
        async with places:
            return await self._run(requests)

    async def _run(self, requests: AsyncIterator[pb.WriteStreamRequest]) -> pb.Entry:
        """Take the stream and write the file.

        What would refuse the write at its end refuses it before its bytes are taken, unless it may be the repetition of
        one that was carried out. Bytes of a write that is refused at the end are left to the collector.
        """
        header = await self._first(requests)
        target = Target.of(header, "header.")
        if header.HasField("size"):
            if header.size < 0:
                raise FieldInvalid.of("header.size", "must not be negative")
            check_size(header.size, target.path)
        if header.digest and len(header.digest) != HASH_BYTES:
            raise FieldInvalid.of("header.digest", f"{len(header.digest)} bytes, a SHA-256 has {HASH_BYTES}")
        _claim(self.zone, header, None)  # a malformed request id is refused now
        await self.tree.ensure(self.zone)
        store = await self._foresee(header, target)
        async with Intake(self.contents, self.zone, target.path, store) as intake:
            body = await self._take(header, target, requests, intake)
            content = await self.contents.refer(self.zone, body)
            if content.HasField("list"):
                intake.hold(Digest(content.list.hash, content.list.size))

            async def build(snapshot: Snapshot) -> Plan[pb.Entry]:
                nonlocal body, content
                intake.alive()
                walk = await Resolver(self.zone, snapshot).walk(target.path)
                found = await inode_of(self.zone, walk, snapshot)
                target.met_by(walk, found[0])
                if body.chunks and body.store != walk.mount:  # a store was mounted or unmounted, or the directory moved
                    body = await self.contents.moved(self.zone, target.path, body, walk.mount)
                    content = await self.contents.refer(self.zone, body)
                return await placed(
                    self.tree,
                    self.zone,
                    snapshot,
                    walk,
                    found,
                    lambda inode, now: target.settle(inode, body, content, now),
                )

            done = _claim(self.zone, header, body)
            entry, revision = await write(self.tree, self.zone, header, pb.Entry, build, done)
        entry.revision = revision
        return entry

    async def _first(self, requests: AsyncIterator[pb.WriteStreamRequest]) -> pb.WriteHeader:
        request = await _next(requests)
        if request is None or request.WhichOneof("part") != "header":
            raise FieldInvalid.of("header", "comes first")
        return request.header

    async def _foresee(self, header: pb.WriteHeader, target: Target) -> int:
        """Raise what would be raised at the end, as far as it can be known; return the number of the store at the place."""
        snapshot = self.tree.snapshot()
        try:
            walk = await Resolver(self.zone, snapshot).walk(target.path)
            target.met_by(walk, (await inode_of(self.zone, walk, snapshot))[0])
            if header.fence.ByteSize():
                await locks.held_by(self.zone, snapshot, header.fence)
            return walk.mount
        except QuartetError:
            if header.request_id:
                key = keys.requests(self.zone) + header.request_id.encode()
                if (await self.tree.store.range(rpc_pb2.RangeRequest(key=key, count_only=True))).count:
                    return 0
            raise

    async def _take(
        self, header: pb.WriteHeader, target: Target, requests: AsyncIterator[pb.WriteStreamRequest], intake: Intake
    ) -> Body:
        declared = header.size if header.HasField("size") else None
        while (request := await _next(requests)) is not None:
            if request.WhichOneof("part") == "header":
                raise FieldInvalid.of("header", "comes once")
            if declared is not None and intake.size + len(request.data) > declared:
                raise _size_mismatch(target, declared, f"more than {declared}")
            await intake.feed(request.data)
        if declared is not None and intake.size != declared:
            raise _size_mismatch(target, declared, str(intake.size))
        body = await intake.finish()
        if header.digest and header.digest != body.digest.hash:
            raise DigestMismatch(
                f"the bytes for {target.path} have another digest",
                path=str(target.path),
                declared=header.digest.hex(),
                found=body.digest.hex,
            )
        return body


async def _next(requests: AsyncIterator[pb.WriteStreamRequest]) -> pb.WriteStreamRequest | None:
    """Return the next message, None at the end. Raises DeadlinePassed."""
    try:
        async with asyncio.timeout(PATIENCE):
            return await anext(requests, None)
    except TimeoutError:
        raise DeadlinePassed(f"nothing was sent for {PATIENCE:g} s", seconds=f"{PATIENCE:g}") from None


def _claim(zone: str, header: pb.WriteHeader, body: Body | None) -> Claim | None:
    """Return the claim of the write of these very bytes."""
    same = pb.WriteHeader()
    same.CopyFrom(header)
    if body is not None:
        same.size, same.digest = body.size, body.digest.hash
    method = f"{current()}\0WriteStream" if current() else "WriteStream"  # as in the service, for the other calls
    return claim(keys.requests(zone), method, same, header.request_id)


def _size_mismatch(target: Target, declared: int, found: str) -> SizeMismatch:
    return SizeMismatch(
        f"{declared} bytes were declared for {target.path}, {found} came",
        path=str(target.path),
        declared=declared,
        found=found,
    )
