"""Consensus in its own thread: the core, its event loop, its transport and its files."""

from __future__ import annotations

import asyncio
import logging
import random
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol, TypeVar

from .calls import Handler, Reply
from .codec import by_id
from .config import RaftConfig
from .contract import Consensus, Member, Refusal, StateMachine, Status
from .core import Core
from .counters import Counters
from .files import open_files
from .seeded import Bug, UnsyncedFiles
from .state import Surroundings

logger = logging.getLogger(__name__)

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


TransportFactory = Callable[[Callable[[int, bytes], None]], Awaitable[PeerLink]]
"""Called once on the Raft loop with receive(sender's id, frame); returns the transport, listening."""


class RunningConsensus(Consensus, Protocol):
    """`Consensus` with what metrics and the node need besides."""

    @property
    def counters(self) -> Counters:
        """Live counters; read them from any thread."""

    @property
    def failure(self) -> BaseException | None:
        """Why this member stopped by itself; None while it has not."""

    def on_failure(self, listener: Callable[[BaseException], None]) -> None:
        """Call `listener` on the Raft thread when this member stops because going on would not be safe."""

    def trim_log(self, keep: int) -> None:
        """Trim the log down to `keep` applied entries, for a disk that is full."""


class _LinkWire:
    """A link as the core's way out; before it is up, and for a single member, no way at all."""

    def __init__(self) -> None:
        self._link: PeerLink | None = None
        self._peers: dict[int, Member] = {}

    def attach(self, link: PeerLink) -> None:
        self._link = link
        link.set_peers(self._peers)

    def send(self, member_id: int, frame: bytes) -> bool:
        return self._link is not None and member_id in self._peers and self._link.send(member_id, frame)

    def set_peers(self, peers: Mapping[int, Member]) -> None:
        self._peers = dict(peers)
        if self._link is not None:
            self._link.set_peers(self._peers)


