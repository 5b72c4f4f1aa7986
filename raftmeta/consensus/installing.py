"""Receiving a snapshot and putting it in the place of log and state."""

from __future__ import annotations

import hashlib
import logging
import os
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
    """A snapshot on its way in: bytes in order, cut into files as the manifest says."""

    def __init__(self, chunk: peer_pb2.SnapshotChunk, directory: Path) -> None:
        """Take the first chunk, which carries the manifest; raise `FormatError` for a bad one."""
        check_paths(chunk.manifest)
        unpack_members(chunk.manifest.membership)
        self.id = chunk.id
        self.index, self.term = chunk.last_index, chunk.last_term
        self.manifest = chunk.manifest
        self.directory = directory
        self.total = sum(file.size for file in self.manifest.files)
        self.offset = 0
        self._digest = hashlib.sha256()
        for file in self.manifest.files:
            path = directory / file.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()

    def write(self, chunk: peer_pb2.SnapshotChunk) -> None:
        """Take the bytes of the chunk that comes next."""
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
                with (self.directory / file.path).open("ab") as out:
                    out.write(piece)
                self.offset += len(piece)
            start += file.size

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
        index = chunk.last_index
        in_log = self.base_index <= index <= self.last_index and self.log.term_of(index) == chunk.last_term
        if index <= self.commit or in_log:
            self._drop_incoming()
            self._reply(peer, chunk, installed=True)
            return
        try:
            self._take(peer, chunk)
        except (FormatError, OSError) as error:
            logger.warning("a snapshot from member %x was refused: %s", peer.number, error)
            self.counters.snapshots_failed += 1
            self._drop_incoming()
            self._reply(peer, chunk, failed=True)

    def _take(self, peer: Peer, chunk: peer_pb2.SnapshotChunk) -> None:
        if self.incoming is None or self.incoming.id != chunk.id:
            if chunk.offset or not chunk.HasField("manifest"):
                self._reply(peer, chunk, failed=True)
                return
            self._drop_incoming()
            self.incoming = Incoming(chunk, self.cabinet.directory(INCOMING))
        incoming = self.incoming
        if chunk.offset == incoming.offset:
            incoming.write(chunk)
        if not incoming.complete:
            self._reply(peer, chunk, next_offset=incoming.offset)
            return
        incoming.finish()
        self.incoming = None
        self._install(incoming)
        self._reply(peer, chunk, installed=True)

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
        if self.incoming is not None:
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
