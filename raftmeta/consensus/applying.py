"""Giving committed entries to the state machine, and trimming the log behind it."""

from __future__ import annotations

from collections import deque
from itertools import islice

from raftmeta.wal import WalFull
from raftmeta.wal.errors import NO_SPACE

from .codec import COMMAND, entry_kind
from .contract import Entry, NoRoom
from .membership import Memberships
from .state import SafetyError, StartError, Surroundings

STEP_ENTRIES, STEP_BYTES = 1_000, 512 * 1024
"""What is applied in one turn at most (a single larger entry still goes): the loop has others to serve."""


class Applying(Memberships):
    """Applies in order, once, in one call per tick; nothing a caller does can make it apply twice."""

    def __init__(self, given: Surroundings) -> None:
        """Check that log and state machine fit, and start applying after what the machine has applied."""
        self.trim_floor: int | None = None
        self._steps: deque[tuple[int, int]] = deque()  # (last index, bytes) of what was applied at a time and is kept
        self._step_bytes = 0
        self._apply_again_at = float("-inf")
        self.applies_more = False  # more is committed than a turn applies
        super().__init__(given)
        self._SyncObj__loadDumpFile(False)

    def _SyncObj__loadDumpFile(self, clearJournal: bool) -> None:
        """Find out where the state machine is; raise `StartError` rather than drop a single entry or start without it.

        The log is kept whatever the state machine has: entries it has applied already are skipped, those above are
        applied when they are known to be committed again.
        """
        index, term = self.machine.applied()
        if index < self.base_index:
            raise StartError(
                f"the state machine has applied {index} but the log starts after {self.base_index}: the state is older"
                " than the log. Remove this member, start it with an empty directory and add it again"
            )
        if index > self.last_index:
            raise StartError(
                f"the state machine has applied {index} but the log ends at {self.last_index}: the log lost its tail."
                " Remove this member, start it with an empty directory and add it again"
            )
        if self.log.term_of(index) != term:
            raise StartError(
                f"the state machine applied {index} in term {term}, the log has term {self.log.term_of(index)} there:"
                " they do not belong together"
            )
        self.commit = self.last_applied = index
        self.leader_commit = None

    def _SyncObj__applyLogEntries(self) -> bool:
        """Apply what is committed, up to a bound, in one call of the state machine; whether anything was.

        What is committed but not durable here yet (a full disk) waits, or the state could survive a crash that its log
        does not. A state machine whose disk is full makes the member read-only, and is asked again every second; any
        other exception out of it stops the member: the index does not move past what was not applied.
        """
        until = min(self.commit, self.log.durable_index)
        self.applies_more = False
        if until <= self.last_applied or (self.machine_full and self.clock() < self._apply_again_at):
            return False
        count = min(until - self.last_applied, STEP_ENTRIES)
        entries = [
            Entry(entry.index, entry.term, self._SyncObj__doApplyCommand(entry.data))
            for entry in self.log.entries(self.last_applied + 1, count, STEP_BYTES)
        ]
        if not entries or entries[0].index != self.last_applied + 1:
            raise SafetyError(f"committed entry {self.last_applied + 1} is not in the log")
        started = self.clock()
        try:
            self.machine.apply(entries)
        except NoRoom as error:
            self.machine_full = self.read_only = str(error)
            self._apply_again_at = self.clock() + 1.0
            return False
        self.machine_full = ""
        self.counters.apply_seconds += self.clock() - started
        self.counters.applied += len(entries)
        self.last_applied = entries[-1].index
        self._steps.append((self.last_applied, sum(len(entry.data) for entry in entries)))
        self._step_bytes += self._steps[-1][1]
        self.applies_more = self.last_applied < until
        while self._uncommitted and self._uncommitted[0][0] <= self.commit:
            self._uncommitted_bytes -= self._uncommitted.popleft()[1]
        if self.me not in self.members and self.history[-1][0] <= self.commit and self.history[-1][0] > 0:
            self.expelled_at = self.expelled_at or self.history[-1][0]
        elif self.me in self.members:
            self.expelled_at = 0
        return True

    def _SyncObj__doApplyCommand(self, command: bytes) -> bytes:
        """Return what the state machine gets of an entry's data: nothing of one that is not a command."""
        return command[1:] if entry_kind(command) == COMMAND else b""

    def _SyncObj__tryLogCompaction(self) -> None:
        """Trim the log when it is long, keeping a tail for slow followers and all that is not durably applied."""
        if self.last_applied - self.base_index > self.config.snapshot_entries + self.config.tail_entries:
            self.trim(self.last_applied - self.config.tail_entries)
        elif self._step_bytes > self.config.log_bytes and self.base_index != self.trim_floor:
            self.trim(self._half_full())

    def _half_full(self) -> int:
        """Index up to which the log is trimmed for its size: half the limit stays, and in any case the last step."""
        index, left = self.base_index, self._step_bytes
        for at, size in islice(self._steps, len(self._steps) - 1):
            if left <= self.config.log_bytes // 2:
                break
            index, left = at, left - size
        return index

    def forget_steps(self) -> None:
        """Count anew: the log was emptied."""
        self._steps.clear()
        self._step_bytes = 0

    def trim(self, index: int) -> bool:
        """Trim the log up to `index`, or as far below it as is allowed; whether anything was trimmed.

        On a disk that is too full even for this the log stays as it is: a later turn tries again.
        """
        index = min(index, self.last_applied, self.machine.durable()[0])
        if self.trim_floor is not None:
            index = min(index, self.trim_floor)
        if index <= self.base_index:
            return False
        try:
            self.keep_membership(index)
            self.log.trim_to(index)
        except WalFull:
            return False
        except OSError as error:
            if error.errno not in NO_SPACE:
                raise
            return False
        while self._steps and self._steps[0][0] <= index:
            self._step_bytes -= self._steps.popleft()[1]
        self.counters.trims += 1
        return True
