"""FileService: the tree over gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import aio
from quartet.files.v1 import files_pb2, files_pb2_grpc
from quartet.files.v1 import files_pb2 as pb

from quartet_server.domain import Resources
from quartet_server.files import create, delete, keys, locks, quota_calls, reading, rename, roots, trash, watch, xattrs
from quartet_server.files.batch import BatchCreate
from quartet_server.files.cache_metrics import CacheCollector
from quartet_server.files.contents import copying, editing
from quartet_server.files.contents.appending import Appends
from quartet_server.files.contents.batch import BatchWrite
from quartet_server.files.contents.contents import RENEW, Contents
from quartet_server.files.contents.reading import batch_read, read_stream
from quartet_server.files.contents.writing import AT_ONCE, Writing
from quartet_server.files.expiry import Expiry
from quartet_server.files.inos import Inos
from quartet_server.files.principals import current, enter
from quartet_server.files.reclaim import Reclaimer
from quartet_server.files.staging import Abandoned
from quartet_server.files.tree import Tree
from quartet_server.meta.ledger import Claim, LedgerLease, claim
from quartet_server.meta.mutation import Mutator
from quartet_server.meta.operators import demand_operator
from quartet_server.meta.recent import Recent
from quartet_server.meta.times import timestamps
from quartet_server.objects.contract import BlobStore
from raftmeta.metastore import Local, Metastore

Context = aio.ServicerContext[Any, Any]


async def start(resources: Resources) -> FileService:
    """Serve files from the node's Metastore."""
    assert resources.objects is not None, "the composition root opens the store of blobs when this service is on"
    store, options = resources.metastore, resources.config.files
    recent = Recent(store, options.cache_entries) if isinstance(store, Local) and options.cache_entries else None
    if recent is not None and resources.registry is not None:
        resources.registry.register(CacheCollector(recent))
    now = timestamps(resources.clock)
    service = FileService(
        store,
        now,
        resources.objects,
        recent=recent,
        trash_seconds=options.trash_seconds,
        renew=resources.config.objects.gc_grace / 3,
    )
    service.begin()
    return service


