"""LoadConfig: each declaration of a document made true, in a transaction of its own."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace

from quartet.workspaces.v1 import workspaces_pb2 as pb

from quartet_server.errors import FileNotFound, QuartetError
from quartet_server.meta.ledger import Claim
from quartet_server.meta.mutation import Plan
from quartet_server.meta.snapshot import Snapshot
from quartet_server.workspaces.records import Declaration
from quartet_server.workspaces.registry import Found, Registry
from raftmeta.metastore import Metastore

_AT_ONCE = 8
ADDED, CHANGED = pb.CONFIG_OUTCOME_ADDED, pb.CONFIG_OUTCOME_CHANGED
UNCHANGED, FAILED = pb.CONFIG_OUTCOME_UNCHANGED, pb.CONFIG_OUTCOME_FAILED


@dataclass(frozen=True, slots=True)
class Loading:
    """One run of LoadConfig.

    Attributes:
        store: Where it reads.
        registry: What it changes.
        zone: The caller's.
        dry: Whether nothing is to be done.
        claim: The request's id; each declaration is a part of it.
    """

    store: Metastore
    registry: Registry
    zone: str
    dry: bool
    claim: Claim | None

    async def run(self, declared: list[Declaration]) -> pb.LoadConfigResponse:
        """Make declarations true, a few at a time; one that cannot be made is told. Raises MetastoreError."""
        answer = pb.LoadConfigResponse()
        for i in range(0, len(declared), _AT_ONCE):
            some = [self._one(i + j, wanted) for j, wanted in enumerate(declared[i : i + _AT_ONCE])]
            for outcome in await asyncio.gather(*some, return_exceptions=True):
                if isinstance(outcome, BaseException):
                    raise outcome
                answer.results.append(outcome)
        outcomes = [result.outcome for result in answer.results]
        answer.added, answer.changed = outcomes.count(ADDED), outcomes.count(CHANGED)
        answer.unchanged, answer.failed = outcomes.count(UNCHANGED), outcomes.count(FAILED)
        return answer

    async def _one(self, number: int, wanted: Declaration) -> pb.ConfigResult:
        async def build(snapshot: Snapshot) -> Plan[pb.ConfigResult]:
            return await self._plan(snapshot, wanted)

        try:
            if self.dry:
                return await self._foreseen(wanted)
            if wanted.create and (await self._foreseen(wanted)).outcome != UNCHANGED:
                await self.registry.places.make(self.zone, wanted.path)
            claim = self.claim and replace(self.claim, key=self.claim.key + b"\0%08d" % number)
            return (await self.registry.places.mutator.run(pb.ConfigResult, build, claim))[0]
        except QuartetError as error:
            return pb.ConfigResult(name=wanted.name, outcome=FAILED, reason=error.reason, message=error.message)

    async def _foreseen(self, wanted: Declaration) -> pb.ConfigResult:
        """Return what would be done now."""
        snapshot = Snapshot(self.store)
        try:
            return (await self._plan(snapshot, wanted)).answer
        except FileNotFound:
            if not wanted.create:
                raise
            before = await self.registry.find(self.zone, snapshot, wanted.name)
            return pb.ConfigResult(name=wanted.name, outcome=ADDED if before is None else CHANGED)

    async def _plan(self, snapshot: Snapshot, wanted: Declaration) -> Plan[pb.ConfigResult]:
        before = await self.registry.find(self.zone, snapshot, wanted.name)
        change = await self.registry.declared(self.zone, snapshot, wanted, before)
        if before is not None and _says(before, wanted, change.record.ino):
            return Plan(pb.ConfigResult(name=wanted.name, outcome=UNCHANGED))
        outcome = ADDED if before is None else CHANGED
        return Plan(pb.ConfigResult(name=wanted.name, outcome=outcome), change.compares, change.operations)


def _says(before: Found, wanted: Declaration, ino: int) -> bool:
    record = before.record
    return (record.ino, record.kind, dict(record.labels), record.description) == (
        ino,
        wanted.kind,
        dict(wanted.labels),
        wanted.description,
    )
