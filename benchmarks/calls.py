"""The unary operations that clients repeat; each checks its answer."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

from channels import CALL_SECONDS, Clients
from loops import Call

from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.etcd.rpc_pb2_grpc import LeaseStub

GROUPS, GROUP = 100, 100
KEYS = [b"bench/%03d/%03d" % (group, i) for group in range(GROUPS) for i in range(GROUP)]
VALUE = b"v" * 100
PREPARED = 200
LONG_TTL = 3600


def put(clients: Clients, keys: Sequence[bytes] = KEYS, value: bytes = VALUE) -> Call:
    """Overwrite a key."""

    async def call(number: int, dice: random.Random) -> None:
        await clients.kv().Put(pb.PutRequest(key=dice.choice(keys), value=value), timeout=CALL_SECONDS)

    return call


def txn(clients: Clients) -> Call:
    """Overwrite a hundred keys at once. Requests are made before the clock starts: making one costs what a call does."""
    dice = random.Random(0)
    requests = [
        pb.TxnRequest(
            success=[pb.RequestOp(request_put=pb.PutRequest(key=key, value=VALUE)) for key in dice.sample(KEYS, GROUP)]
        )
        for _ in range(PREPARED)
    ]

    async def call(number: int, dice: random.Random) -> None:
        answer = await clients.kv().Txn(dice.choice(requests), timeout=CALL_SECONDS)
        assert len(answer.responses) == GROUP, "a transaction answered less than it was asked"

    return call


def compare_and_set(clients: Clients) -> Call:
    """Overwrite the worker's own key if it still has the revision of the worker's last write."""
    revisions: dict[int, int] = {}

    async def call(number: int, dice: random.Random) -> None:
        key = b"bench/cas/%03d" % number
        condition = pb.Compare(target=pb.Compare.MOD, key=key, mod_revision=revisions.pop(number, -1))
        request = pb.TxnRequest(
            compare=[condition],
            success=[pb.RequestOp(request_put=pb.PutRequest(key=key, value=VALUE))],
            failure=[pb.RequestOp(request_put=pb.PutRequest(key=key, value=b"first"))],
        )
        expected = condition.mod_revision != -1
        answer = await clients.kv().Txn(request, timeout=CALL_SECONDS)
        revisions[number] = answer.header.revision
        assert answer.succeeded or not expected, "a comparison failed though nobody else writes the key"

    return call


def ranged(clients: Clients, keys: Sequence[bytes] = KEYS, *, serializable: bool) -> Call:
    """Read a key."""

    async def call(number: int, dice: random.Random) -> None:
        request = pb.RangeRequest(key=dice.choice(keys), serializable=serializable)
        answer = await clients.kv().Range(request, timeout=CALL_SECONDS)
        assert answer.count == 1, "a key is missing"

    return call


def serializable(clients: Clients) -> Call:
    """Read a key from whichever member is asked."""
    return ranged(clients, serializable=True)


def linearizable(clients: Clients) -> Call:
    """Read a key with the majority's word that it is the latest."""
    return ranged(clients, serializable=False)


def prefix(clients: Clients) -> Call:
    """Read a hundred keys of one prefix."""

    async def call(number: int, dice: random.Random) -> None:
        start = b"bench/%03d/" % dice.randrange(GROUPS)
        answer = await clients.kv().Range(pb.RangeRequest(key=start, range_end=start[:-1] + b"0"), timeout=CALL_SECONDS)
        assert len(answer.kvs) == GROUP, "keys are missing"

    return call


def scan(clients: Clients) -> Call:
    """Read a thousand keys from somewhere on."""

    async def call(number: int, dice: random.Random) -> None:
        start = b"bench/%03d/" % dice.randrange(GROUPS - 10)
        request = pb.RangeRequest(key=start, range_end=b"bench0", limit=10 * GROUP)
        answer = await clients.kv().Range(request, timeout=CALL_SECONDS)
        assert len(answer.kvs) == 10 * GROUP, "keys are missing"

    return call


def mixed(clients: Clients) -> Call:
    """Read a key with the majority's word four times out of five, else overwrite one."""
    read, write = linearizable(clients), put(clients)

    async def call(number: int, dice: random.Random) -> None:
        await (read if dice.random() < 0.8 else write)(number, dice)

    return call


def grant(clients: Clients, granted: list[int]) -> Call:
    """Grant a lease of an hour and note its id."""
    stubs = [LeaseStub(channel) for channel in clients.channels]

    async def call(number: int, dice: random.Random) -> None:
        answer = await dice.choice(stubs).LeaseGrant(pb.LeaseGrantRequest(TTL=LONG_TTL), timeout=CALL_SECONDS)
        granted.append(answer.ID)

    return call


async def revoke(clients: Clients, granted: list[int], workers: int = 64) -> None:
    """Revoke the leases noted. Raises AioRpcError."""
    stubs = [LeaseStub(channel) for channel in clients.channels]

    async def some(number: int) -> None:
        while granted:
            request = pb.LeaseRevokeRequest(ID=granted.pop())
            await stubs[number % len(stubs)].LeaseRevoke(request, timeout=CALL_SECONDS)

    await asyncio.gather(*(some(number) for number in range(workers)))
