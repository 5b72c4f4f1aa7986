"""Appends to one file that wait for each other on one node: those that wait at the same time are one transaction."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace

from quartet.files.v1 import files_pb2 as pb

from quartet_server.errors import FieldInvalid, IsADirectory, QuartetError
from quartet_server.files import paths, principals
from quartet_server.files.contents.body import NOTHING
from quartet_server.files.contents.contents import Contents
from quartet_server.files.contents.target import OVERWRITE, UPSERT, Target, inode_of, own_attributes, placed
from quartet_server.files.paths import Path
from quartet_server.files.resolve import Resolver
from quartet_server.files.tree import Tree
from quartet_server.files.writing import write
from quartet_server.meta import ops
from quartet_server.meta.ledger import Claim
from quartet_server.meta.mutation import Plan
from quartet_server.meta.snapshot import Snapshot
from raftmeta.errors import Fault, MetastoreError
from raftmeta.etcd import rpc_pb2

TOGETHER = 32
"""Appends of one transaction."""
_BYTES = 4 << 20
"""Bytes they add together, the first aside."""
_ATTEMPTS = 3
"""How often they are tried together: from what this node has, in the turn of their quotas, and from what is true."""
_Line = tuple[str, str, tuple[bytes, ...], bool]


@dataclass(eq=False, slots=True)
class _Waiting:
    """An append that waits for its turn, or for the one that took it along.

    Attributes:
        request: What is asked for.
        claim: Its request id.
        done: What it is told: the answer with its revision set, or an error.
        taken: Another one's turn sees to it.
    """

    request: pb.AppendRequest
    claim: Claim | None
    done: asyncio.Future[pb.AppendResponse | Exception] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    taken: bool = False


class Appends:
    """Carries out the appends of one node.

    Those to one file go one after the other, in the order in which they came. Whoever's turn it is takes along what
    waits behind him and demands nothing that the others would have to fail for: one body, one inode, one transaction,
    with the record of every request id. When that does not succeed, each is done alone.
    """

    def __init__(self, tree: Tree, contents: Contents) -> None:
        """Append to files of `tree`."""
        self._tree = tree
        self._contents = contents
        self._lines: dict[_Line, list[_Waiting]] = {}
        self._at_work: set[asyncio.Task[None]] = set()

    async def append(self, zone: str, request: pb.AppendRequest, claim: Claim | None) -> pb.AppendResponse:
        """Add bytes at the end of a file: exactly there, since the inode they were added to is compared."""
        path = file_path(request.path)
        if request.HasField("attributes"):
            if not request.create:
                raise FieldInvalid.of("attributes", "are for a file that is created")
            own_attributes(request.attributes, "attributes")
        await self._tree.ensure(zone)
        if request.if_match or request.if_none_match or request.fence.ByteSize():
            async with self._tree.mutator.gates.passed([turn(zone, path)]):
                return await self._alone(zone, path, request, claim)
        line = (zone, principals.current(), path.keys, request.create)
        one = _Waiting(request, claim)
        self._lines.setdefault(line, []).append(one)
        try:
            async with self._tree.mutator.gates.passed([turn(zone, path)]):
                while not one.taken:
                    await self._lead(zone, path, self._take(line))
        finally:
            if not one.taken:  # cancelled while it waited
                self._leave(line, one)
        told = await one.done
        if isinstance(told, Exception):
            raise told
        return told

    def _take(self, line: _Line) -> list[_Waiting]:
        """Return who goes together now: the first, and those behind as far as they fit."""
        waiting = self._lines[line]
        count, room = 1, _BYTES
        while count < min(len(waiting), TOGETHER) and (room := room - len(waiting[count].request.data)) >= 0:
            count += 1
        some = waiting[:count]
        for one in some:
            one.taken = True
            self._leave(line, one)
        return some

    def _leave(self, line: _Line, one: _Waiting) -> None:
        waiting = self._lines[line]
        waiting.remove(one)
        if not waiting:
            del self._lines[line]

    async def _lead(self, zone: str, path: Path, some: list[_Waiting]) -> None:
        """Carry out what goes together; to the end, even if who leads is cancelled: the others still wait."""
        task = asyncio.get_running_loop().create_task(self._carry_out(zone, path, some))
        self._at_work.add(task)
        task.add_done_callback(self._at_work.discard)
        await asyncio.shield(task)

    async def _carry_out(self, zone: str, path: Path, some: list[_Waiting]) -> None:
        try:
            done = await self._together(zone, path, some) if len(some) > 1 else False
        except Exception as error:  # noqa: BLE001 - it may have happened: each is told, and may ask again
            for one in some:
                _tell(one, error)
            return
        if done:
            return
        for one in some:
            try:
                _tell(one, await self._alone(zone, path, one.request, one.claim))
            except Exception as error:  # noqa: BLE001 - it is the caller's
                _tell(one, error)

    async def _alone(self, zone: str, path: Path, request: pb.AppendRequest, claim: Claim | None) -> pb.AppendResponse:
        async def build(snapshot: Snapshot) -> Plan[pb.AppendResponse]:
            plan, offset = await self._plan(zone, path, request, request.data, snapshot)
            answer = pb.AppendResponse(entry=plan.answer, offset=offset)
            return Plan(answer, plan.compares, plan.operations, plan.gates, plan.counts, plan.counted)

        answer, revision = await write(self._tree, zone, request, pb.AppendResponse, build, claim)
        answer.entry.revision = revision
        return answer

    async def _together(self, zone: str, path: Path, some: list[_Waiting]) -> bool:
        """Try to append all at once; tell each, or return False when nothing happened. Raises MetastoreError."""
        data = b"".join(one.request.data for one in some)
        gates: list[bytes] = []
        for attempt in range(_ATTEMPTS):
            async with self._tree.mutator.gates.passed(gates):
                snapshot = self._tree.snapshot(serializable=attempt == 0)
                try:
                    plan, offset = await self._plan(zone, path, some[0].request, data, snapshot)
                except QuartetError:
                    continue
                if not set(gates).issuperset(plan.gates):
                    gates = [*gates, *plan.gates]
                    continue
                if await self._commit(plan, offset, some):
                    return True
        return False

    async def _commit(self, plan: Plan[pb.Entry], offset: int, some: list[_Waiting]) -> bool:
        compares, operations = plan.counted
        request = rpc_pb2.TxnRequest(compare=[*plan.compares, *compares], success=[*plan.operations, *operations])
        lease = await self._tree.lease.current() if any(one.claim is not None for one in some) else 0
        answers = []
        for one in some:
            answers.append(pb.AppendResponse(entry=plan.answer, offset=offset))
            offset += len(one.request.data)
            if one.claim is not None:
                request.compare.append(ops.absent(one.claim.key))
                value = one.claim.value(answers[-1].SerializeToString())
                request.success.append(ops.put(one.claim.key, value, lease))
        if max(len(request.compare), len(request.success)) > ops.LIMIT:
            return False
        try:
            response = await self._tree.store.txn(request)
        except MetastoreError as error:
            if error.fault not in (Fault.LEASE_NOT_FOUND, Fault.DUPLICATE_KEY):  # two with one request id
                raise
            if error.fault is Fault.LEASE_NOT_FOUND:
                self._tree.lease.lost(lease)
            return False
        if response.succeeded:
            for one, answer in zip(some, answers, strict=True):
                answer.entry.revision = response.header.revision
                _tell(one, answer)
        return response.succeeded

    async def _plan(
        self, zone: str, path: Path, request: pb.AppendRequest, data: bytes, snapshot: Snapshot
    ) -> tuple[Plan[pb.Entry], int]:
        """Plan that `data` is added as the request says; return also where it begins."""
        mode = UPSERT if request.create else OVERWRITE
        attributes = request.attributes if request.HasField("attributes") else None
        walk = await Resolver(zone, snapshot).walk(path)
        inode, revision = await inode_of(zone, walk, snapshot)
        target = Target(path, attributes if inode is None else None, mode, request.if_match, request.if_none_match)
        target.met_by(walk, inode)
        before = NOTHING if inode is None else await self._contents.load(zone, path, inode)
        if not before.chunks:
            before = replace(before, store=walk.mount)
        body = await self._contents.extended(zone, path, before, data)
        content = await self._contents.refer(zone, body)
        plan = await placed(
            self._tree,
            zone,
            snapshot,
            walk,
            (inode, revision),
            lambda inode, now: target.settle(inode, body, content, now),
        )
        return plan, before.size


def _tell(one: _Waiting, told: pb.AppendResponse | Exception) -> None:
    if not one.done.done():
        one.done.set_result(told)


def turn(zone: str, path: Path) -> bytes:
    """Return the gate at which this node's changes of one file wait for each other."""
    return zone.encode() + b"\0" + b"/".join(path.keys)


def file_path(text: str) -> Path:
    """Return the path of a file to be changed. Raises PathInvalid, IsADirectory."""
    path = paths.parse(text)
    if path.is_root:
        raise IsADirectory("/ is a directory", path="/")
    return path
