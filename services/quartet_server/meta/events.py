"""Changes of a key range, revision by revision, as an async iterator."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass

from quartet_server.errors import RevisionCompacted, WatchCancelled
from raftmeta.etcd import kv_pb2
from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.metastore import Metastore

IDLE = 10.0
"""Seconds without events after which the watcher says how far it has seen."""


@dataclass(frozen=True, slots=True)
class Changes:
    """All changes of one revision.

    Attributes:
        revision: The revision; of a report without events, one up to which everything has been told.
        events: What changed, in the order of the transaction; empty for a report.
    """

    revision: int
    events: list[kv_pb2.Event]


async def changes(
    store: Metastore, start: bytes, end: bytes, start_revision: int = 0, idle: float = IDLE
) -> AsyncIterator[Changes]:
    """Yield the changes of [start, end) from `start_revision` on, 0 for now, with the values before each.

    First comes a report without events: from the revision after it on, the watch sees everything. Further ones follow
    every `idle` seconds without events. Raises RevisionCompacted, WatchCancelled, MetastoreError.
    """
    requests: asyncio.Queue[pb.WatchRequest] = asyncio.Queue()
    create = pb.WatchCreateRequest(key=start, range_end=end, start_revision=start_revision, prev_kv=True)
    requests.put_nowait(pb.WatchRequest(create_request=create))

    async def outgoing() -> AsyncIterator[pb.WatchRequest]:
        while True:
            yield await requests.get()

    stream = store.watch(outgoing())
    told = max(start_revision - 1, 0)
    pending: asyncio.Task[pb.WatchResponse] | None = None
    try:
        while True:
            if pending is None:
                pending = asyncio.ensure_future(anext(stream))
            done, _ = await asyncio.wait({pending}, timeout=idle)
            if not done:
                yield Changes(told, [])
                requests.put_nowait(pb.WatchRequest(progress_request=pb.WatchProgressRequest()))
                continue
            try:
                answer = pending.result()
            except StopAsyncIteration:
                raise WatchCancelled("the store ended the watch", revision=told) from None
            finally:
                pending = None
            if answer.canceled:
                if answer.compact_revision:
                    raise RevisionCompacted(
                        f"changes before revision {answer.compact_revision} are forgotten",
                        revision=start_revision,
                        oldest=answer.compact_revision,
                    )
                raise WatchCancelled(answer.cancel_reason or "the store ended the watch", revision=told)
            if answer.created:
                told = told or answer.header.revision
                yield Changes(told, [])
                continue
            for group in _by_revision(answer.events):
                told = group.revision
                yield group
            if not answer.events:
                told = max(told, answer.header.revision)
    finally:
        if pending is not None:
            pending.cancel()
            await asyncio.gather(pending, return_exceptions=True)
        if (aclose := getattr(stream, "aclose", None)) is not None:
            await aclose()


def _by_revision(events: Iterable[kv_pb2.Event]) -> list[Changes]:
    groups: list[Changes] = []
    for event in events:
        if not groups or groups[-1].revision != event.kv.mod_revision:
            groups.append(Changes(event.kv.mod_revision, []))
        groups[-1].events.append(event)
    return groups
