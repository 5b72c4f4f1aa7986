"""The mounted stores that a node has open: each opened when it is first needed, and closed when its mount has ended."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import structlog
from quartet.mounts.storage.v1 import storage_pb2

from quartet_server.config import Config
from quartet_server.errors import (
    FieldInvalid,
    MountNotFound,
    MountRefused,
    ObjectsNotShared,
    ObjectStoreUnreachable,
    QuartetError,
)
from quartet_server.meta.snapshot import Snapshot
from quartet_server.objects.contract import BlobStore
from quartet_server.objects.gc.ownership import Ownership
from quartet_server.objects.mounts import records
from quartet_server.objects.mounts.allowed import Allowed, is_local
from quartet_server.objects.opening import open_store
from raftmeta.errors import MetastoreError
from raftmeta.metastore import Metastore

AGAIN = 5.0
"""Seconds after a store could not be opened before it is tried again; until then calls get the same answer."""
PATIENCE = 5.0
"""Seconds that letting go of a store waits for calls in it."""
_VARIABLES = "QUARTET_MOUNT_"
_NAME = re.compile(r"[A-Z][A-Z0-9_]{0,31}")
_log = structlog.get_logger("quartet.mounts")
_Key = tuple[str, int]


@dataclass(slots=True)
class Opened:
    """A store that is open.

    Attributes:
        record: Its mount.
        store: The blobs.
        ownership: Whose the store is.
        users: Calls that are under way in it.
        idle: Set while there are none.
    """

    record: storage_pb2.MountRecord
    store: BlobStore
    ownership: Ownership
    users: int = 0
    idle: asyncio.Event = field(default_factory=asyncio.Event)

    @contextmanager
    def used(self) -> Iterator[BlobStore]:
        """Keep the store from being closed for as long as the block takes."""
        self.users += 1
        self.idle.clear()
        try:
            yield self.store
        finally:
            self.users -= 1
            if not self.users:
                self.idle.set()

    async def close(self) -> None:
        """Close the store when the last call in it has ended."""
        if self.users:
            await self.idle.wait()
        try:
            await self.store.close()
        except QuartetError as error:
            _log.warning("a mounted store did not close well", name=self.record.name, error=error.message)


class Collectable(NamedTuple):
    """A mounted store that a node has open, and may collect.

    Attributes:
        zone: Whose mount it is.
        number: Of the mount.
        name: Of the mount.
    """

    zone: str
    number: int
    name: str


class OpenStores:
    """Opens stores by the number of their mount. Any number of tasks may ask; a store is opened once.

    Attributes:
        allowed: What may be mounted on this node.
        node: Name of this node.
    """

    def __init__(
        self,
        metastore: Metastore,
        config: Config,
        nodes: Callable[[], int],
        new_id: Callable[[], str],
        *,
        environ: Mapping[str, str] = os.environ,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Open what is mounted in `metastore`.

        `nodes` says how many nodes share it now, 0 if that is not known; `new_id` draws the cluster's id for the marks in stores,
        where it has none; `clock` counts seconds. Raises FieldInvalid when the configuration is wrong.
        """
        self.allowed = Allowed.of(config.objects.mounts, config.objects.endpoint, config.serve.data_dir)
        self.node = config.serve.name
        self._metastore = metastore
        self._config = config
        self._nodes = nodes
        self._new_id = new_id
        self._environ = environ
        self._clock = clock
        self._tasks: dict[_Key, asyncio.Task[Opened]] = {}
        self._failed: dict[_Key, float] = {}
        self._added: set[_Key] = set()
        self._closing: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def reading(self, zone: str, number: int) -> AsyncIterator[BlobStore]:
        """Give the store of a mount to a block, and keep it open for as long.

        Raises MountNotFound when there is no such mount, MountRefused when this node's configuration does not allow it,
        ObjectStoreUnreachable, MetastoreError.
        """
        with (await self._opened(zone, number)).used() as store:
            yield store

    @asynccontextmanager
    async def writing(self, zone: str, number: int) -> AsyncIterator[BlobStore]:
        """Give the store of a mount to a block that puts something there. Raises as `reading`, and ObjectsNotShared."""
        opened = await self._opened(zone, number)
        self.demand_shared(opened.record.url)
        with opened.used() as store:
            yield store

    def demand_shared(self, url: str) -> None:
        """Demand that no node lacks what is put into a store. Raises ObjectsNotShared."""
        nodes = self._nodes()
        if is_local(url) and nodes != 1:
            who = f"this cluster has {nodes} nodes" if nodes else "other nodes may share the external Metastore"
            raise ObjectsNotShared(
                f"{who}, and {url} is on the disk of one", nodes=nodes, hint="mount a store that all nodes reach"
            )

    async def add(self, zone: str, number: int, record: storage_pb2.MountRecord) -> None:
        """Open the store of a mount that is about to be made, and mark it, before anything is kept there, as this cluster's.

        Another cluster's mark does not keep it from being mounted, only from being collected. `settled` or `drop` follows.
        Raises as `reading`.
        """
        opened = await self._open(record)
        try:
            others = await opened.ownership.claim()
        except BaseException:
            await opened.close()
            raise
        if others:
            _log.warning(
                "a mounted store has marks of others, and is not collected", name=record.name, owners=sorted(others)
            )
        self._added.add((zone, number))
        done: asyncio.Task[Opened] = asyncio.ensure_future(_ready(opened))
        self._tasks[zone, number] = done
        await done

    def settled(self, zone: str, number: int) -> None:
        """Note that the mount of a store that was added is made."""
        self._added.discard((zone, number))

    async def drop(self, zone: str, number: int) -> None:
        """Let go of the store of a mount that has ended: it is closed when the last call in it has ended.

        Waits for that for a few seconds.
        """
        task = self._tasks.pop((zone, number), None)
        self._failed.pop((zone, number), None)
        self._added.discard((zone, number))
        if task is None:
            return
        closing = asyncio.get_running_loop().create_task(_closed(task), name="mount-close")
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)
        await asyncio.wait({closing}, timeout=PATIENCE)

    def collectable(self) -> list[Collectable]:
        """Return the mounts whose stores are open now, by zone and number: what a collector goes through."""
        done = [(*key, task.result()) for key, task in sorted(self._tasks.items(), key=_by_key) if _is_open(task)]
        return [Collectable(zone, number, opened.record.name) for zone, number, opened in done]

    @asynccontextmanager
    async def collecting(self, one: Collectable) -> AsyncIterator[tuple[BlobStore, Ownership]]:
        """Give a store, and whose it is, to a block, and keep it open for as long. Raises as `reading`."""
        opened = await self._opened(one.zone, one.number)
        with opened.used() as store:
            yield store, opened.ownership

    async def keep(self, mounted: Iterable[_Key]) -> None:
        """Let go of the stores of all mounts but these, and those made since they were read. Raises MetastoreError."""
        kept = set(mounted)
        for key in [one for one in self._tasks if one not in kept]:
            if key not in self._added and await records.read(Snapshot(self._metastore), *key) is None:
                await self.drop(*key)

    async def close(self) -> None:
        """Close all of them; called once, after the last call has ended."""
        await asyncio.gather(*(self.drop(*key) for key in list(self._tasks)))
        for closing in list(self._closing):  # what a call still holds is not waited for any longer
            closing.cancel()
        await asyncio.gather(*self._closing, return_exceptions=True)

    async def _opened(self, zone: str, number: int) -> Opened:
        key = zone, number
        task = self._tasks.get(key)
        if task is not None and task.done() and (task.cancelled() or task.exception() is not None):
            if self._clock() < self._failed.get(key, 0.0):
                return task.result()
            task = None
        if task is None:
            task = self._tasks[key] = asyncio.get_running_loop().create_task(self._found(key), name="mount-open")
            task.add_done_callback(_seen)
        await asyncio.wait({task})
        return task.result()

    async def _found(self, key: _Key) -> Opened:
        """Read a mount and open its store; note how long a failure is believed."""
        zone, number = key
        try:
            mounted = await records.read(Snapshot(self._metastore, serializable=True), zone, number)
            mounted = mounted or await records.read(Snapshot(self._metastore), zone, number)
            if mounted is None:
                raise MountNotFound(f"the store {number} of zone {zone} is not mounted any more", zone=zone)
            return await self._open(mounted.record)
        except (QuartetError, MetastoreError) as error:
            self._failed[key] = self._clock() + (AGAIN if isinstance(error, QuartetError) else 0.0)
            raise

    async def _open(self, record: storage_pb2.MountRecord) -> Opened:
        """Open the store that a mount names. Raises MountRefused, ObjectStoreUnreachable."""
        self.allowed.check(record.url, record.endpoint)
        if record.node and record.node != self.node:
            raise ObjectStoreUnreachable(
                f"the store {record.name} is on the disk of node {record.node}", hint="ask that node", node=record.node
            )
        url = record.url
        if url.startswith("file://"):
            url = (await asyncio.to_thread(self.allowed.folder, url)).as_uri()
        objects = replace(self._config.objects, url=url, endpoint=record.endpoint or self._config.objects.endpoint)
        try:
            store = await open_store(
                replace(self._config, objects=objects),
                options=self._credentials(record.credentials),
                say=lambda text: _log.warning("mounted store", name=record.name, finding=text),
            )
        except FieldInvalid as error:  # what this node is configured for does not go with the store
            raise MountRefused(f"{record.url} cannot be opened here: {error.message}", url=record.url) from error
        return Opened(record, store, Ownership(store, self._metastore, self._new_id, shared=not is_local(record.url)))

    def _credentials(self, name: str) -> dict[str, str]:
        """Return what the node's environment says under a name. Raises MountRefused when it says nothing."""
        if not name:
            return {}
        prefix = f"{_VARIABLES}{name}_"
        found = {key[len(prefix) :].lower(): value for key, value in self._environ.items() if key.startswith(prefix)}
        if not found:
            raise MountRefused(f"node {self.node} has no variables {prefix}...", hint=f"set {prefix}AWS_ACCESS_KEY_ID")
        return found


def check_credentials(name: str) -> None:
    """Hold the name of credentials against its rule. Raises FieldInvalid."""
    if name and _NAME.fullmatch(name) is None:
        raise FieldInvalid.of(
            "credentials", "is 1 to 32 of A-Z, 0-9 and _, beginning with a letter: not a secret itself"
        )


def _by_key(item: tuple[_Key, asyncio.Task[Opened]]) -> _Key:
    return item[0]


def _is_open(task: asyncio.Task[Opened]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is None


def _seen(task: asyncio.Task[Opened]) -> None:
    """Let nobody be warned of a failure whose callers have all gone."""
    if not task.cancelled():
        task.exception()


async def _closed(task: asyncio.Task[Opened]) -> None:
    """Close what a task has opened, or is about to."""
    [outcome] = await asyncio.gather(task, return_exceptions=True)
    if isinstance(outcome, Opened):
        await outcome.close()


async def _ready(opened: Opened) -> Opened:
    return opened
