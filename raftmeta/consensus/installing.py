"""Receiving a snapshot and putting it in the place of log and state."""

from __future__ import annotations

import hashlib
import logging
import os
from collections import deque
from pathlib import Path, PurePosixPath

import google_crc32c

from raftmeta.v1 import peer_pb2

from .codec import FormatError, unpack_members
from .following import Following
from .membership import INSTALLING, store_membership
from .peer import Peer
from .state import SafetyError, Surroundings

logger = logging.getLogger(__name__)

INCOMING = "incoming"
_SYNCED = 4 * 1024 * 1024
"""Bytes written after which the disk is waited for."""
_WAITING = 4
"""Chunks that wait to be written while more are asked for."""


def check_paths(manifest: peer_pb2.SnapshotManifest) -> None:
    """Raise `FormatError` unless every path stays inside the snapshot's directory and occurs once."""
    seen = set()
    for file in manifest.files:
        parts = file.path.split("/")
        if not all(parts) or any(part in {".", ".."} or "\0" in part for part in parts) or "\\" in file.path:
            raise FormatError(f"snapshot with the file name {file.path!r}")
        seen.add(PurePosixPath(file.path))
    if len(seen) != len(manifest.files):
        raise FormatError("snapshot with a file named twice")


class Incoming:
    """A snapshot on its way in: bytes in order, cut into files as the manifest says.

    `write` and `finish` are for one thread at a time, not the Raft loop: they wait for the disk.

    Attributes:
        id: Of the transfer.
        index: Last entry it covers.
        term: Term of that entry.
        manifest: What it consists of.
        directory: Where its files go.
        total: Bytes of all of them.
        offset: Bytes that are written.
        taken: Bytes that have come.
        waiting: Chunks that have come and are not written.
        writing: Whether chunks are being written.
        dropped: Whether it is given up, once they are.
        owed: The chunk that is answered when it is written, since too many wait; None: all are answered.
    """

    def __init__(self, chunk: peer_pb2.SnapshotChunk, directory: Path) -> None:
        """Take the first chunk, which carries the manifest; raise `FormatError` for a bad one."""
        check_paths(chunk.manifest)
        unpack_members(chunk.manifest.membership)
        self.id = chunk.id
        self.index, self.term = chunk.last_index, chunk.last_term
        self.manifest = chunk.manifest
        self.directory = directory
        self.total = sum(file.size for file in self.manifest.files)
        self.offset = self.taken = 0
        self.waiting: deque[peer_pb2.SnapshotChunk] = deque()
        self.writing = self.dropped = False
        self.owed: peer_pb2.SnapshotChunk | None = None
        self._digest = hashlib.sha256()
        self._unsynced = 0
        for file in self.manifest.files:
            path = directory / file.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()

    def write(self, chunk: peer_pb2.SnapshotChunk) -> None:
        """Take the bytes of the chunk that comes next. Raises FormatError, OSError."""
        data = chunk.data
        if google_crc32c.value(data) != chunk.crc:
            raise FormatError(f"snapshot chunk at {chunk.offset} does not match its checksum")
        if self.offset + len(data) > self.total or (not data and self.total > self.offset):
            raise FormatError("snapshot chunk of an impossible length")
        self._digest.update(data)
        start = 0
        for file in self.manifest.files:
            if data and start <= self.offset < start + file.size:
                piece, data = data[: start + file.size - self.offset], data[start + file.size - self.offset :]
                self._append(self.directory / file.path, piece)
                self.offset += len(piece)
            start += file.size

    def _append(self, path: Path, piece: bytes) -> None:
        """Write to the end of a file; wait for the disk now and then, lest the log's sync queue behind all of it."""
        with path.open("r+b", buffering=0) as out:
            out.seek(0, os.SEEK_END)
            rest = memoryview(piece)
            while rest:
                rest = rest[out.write(rest) :]
            self._unsynced += len(piece)
            if self._unsynced >= _SYNCED:
                os.fdatasync(out.fileno())
                self._unsynced = 0

    @property
    def complete(self) -> bool:
        """Whether every byte has come."""
        return self.offset == self.total

    def finish(self) -> None:
        """Make the files durable; raise `FormatError` when they are not what was sent."""
        if self._digest.digest() != self.manifest.sha256:
            raise FormatError("snapshot does not match its digest")
        for path in [*self.directory.rglob("*"), self.directory]:
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


