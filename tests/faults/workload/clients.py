"""Clients of the key-value API: every kind of read and write on few keys, so that they get in each other's way."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator

from faults.workload.calling import Caller

from raftmeta.etcd import kv_pb2
from raftmeta.etcd import rpc_pb2 as pb

GROUPS = 5
"""Sets of keys that no request connects: a search for an order looks at one after the other."""
KEYS = 3
"""Keys of a group that are written again and again."""


def key_of(group: int, number: int) -> bytes:
    """One of the keys of a group."""
    return b"k%d/%d" % (group, number)


def prefix_of(group: int) -> tuple[bytes, bytes]:
    """The range of all keys of a group."""
    return b"k%d/" % group, b"k%d0" % group


class KeyValueClient:
    """Draws operations and makes them, one after the other; every value written is unique."""

    def __init__(self, caller: Caller) -> None:
        """Use the connections of `caller`."""
        self._caller = caller
        self._dice = caller.dice
        self._serial = itertools.count()
        self._group = 0
        self._seen: dict[bytes, kv_pb2.KeyValue | None] = {}

    async def steps(self) -> AsyncIterator[None]:
        """Make one operation per step, for ever."""
        kinds = {
            self._put: 20, self._get: 22, self._get_here: 8, self._get_past: 4, self._list: 10, self._delete: 6,
            self._swap: 16, self._transact: 12, self._once: 5,
        }  # fmt: skip
        while True:
            self._group = self._dice.randrange(GROUPS)
            [kind] = self._dice.choices(list(kinds), list(kinds.values()))
            await kind()
            yield

    def _value(self) -> bytes:
        return b"%s-%d" % (self._caller.name.encode(), next(self._serial))

    def _key(self) -> bytes:
        return key_of(self._group, self._dice.randrange(KEYS))

    async def _put(self) -> None:
        previous = self._dice.random() < 0.3
        await self._caller.call(pb.PutRequest(key=self._key(), value=self._value(), prev_kv=previous))

    async def _delete(self) -> None:
        request = pb.DeleteRangeRequest(key=self._key(), prev_kv=self._dice.random() < 0.5)
        if self._dice.random() < 0.1:
            request.range_end = key_of(self._group, KEYS)
        await self._caller.call(request)

    async def _get(self) -> None:
        await self._read(pb.RangeRequest(key=self._key()))

    async def _get_here(self) -> None:
        await self._read(pb.RangeRequest(key=self._key(), serializable=True))

    async def _get_past(self) -> None:
        """Read a group as it was when this client last saw a key of it; perhaps that is compacted."""
        key, end = prefix_of(self._group)
        known = [kv.mod_revision for name, kv in self._seen.items() if kv is not None and key <= name < end]
        if known:
            past = self._dice.choice(known)
            here = self._dice.random() < 0.3
            await self._caller.call(pb.RangeRequest(key=key, range_end=end, revision=past, serializable=here))

    async def _list(self) -> None:
        key, end = prefix_of(self._group)
        await self._read(pb.RangeRequest(key=key, range_end=end, serializable=self._dice.random() < 0.2))

    async def _read(self, request: pb.RangeRequest) -> None:
        answer = await self._caller.call(request)
        if isinstance(answer, pb.RangeResponse):
            if not request.range_end:
                self._seen[request.key] = None
            self._seen.update((kv.key, kv) for kv in answer.kvs)

    async def _swap(self) -> None:
        """Compare-and-set on what this client saw last, else what it finds."""
        key = self._key()
        swap = pb.TxnRequest(compare=[self._unchanged(key)])
        swap.success.add().request_put.CopyFrom(pb.PutRequest(key=key, value=self._value()))
        swap.failure.add().request_range.key = key
        answer = await self._caller.call(swap)
        if isinstance(answer, pb.TxnResponse) and not answer.succeeded:
            found = answer.responses[0].response_range.kvs
            self._seen[key] = found[0] if found else None

    def _unchanged(self, key: bytes) -> pb.Compare:
        known = self._seen.get(key)
        if known is not None and self._dice.random() < 0.5:
            return pb.Compare(key=key, target=pb.Compare.VALUE, result=pb.Compare.EQUAL, value=known.value)
        revision = known.mod_revision if known is not None else 0
        return pb.Compare(key=key, target=pb.Compare.MOD, result=pb.Compare.EQUAL, mod_revision=revision)

    async def _transact(self) -> None:
        """Write some keys, read and delete others, all at one revision."""
        keys = [key_of(self._group, number) for number in self._dice.sample(range(KEYS), KEYS)]
        request = pb.TxnRequest()
        for key in keys[: self._dice.randint(1, KEYS - 1)]:
            request.success.add().request_put.CopyFrom(pb.PutRequest(key=key, value=self._value()))
        if self._dice.random() < 0.3:
            request.success.add().request_delete_range.key = keys[-1]
        key, end = prefix_of(self._group)
        request.success.add().request_range.CopyFrom(pb.RangeRequest(key=key, range_end=end))
        await self._caller.call(request)

    async def _once(self) -> None:
        """Write under a request id, which makes it safe to ask again: what is not answered is repeated."""
        identity = b"id-" + self._value()
        mark = b"k%d/%s" % (self._group, identity)
        request = pb.TxnRequest(
            compare=[pb.Compare(key=mark, target=pb.Compare.CREATE, result=pb.Compare.EQUAL, create_revision=0)]
        )
        request.success.add().request_put.CopyFrom(pb.PutRequest(key=mark, value=b"done"))
        request.success.add().request_put.CopyFrom(pb.PutRequest(key=self._key(), value=self._value()))
        request.failure.add().request_range.key = mark
        await self._caller.surely(request, identity, attempts=8)
