"""Rules of inodes: something leads to each, no directory is below itself, and the bytes of files are there."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError
from quartet.files.storage.v1 import storage_pb2
from quartet.maintenance.v1 import maintenance_pb2 as pb

from quartet_server.errors import BlobCorrupt, BlobNotFound, MountNotFound
from quartet_server.files import keys, records
from quartet_server.files.check.distinct import Distinct
from quartet_server.files.check.finding import Finding, Mend, Rescue, decoded, unreadable
from quartet_server.files.check.view import View
from quartet_server.files.contents.body import chunks_of
from quartet_server.meta import ops
from quartet_server.meta.snapshot import KeyValue
from quartet_server.objects.contract import BlobStore
from quartet_server.objects.digest import Digest
from quartet_server.objects.mounts.addresses import address

_AT_ONCE = 16  # files, and of each as many chunks, about which the store of blobs is asked together


@dataclass(slots=True)
class Inodes:
    """Examines inodes, and their bytes in `blobs`.

    Attributes:
        blobs: Where chunks are.
        read: Whether they are read, each once, and not only looked for.
        count: Chunks and lists of chunks that were looked for, repetitions included.
    """

    blobs: BlobStore
    read: bool
    count: int = 0
    _sound: Distinct = field(default_factory=Distinct)

    def close(self) -> None:
        """Let go of what was remembered."""
        self._sound.close()

    async def examine(self, view: View, kvs: Sequence[KeyValue]) -> list[Finding]:
        """Hold inodes against what leads to them, and files against their bytes."""
        findings: list[Finding] = []
        inodes: dict[bytes, tuple[KeyValue, storage_pb2.Inode]] = {}
        for kv in kvs:
            try:
                inodes[kv.key] = (kv, storage_pb2.Inode.FromString(kv.value))
            except DecodeError:
                findings.append(unreadable(kv, f"inode {keys.parse(kv.key).ino}"))
        findings += await _places(view, list(inodes.values()))
        files = [(kv, inode) for kv, inode in inodes.values() if inode.HasField("content")]
        for i in range(0, len(files), _AT_ONCE):
            some = await asyncio.gather(*(self._bytes(view, kv, inode) for kv, inode in files[i : i + _AT_ONCE]))
            findings += [finding for finding in some if finding is not None]
        return findings

    async def _bytes(self, view: View, kv: KeyValue, inode: storage_pb2.Inode) -> Finding | None:
        """Return what is wrong with the bytes of a file."""
        content, said = inode.content, Digest(inode.attributes.digest, inode.attributes.size)
        problem, kind = "", pb.FINDING_KIND_CONTENT_WRONG
        chunks, place = chunks_of(content), address(view.zone, content.store)
        if content.HasField("list"):
            listed = Digest(content.list.hash, content.list.size)
            self.count += 1
            try:
                chunks = chunks_of(storage_pb2.ChunkList.FromString(await self.blobs.get(place, listed)))
            except (BlobNotFound, BlobCorrupt, DecodeError, MountNotFound) as error:
                problem = getattr(error, "message", str(error))
                kind = pb.FINDING_KIND_CONTENT_LOST
        if not problem and content.inline:
            if Digest(hashlib.sha256(content.inline).digest(), len(content.inline)) != said:
                problem = "the bytes in its inode are not those of its size and digest"
        elif not problem:
            if sum(chunk.size for chunk in chunks) != said.size:
                problem = (
                    f"its chunks have {sum(chunk.size for chunk in chunks)} bytes together, its size is {said.size}"
                )
            try:
                lost = await self._lost(place, content.store, chunks)
            except MountNotFound as error:
                lost = [error.message]
            for one in lost:
                problem, kind = one, pb.FINDING_KIND_CONTENT_LOST
        if not problem:
            return None
        ino = keys.parse(kv.key).ino
        return Finding(kind, kv.key, await view.path(ino) or "/", problem)

    async def _lost(self, place: str, store: int, chunks: Sequence[Digest]) -> list[str]:
        """Return what is wrong with the first chunk that is not as it should be, if there is one."""
        self.count += len(chunks)
        for i in range(0, len(chunks), _AT_ONCE):
            some = list(dict.fromkeys(chunks[i : i + _AT_ONCE]))
            found = await asyncio.gather(*(self.blobs.stat(place, chunk) for chunk in some))
            for chunk, info in zip(some, found, strict=True):
                if info is None:
                    return [f"chunk {chunk} is not there"]
            if not self.read:
                continue
            for chunk in self._sound.unseen(store, some):
                try:
                    async with aclosing(self.blobs.read(place, chunk, verify=True)) as pieces:
                        async for _ in pieces:
                            pass
                except (BlobNotFound, BlobCorrupt) as error:
                    return [error.message]
                self._sound.add(store, [chunk])
        return []


async def _places(view: View, inodes: Sequence[tuple[KeyValue, storage_pb2.Inode]]) -> list[Finding]:
    """Look for inodes that nothing leads to, and for directories below themselves."""
    zone = view.zone
    pointers = await view.get([keys.parent(zone, keys.parse(kv.key).ino) for kv, _ in inodes])
    named = {key: decoded(storage_pb2.Parent, kv) or storage_pb2.Parent() for key, kv in pointers.items()}
    entries = await view.get(
        list(dict.fromkeys(keys.dentry(zone, one.ino, one.name.encode()) for one in named.values()))
    )
    findings = []
    for kv, inode in inodes:
        ino = keys.parse(kv.key).ino
        pointer = pointers.get(keys.parent(zone, ino))
        if ino == keys.ROOT:
            continue
        same = [ops.unchanged(kv.key, kv.mod_revision)]
        if pointer is None:
            same.append(ops.absent(keys.parent(zone, ino)))
        else:
            one = named[pointer.key]
            key = keys.dentry(zone, one.ino, one.name.encode())
            entry = entries.get(key)
            same += [ops.unchanged(pointer.key, pointer.mod_revision)]
            same += [ops.unchanged(key, entry.mod_revision if entry is not None else 0)]
            dentry = decoded(storage_pb2.Dentry, entry)
            if entry is not None and dentry is None:
                continue  # the entry that cannot be read is told as such
            if dentry is not None and dentry.ino == ino:
                if inode.type == records.DIRECTORY and (circle := await view.circle(ino)) and ino == min(circle):
                    mend = Mend(same, [ops.delete(key)], Rescue(ino, inode.type, dentry.quota))
                    problem = f"is below itself, by way of inodes {', '.join(map(str, circle[:10]))}"
                    remedy = "move it to /lost+found"
                    findings.append(
                        Finding(pb.FINDING_KIND_DIRECTORY_CYCLE, kv.key, f"inode {ino}", problem, remedy, mend)
                    )
                continue
        if away := await view.put_away(ino):
            if pointer is not None and away != "making":
                mend = Mend(same, [ops.delete(pointer.key)])
                problem = f"has a parent pointer, though it is in the {away}"
                findings.append(
                    Finding(
                        pb.FINDING_KIND_POINTER_DANGLING, kv.key, f"inode {ino}", problem, "delete the pointer", mend
                    )
                )
            continue
        if await view.is_in_the_making(ino):
            continue
        same.append(ops.absent(keys.reclaim(zone, ino)))
        mend = Mend(same, [], Rescue(ino, inode.type))
        problem = "no entry leads to it"
        findings.append(
            Finding(pb.FINDING_KIND_INODE_ORPHANED, kv.key, f"inode {ino}", problem, "move it to /lost+found", mend)
        )
    return findings
