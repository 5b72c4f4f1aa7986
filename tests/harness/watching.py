"""A watch stream under a test's control."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from raftmeta.etcd import kv_pb2
from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.metastore import Metastore


class WatchStream:
    """One stream of watchers: send requests, receive responses. An async context manager."""

    def __init__(self, store: Metastore) -> None:
        """Watch `store`; the stream opens with the context."""
        self._requests: asyncio.Queue[pb.WatchRequest | None] = asyncio.Queue()
        self._responses = store.watch(self._feed())

    async def __aenter__(self) -> WatchStream:
        """Open nothing yet: the first `receive` does."""
        return self

    async def __aexit__(self, *error: object) -> None:
        """End the requests and read the stream out."""
        await self._requests.put(None)
        async with asyncio.timeout(20):
            async for _ in self._responses:
                pass

    def send(self, request: pb.WatchRequest) -> None:
        """Queue any request."""
        self._requests.put_nowait(request)

    def create(self, key: bytes, end: bytes = b"", start: int = 0, **options: object) -> None:
        """Ask for a watcher."""
        create = pb.WatchCreateRequest(key=key, range_end=end, start_revision=start, **options)  # type: ignore[arg-type]
        self.send(pb.WatchRequest(create_request=create))

    def cancel(self, watch_id: int) -> None:
        """Ask for the end of a watcher."""
        self.send(pb.WatchRequest(cancel_request=pb.WatchCancelRequest(watch_id=watch_id)))

    def progress(self) -> None:
        """Ask how far the stream is."""
        self.send(pb.WatchRequest(progress_request=pb.WatchProgressRequest()))

    async def receive(self) -> pb.WatchResponse:
        """Return the next response, within 20 s."""
        async with asyncio.timeout(20):
            return await anext(self._responses)

    async def created(self, key: bytes, end: bytes = b"", start: int = 0, **options: object) -> pb.WatchResponse:
        """Ask for a watcher and return the answer, which must be the next response."""
        self.create(key, end, start, **options)
        answer = await self.receive()
        assert answer.created
        return answer

    async def events(self, count: int) -> list[kv_pb2.Event]:
        """Collect the next `count` events, whatever responses they come in."""
        events: list[kv_pb2.Event] = []
        while len(events) < count:
            response = await self.receive()
            assert not response.canceled, response
            events.extend(response.events)
        assert len(events) == count
        return events

    async def _feed(self) -> AsyncIterator[pb.WatchRequest]:
        while (request := await self._requests.get()) is not None:
            yield request
