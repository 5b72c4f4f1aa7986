"""One watch stream: many watchers, created, cancelled and answered in order on one connection."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator

from raftmeta.errors import Fault, MetastoreError
from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.watch.hub import WatchHub
from raftmeta.watch.replies import Reply, events_field, events_reply, fragments, reply
from raftmeta.watch.watcher import Watcher, keys_of

INVALID_ID = -1
TAKEN = 64
DUPLICATE_ID = "mvcc: duplicate watch ID provided on the WatchStream"
EMPTY_RANGE = "mvcc: watcher range is empty"


async def watch_stream(hub: WatchHub, requests: AsyncIterator[pb.WatchRequest]) -> AsyncIterator[pb.WatchResponse]:
    """Serve a watch stream (etcdserverpb.Watch.Watch) as `watch_replies` does, in messages; headers carry the revision only."""
    replies = watch_replies(hub, requests)
    try:
        async for ready in replies:
            for one in ready:
                yield one.message
    finally:
        await replies.aclose()


async def watch_replies(hub: WatchHub, requests: AsyncIterator[pb.WatchRequest]) -> AsyncGenerator[list[Reply], None]:
    """Serve a watch stream until `requests` ends; yields what is ready, in order, never nothing.

    A reader of the answers who is slow holds up nobody else: what does not fit is read again from history. Closing the
    iterator removes every watcher. What `requests` raises comes out here.
    """
    stream = Stream(hub)
    reader = asyncio.create_task(stream.read(requests))
    reader.add_done_callback(lambda _: stream.wake())
    try:
        while True:
            while ready := stream.take():
                yield ready
            if stream.catch_up():
                await asyncio.sleep(0)  # history comes in slices: let the loop's other work in between
                continue
            if reader.done():
                reader.result()
                if stream.idle:
                    return
                continue
            await stream.woken()
    finally:
        stream.close()
        reader.cancel()
        await asyncio.wait([reader])


class Stream:
    """The watchers of one stream and the responses waiting for its reader."""

    def __init__(self, hub: WatchHub) -> None:
        """Start with no watcher; `close` ends it."""
        hub.join()
        self._hub = hub
        self._watchers: dict[int, Watcher] = {}
        self._behind: deque[Watcher] = deque()
        self._outbox: deque[Reply] = deque()
        self._bytes = 0
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._next_id = 0
        self._progress_wanted = False
        self._timer: asyncio.TimerHandle | None = None

    # -- the answering side ------------------------------------------------------------------------------------------

    @property
    def full(self) -> bool:
        """Whether live events must not wait here any more."""
        hub = self._hub
        waiting = len(self._outbox)
        return self._bytes >= hub.max_bytes or waiting >= max(hub.max_responses, 4 * len(self._watchers))

    @property
    def idle(self) -> bool:
        """Whether there is nothing to send and nothing to read from history."""
        return not self._outbox and not self._behind

    def take(self) -> list[Reply]:
        """Take the next replies, at most TAKEN of them: what was taken counts as sent."""
        outbox = self._outbox
        if not outbox:
            return []
        ready = [outbox.popleft() for _ in range(min(len(outbox), TAKEN))]
        self._bytes -= sum(len(one.body) for one in ready)
        self._room.set()
        return ready

    def catch_up(self) -> bool:
        """Do one slice of work for the watchers that are behind, and answer progress; tell whether it did anything."""
        if not self._behind:
            return self._answer_progress()
        watcher = self._behind.popleft()
        hub = self._hub
        try:
            history = hub.history(watcher)
        except MetastoreError as error:
            if error.fault is not Fault.COMPACTED:
                raise
            self._forget(watcher)
            compacted = hub.machine.revisions(hub.space)[1]
            response = pb.WatchResponse(watch_id=watcher.id, canceled=True, compact_revision=compacted)
            self._send(reply(0, response))
            return True
        watcher.next_revision = history.next_revision
        if history.next_revision > hub.current:
            hub.add(watcher)
        else:
            self._behind.append(watcher)
        changes = watcher.wanted([change for _, changes in history.revisions for change in changes])
        if changes:
            self.send_events(watcher, hub.current, events_field(changes))
        return True

    def fall_behind(self, watcher: Watcher) -> None:
        """Serve a watcher from history from now on, until it has caught up."""
        self._behind.append(watcher)
        self.wake()

    def send_events(self, watcher: Watcher, revision: int, events: list[bytes]) -> None:
        """Queue encoded events for a watcher, in pieces if it allows that."""
        watcher.quiet = False
        if not watcher.fragment:
            self._send(events_reply(revision, watcher.id, events))
            return
        for piece in fragments(revision, watcher.id, events, self._hub.fragment_bytes):
            self._send(piece)

    def wake(self) -> None:
        """Let the answering side look again."""
        self._wake.set()

    async def woken(self) -> None:
        """Wait until there may be something to do."""
        await self._wake.wait()
        self._wake.clear()

    def close(self) -> None:
        """Remove every watcher."""
        for watcher in list(self._watchers.values()):
            self._forget(watcher)
        self._behind.clear()
        self._hub.part()
        if self._timer is not None:
            self._timer.cancel()

    def _send(self, one: Reply) -> None:
        self._outbox.append(one)
        self._bytes += len(one.body)
        self.wake()

    # -- the asking side ---------------------------------------------------------------------------------------------

    async def read(self, requests: AsyncIterator[pb.WatchRequest]) -> None:
        """Carry out requests as they come, no faster than their answers are taken."""
        async for request in requests:
            while self.full:
                self._room.clear()
                await self._room.wait()
            kind = request.WhichOneof("request_union")
            if kind == "create_request":
                self._create(request.create_request)
            elif kind == "cancel_request":
                self._cancel(request.cancel_request.watch_id)
            elif kind == "progress_request":
                self._progress_wanted = True
                self.wake()

    def _create(self, request: pb.WatchCreateRequest) -> None:
        hub = self._hub
        response = pb.WatchResponse(created=True)
        keys = keys_of(request)
        number = request.watch_id
        if keys is None or (number != 0 and number in self._watchers):
            response.watch_id = INVALID_ID
            response.canceled = True
            response.cancel_reason = EMPTY_RANGE if keys is None else DUPLICATE_ID
            self._send(reply(hub.current, response))
            return
        if number == 0:
            while self._next_id in self._watchers:
                self._next_id += 1
            number = self._next_id
            self._next_id += 1
        watcher = Watcher(self, number, keys, request)
        self._watchers[number] = watcher
        response.watch_id = number
        self._send(reply(hub.current, response))
        if request.start_revision == 0 or request.start_revision > hub.current:
            hub.add(watcher)
        else:
            self.fall_behind(watcher)
        if watcher.notify and self._timer is None:
            self._set_timer()

    def _cancel(self, number: int) -> None:
        watcher = self._watchers.get(number)
        if watcher is None:
            return
        self._forget(watcher)
        response = pb.WatchResponse(watch_id=number, canceled=True)
        self._send(reply(self._hub.current, response))

    def _forget(self, watcher: Watcher) -> None:
        self._watchers.pop(watcher.id, None)
        if watcher.synced:
            self._hub.remove(watcher)
        elif watcher in self._behind:
            self._behind.remove(watcher)

    # -- progress ----------------------------------------------------------------------------------------------------

    def _answer_progress(self) -> bool:
        """Answer a progress request once no watcher is behind or still waits for its first revision."""
        if not self._progress_wanted or any(not self._in_step(watcher) for watcher in self._watchers.values()):
            return False
        self._progress_wanted = False
        response = pb.WatchResponse(watch_id=INVALID_ID)
        self._send(reply(self._hub.current, response))
        return True

    def _in_step(self, watcher: Watcher) -> bool:
        return watcher.synced and watcher.start <= self._hub.current

    def _set_timer(self) -> None:
        hub = self._hub
        self._timer = hub.loop.call_later(hub.progress_interval * (1 + hub.jitter() / 10), self._notify)

    def _notify(self) -> None:
        for watcher in self._watchers.values():
            if watcher.notify and watcher.quiet and self._in_step(watcher) and not self.full:
                response = pb.WatchResponse(watch_id=watcher.id)
                self._send(reply(self._hub.current, response))
            watcher.quiet = True
        self._timer = None
        if any(watcher.notify for watcher in self._watchers.values()):
            self._set_timer()
