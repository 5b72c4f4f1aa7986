"""Reads that all show one revision."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeVar, cast

from quartet_server.meta import ops
from quartet_server.meta.recent import Kept, Recent
from raftmeta.errors import Fault, MetastoreError
from raftmeta.etcd import kv_pb2
from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.metastore import Metastore

KeyValue = kv_pb2.KeyValue
Decoded = TypeVar("Decoded")


class Snapshot:
    """The store at one revision: the first read fixes it, the others follow without a quorum round.

    Attributes:
        revision: The revision shown; 0 until the first read when none was asked for.
        hopeful: It was to take what this node has for the newest: what it shows, and what is missing from it, is only believed when
            comparisons say so.
    """

    def __init__(
        self, store: Metastore, *, serializable: bool = False, revision: int = 0, recent: Recent | None = None
    ) -> None:
        """Show `revision`, or the newest one; `serializable` takes what this node has for the newest.

        With `recent` what `decoded` reads is kept there, and not read again; that of the past neither way.
        """
        self._store = store
        self._recent = recent if not revision else None
        self._serializable = serializable or revision > 0
        self.hopeful = serializable
        self.revision = revision

    async def get(self, keys: Sequence[bytes]) -> dict[bytes, KeyValue]:
        """Read any number of keys; those that do not exist are missing from the answer.

        Raises MetastoreError: COMPACTED, FUTURE_REVISION, and what a read that cannot be served raises.
        """
        if len(keys) <= ops.LIMIT:
            return await self._get(keys) if keys else {}
        chunks = [keys[i : i + ops.LIMIT] for i in range(0, len(keys), ops.LIMIT)]
        found = {} if self.revision else await self._get(chunks.pop(0))
        for part in await asyncio.gather(*(self._get(chunk) for chunk in chunks)):
            found.update(part)
        return found

    async def fix(self) -> None:
        """Fix the revision, where that takes no read. Raises MetastoreError."""
        if self._recent is not None and not self.revision:
            if not self._serializable:
                await self._recent.confirmed()
            self._seen(self._recent.revision)

    def recall(self, key: bytes) -> Kept | None:
        """Return what `decoded` would tell of a key, if it need not be read for that; None too before the first read."""
        return self._recent.find(key, self.revision) if self._recent is not None and self.revision else None

    async def decoded(self, keys: Sequence[bytes], decode: Callable[[KeyValue], Decoded]) -> dict[bytes, Decoded]:
        """Read and decode any number of keys, for all to use and nobody to change. Raises as `get`.

        All who ask for a key name the same function.
        """
        await self.fix()
        values: dict[bytes, Decoded] = {}
        unknown = []
        for key in keys:
            kept = self.recall(key)
            if kept is None:
                unknown.append(key)
            elif kept.value is not None:
                values[key] = cast("Decoded", kept.value)
        return values | await self.fetched(unknown, decode) if unknown else values

    async def fetched(self, keys: Sequence[bytes], decode: Callable[[KeyValue], Decoded]) -> dict[bytes, Decoded]:
        """Do as `decoded` with keys of which `recall` knows nothing. Raises as `get`."""
        found = await self.get(keys)
        values = {key: decode(kv) for key, kv in found.items()}
        if self._recent is not None:
            for key in keys:
                kv = found.get(key)
                since = self.revision if kv is None else kv.mod_revision
                self._recent.keep(key, values.get(key), since, self.revision)
        return values

    async def scan(
        self, start: bytes, end: bytes, limit: int = 0, *, keys_only: bool = False, count_only: bool = False
    ) -> pb.RangeResponse:
        """Read the keys from `start` up to but not including `end`, in order; `limit` 0 for all. Raises as `get`."""
        request = pb.RangeRequest(
            key=start,
            range_end=end,
            limit=limit,
            keys_only=keys_only,
            count_only=count_only,
            revision=self.revision,
            serializable=self._serializable,
        )
        try:
            answer = await self._store.range(request)
        except MetastoreError as error:
            if error.fault is not Fault.FUTURE_REVISION or not self._serializable:
                raise
            request.serializable = False
            answer = await self._store.range(request)
        self._seen(answer.header.revision)
        return answer

    async def _get(self, keys: Sequence[bytes]) -> dict[bytes, KeyValue]:
        if len(keys) == 1:
            one = await self.scan(keys[0], b"")
            return {kv.key: kv for kv in one.kvs}
        request = self._reads(keys, serializable=self._serializable)
        try:
            answer = await self._store.txn(request)
        except MetastoreError as error:
            if error.fault is not Fault.FUTURE_REVISION or not self._serializable:
                raise
            # Another member answers than before, and it lags: a quorum round makes it catch up.
            answer = await self._store.txn(self._reads(keys, serializable=False))
        self._seen(answer.header.revision)
        return {kv.key: kv for response in answer.responses for kv in response.response_range.kvs}

    def _reads(self, keys: Sequence[bytes], *, serializable: bool) -> pb.TxnRequest:
        revision = self.revision
        return pb.TxnRequest(
            success=[
                pb.RequestOp(request_range=pb.RangeRequest(key=key, revision=revision, serializable=serializable))
                for key in keys
            ]
        )

    def _seen(self, revision: int) -> None:
        if not self.revision:
            self.revision = revision
            self._serializable = True
