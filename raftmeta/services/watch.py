"""etcdserverpb.Watch over a Metastore."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any, cast

from raftmeta.errors import MetastoreError
from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.etcd import rpc_pb2_grpc as rpc
from raftmeta.services.admission import Admission, Context, refuse


class WatchService(rpc.WatchServicer):
    """One stream carries many watchers."""

    def __init__(self, admission: Admission) -> None:
        """Serve what `admission` admits."""
        self._admission = admission

    async def Watch(self, request_iterator: AsyncIterator[pb.WatchRequest], context: Context) -> AsyncIterator[Any]:
        """Watch until the caller ends the call; see `Metastore.watch`. What is ready at once leaves at once, serialised.

        Closing only its own half of the stream does not end it, as in etcd.
        """
        try:
            store = self._admission.read(context)
            requests = self._admission.stream(context, _for_ever(request_iterator))
            responses = cast("AsyncGenerator[list[bytes], None]", store.watch_bytes(requests))
            async with aclosing(responses):
                async for ready in responses:
                    yield ready
        except MetastoreError as error:
            await refuse(context, error)


async def _for_ever(requests: AsyncIterator[pb.WatchRequest]) -> AsyncIterator[pb.WatchRequest]:
    async for request in requests:
        yield request
    await asyncio.Event().wait()
