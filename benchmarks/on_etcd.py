"""The same tree on etcd, without a server in between: FileService's keys, records and comparisons in etcd's own calls.

The client remembers its directories, as a server of files would: a write compares the remembered entry in its transaction, a
read reads it again beside the name. So a create is one round trip, a stat, a rename and a removal are two.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from channels import CALL_SECONDS, Clients
from quartet_server.files import keys, records
from quartet_server.files.steps import Step
from quartet_server.meta import ops
from systems import System
from trees import INODE, PAGE, Tree, split

from raftmeta.etcd import rpc_pb2 as pb

ZONE = "default"
PER_TXN = ops.LIMIT // 3


class OnEtcd(Tree):
    """Calls go round robin over the members."""

    def __init__(self, system: System) -> None:
        """Use the members of `system`."""
        self._clients = Clients(system)
        self._inos = itertools.count(2)
        self._directories: dict[str, Step] = {}

    async def close(self) -> None:
        """See Tree."""
        await self._clients.aclose()

    async def _txn(self, request: pb.TxnRequest) -> pb.TxnResponse:
        answer = await self._clients.kv().Txn(request, timeout=CALL_SECONDS)
        assert answer.succeeded, "a comparison failed"
        return answer

    async def _steps(self, directory: Step, names: Sequence[str]) -> list[Step]:
        """Look names up in a directory, and see that it is where it was."""
        wanted = [directory.key, *(keys.dentry(ZONE, directory.ino, name.encode()) for name in names)]
        answer = await self._txn(pb.TxnRequest(success=[ops.get(key) for key in wanted]))
        first, *rest = [Step.of(each.response_range.kvs[0]) for each in answer.responses]
        assert first.ino == directory.ino, "the directory was moved"
        return rest

    async def mkdir(self, directory: str) -> None:
        """See Tree."""
        name, ino = directory[1:], next(self._inos)
        inode = records.new_inode(records.DIRECTORY, INODE.attributes, INODE.create_time)
        absent = ops.absent(keys.dentry(ZONE, keys.ROOT, name.encode()))
        writes = records.writes(ZONE, keys.ROOT, name.encode(), name, ino, inode)
        done = await self._txn(pb.TxnRequest(compare=[absent], success=writes))
        self._directories[directory] = Step(absent.key, ino, records.DIRECTORY, done.header.revision, name)

    async def create(self, path: str) -> None:
        """See Tree."""
        await self.create_many([path])

    async def create_many(self, paths: Sequence[str]) -> None:
        """See Tree."""
        directory = self._directories[split(paths[0])[0]]
        for start in range(0, len(paths), PER_TXN):
            request = pb.TxnRequest(compare=[directory.compare()])
            for path in paths[start : start + PER_TXN]:
                name = split(path)[1]
                request.compare.append(ops.absent(keys.dentry(ZONE, directory.ino, name.encode())))
                request.success.extend(
                    records.writes(ZONE, directory.ino, name.encode(), name, next(self._inos), INODE)
                )
            await self._txn(request)

    async def stat(self, path: str) -> None:
        """See Tree."""
        await self.stat_many([path])

    async def stat_many(self, paths: Sequence[str]) -> None:
        """See Tree."""
        directory = self._directories[split(paths[0])[0]]
        for start in range(0, len(paths), ops.LIMIT - 1):
            steps = await self._steps(directory, [split(path)[1] for path in paths[start : start + ops.LIMIT - 1]])
            answer = await self._txn(pb.TxnRequest(success=[ops.get(keys.inode(ZONE, step.ino)) for step in steps]))
            for each in answer.responses:
                assert INODE.FromString(each.response_range.kvs[0].value).attributes.owner == INODE.attributes.owner

    async def list(self, directory: str) -> int:
        """See Tree."""
        prefix = keys.dentry(ZONE, self._directories[directory].ino, b"")
        request = pb.RangeRequest(key=prefix, range_end=ops.prefix_end(prefix), limit=PAGE)
        answer = await self._clients.kv().Range(request, timeout=CALL_SECONDS)
        return len([Step.of(kv) for kv in answer.kvs])

    async def rename(self, source: str, destination: str) -> None:
        """See Tree."""
        (old, was), (new, name) = split(source), split(destination)
        parents = {self._directories[old], self._directories[new]}
        [step] = await self._steps(self._directories[old], [was])
        ino, key = self._directories[new].ino, name.encode()
        compares = [*(each.compare() for each in parents), step.compare(), ops.absent(keys.dentry(ZONE, ino, key))]
        moved = records.writes(ZONE, ino, key, name, step.ino, INODE)[1:]  # the entry and the parent pointer
        await self._txn(pb.TxnRequest(compare=compares, success=[ops.delete(step.key), *moved]))

    async def remove(self, path: str) -> None:
        """See Tree."""
        directory, name = split(path)
        parent = self._directories[directory]
        [step] = await self._steps(parent, [name])
        operations = [ops.delete(step.key), *records.erase(ZONE, step.ino)]
        await self._txn(pb.TxnRequest(compare=[parent.compare(), step.compare()], success=operations))
