"""Consensus at work: the core on an event loop, with its transport and its files."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

from raftmeta._handing import nothing_waits

from .calls import Handler, Reply
from .contract import Consensus, Member, Refusal, Status
from .core import Core
from .counters import Counters

logger = logging.getLogger(__name__)

_SLOW_SYNC = 0.01
"""Seconds: a sync of the log that took longer is followed by one that the loop does not wait for."""

_INBOX = 1_000
"""Messages that wait while a turn waits for a slow disk; more are dropped."""

T = TypeVar("T")
Done = Callable[["int | Refusal"], None]


class PeerLink(Protocol):
    """A started transport, as the Raft loop uses it; every method is called on that loop."""

    def send(self, member_id: int, frame: bytes) -> bool:
        """Queue a frame; False when it was dropped at once."""

    def set_peers(self, peers: Mapping[int, Member]) -> None:
        """Replace who may connect, under which name and where they are: by member id, this member left out."""

    async def close(self) -> None:
        """Close every connection and the listener."""


TransportFactory = Callable[[Callable[[int, bytes, bool], None]], Awaitable[PeerLink]]
"""Called once on the Raft loop with receive(sender's id, frame, whether another has come with it); returns the transport, listening."""


class RunningConsensus(Consensus, Protocol):
    """`Consensus` with what metrics and the node need besides."""

    @property
    def counters(self) -> Counters:
        """Live counters; read them from any thread."""

    @property
    def failure(self) -> BaseException | None:
        """Why this member stopped by itself; None while it has not."""

    def on_failure(self, listener: Callable[[BaseException], None]) -> None:
        """Call `listener` on the Raft loop when this member stops because going on would not be safe."""

    def trim_log(self, keep: int) -> None:
        """Trim the log down to `keep` applied entries, for a disk that is full."""


class LinkWire:
    """A link as the core's way out; before it is up, and for a single member, no way at all."""

    def __init__(self) -> None:
        self._link: PeerLink | None = None
        self._peers: dict[int, Member] = {}

    def attach(self, link: PeerLink) -> None:
        """Send on `link` from now on."""
        self._link = link
        link.set_peers(self._peers)

    def send(self, member_id: int, frame: bytes) -> bool:
        """See `Wire.send`."""
        return self._link is not None and member_id in self._peers and self._link.send(member_id, frame)

    def set_peers(self, peers: Mapping[int, Member]) -> None:
        """See `Wire.set_peers`."""
        self._peers = dict(peers)
        if self._link is not None:
            self._link.set_peers(self._peers)


class Runtime:
    """One member at work on an event loop: `Consensus`, with what metrics and the node need besides.

    Everything happens on that loop; its methods may be called from any thread, and from the loop itself they take no detour.
    A log that is quick to sync is synced in the turn. Once it was slow, syncs run in a thread of their own and the turn
    ends when they have: until then only heartbeats leave, for a bounded time, so that nothing speaks of what is not durable.
    """

    def __init__(
        self,
        build: Callable[[LinkWire, Callable[..., None]], tuple[Core, Callable[[], None]]],
        transport: TransportFactory | None,
        contacts: Mapping[int, Member],
    ) -> None:
        """Prepare; `build` makes the core and the function that closes its files, in any thread."""
        self._build = build
        self._transport_factory = transport
        self._contacts = dict(contacts)
        self._core: Core
        self._loop: asyncio.AbstractEventLoop
        self._home = 0
        self._stop: asyncio.Event
        self._signalled = False  # by another thread
        self._turning = False  # a turn is due on the loop
        self._in_turn = False
        self._syncing: asyncio.Future[None] | None = None
        self._slow_disk = False
        self._held: asyncio.TimerHandle | None = None  # ends the wait of proposals that the core holds back
        self.task: asyncio.Task[None] | None = None  # held, or the loop would forget it
        self._failure: BaseException | None = None
        self._failure_listeners: list[Callable[[BaseException], None]] = []
        self._stopped = threading.Event()
        self._ended = threading.Event()
        self._flushing = threading.RLock()  # a callback may ask for something again
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="raft-snapshot")
        self._sync_thread = ThreadPoolExecutor(1, thread_name_prefix="raft-sync")

    # --- the loop ------------------------------------------------------------------------------------------------

    async def main(self, started: Callable[[], None]) -> None:
        """Open up, tell `started`, turn until stopped, close. Raises what kept it from starting."""
        self._loop = asyncio.get_running_loop()
        self._home = threading.get_ident()
        self._stop = asyncio.Event()
        wire = LinkWire()
        link: PeerLink | None = None
        try:
            core, close = await self._built(wire)
            self._core = core
            core.contacts = self._contacts
            core.tell_wire()
            try:
                if self._transport_factory is not None:
                    link = await self._transport_factory(self._receive)
                    wire.attach(link)
                timer = self._loop.call_soon(self._beat)
                self._turn()
                started()
                try:
                    await self._stop.wait()
                finally:
                    timer.cancel()
                    self._stopped.set()
                    if self._syncing is not None:
                        await asyncio.wait([self._syncing])
                    self._flush()
            finally:
                if link is not None:
                    await link.close()
                close()
        finally:
            self._stopped.set()
            self._ended.set()

    async def _built(self, wire: LinkWire) -> tuple[Core, Callable[[], None]]:
        """Build off the loop: a long log takes its time."""
        building = self._loop.run_in_executor(None, self._build, wire, self._in_background)
        try:
            return await asyncio.shield(building)
        except asyncio.CancelledError:
            building.add_done_callback(
                lambda built: None if built.cancelled() or built.exception() else built.result()[1]()
            )
            raise

    def _beat(self) -> None:
        if self._stop.is_set():
            return
        if self._syncing is None:
            self._turn()
        else:
            self._core.pulse()
        self._loop.call_later(self._core.config.heartbeat / 2, self._beat)

    def _receive(self, sender: int, frame: bytes, more: bool) -> None:
        inbox = self._core.inbox
        if len(inbox) >= _INBOX:
            return  # Raft repeats what is lost
        inbox.append((sender, frame))
        if more or self._in_turn:
            self._due()
        else:
            self._now_or_due()

    def _now_or_due(self) -> None:
        """Have a turn at once when the loop has nothing else to do, together with what else comes otherwise."""
        if nothing_waits(self._loop):
            self._turn()
        else:
            self._due()

    def _due(self) -> None:
        """Have a turn after whatever else this turn of the loop brings."""
        if not self._turning:
            self._turning = True
            self._loop.call_soon(self._due_turn)

    def _due_turn(self) -> None:
        if self._turning:
            self._turn()

    def _signalled_turn(self) -> None:
        if self._signalled:
            self._turn()

    def _turn(self) -> None:
        if self._syncing is not None:
            return  # what came meanwhile is taken when it has ended
        self._turning = self._signalled = False
        if not self._stop.is_set():
            self._run(self._whole_turn)

    def _whole_turn(self) -> None:
        core = self._core
        core.begin_turn()
        if self._slow_disk and core.unsynced and core.sync_due:
            self._syncing = self._loop.run_in_executor(self._sync_thread, core.sync_log)
            self._syncing.add_done_callback(self._synced)
            return
        if core.sync_due:
            core.make_durable()
            self._slow_disk = core.last_sync > _SLOW_SYNC
        core.end_turn()

    def _synced(self, syncing: asyncio.Future[None]) -> None:
        self._syncing = None
        if not self._stop.is_set():
            self._run(self._rest_of_turn)
            self._slow_disk = self._core.last_sync > _SLOW_SYNC / 2
            self._due()

    def _rest_of_turn(self) -> None:
        self._core.end_sync()
        self._core.end_turn()

    def _run(self, step: Callable[[], None]) -> None:
        """Take a step of the core; what it raises stops the member."""
        core = self._core
        self._in_turn = True
        try:
            step()
        except Exception as error:
            logger.critical("this member stops: %s", error, exc_info=True)
            self._failure = error
            self._stop.set()
            for listener in self._failure_listeners:
                core.call_back(listener, error)
        finally:
            self._in_turn = False
        if self._syncing is not None:
            return
        if core.busy:
            self._due()
        elif core.proposals and self._held is None:
            self._held = self._loop.call_later(core.patience_left, self._release)

    def _release(self) -> None:
        self._held = None
        self._turn()

    def _in_background(self, work: Callable[[], T], done: Callable[[T | Exception], None]) -> None:
        def finish(future: Future[T]) -> None:
            error = future.exception()
            outcome: Any = error if error is not None else future.result()
            self._post(lambda: done(outcome))

        self._executor.submit(work).add_done_callback(finish)

    # --- from any thread -----------------------------------------------------------------------------------------

    def _wake(self) -> None:
        if threading.get_ident() == self._home:
            if not self._in_turn:  # the turn that is on takes it, or is followed by another
                self._due()
        elif not self._signalled:
            self._signalled = True
            try:
                self._loop.call_soon_threadsafe(self._signalled_turn)
            except RuntimeError:  # the loop is closed: stop() has answered what waited
                self._signalled = False

    def _post(self, work: Callable[[], None]) -> bool:
        """Have `work` run in the next turn; False when there will be none."""
        if self._stopped.is_set():
            return False
        self._core.later(work)
        self._wake()
        if self._stopped.is_set():
            self._flush()
        return True

    def _flush(self) -> None:
        """Answer what waits; a caller that finds the member stopped does it too, since nobody else may come by."""
        with self._flushing:
            self._core.flush_later()

    def propose(self, data: bytes, refused: Callable[[Refusal], None]) -> None:
        """See `Consensus.propose`."""
        core = self._core
        if self._stopped.is_set():
            core.refuse(refused, Refusal.STOPPED)
        elif len(core.proposals) >= core.config.queued_proposals:
            if not self._post(lambda: core.refuse(refused, Refusal.BUSY)):
                core.refuse(refused, Refusal.STOPPED)
        else:
            core.proposals.append((data, refused))
            if threading.get_ident() != self._home:
                self._wake()
            elif not self._in_turn:  # the turn that is on takes it, or is followed by another
                self._now_or_due()
            if self._stopped.is_set():
                self._flush()

    def read_index(self, done: Done) -> None:
        """See `Consensus.read_index`."""
        self._ask(done, lambda: self._core.begin_read(done))

    def _ask(self, done: Callable[..., None], work: Callable[[], None]) -> None:
        if not self._post(work):
            self._core.call_back(done, Refusal.STOPPED)

    def status(self) -> Status:
        """See `Consensus.status`."""
        return self._core.status

    def add_member(self, member: Member, done: Done) -> None:
        """See `Consensus.add_member`."""
        self._ask(done, lambda: self._core.add_member(member, done))

    def remove_member(self, member_id: int, done: Done) -> None:
        """See `Consensus.remove_member`."""
        self._ask(done, lambda: self._core.remove_member(member_id, done))

    def update_member(self, member: Member, done: Done) -> None:
        """See `Consensus.update_member`."""
        self._ask(done, lambda: self._core.update_member(member, done))

    def promote_member(self, member_id: int, done: Done) -> None:
        """See `Consensus.promote_member`."""
        self._ask(done, lambda: self._core.promote_member(member_id, done))

    def transfer_leadership(self, member_id: int, done: Done) -> None:
        """See `Consensus.transfer_leadership`."""
        self._ask(done, lambda: self._core.begin_transfer(member_id, done))

    def call(self, member_id: int, method: str, payload: bytes, done: Reply, timeout: float) -> None:
        """See `Consensus.call`."""
        self._ask(done, lambda: self._core.begin_call(member_id, method, payload, done, timeout))

    def tell(self, member_id: int, method: str, payload: bytes, unsent: Reply) -> None:
        """See `Consensus.tell`."""
        if threading.get_ident() == self._home and not self._stopped.is_set():
            self._core.begin_tell(member_id, method, payload, unsent)  # it waits for nothing: no turn is needed
        else:
            self._ask(unsent, lambda: self._core.begin_tell(member_id, method, payload, unsent))

    def serve(self, method: str, handler: Handler) -> None:
        """See `Consensus.serve`; `reply` may be called from any thread, the wire only from the Raft loop."""

        def handle(caller: int, payload: bytes, reply: Reply) -> None:
            def post(outcome: bytes | Refusal) -> None:
                self._post(lambda: reply(outcome))

            handler(caller, payload, post)

        self._core.handlers[method] = handle

    def on_status(self, listener: Callable[[Status], None]) -> None:
        """See `Consensus.on_status`."""
        self._core.on_status(listener)

    def on_failure(self, listener: Callable[[BaseException], None]) -> None:
        """Call `listener` on the Raft loop when this member stops because going on would not be safe."""
        self._failure_listeners.append(listener)

    def trim_log(self, keep: int) -> None:
        """Trim the log now, down to `keep` applied entries; for a disk that is full."""

        def trim() -> None:
            if not self._core.stopping:
                self._core.trim(self._core.last_applied - keep)

        self._post(trim)

    @property
    def failure(self) -> BaseException | None:
        """Why this member stopped by itself; None while it has not."""
        return self._failure

    @property
    def counters(self) -> Counters:
        """Live counters; written on the Raft loop, read from any."""
        return self._core.counters

    def stop(self) -> None:
        """See `Consensus.stop`; safe to call twice, not from the loop."""
        if not self._ended.is_set():
            try:
                self._loop.call_soon_threadsafe(self._stop.set)
            except RuntimeError:
                logger.debug("the Raft loop was closed already")
            else:
                self._ended.wait()
        self._executor.shutdown(wait=True)
        self._sync_thread.shutdown(wait=True)
