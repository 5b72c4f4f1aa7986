"""Clients with leases: granted, hung on keys, renewed for a while, then revoked or left to end."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator

from faults.workload.calling import Caller

from raftmeta.etcd import rpc_pb2 as pb


class LeaseClient:
    """One lease after the other, each with keys of its own."""

    def __init__(self, caller: Caller) -> None:
        """Use the connections of `caller`."""
        self._caller = caller
        self._serial = itertools.count()

    async def steps(self) -> AsyncIterator[None]:
        """Live with one lease per step."""
        while True:
            dice, call = self._caller.dice, self._caller.call
            ttl = dice.choice([2, 3, 4])
            granted = await call(pb.LeaseGrantRequest(TTL=ttl))
            if isinstance(granted, pb.LeaseGrantResponse) and granted.ID:
                for _ in range(dice.randint(1, 2)):
                    value = b"%s-%d" % (self._caller.name.encode(), next(self._serial))
                    await call(pb.PutRequest(key=b"l/" + value, value=value, lease=granted.ID))
                for _ in range(dice.randint(0, 6)):
                    await asyncio.sleep(ttl * dice.uniform(0.1, 0.5))
                    answer = await call(pb.LeaseKeepAliveRequest(ID=granted.ID))
                    if isinstance(answer, pb.LeaseKeepAliveResponse) and answer.TTL == 0:
                        break
                if dice.random() < 0.3:
                    await call(pb.LeaseRevokeRequest(ID=granted.ID))
                elif dice.random() < 0.5:
                    await asyncio.sleep(ttl)
            yield
