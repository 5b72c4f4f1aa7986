"""Clients that watch: one watcher at a time, on one member after the other, each going on where the last one ended."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from faults.history import History, Watching
from faults.workload.calling import Caller
from grpc import aio

from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.etcd import rpc_pb2_grpc as stubs

EVERYTHING = (b"\0", b"\0")


class WatchClient:
    """Watches a range from a revision on for as long as it runs.

    Attributes:
        reached: Revision up to which it has heard all.
        whole: Whether it watches every key from the first revision on.
    """

    def __init__(self, caller: Caller, history: History, key: bytes, end: bytes, start: int = 0) -> None:
        """Watch [`key`, `end`) from revision `start` (0: from whenever it begins), by the connections of `caller`."""
        self.reached = max(0, start - 1)
        self.whole = (key, end, start) == (*EVERYTHING, 1)
        self._caller = caller
        self._history = history
        self._range = (key, end)
        self._fresh = start == 0
        self._last: Watching | None = None

    async def steps(self) -> AsyncIterator[None]:
        """Watch on one member per step, until that breaks or some seconds have passed."""
        while True:
            member = self._caller.any_member()
            if member is not None:
                with contextlib.suppress(aio.AioRpcError, asyncio.InvalidStateError):
                    await self._watch(member, self._caller.dice.uniform(2.0, 8.0))
            await asyncio.sleep(0.1)
            yield

    async def _watch(self, member: int, seconds: float) -> None:
        key, end = self._range
        request = pb.WatchCreateRequest(key=key, range_end=end, prev_kv=self._caller.dice.random() < 0.5)
        request.progress_notify = True
        request.start_revision = 0 if self._fresh else self.reached + 1
        stream = stubs.WatchStub(self._caller.channel(member)).Watch()
        watching = self._history.watch(self._caller.name, self._caller.member_name(member), request, self._last)
        try:
            async with asyncio.timeout(seconds):
                await stream.write(pb.WatchRequest(create_request=request))
                await self._listen(stream, watching)
        except TimeoutError:
            pass
        finally:
            stream.cancel()
            self._history.unwatched(watching)

    async def _listen(
        self, stream: aio.StreamStreamCall[pb.WatchRequest, pb.WatchResponse], watching: Watching
    ) -> None:
        while isinstance(response := await stream.read(), pb.WatchResponse):
            self._history.heard(watching, response)
            if response.created:
                self._last = watching
                if self._fresh:
                    self._fresh, self.reached = False, response.header.revision
            if response.canceled:
                return
            if response.events:
                self.reached = max(self.reached, response.events[-1].kv.mod_revision)
                if self._caller.dice.random() < 0.02:
                    await stream.write(pb.WatchRequest(progress_request=pb.WatchProgressRequest()))