class RaftThread:
    """One member at work: `Consensus`, with what metrics and the node need besides."""

    def __init__(
        self,
        build: Callable[[_LinkWire, Callable[..., None]], tuple[Core, Callable[[], None]]],
        transport: TransportFactory | None,
        loop_factory: Callable[[], asyncio.AbstractEventLoop],
        contacts: Mapping[int, Member],
    ) -> None:
        """Prepare; `build` makes the core and the function that closes its files, on the Raft thread."""
        self._build = build
        self._transport_factory = transport
        self._loop_factory = loop_factory
        self._contacts = dict(contacts)
        self._core: Core
        self._loop: asyncio.AbstractEventLoop
        self._stop: asyncio.Event
        self._signalled = False
        self._turning = False
        self._in_turn = False
        self._failure: BaseException | None = None
        self._failure_listeners: list[Callable[[BaseException], None]] = []
        self._stopped = threading.Event()
        self._flushing = threading.RLock()  # a callback may ask for something again
        self._started: Future[None] = Future()
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="raft-snapshot")
        self._thread = threading.Thread(target=self._run, name="raft", daemon=True)

    def start(self) -> None:
        """Start the thread and wait until the core ticks; raises what kept it from starting."""
        self._thread.start()
        try:
            self._started.result()
        except BaseException:
            self._thread.join()
            raise

    # --- the thread ----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        self._loop = self._loop_factory()
        try:
            self._loop.run_until_complete(self._main())
        except BaseException as error:  # handed to start(), which raises it
            if not self._started.done():
                self._started.set_exception(error)
            else:
                logger.exception("the Raft thread failed while it stopped")
        finally:
            self._stopped.set()
            self._executor.shutdown(wait=True)
            self._loop.close()

    async def _main(self) -> None:
        self._stop = asyncio.Event()
        wire = _LinkWire()
        link: PeerLink | None = None
        core, close = self._build(wire, self._in_background)
        self._core = core
        core.contacts = self._contacts
        core.tell_wire()
        try:
            if self._transport_factory is not None:
                link = await self._transport_factory(self._receive)
                wire.attach(link)
            timer = self._loop.call_soon(self._beat)
            self._turn()
            self._started.set_result(None)
            try:
                await self._stop.wait()
            finally:
                timer.cancel()
                self._stopped.set()
                self._flush()
        finally:
            if link is not None:
                await link.close()
            close()

    def _beat(self) -> None:
        if not self._stop.is_set():
            self._turn()
            self._loop.call_later(self._core.config.heartbeat / 2, self._beat)

    def _receive(self, sender: int, frame: bytes) -> None:
        self._core.inbox.append((sender, frame))
        if not self._turning:
            self._turning = True
            self._loop.call_soon(self._turn)  # after the other frames this turn of the loop brings

    def _turn(self) -> None:
        self._turning = False
        self._signalled = False
        if self._stop.is_set():
            return
        core = self._core
        self._in_turn = True
        try:
            core.turn()
        except Exception as error:
            logger.critical("this member stops: %s", error, exc_info=True)
            self._failure = error
            self._stop.set()
            for listener in self._failure_listeners:
                core.call_back(listener, error)
        finally:
            self._in_turn = False
        if core.busy and not self._signalled:
            self._signalled = True
            self._loop.call_soon(self._turn)

    def _in_background(self, work: Callable[[], T], done: Callable[[T | Exception], None]) -> None:
        def finish(future: Future[T]) -> None:
            error = future.exception()
            outcome: Any = error if error is not None else future.result()
            self._post(lambda: done(outcome))

        self._executor.submit(work).add_done_callback(finish)

    # --- from any thread -----------------------------------------------------------------------------------------

    def _wake(self) -> None:
        if self._in_turn and threading.get_ident() == self._thread.ident:
            return  # the turn that is on takes it, or is followed by another: no need to rouse the loop
        if not self._signalled:
            self._signalled = True
            try:
                self._loop.call_soon_threadsafe(self._turn)
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
            self._wake()
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
        self._ask(unsent, lambda: self._core.begin_tell(member_id, method, payload, unsent))

    def serve(self, method: str, handler: Handler) -> None:
        """See `Consensus.serve`; `reply` may be called from any thread, the wire only from the Raft thread."""

        def handle(caller: int, payload: bytes, reply: Reply) -> None:
            def post(outcome: bytes | Refusal) -> None:
                self._post(lambda: reply(outcome))

            handler(caller, payload, post)

        self._core.handlers[method] = handle

    def on_status(self, listener: Callable[[Status], None]) -> None:
        """See `Consensus.on_status`."""
        self._core.on_status(listener)

    def on_failure(self, listener: Callable[[BaseException], None]) -> None:
        """Call `listener` on the Raft thread when this member stops because going on would not be safe."""
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
        """Live counters; written on the Raft thread, read from any."""
        return self._core.counters

    def stop(self) -> None:
        """See `Consensus.stop`; safe to call twice, not from the Raft thread."""
        if self._thread.is_alive():
            try:
                self._loop.call_soon_threadsafe(self._stop.set)
            except RuntimeError:
                logger.debug("the Raft loop was closed already")
            self._thread.join()


def start_consensus(
    config: RaftConfig,
    member_id: int,
    cluster_id: int,
    bootstrap_members: Sequence[Member],
    state_machine: StateMachine,
    data_dir: Path,
    transport: TransportFactory | None,
    clock: Callable[[], float] = time.monotonic,
    rng: random.Random | None = None,
    contacts: Sequence[Member] = (),
    loop_factory: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop,
) -> RunningConsensus:
    """Open the log in `data_dir`, start the Raft thread and return once it ticks.

    `bootstrap_members` is the membership of a cluster that never ran: it is used only when `data_dir` is new, is the
    same on each of its members, and is empty for a member that joins a running cluster. Such a member names the
    cluster's members in `contacts`: they may connect to it and be called, and nothing else follows from it.
    `transport` is None for a single member, which then opens no socket. Raises ValueError when `data_dir` belongs to
    another cluster or member, StartError when log and state machine do not fit together, WalError, and OSError when
    the address cannot be bound.
    """

    def build(wire: _LinkWire, background: Callable[..., None]) -> tuple[Core, Callable[[], None]]:
        files = UnsyncedFiles() if config.test_bug is Bug.EARLY_ACK else None
        log, cabinet = open_files(data_dir, cluster_id, member_id, bootstrap_members, state_machine, files)
        try:
            core = Core(
                Surroundings(
                    member_id=member_id,
                    cluster_id=cluster_id,
                    config=config,
                    log=log,
                    machine=state_machine,
                    cabinet=cabinet,
                    wire=wire,
                    background=background,
                    clock=clock,
                    rng=rng if rng is not None else random.SystemRandom(),
                )
            )
        except BaseException:
            log.close()
            raise
        return core, log.close

    thread = RaftThread(build, transport, loop_factory, by_id(contacts))
    thread.start()
    return thread
