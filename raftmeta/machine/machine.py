"""The state machine below consensus: applies entries in atomic steps, tells listeners, answers reads from any thread."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from google.protobuf.message import DecodeError

from raftmeta.consensus.contract import Entry, NoRoom, Snapshot
from raftmeta.errors import Fault
from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.machine import commands, txns
from raftmeta.machine.applied import Applied, Change, LeaseRecord, Outcome, Result, SpaceChange, SpacePolicy
from raftmeta.machine.dedup import Window
from raftmeta.machine.hashing import hash_kv
from raftmeta.machine.history import History, KeyRange, read_events, with_previous
from raftmeta.machine.ranges import Found, as_message, find
from raftmeta.store.counts import StepPassed
from raftmeta.store.environment import StoreError, StoreFull
from raftmeta.store.layout import SPACES
from raftmeta.store.store import Store, inspect_copy
from raftmeta.store.view import View
from raftmeta.store.writes import WriteView
from raftmeta.v1 import command_pb2

SWEEP = 2_000

_log = logging.getLogger(__name__)

_ATTEMPTS = (True, True, True, True, False)  # whether a view counts by blocks, which a step may overtake


class Machine:
    """etcd's key-value store as a deterministic state machine; implements `raftmeta.consensus.contract.StateMachine`.

    `apply`, `install` and `applied` belong to the loop of consensus. Reads, `durable` and `snapshot` may be called from any thread at any
    time; each sees the state at one applied index.
    """

    def __init__(self, store: Store, *, policies: Mapping[int, SpacePolicy] | None = None) -> None:
        """Open the machine on its store. A keyspace without a policy gets the default one."""
        self._store = store
        self._policies = {space: (policies or {}).get(space, SpacePolicy()) for space in SPACES}
        self._listeners: list[Callable[[Applied], None]] = []
        self._writing = threading.Lock()
        self._load()

    def _load(self) -> None:
        with self._store.read() as view:
            self._applied = view.applied()
            self._window = Window(view)
            self._unswept = _unswept(view)
            self._alarms: dict[int, set[int]] = {
                space: {one.alarm for one in commands.alarms(view, space)} for space in SPACES
            }

    # -- StateMachine ------------------------------------------------------------------------------------------------

    def applied(self) -> tuple[int, int]:
        """Return (index, term) of the last entry whose effects can be read; (0, 0) when empty."""
        return self._applied

    def durable(self) -> tuple[int, int]:
        """Return (index, term) of the last entry that need not be applied again after a crash; any thread."""
        return self._store.durable()

    def apply(self, entries: Sequence[Entry]) -> None:
        """Apply entries in order in one transaction, then tell the listeners. It is durable soon after: see `durable`.

        Entries at or below `applied()` are skipped. A bad command is answered with a fault; an entry that is not a
        batch at all is passed over with a warning.

        Raises:
            NoRoom: The disk is full; nothing of this call was applied, and it may be made again.
            Exception: The store failed; nothing of this call was applied and the member must stop.
        """
        try:
            self._apply(entries)
        except StoreFull as error:  # before anything was begun
            raise NoRoom(str(error)) from error

    def _apply(self, entries: Sequence[Entry]) -> None:
        index, term = self._applied
        outcomes: list[Outcome] = []
        with self._writing, self._store.write() as view:
            interpreter = commands.Interpreter(view, self._alarms)
            for entry in entries:
                if entry.index <= index:
                    continue
                index, term = entry.index, entry.term
                if entry.data:
                    self._apply_batch(view, interpreter, entry, outcomes)
                self._window.advance(view, index)
            if (index, term) == self._applied:
                return
            changes: dict[int, SpaceChange] = {}
            for space, writer in interpreter.writers.items():
                view.set_space(space, writer.state)
                if writer.change:
                    changes[space] = writer.change
                if writer.change.compacted is not None:
                    self._unswept.add(space)
            if self._unswept:
                self._sweep(view, SWEEP)
            view.set_applied(index, term)
        self._applied = index, term
        self._tell(Applied(index, term, outcomes, changes))

    def _apply_batch(
        self, view: WriteView, interpreter: commands.Interpreter, entry: Entry, outcomes: list[Outcome]
    ) -> None:
        try:
            batch = command_pb2.Batch.FromString(entry.data)
        except DecodeError:
            _log.warning("log entry %d is not a batch: passed over", entry.index)
            return
        client, sequence, count = batch.client, batch.sequence, len(batch.commands)
        results: list[Result] | None
        if not client or not sequence or count > commands.MAX_BATCH:
            results = [Fault.INVALID_CLIENT_API_VERSION] * count
        else:
            results = self._window.answer(view, client, sequence, count)
            if results is None:
                results = [interpreter.apply(command, entry.term) for command in batch.commands]
                self._window.add(view, entry.index, client, sequence, results)
        outcomes.append(Outcome(client, sequence, results))

    def snapshot(self, directory: Path) -> Snapshot:
        """Write a self-contained copy of the state into the empty `directory`.

        Raises:
            StoreFull, StoreError, lmdb.Error, OSError: It was not made.
        """
        copied = self._store.copy(directory)
        return Snapshot((copied.index, copied.term), copied.sha256)

    def end_snapshots(self) -> None:
        """End the snapshots that are being made, and make no more: their callers get a StoreError."""
        self._store.end_copies()

    def install(self, directory: Path) -> None:
        """Replace the whole state by the copy in `directory`, which is consumed.

        Raises:
            StoreError: The copy is unusable or older than `applied()`; nothing was changed.
        """
        index, term = inspect_copy(directory)
        if index < self._applied[0]:
            raise StoreError(f"the snapshot stops at index {index}, this member has applied {self._applied[0]}")
        with self._writing:
            self._store.replace(directory)
            self._load()
        self._tell(Applied(index, term, [], {}, installed=True))

    # -- listeners and upkeep ----------------------------------------------------------------------------------------

    def on_applied(self, listener: Callable[[Applied], None]) -> Callable[[], None]:
        """Call `listener` on the loop of consensus after every step; it must not block. Returns what ends that.

        An exception in a listener is logged and harms nobody else.
        """
        self._listeners = [*self._listeners, listener]

        def end() -> None:
            self._listeners = [other for other in self._listeners if other is not listener]

        return end

    def _tell(self, applied: Applied) -> None:
        for listener in self._listeners:
            try:
                listener(applied)
            except Exception:  # noqa: BLE001 - one consumer's bug must not stop the member
                _log.exception("a listener failed at index %d", applied.index)

    def sweep(self) -> bool:
        """Remove some records that compaction made unreachable, about 10 ms worth; tell whether more remain.

        `apply` does the same in passing. Call it from any thread when the log is idle; it makes no visible change.
        """
        if not self._unswept:
            return False
        try:
            with self._writing, self._store.write() as view:
                self._sweep(view, SWEEP)
        except StoreFull:
            return False
        return bool(self._unswept)

    def _sweep(self, view: WriteView, limit: int) -> None:
        for space in sorted(self._unswept):
            state, more = view.sweep(space, view.space(space), limit)
            view.set_space(space, state)
            if more:
                return
            self._unswept.discard(space)

    def close(self) -> None:
        """Close the store."""
        self._store.close()

    # -- reads, from any thread --------------------------------------------------------------------------------------

    def range(self, space: int, request: pb.RangeRequest) -> pb.RangeResponse:
        """Answer a checked Range (etcdserverpb.KV.Range). Raises MetastoreError: COMPACTED, FUTURE_REVISION."""
        found = self.find(space, request)
        assert found is not None
        return as_message(*found)

    def find(self, space: int, request: pb.RangeRequest, most: int = sys.maxsize) -> tuple[Found, int] | None:
        """Find what a checked Range answers, and the current revision; None when that is more than `most` keys' work.

        Raises MetastoreError as `range` does.
        """
        for counted in _ATTEMPTS:
            with self._store.read(counted=counted) as view:
                state = view.space(space)
                try:
                    found = find(view, space, request, state.current, state.compacted, most)
                except StepPassed:
                    continue
                return None if found is None else (found, state.current)
        raise AssertionError("a view without counts cannot be overtaken")

    def read_txn(self, space: int, request: pb.TxnRequest) -> pb.TxnResponse:
        """Answer a checked Txn for which `checks.is_read_only` holds. Raises MetastoreError as `range` does."""
        with self._store.read(counted=False) as view:
            return txns.read(view, space, request, view.space(space))

    def hash_kv(self, space: int, revision: int) -> tuple[int, int, int]:
        """Return (hash, compacted, current) as etcd's HashKV does; time and CPU in proportion to the history kept.

        Raises:
            MetastoreError: COMPACTED, FUTURE_REVISION.
        """
        with self._store.read() as view:
            return hash_kv(view, space, revision)

    def revisions(self, space: int) -> tuple[int, int]:
        """Return (current, compacted) revision; compacted is -1 before the first compaction, as in etcd."""
        with self._store.read() as view:
            state = view.space(space)
            return state.current, state.compacted

    def leases(self, space: int) -> dict[int, LeaseRecord]:
        """Return every lease by id."""
        with self._store.read() as view:
            return {lease: LeaseRecord(*values) for lease, values in view.leases(space)}

    def lease(self, space: int, lease: int) -> LeaseRecord | None:
        """Return one lease, or None."""
        with self._store.read() as view:
            values = view.lease(space, lease)
            return None if values is None else LeaseRecord(*values)

    def lease_keys(self, space: int, lease: int) -> list[bytes]:
        """Return the keys attached to a lease, sorted."""
        with self._store.read() as view:
            return view.attached(space, lease)

    def alarms(self, space: int = 0) -> list[pb.AlarmMember]:
        """Return the alarms raised in a keyspace."""
        with self._store.read() as view:
            return commands.alarms(view, space)

    def floors(self, space: int) -> dict[str, int]:
        """Return the compaction floors: holder -> first revision it still needs."""
        with self._store.read() as view:
            return commands.floors(view, space)

    def size(self) -> tuple[int, int]:
        """Return (bytes of the data file, bytes of its pages in use)."""
        return self._store.file_size(), self._in_use(None)

    def over_quota(self, space: int) -> bool:
        """Tell whether a keyspace uses more than its quota, so that the leader must propose the NOSPACE alarm."""
        return self._in_use(space) > self._policies[space].quota

    def compaction_due(self, space: int) -> int | None:
        """Return the revision to which the policy wants the keyspace compacted now, or None.

        A tenth more than `keep_revisions` is let pile up before it is due.
        """
        keep = self._policies[space].keep_revisions
        if keep is None:
            return None
        with self._store.read() as view:
            state = view.space(space)
            lowest = min([state.current, *commands.floors(view, space).values()])
        target = min(state.current - keep, lowest)
        return target if target > max(state.compacted, 0) + keep // 10 else None

    def _in_use(self, space: int | None) -> int:
        with self._store.read() as view:
            return view.bytes_in_use(space)

    # -- history, for watches ----------------------------------------------------------------------------------------

    def events(
        self, space: int, keys: KeyRange, first_revision: int, upto: int, limit_bytes: int, *, previous: bool = False
    ) -> History:
        """Read events from history; `previous` fills prev_kv. Raises MetastoreError: COMPACTED."""
        with self._store.read() as view:
            return read_events(view, space, keys, first_revision, upto, limit_bytes, previous=previous)

    def with_previous(self, space: int, changes: Iterable[Change]) -> list[Change]:
        """Return changes with `previous` filled where the previous version is still kept."""
        with self._store.read() as view:
            return with_previous(view, space, changes)


def _unswept(view: View) -> set[int]:
    """Return the keyspaces in which compaction may have left something to remove."""
    return {space for space in SPACES if view.space(space).compacted >= 0}
