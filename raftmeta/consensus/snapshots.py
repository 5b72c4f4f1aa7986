"""Sending a copy of the state to a follower that is too far behind for the log."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import google_crc32c

from raftmeta.v1 import peer_pb2

from .ahead import ReadAhead
from .applying import Applying
from .codec import pack_members
from .contract import Snapshot
from .peer import Backoff, Peer
from .state import Surroundings

logger = logging.getLogger(__name__)

OUTGOING = "outgoing"


@dataclass(frozen=True, slots=True)
class Source:
    """A snapshot ready to be sent.

    Attributes:
        index: Last entry it covers.
        term: Term of that entry.
        directory: Where its files are.
        files: (path relative to the directory, bytes), in the order sent.
        total: Bytes of all files.
        sha256: Digest of all bytes in that order.
    """

    index: int
    term: int
    directory: Path
    files: tuple[tuple[str, int], ...]
    total: int
    sha256: bytes

    def read(self, offset: int, count: int) -> bytes:
        """Return up to `count` bytes of the stream of all files from `offset` on."""
        pieces = []
        start = 0
        for path, size in self.files:
            if count and start <= offset < start + size:
                with (self.directory / path).open("rb") as file:
                    file.seek(offset - start)
                    piece = file.read(min(count, size - (offset - start)))
                if not piece:
                    raise OSError(f"snapshot file {path} is shorter than it was")
                pieces.append(piece)
                offset += len(piece)
                count -= len(piece)
            start += size
        return b"".join(pieces)


def pack_source(taken: Snapshot, directory: Path) -> Source:
    """Look over a snapshot's files; reads them only if nobody knows their digest."""
    paths = sorted(path for path in directory.rglob("*") if path.is_file())
    files = tuple((path.relative_to(directory).as_posix(), path.stat().st_size) for path in paths)
    total = sum(size for _, size in files)
    return Source(*taken.at, directory, files, total, taken.sha256 or _digest(paths))


def _digest(paths: Iterable[Path]) -> bytes:
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while piece := file.read(1 << 20):
                digest.update(piece)
    return digest.digest()


