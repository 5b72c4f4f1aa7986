"""The cluster's data keys: made once, wrapped for every node, replaced on request.

    /system/secrets/current                       id of the key for new values

For whom they are wrapped is in `quartet_server.meta.recipients`. The store holds nothing that opens a key: that is in
the key file, or in each node's data directory.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable

import structlog
from quartet.settings.storage.v1 import storage_pb2

from quartet_server.errors import Contention, QuartetError, SecretsKeyMissing
from quartet_server.meta import ops, recipients, system
from quartet_server.meta.events import changes
from quartet_server.meta.snapshot import Snapshot
from quartet_server.settings import sealing
from quartet_server.settings.sealing import FileKey, NodeKey
from raftmeta.errors import MetastoreError
from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.metastore import Metastore

CURRENT = system.SECRETS + b"current"
_RETRY = 2.0
_LOOK = 600.0
_log = structlog.get_logger("quartet.settings")


class Keyring:
    """Finds, makes and shares data keys."""

    def __init__(
        self,
        store: Metastore,
        holder: FileKey | NodeKey,
        new_id: Callable[[], str],
        random: sealing.Random = os.urandom,
        member_id: int = 0,
    ) -> None:
        """Keep keys in `store`; `holder` is what opens them on this node, which is `member_id` of the cluster, if it is one."""
        self._store = store
        self._holder = holder
        self._owner = f"{member_id:016x}".encode()
        self._new_id = new_id
        self._random = random
        self._open: dict[str, bytes] = {}
        self._task: asyncio.Task[None] | None = None

    async def current(self) -> tuple[str, bytes, int]:
        """Return id and key for new values, and the revision at which it became current; make the first one.

        Raises SecretsKeyMissing, MetastoreError.
        """
        found = (await Snapshot(self._store).get([CURRENT])).get(CURRENT)
        if found is None:
            await self._make(0)
            found = (await Snapshot(self._store).get([CURRENT]))[CURRENT]
        key_id = found.value.decode()
        return key_id, await self.key(key_id), found.mod_revision

    async def key(self, key_id: str) -> bytes:
        """Return a data key. Raises SecretsKeyMissing when it is not wrapped for this node."""
        if key_id not in self._open:
            place = recipients.place(key_id, self._holder.recipient)
            found = (await Snapshot(self._store).get([place])).get(place)
            if found is None:
                raise SecretsKeyMissing("this node does not hold the data key", key_id=key_id)
            sealed = storage_pb2.Sealed.FromString(found.value)
            self._open[key_id] = self._holder.unwrap(sealed, key_id)
        return self._open[key_id]

    async def rotate(self) -> str:
        """Make a new key current and return its id; older ones stay until `forget`. Raises Contention."""
        _, _, revision = await self.current()
        return await self._make(revision)

    async def forget(self, current: str) -> None:
        """Delete every key but `current`, if that is still current: nothing is sealed with them any more."""
        found = await Snapshot(self._store).scan(recipients.KEYS, ops.prefix_end(recipients.KEYS), keys_only=True)
        now = (await Snapshot(self._store).get([CURRENT]))[CURRENT]
        if now.value.decode() != current:
            return
        old = {kv.key[len(recipients.KEYS) :].split(b"/")[0] for kv in found.kvs} - {current.encode()}
        for key_id in old:
            request = pb.TxnRequest(
                compare=[ops.unchanged(CURRENT, now.mod_revision)],
                success=[ops.delete_prefix(recipients.KEYS + key_id + b"/")],
            )
            await self._store.txn(request)
            self._open.pop(key_id.decode(), None)

    def start(self) -> None:
        """Announce this node and wrap keys for nodes that are new, in the background."""
        if isinstance(self._holder, NodeKey):
            self._task = asyncio.get_running_loop().create_task(self._share_for_ever(), name="settings-keys")

    async def close(self) -> None:
        """Stop the background work."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def share(self) -> None:
        """Announce this node, and wrap every key it can open for every announced node that lacks it."""
        if not isinstance(self._holder, NodeKey):
            return
        me = recipients.node(self._holder.public)
        await self._store.txn(pb.TxnRequest(compare=[ops.absent(me)], success=[ops.put(me, self._owner)]))
        nodes = await self._nodes()
        found = await Snapshot(self._store).scan(recipients.KEYS, ops.prefix_end(recipients.KEYS), keys_only=True)
        wrapped = {kv.key for kv in found.kvs}
        for key_id in {key[len(recipients.KEYS) :].split(b"/")[0].decode() for key in wrapped}:
            if recipients.place(key_id, self._holder.recipient) not in wrapped:
                continue
            key = await self.key(key_id)
            for public in nodes:
                place = recipients.place(key_id, recipients.of_node(public))
                if place not in wrapped:
                    sealed = sealing.wrap_for(public, key, key_id, self._random).SerializeToString()
                    still = ops.exists(recipients.place(key_id, self._holder.recipient))
                    await self._store.txn(
                        pb.TxnRequest(compare=[ops.absent(place), still], success=[ops.put(place, sealed)])
                    )

    async def _share_for_ever(self) -> None:
        while True:
            try:
                async for _ in changes(self._store, recipients.NODES, ops.prefix_end(recipients.NODES), idle=_LOOK):
                    await self.share()
            except (MetastoreError, QuartetError) as error:
                _log.info("sharing data keys is postponed", reason=str(error))
            await asyncio.sleep(_RETRY)

    async def _make(self, revision: int) -> str:
        """Make a key current if the current one is still that of `revision`; return the id of the one that won."""
        key_id, key = self._new_id(), self._random(sealing.KEY)
        request = pb.TxnRequest(compare=[ops.unchanged(CURRENT, revision)])
        if isinstance(self._holder, FileKey):
            sealed = self._holder.wrap(key, key_id).SerializeToString()
            request.success.append(ops.put(recipients.place(key_id, self._holder.recipient), sealed))
        else:
            for public in {*await self._nodes(), self._holder.public}:
                sealed = sealing.wrap_for(public, key, key_id, self._random).SerializeToString()
                request.success.append(ops.put(recipients.place(key_id, recipients.of_node(public)), sealed))
        request.success.append(ops.put(CURRENT, key_id.encode()))
        answer = await self._store.txn(request)
        if answer.succeeded:
            self._open[key_id] = key
        elif revision:
            raise Contention("another node rotates the key at the same time")
        return key_id

    async def _nodes(self) -> list[bytes]:
        found = await Snapshot(self._store).scan(recipients.NODES, ops.prefix_end(recipients.NODES), keys_only=True)
        return [bytes.fromhex(kv.key[len(recipients.NODES) :].decode()) for kv in found.kvs]
