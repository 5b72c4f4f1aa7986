"""The same watches on a machine and on a real etcd hear the same things in the same order."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from harness.etcd import EtcdCluster
from harness.machines import Feed, machine
from harness.operations import Etcd, Operations, ask

from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.etcd import rpc_pb2_grpc as stubs
from raftmeta.watch import WatchHub, watch_stream

pytestmark = pytest.mark.peer

COMPACTED = 4
CREATES = [
    {"key": b"", "range_end": b"\0", "start_revision": 5},
    {"key": b"a", "start_revision": 5, "prev_kv": True},
    {"key": b"a", "range_end": b"z", "start_revision": 20, "filters": [pb.WatchCreateRequest.NODELETE]},
    {"key": b"b", "start_revision": 9, "filters": [pb.WatchCreateRequest.NOPUT], "prev_kv": True},
    {"key": b"b", "range_end": b"a"},
    {"key": b"a", "watch_id": 2},
    {"key": b"a", "watch_id": 40, "start_revision": 5},
    {"key": b"", "start_revision": 10_000},
]


def script() -> Iterator[pb.WatchRequest]:
    for create in CREATES:
        yield pb.WatchRequest(create_request=pb.WatchCreateRequest(**create))  # type: ignore[arg-type]
    past = pb.WatchCreateRequest(key=b"a", start_revision=COMPACTED - 1, watch_id=50)
    yield pb.WatchRequest(create_request=past)
    yield pb.WatchRequest(cancel_request=pb.WatchCancelRequest(watch_id=77))


class Heard:
    """What came for each watcher, whatever the portions it came in."""

    def __init__(self) -> None:
        self.created: list[tuple[int, bool, str]] = []
        self.events: dict[int, list[Any]] = {}
        self.canceled: dict[int, int] = {}

    def add(self, response: pb.WatchResponse) -> None:
        if response.created:
            self.created.append((response.watch_id, response.canceled, response.cancel_reason))
        elif response.canceled:
            self.canceled[response.watch_id] = response.compact_revision
        else:
            assert response.events
            self.events.setdefault(response.watch_id, []).extend(response.events)

    def as_much_as(self, other: Heard) -> bool:
        """Tell whether at least as much came as in `other`."""
        return (
            len(self.created) >= len(other.created)
            and self.canceled.keys() >= other.canceled.keys()
            and all(len(self.events.get(number, ())) >= len(events) for number, events in other.events.items())
        )


def listen_to_etcd(channel: grpc.Channel, wanted: Heard) -> Heard:
    requests: queue.Queue[pb.WatchRequest | None] = queue.Queue()
    for request in script():
        requests.put(request)
    call = stubs.WatchStub(channel).Watch(iter(requests.get, None), timeout=15)
    heard = Heard()
    try:
        for response in call:
            heard.add(response)
            if heard.as_much_as(wanted):
                break
    except grpc.RpcError as error:
        assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED  # noqa: PT017 - less came: the comparison will tell
    requests.put(None)
    call.cancel()
    return heard


async def listen_to_machine(feed: Feed) -> Heard:
    async def requests() -> AsyncIterator[pb.WatchRequest]:
        for request in script():
            yield request

    hub = WatchHub(feed.machine, 0, asyncio.get_running_loop())
    heard = Heard()
    async for response in watch_stream(hub, requests()):
        heard.add(response)
    hub.close()
    return heard


@pytest.mark.parametrize("seed", range(3))
async def test_watchers_hear_what_etcds_watchers_hear(tmp_path: Path, seed: int) -> None:
    operations = Operations(seed)
    with EtcdCluster(tmp_path / "etcd") as cluster, machine(tmp_path / "machine") as under_test:
        etcd, feed = Etcd(cluster.endpoints[0]), Feed(under_test)
        while operations.current < 150:
            request = operations()
            if not isinstance(request, pb.CompactionRequest):
                assert ask(feed, request) == await asyncio.to_thread(etcd, request)
                operations.current, _ = under_test.revisions(0)
        compaction = pb.CompactionRequest(revision=COMPACTED, physical=True)
        assert ask(feed, compaction) == await asyncio.to_thread(etcd, compaction)
        ours = await listen_to_machine(feed)
        theirs = await asyncio.to_thread(listen_to_etcd, etcd.channel, ours)
        etcd.channel.close()
        assert len(ours.events[0]) > 150
        assert ours.created == theirs.created
        assert ours.canceled == theirs.canceled
        assert ours.events == theirs.events