class FileService(files_pb2_grpc.FileServiceServicer):
    """Serves `quartet.files.v1.FileService` from a Metastore.

    Each method takes the zone from the call, a request id from the request, and hands over to the module that knows the
    operation. Errors are those of `quartet_server.errors` and `raftmeta.errors`.
    """

    names = (files_pb2.DESCRIPTOR.services_by_name["FileService"].full_name,)

    def __init__(
        self,
        store: Metastore,
        now: Callable[[], Timestamp],
        blobs: BlobStore,
        *,
        recent: Recent | None = None,
        trash_seconds: float = 0,
        renew: float = RENEW,
    ) -> None:
        """Keep the tree in `store` and larger files in `blobs`; `now` tells the time for records.

        `recent` follows the same store, and is closed with the service. What is in the trash is given up after
        `trash_seconds`; 0 keeps it. Uploads ask for what they have stored every `renew` seconds, which is well below the
        collector's grace. Nothing runs in the background before `begin`.
        """
        lease = LedgerLease(store)
        self._recent = recent
        self._tree = Tree(store, Mutator(store, lease, recent=recent), lease, Inos(store), now, recent)
        self._contents = Contents(blobs, renew=renew)
        self._appends = Appends(self._tree, self._contents)
        self._writing = asyncio.Semaphore(AT_ONCE)
        finding = [Abandoned(store).sweep]
        if trash_seconds:
            finding.append(Expiry(self._tree, trash_seconds).sweep)
        self._reclaimer = Reclaimer(store, finding)

    def begin(self) -> None:
        """Start clearing up after recursive deletes, those of earlier runs and of other nodes included."""
        self._reclaimer.start()

    def add_to(self, server: aio.Server) -> None:
        """Register the servicer."""
        files_pb2_grpc.add_FileServiceServicer_to_server(self, server)

    async def stop(self) -> None:
        """Stop the background work; a batch in flight is finished or lost, both harmless."""
        await self._reclaimer.close()
        if self._recent is not None:
            self._recent.close()

    async def Mkdir(self, request: pb.MkdirRequest, context: Context) -> pb.Entry:
        """Create a directory."""
        zone = enter(context)
        return await create.mkdir(self._tree, zone, request, _claim(zone, "Mkdir", request))

    async def CreateFile(self, request: pb.CreateFileRequest, context: Context) -> pb.Entry:
        """Create a file or symbolic link."""
        zone = enter(context)
        return await create.create_file(self._tree, zone, request, _claim(zone, "CreateFile", request))

    async def BatchCreate(self, request: pb.BatchCreateRequest, context: Context) -> pb.BatchCreateResponse:
        """Create many entries."""
        zone = enter(context)
        return await BatchCreate(self._tree, zone, request, _claim(zone, "BatchCreate", request)).run()

    async def Stat(self, request: pb.StatRequest, context: Context) -> pb.Entry:
        """Read one entry."""
        return await reading.stat(self._tree, enter(context), request)

    async def BatchStat(self, request: pb.BatchStatRequest, context: Context) -> pb.BatchStatResponse:
        """Read many entries."""
        return await reading.batch_stat(self._tree, enter(context), request)

    async def List(self, request: pb.ListRequest, context: Context) -> pb.ListResponse:
        """Read a page of a directory."""
        return await reading.list_directory(self._tree, enter(context), request)

    async def Touch(self, request: pb.TouchRequest, context: Context) -> pb.Entry:
        """Change an entry's mtime, or create an empty file."""
        zone = enter(context)
        return await create.touch(self._tree, zone, request, _claim(zone, "Touch", request))

    async def SetAttributes(self, request: pb.SetAttributesRequest, context: Context) -> pb.Entry:
        """Change attributes."""
        zone = enter(context)
        return await create.set_attributes(self._tree, zone, request, _claim(zone, "SetAttributes", request))

    async def Rename(self, request: pb.RenameRequest, context: Context) -> pb.RenameResponse:
        """Move an entry."""
        zone = enter(context)
        return await rename.rename(self._tree, zone, request, _claim(zone, "Rename", request))

    async def Delete(self, request: pb.DeleteRequest, context: Context) -> pb.DeleteResponse:
        """Delete an entry."""
        zone = enter(context)
        answer = await delete.delete(self._tree, zone, request, _claim(zone, "Delete", request))
        if request.permanent:
            self._reclaimer.wake()
        return answer

    async def ListTrash(self, request: pb.ListTrashRequest, context: Context) -> pb.ListTrashResponse:
        """Read a page of the trash."""
        return await trash.list_trash(self._tree, enter(context), request)

    async def RestoreFromTrash(self, request: pb.RestoreFromTrashRequest, context: Context) -> pb.Entry:
        """Put an entry back."""
        zone = enter(context)
        return await trash.restore(self._tree, zone, request, _claim(zone, "RestoreFromTrash", request))

    async def EmptyTrash(self, request: pb.EmptyTrashRequest, context: Context) -> pb.EmptyTrashResponse:
        """Give up what is in the trash."""
        answer = await trash.empty(self._tree, enter(context), request)
        self._reclaimer.wake()
        return answer

    async def WriteStream(self, requests: AsyncIterator[pb.WriteStreamRequest], context: Context) -> pb.Entry:
        """Write a file."""
        return await Writing(self._tree, self._contents, enter(context)).run(requests, self._writing)

    async def ReadStream(self, request: pb.ReadStreamRequest, context: Context) -> AsyncIterator[pb.ReadStreamResponse]:
        """Read a file."""
        async with aclosing(read_stream(self._tree, self._contents, enter(context), request)) as responses:
            async for response in responses:
                yield response

    async def Append(self, request: pb.AppendRequest, context: Context) -> pb.AppendResponse:
        """Add bytes at the end of a file."""
        zone = enter(context)
        claim = _claim(zone, "Append", request)
        return await self._appends.append(zone, request, claim)

    async def Truncate(self, request: pb.TruncateRequest, context: Context) -> pb.Entry:
        """Give a file another length."""
        zone = enter(context)
        claim = _claim(zone, "Truncate", request)
        return await editing.truncate(self._tree, self._contents, zone, request, claim)

    async def BatchWrite(self, request: pb.BatchWriteRequest, context: Context) -> pb.BatchWriteResponse:
        """Write many small files."""
        zone = enter(context)
        claim = _claim(zone, "BatchWrite", request)
        return await BatchWrite(self._tree, self._contents, zone, request, claim).run()

    async def BatchRead(self, request: pb.BatchReadRequest, context: Context) -> pb.BatchReadResponse:
        """Read many small files."""
        return await batch_read(self._tree, self._contents, enter(context), request)

    async def Copy(self, request: pb.CopyRequest, context: Context) -> pb.Entry:
        """Copy an entry."""
        zone = enter(context)
        return await copying.copy(self._tree, self._contents, zone, request, _claim(zone, "Copy", request))

    async def SetXattr(self, request: pb.SetXattrRequest, context: Context) -> pb.SetXattrResponse:
        """Write an extended attribute."""
        zone = enter(context)
        return await xattrs.set_xattr(self._tree, zone, request, _claim(zone, "SetXattr", request))

    async def GetXattr(self, request: pb.GetXattrRequest, context: Context) -> pb.Xattr:
        """Read an extended attribute."""
        return await xattrs.get_xattr(self._tree, enter(context), request)

    async def ListXattrs(self, request: pb.ListXattrsRequest, context: Context) -> pb.ListXattrsResponse:
        """Read all extended attributes of an entry."""
        return await xattrs.list_xattrs(self._tree, enter(context), request)

    async def RemoveXattr(self, request: pb.RemoveXattrRequest, context: Context) -> pb.RemoveXattrResponse:
        """Delete an extended attribute."""
        zone = enter(context)
        return await xattrs.remove_xattr(self._tree, zone, request, _claim(zone, "RemoveXattr", request))

    async def BatchGetXattrs(self, request: pb.BatchGetXattrsRequest, context: Context) -> pb.BatchGetXattrsResponse:
        """Read extended attributes of many entries."""
        return await xattrs.batch_get_xattrs(self._tree, enter(context), request)

    async def Lock(self, request: pb.LockRequest, context: Context) -> pb.HeldLock:
        """Take a lock."""
        zone = enter(context)
        return await locks.lock(self._tree, zone, request, _claim(zone, "Lock", request))

    async def RenewLock(self, request: pb.RenewLockRequest, context: Context) -> pb.RenewLockResponse:
        """Give a lock its full time again."""
        return await locks.renew(self._tree, enter(context), request)

    async def Unlock(self, request: pb.UnlockRequest, context: Context) -> pb.UnlockResponse:
        """Give a lock back."""
        zone = enter(context)
        return await locks.unlock(self._tree, zone, request, _claim(zone, "Unlock", request))

    async def SetQuota(self, request: pb.SetQuotaRequest, context: Context) -> pb.Quota:
        """Limit what is below a directory."""
        return await quota_calls.set_quota(self._tree, enter(context), request)

    async def GetQuota(self, request: pb.GetQuotaRequest, context: Context) -> pb.Quota:
        """Read a directory's quota."""
        return await quota_calls.get_quota(self._tree, enter(context), request)

    async def RemoveQuota(self, request: pb.RemoveQuotaRequest, context: Context) -> pb.RemoveQuotaResponse:
        """Take a directory's quota away."""
        return await quota_calls.remove_quota(self._tree, enter(context), request)

    async def SetPrincipalRoot(self, request: pb.SetPrincipalRootRequest, context: Context) -> pb.PrincipalRoot:
        """Give a principal a root."""
        demand_operator(context, "a principal's root")
        return await roots.set_root(self._tree, enter(context), request)

    async def ListPrincipalRoots(
        self, request: pb.ListPrincipalRootsRequest, context: Context
    ) -> pb.ListPrincipalRootsResponse:
        """Read the principals with a root of their own."""
        demand_operator(context, "reading principals' roots")
        return await roots.list_roots(self._tree, enter(context), request)

    async def RemovePrincipalRoot(
        self, request: pb.RemovePrincipalRootRequest, context: Context
    ) -> pb.RemovePrincipalRootResponse:
        """Let a principal see the whole zone again."""
        demand_operator(context, "a principal's root")
        return await roots.remove_root(self._tree, enter(context), request)

    async def Watch(self, request: pb.WatchRequest, context: Context) -> AsyncIterator[pb.WatchResponse]:
        """Stream changes."""
        async for response in watch.watch(self._tree, enter(context), request):
            yield response


def _claim(zone: str, method: str, request: Message) -> Claim | None:
    method = f"{current()}\0{method}" if current() else method  # the same path means another file to another caller
    return claim(keys.requests(zone), method, request, request.request_id)  # type: ignore[attr-defined]
