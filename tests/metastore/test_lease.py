"""Leases: their life, their keys and what is refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from harness.watching import WatchStream

from raftmeta.errors import Fault, MetastoreError
from raftmeta.etcd import kv_pb2
from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.metastore import Metastore

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def _keep_alive(store: Metastore, *ids: int) -> list[tuple[int, int]]:
    async def requests() -> AsyncIterator[pb.LeaseKeepAliveRequest]:
        for lease in ids:
            yield pb.LeaseKeepAliveRequest(ID=lease)

    async with asyncio.timeout(20):
        return [(answer.ID, answer.TTL) async for answer in store.lease_keep_alive(requests())]


async def test_a_lease_is_granted_listed_renewed_and_revoked(metastore: Metastore) -> None:
    before = (await metastore.range(pb.RangeRequest(key=b"x"))).header.revision
    granted = await metastore.lease_grant(pb.LeaseGrantRequest(TTL=300))
    assert granted.ID > 0
    assert (granted.TTL, granted.error) == (300, "")
    assert granted.header.revision == before
    assert granted.ID in [lease.ID for lease in (await metastore.lease_leases(pb.LeaseLeasesRequest())).leases]
    assert await _keep_alive(metastore, granted.ID, granted.ID) == [(granted.ID, 300)] * 2
    lives = await metastore.lease_time_to_live(pb.LeaseTimeToLiveRequest(ID=granted.ID))
    assert (lives.ID, lives.grantedTTL, list(lives.keys)) == (granted.ID, 300, [])
    assert 290 <= lives.TTL <= 300
    revoked = await metastore.lease_revoke(pb.LeaseRevokeRequest(ID=granted.ID))
    assert revoked.header.revision == before
    assert granted.ID not in [lease.ID for lease in (await metastore.lease_leases(pb.LeaseLeasesRequest())).leases]


async def test_keys_belong_to_their_lease_and_go_with_it_in_one_revision(metastore: Metastore) -> None:
    lease = (await metastore.lease_grant(pb.LeaseGrantRequest(TTL=300))).ID
    for key in (b"b", b"a", b"c"):
        last = await metastore.put(pb.PutRequest(key=key, lease=lease))
    await metastore.put(pb.PutRequest(key=b"c"))
    lives = await metastore.lease_time_to_live(pb.LeaseTimeToLiveRequest(ID=lease, keys=True))
    assert sorted(lives.keys) == [b"a", b"b"]
    async with WatchStream(metastore) as stream:
        await stream.created(b"\0", b"\0")
        revoked = await metastore.lease_revoke(pb.LeaseRevokeRequest(ID=lease))
        events = await stream.events(2)
    assert revoked.header.revision == last.header.revision + 2
    assert [(e.type, e.kv.key, e.kv.mod_revision) for e in events] == [
        (kv_pb2.Event.DELETE, b"a", revoked.header.revision),
        (kv_pb2.Event.DELETE, b"b", revoked.header.revision),
    ]
    assert [kv.key for kv in (await metastore.range(pb.RangeRequest(key=b"\0", range_end=b"\0"))).kvs] == [b"c"]


async def test_an_expired_lease_takes_its_keys_along(metastore: Metastore) -> None:
    granted = await metastore.lease_grant(pb.LeaseGrantRequest(TTL=1))
    assert granted.TTL == 2
    await metastore.put(pb.PutRequest(key=b"k", lease=granted.ID))
    async with WatchStream(metastore) as stream:
        await stream.created(b"k")
        event = (await stream.events(1))[0]
    assert (event.type, event.kv.key) == (kv_pb2.Event.DELETE, b"k")
    assert await _keep_alive(metastore, granted.ID) == [(granted.ID, 0)]


async def test_a_renewed_lease_outlives_its_first_term(metastore: Metastore) -> None:
    lease = (await metastore.lease_grant(pb.LeaseGrantRequest(TTL=2))).ID
    other = (await metastore.lease_grant(pb.LeaseGrantRequest(TTL=2))).ID
    await metastore.put(pb.PutRequest(key=b"kept", lease=lease))
    await metastore.put(pb.PutRequest(key=b"lost", lease=other))
    async with WatchStream(metastore) as stream:
        await stream.created(b"lost")
        expired = asyncio.ensure_future(stream.events(1))
        while not expired.done():
            assert await _keep_alive(metastore, lease) == [(lease, 2)]
            await asyncio.wait([expired], timeout=0.5)
        await expired
    assert (await metastore.range(pb.RangeRequest(key=b"kept"))).count == 1
    await metastore.lease_revoke(pb.LeaseRevokeRequest(ID=lease))


@pytest.mark.parametrize("ttl", [0, -5, 1, 2])
async def test_a_short_ttl_is_raised_to_the_minimum(metastore: Metastore, ttl: int) -> None:
    granted = await metastore.lease_grant(pb.LeaseGrantRequest(TTL=ttl))
    assert granted.TTL == 2


async def test_a_lease_that_is_gone_answers_without_an_error(metastore: Metastore) -> None:
    lives = await metastore.lease_time_to_live(pb.LeaseTimeToLiveRequest(ID=424242, keys=True))
    assert (lives.ID, lives.TTL, lives.grantedTTL, list(lives.keys)) == (424242, -1, 0, [])
    assert await _keep_alive(metastore, 424242) == [(424242, 0)]


async def test_lease_requests_are_refused_with_their_reason(metastore: Metastore) -> None:
    lease = (await metastore.lease_grant(pb.LeaseGrantRequest(TTL=60, ID=7007))).ID
    assert lease == 7007
    calls = [
        (metastore.lease_grant(pb.LeaseGrantRequest(TTL=60, ID=7007)), Fault.LEASE_EXISTS),
        (metastore.lease_grant(pb.LeaseGrantRequest(TTL=9_000_000_001)), Fault.LEASE_TTL_TOO_LARGE),
        (metastore.lease_revoke(pb.LeaseRevokeRequest(ID=424242)), Fault.LEASE_NOT_FOUND),
    ]
    for call, fault in calls:
        with pytest.raises(MetastoreError) as refused:
            await call
        assert (refused.value.fault, refused.value.code, refused.value.text) == (fault, fault.code, fault.text)
    await metastore.lease_revoke(pb.LeaseRevokeRequest(ID=7007))