class Snapshots(Applying):
    """One snapshot at a time, made in the background, shared by every follower that needs one.

    While it exists the log is not trimmed above it, so that a follower finds the entries that come after it.
    """

    def __init__(self, given: Surroundings) -> None:
        """Start without any snapshot."""
        given.cabinet.discard(OUTGOING)  # what was being sent when this member was last killed
        self.source: Source | None = None
        self.building = False
        self.source_used_at = 0.0
        self._sent = False  # the source, to anybody
        self._ahead: dict[int, ReadAhead] = {}  # by transfer
        self._builds = Backoff()
        super().__init__(given)

    def begin_snapshot(self, peer: Peer) -> None:
        """Start sending a snapshot to a follower that is there, or have one made first.

        While one is kept the log grows: none is kept for a follower that is away, nor a stale one for another attempt. One
        that was never sent is not stale, however long it took to make: the next would take as long.
        """
        now = self.clock()
        if peer.sending or self.building or now - peer.heard > self.config.election_max:
            return
        if now < max(peer.transfers.until, self._builds.until):
            return
        if (
            self.source is not None
            and self._sent
            and self.last_applied - self.source.index > self.config.snapshot_entries
        ):
            if any(other.sending for other in self.peers.values()):
                return
            self._drop_source()
        if self.source is None:
            self._build()
            return
        self._sent = True
        peer.sending = self.rng.getrandbits(62) | 1
        peer.offset = 0
        peer.progress_at = now
        sending = {other.sending for other in self.peers.values()}
        self._ahead = {transfer: ahead for transfer, ahead in self._ahead.items() if transfer in sending}
        config = self.config
        self._ahead[peer.sending] = ReadAhead(
            self.background, self.source.read, config.snapshot_chunk_bytes, config.snapshot_rate
        )
        self._send_chunk(peer)

    def _build(self) -> None:
        self.building = True
        self.trim_floor = self.last_applied
        self.cabinet.discard(OUTGOING)
        directory = self.cabinet.directory(OUTGOING)
        machine = self.machine
        self.background(lambda: pack_source(machine.snapshot(directory), directory), self._built)

    def _built(self, outcome: Source | Exception) -> None:
        self.building = False
        self.source_used_at = self.clock()
        if isinstance(outcome, Exception):
            self._put_off(self._builds)
            self._drop_source()
            logger.error("making a snapshot failed: %s", outcome)
        elif not self.leads:
            self._drop_source()
        else:
            self._builds.forget()
            self.source = outcome
            self._sent = False
            self.trim_floor = outcome.index

    def _drop_source(self) -> None:
        self.source = None
        self._ahead.clear()
        self.trim_floor = None
        self.cabinet.discard(OUTGOING)

    def _send_chunk(self, peer: Peer) -> None:
        """Send the chunk that comes next, once it is read."""
        source, transfer, offset = self.source, peer.sending, peer.offset
        assert source is not None
        peer.chunk_at = self.source_used_at = self.clock()

        def send(outcome: bytes | Exception) -> None:
            if peer.sending != transfer or self.source is not source or not self.leads:
                return
            if isinstance(outcome, Exception):
                for other in self.peers.values():
                    if other.sending:
                        self._give_up(other, f"it cannot be read: {outcome}")
                self._drop_source()
            else:
                peer.chunk_at = self.source_used_at = self.clock()
                self._send(peer, source, offset, outcome)

        self._ahead[transfer].get(offset, send)

    def _send(self, peer: Peer, source: Source, offset: int, data: bytes) -> None:
        chunk = peer_pb2.SnapshotChunk(
            last_index=source.index,
            last_term=source.term,
            id=peer.sending,
            offset=offset,
            data=data,
            crc=google_crc32c.value(data),
        )
        if offset == 0:
            at, members = self.members_at(source.index)
            manifest = chunk.manifest
            manifest.sha256 = source.sha256
            manifest.membership.CopyFrom(pack_members(members))
            manifest.membership_index = at
            for path, size in source.files:
                manifest.files.add(path=path, size=size)
        self.tell(peer.number, durable=False, snapshot_chunk=chunk)

    def on_snapshot_reply(self, peer: Peer, reply: peer_pb2.SnapshotReply) -> None:
        """Go on with a transfer; the reply is of this term and we lead."""
        peer.heard = self.clock()
        if reply.id != peer.sending or self.source is None:
            return
        if reply.failed:
            self._give_up(peer, "the follower could not use it")
        elif reply.installed:
            peer.sending = 0
            peer.transfers.forget()
            peer.probe()
            self.next[peer] = max(self.next[peer], self.source.index + 1)
            self.counters.snapshots_sent += 1
        elif reply.next_offset != peer.offset and reply.next_offset < self.source.total:
            peer.offset = reply.next_offset
            peer.progress_at = self.clock()
            self._send_chunk(peer)

    def _give_up(self, peer: Peer, why: str) -> None:
        peer.sending = 0
        peer.probe()
        self._put_off(peer.transfers)
        logger.warning("sending a snapshot to member %x was given up: %s", peer.number, why)

    def _put_off(self, attempts: Backoff) -> None:
        """Count a failure and wait before the next attempt: at first an election timeout, twice as long each time."""
        self.counters.snapshots_failed += 1
        seconds = attempts.fail(self.clock(), self.config.election_max, self.config.snapshot_timeout)
        self.counters.snapshot_wait_seconds += seconds

    def tend_snapshots(self) -> None:
        """Repeat lost chunks, give up transfers that do not move, and drop a snapshot nobody needs any more."""
        if self.source is None:
            return
        now = self.clock()
        sending = [peer for peer in self.peers.values() if peer.sending and self.leads]
        for peer in sending:
            if now - peer.progress_at > self.config.snapshot_timeout:
                self._give_up(peer, f"no progress for {self.config.snapshot_timeout} s")
            elif now - peer.chunk_at > self.config.election_min:
                self._send_chunk(peer)
        if not self.leads or (not sending and now - self.source_used_at > self.config.snapshot_timeout):
            self._drop_source()
