"""A raftmeta member: store, machine, consensus and everything that serves them, composed on one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Callable

from raftmeta import bootstrap, snapshot
from raftmeta.config import SPACES, NodeConfig
from raftmeta.consensus import RaftConfig, RunningConsensus, host_consensus
from raftmeta.consensus.contract import Role, Status
from raftmeta.drivers.embedded import EmbeddedMetastore
from raftmeta.errors import Fault, MetastoreError
from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.forwarding import Forwarder
from raftmeta.housekeeping import Housekeeper
from raftmeta.identity import Identity
from raftmeta.leases import Leases
from raftmeta.machine import Applied, Machine, SpaceChange, SpacePolicy
from raftmeta.machine.applied import Outcome
from raftmeta.membership import Membership
from raftmeta.metastore import Metastore
from raftmeta.peer_link import transport_factory
from raftmeta.proposer import Proposer
from raftmeta.reads import ReadGate
from raftmeta.store import Store, verify
from raftmeta.v1 import command_pb2
from raftmeta.watch import WatchHub

VERSION = "3.4.23"
"""The etcd version whose behaviour is followed; clients ask for it."""

_log = logging.getLogger(__name__)
_PUBLISH_RETRY = 0.5
_TAIL_ENTRIES = 10_000
"""Entries kept for followers that are a little behind; fewer where trims are to come sooner than that."""


class Node:
    """One member of a cluster. Made by `start`, ended by `stop`; everything else belongs to the loop it was started in.

    Attributes:
        config: What it was told.
        identity: Its ids.
        machine: The replicated state; may be read from any thread.
        consensus: Its end of the Raft group.
        proposer: Takes writes.
        reads: Makes reads linearizable.
        leases: Grants, renews and times leases.
        membership: Lists and changes the members.
        hubs: The watch hub of every keyspace.
        peer_address: HOST:PORT of the Raft port as bound; empty when there is none.
        incarnation: Random number of this run, under which it proposes.
    """

    def __init__(self, config: NodeConfig, identity: Identity, machine: Machine) -> None:
        """Use `Node.start`."""
        self.config = config
        self.identity = identity
        self.machine = machine
        self.peer_address = ""
        self.incarnation = secrets.randbits(63) | 1
        self._loop = asyncio.get_running_loop()
        self._listeners: list[Callable[[Status], None]] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False
        self._stopped = False
        self._term = 0

    @classmethod
    async def start(cls, config: NodeConfig) -> Node:
        """Open the data directory, start Raft and return; use `ready` to wait until the node can serve.

        Raises:
            IdentityError: The data directory belongs to another member or cluster, or this node cannot learn who it is.
            StoreError, ValueError, OSError: Data directory, configuration or port cannot be used.
        """
        founding = await bootstrap.prepare(config)
        snapshot.forget_unfinished(config.data_dir)
        policies = {
            space: SpacePolicy(
                quota=config.quota_bytes,
                keep_revisions=(config.compaction[space].keep_revisions or None)
                if space in config.compaction
                else None,
            )
            for space in SPACES
        }
        store = Store(config.data_dir / "store", map_size=max(4 * config.quota_bytes, 1 << 30))
        try:
            await asyncio.to_thread(verify, store)
        except BaseException:
            store.close()
            raise
        node = cls(config, founding.identity, Machine(store, policies=policies))
        try:
            await node._compose(founding)
        except BaseException:
            node.machine.close()
            raise
        return node

    async def _compose(self, founding: bootstrap.Founding) -> None:
        config, loop = self.config, self._loop

        def bound(address: str) -> None:
            self.peer_address = address

        factory = transport_factory(config, self.identity, bound) if config.listen_peer else None
        raft = RaftConfig(
            heartbeat=config.heartbeat,
            election_min=config.election[0],
            election_max=config.election[1],
            snapshot_entries=config.snapshot_entries,
            test_bug=config.test_bug,
            tail_entries=min(_TAIL_ENTRIES, config.snapshot_entries),
        )
        # the hubs listen first: an event reaches the watchers' loop before the answer to its write
        self.hubs = {space: WatchHub(self.machine, space, loop) for space in SPACES}
        self.consensus: RunningConsensus = await host_consensus(
            raft,
            self.identity.member_id,
            self.identity.cluster_id,
            founding.members,
            self.machine,
            config.data_dir / "raft",
            factory,
            contacts=founding.contacts,
        )
        timeout = config.timeout
        self.reads = ReadGate(self.consensus, lambda: self.machine.applied()[0], loop, timeout)
        self.proposer = Proposer(
            self.consensus, self.incarnation, loop, timeout=timeout, max_pending=config.max_pending
        )
        self._forwarder = Forwarder(self.consensus, loop, timeout)
        self.leases = Leases(self.machine, self.proposer, self.reads, self._forwarder, loop, config.lease_checkpoint)
        self.membership = Membership(self.consensus, self._forwarder, loop, timeout)
        self.machine.on_applied(self._applied)
        self.consensus.on_status(self._status_changed)
        self._status_changed(self.consensus.status())
        housekeeper = Housekeeper(self.machine, self.proposer, self.consensus, loop, config.compaction)
        self._tasks = [loop.create_task(housekeeper.run()), loop.create_task(self._publish())]

    def metastore(self, space: int) -> Metastore:
        """Return the store's keyspace `space`, served by this process."""
        return EmbeddedMetastore(self, space)

    def status(self) -> Status:
        """Return Raft's latest picture of itself."""
        return self.consensus.status()

    @property
    def has_leader(self) -> bool:
        """Whether this node knows a leader."""
        return self.consensus.status().leader_id != 0

    @property
    def is_leader(self) -> bool:
        """Whether this node leads."""
        return self.consensus.status().role is Role.LEADER

    @property
    def is_learner(self) -> bool:
        """Whether this node has no vote yet."""
        status = self.consensus.status()
        me = status.members.get(status.member_id)
        return me is not None and me.learner

    def on_status(self, listener: Callable[[Status], None]) -> None:
        """Call `listener` on the loop when role, term, leader, membership or read-only state changed."""
        self._listeners.append(listener)

    def complete(self, header: pb.ResponseHeader) -> None:
        """Fill a header that has the revision only."""
        header.cluster_id = self.identity.cluster_id
        header.member_id = self.identity.member_id
        header.raft_term = self._term

    async def ready(self, timeout: float) -> None:
        """Wait, at most `timeout` seconds, until a linearizable read would be answered. Raises TIMEOUT."""
        try:
            async with asyncio.timeout(timeout):
                while True:
                    try:
                        await self.reads.confirmed()
                    except MetastoreError as error:
                        if error.fault is Fault.STOPPED:
                            raise
                    else:
                        return
        except TimeoutError:
            raise MetastoreError(Fault.TIMEOUT) from None

    async def set_floor(self, space: int, holder: str, revision: int) -> None:
        """Keep history of `space` from `revision` on for `holder`, durably; 0 gives it up. `holder`: 1 to 128 bytes."""
        command = command_pb2.Command(space=space)
        command.floor.holder = holder
        command.floor.revision = revision
        await self.proposer.submit(command)

    async def transfer_leadership(self, member_id: int = 0) -> int:
        """Hand leadership over (0: to the best follower); returns the new leader. Raises NOT_LEADER, BAD_LEADER_TRANSFEREE."""
        return await self.membership.transfer(member_id)

    async def stop(self, grace: float = 5.0) -> None:
        """End this member: wait up to `grace` seconds for writes on their way, hand leadership over, close."""
        if self._stopping:
            return
        self._stopping = True
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self.proposer.drain(grace)
        status = self.consensus.status()
        voters = [member for member in status.members.values() if not member.learner]
        if status.role is Role.LEADER and len(voters) > 1:
            with contextlib.suppress(MetastoreError, TimeoutError):
                async with asyncio.timeout(grace):
                    await self.membership.transfer(0)
        self._stopped = True
        self.leases.stop()
        self.proposer.stop()
        self.reads.stop()
        await self._forwarder.stop()
        for hub in self.hubs.values():
            hub.close()
        self.machine.end_snapshots()
        await self._loop.run_in_executor(None, self.consensus.stop)
        self.machine.close()

    def _applied(self, applied: Applied) -> None:
        """Give everybody what they wait for: consensus runs on this loop."""
        mine = [outcome for outcome in applied.outcomes if outcome.client == self.incarnation]
        leased = any(change.granted or change.revoked or change.checkpointed for change in applied.changes.values())
        if not mine and not leased:
            target = self.reads.target
            if not target or applied.index < target:
                return
        self._advance(mine, applied.changes if leased else {})

    def _advance(self, mine: list[Outcome], changes: dict[int, SpaceChange]) -> None:
        if self._stopped:
            return
        if changes:
            self.leases.applied(changes)
        if mine:
            self.proposer.applied(mine)
        self.reads.advanced()

    def _status_changed(self, status: Status) -> None:
        if self._stopped:
            return
        self._term = status.term
        self.leases.status_changed(status)
        self.proposer.status_changed(status)
        for listener in self._listeners:
            listener(status)

    async def _publish(self) -> None:
        """Tell the cluster this node's name and client address, until it knows."""
        while True:
            try:
                config = self.config
                peer_address = config.advertise_peer or self.peer_address
                await self.membership.publish(config.name, config.advertise_client, peer_address)
                status = self.consensus.status()
                me = status.members.get(status.member_id)
                if me is not None and (me.name, me.client_address) == (config.name, config.advertise_client):
                    return
            except MetastoreError as error:
                _log.debug("the member's address is not published yet: %s", error.text)
            await asyncio.sleep(_PUBLISH_RETRY)