class Installing(Following):
    """A snapshot is taken only when it is newer than what is committed here, whole, and verified."""

    def __init__(self, given: Surroundings) -> None:
        """Start with nothing on its way in."""
        self.incoming: Incoming | None = None
        super().__init__(given)

    def on_snapshot_chunk(self, peer: Peer, chunk: peer_pb2.SnapshotChunk) -> None:
        """Take a chunk of the current term from its leader."""
        self.heed(peer)
        if self._has(chunk):
            self._drop_incoming()
            self._reply(peer, chunk, installed=True)
            return
        try:
            self._take(peer, chunk)
        except (FormatError, OSError) as error:
            self._refuse(peer, chunk, error)

    def _has(self, chunk: peer_pb2.SnapshotChunk) -> bool:
        """Tell whether what a snapshot covers is here already."""
        index = chunk.last_index
        in_log = self.base_index <= index <= self.last_index and self.log.term_of(index) == chunk.last_term
        return index <= self.commit or in_log

    def _take(self, peer: Peer, chunk: peer_pb2.SnapshotChunk) -> None:
        if self.incoming is None or self.incoming.id != chunk.id:
            if chunk.offset or not chunk.HasField("manifest"):
                self._reply(peer, chunk, failed=True)
                return
            self._drop_incoming()
            if self.incoming is not None:
                return  # the disk has not done with the one before: this chunk comes again
            self.incoming = Incoming(chunk, self.cabinet.directory(INCOMING))
        incoming = self.incoming
        if incoming.dropped:
            return
        if chunk.offset != incoming.taken:
            self._reply(peer, chunk, next_offset=incoming.taken)
            return
        incoming.taken += len(chunk.data)
        incoming.waiting.append(chunk)
        if len(incoming.waiting) > _WAITING or incoming.taken >= incoming.total:
            incoming.owed = chunk
        else:
            self._reply(peer, chunk, next_offset=incoming.taken)
        if not incoming.writing:
            self._write(peer, incoming)

    def _write(self, peer: Peer, incoming: Incoming) -> None:
        """Have the chunks that wait written, off the loop."""
        incoming.writing = True
        chunks = list(incoming.waiting)
        incoming.waiting.clear()

        def write() -> None:
            for chunk in chunks:
                incoming.write(chunk)
            if incoming.complete:
                incoming.finish()

        self.background(write, lambda failure: self._written(peer, chunks[-1], incoming, failure))

    def _written(
        self, peer: Peer, chunk: peer_pb2.SnapshotChunk, incoming: Incoming, failure: Exception | None
    ) -> None:
        """Go on after chunks were written, or not."""
        incoming.writing = False
        if incoming.dropped or self._has(chunk) or self.leads:
            self._drop_incoming()
            return
        try:
            if failure is not None:
                raise failure
            if incoming.complete:
                self.incoming = None
                self._install(incoming)
        except (FormatError, OSError) as error:
            self._refuse(peer, chunk, error)
            return
        if incoming.owed is not None:
            self._reply(peer, incoming.owed, next_offset=incoming.taken, installed=incoming.complete)
            incoming.owed = None
        if incoming.waiting:
            self._write(peer, incoming)

    def _refuse(self, peer: Peer, chunk: peer_pb2.SnapshotChunk, error: Exception) -> None:
        logger.warning("a snapshot from member %x was refused: %s", peer.number, error)
        self.counters.snapshots_failed += 1
        self._drop_incoming()
        self._reply(peer, chunk, failed=True)

    def _install(self, incoming: Incoming) -> None:
        """Put the snapshot in place; what a crash leaves undone is completed at the next start.

        A copy that the state machine refuses is as good as none. Once the state is replaced there is no way back: a failure
        after that stops the member, as a crash would.
        """
        index, term = incoming.index, incoming.term
        at = incoming.manifest.membership_index
        members = unpack_members(incoming.manifest.membership)
        store_membership(self.cabinet, self.cluster_id, self.me, at, members, pending=(index, term))
        before = self.machine.applied()
        try:
            self.machine.install(incoming.directory)
        except Exception as error:
            if self.machine.applied() != before:
                raise
            self.cabinet.save(INSTALLING, b"")
            raise FormatError(f"the state machine cannot use the snapshot: {error}") from error
        if self.machine.applied() != (index, term):
            raise SafetyError(f"a snapshot of {index} left the state machine at {self.machine.applied()[0]}")
        self.log.reset(index, term)
        try:
            store_membership(self.cabinet, self.cluster_id, self.me, at, members)
            self.cabinet.save(INSTALLING, b"")
        except OSError as error:
            raise SafetyError(f"the snapshot of {index} is in place but its membership is not: {error}") from error
        self.cabinet.discard(INCOMING)
        self.last_applied = self.commit = index
        self.forget_steps()
        self.replace_history(at, members)
        self.counters.snapshots_installed += 1

    def _drop_incoming(self) -> None:
        """Give up what is on its way in; while it is being written, as soon as that has ended."""
        if self.incoming is None:
            return
        if self.incoming.writing:
            self.incoming.dropped = True
            return
        self.incoming = None
        self.cabinet.discard(INCOMING)

    def _reply(
        self,
        peer: Peer,
        chunk: peer_pb2.SnapshotChunk,
        next_offset: int = 0,
        installed: bool = False,
        failed: bool = False,
    ) -> None:
        reply = peer_pb2.SnapshotReply(id=chunk.id, next_offset=next_offset, installed=installed, failed=failed)
        self.tell(peer.number, snapshot_reply=reply)
