"""What the leader does by itself: raises the NOSPACE alarm, compacts by policy; and what every member does when idle."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Mapping

from raftmeta.config import SPACES, CompactionPolicy
from raftmeta.consensus.contract import Consensus, Role
from raftmeta.errors import MetastoreError
from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.machine import Machine
from raftmeta.proposer import Proposer
from raftmeta.v1 import command_pb2

_log = logging.getLogger(__name__)

_INTERVAL = 0.5


class Ages:
    """Remembers which revision a keyspace had when, to compact by age."""

    def __init__(self, keep_seconds: float) -> None:
        """Keep what is younger than `keep_seconds`."""
        self._keep = keep_seconds
        self._samples: deque[tuple[float, int]] = deque()
        self._target = 0

    def sample(self, now: float, revision: int) -> int:
        """Note the current revision; return the highest one that is older than what is kept, 0 when none is."""
        self._samples.append((now, revision))
        while self._samples[0][0] <= now - self._keep:
            self._target = self._samples.popleft()[1]
        return self._target

    def clear(self) -> None:
        """Forget: this node does not lead any more."""
        self._samples.clear()
        self._target = 0


class Housekeeper:
    """Looks twice a second; belongs to the event loop."""

    def __init__(
        self,
        machine: Machine,
        proposer: Proposer,
        consensus: Consensus,
        loop: asyncio.AbstractEventLoop,
        policies: Mapping[int, CompactionPolicy],
    ) -> None:
        """Compose; `policies` are by keyspace."""
        self._machine = machine
        self._proposer = proposer
        self._consensus = consensus
        self._loop = loop
        self._policies = policies
        self._ages = {space: Ages(p.keep_seconds) for space, p in policies.items() if p.keep_seconds}
        self._next_look = dict.fromkeys(policies, 0.0)

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(_INTERVAL)
            if self._consensus.status().role is Role.LEADER:
                await self._watch_quota()
                await self._compact()
            else:
                for ages in self._ages.values():
                    ages.clear()
            await self._loop.run_in_executor(None, self._machine.sweep)

    async def _watch_quota(self) -> None:
        for space in SPACES:
            if not self._machine.over_quota(space):
                continue
            if any(alarm.alarm == pb.NOSPACE for alarm in self._machine.alarms(space)):
                continue
            command = command_pb2.Command(space=space)
            command.alarm.action = pb.AlarmRequest.ACTIVATE
            command.alarm.memberID = self._consensus.status().member_id
            command.alarm.alarm = pb.NOSPACE
            await self._propose(command)

    async def _compact(self) -> None:
        for space, policy in self._policies.items():
            now = self._loop.time()
            if now < self._next_look[space]:
                continue
            self._next_look[space] = now + policy.interval
            target = self._target(space, policy, now)
            if target:
                command = command_pb2.Command(space=space)
                command.compact.revision = target
                await self._propose(command)

    def _target(self, space: int, policy: CompactionPolicy, now: float) -> int:
        """Return the revision to compact to, 0 for none; floors hold it back."""
        current, compacted = self._machine.revisions(space)
        wanted = list(self._machine.floors(space).values())
        if policy.keep_revisions:
            wanted.append(self._machine.compaction_due(space) or 0)
        if space in self._ages:
            wanted.append(self._ages[space].sample(now, current))
        if not policy.keep_revisions and space not in self._ages:
            return 0
        target = min(wanted)
        return target if target > max(compacted, 0) else 0

    async def _propose(self, command: command_pb2.Command) -> None:
        """What is refused now is looked at again next time."""
        try:
            await self._proposer.submit(command)
        except MetastoreError as error:
            _log.info("housekeeping was refused: %s", error.text)
