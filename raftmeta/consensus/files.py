"""A member's files: its log and its membership, opened together, set up, or taken out of a lost cluster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from google.protobuf.message import DecodeError

from raftmeta.v1 import peer_pb2
from raftmeta.wal import Files, Wal

from .cabinet import DiskCabinet
from .codec import MEMBERSHIP, FormatError, Members, by_id, entry_kind, entry_members, membership_entry, unpack_members
from .contract import Member, StateMachine
from .membership import RECORD, finish_install, load_membership, store_membership
from .state import StartError


def open_files(
    data_dir: Path,
    cluster_id: int,
    member_id: int,
    bootstrap: Sequence[Member],
    machine: StateMachine,
    files: Files | None = None,
) -> tuple[Wal, DiskCabinet]:
    """Open log and cabinet below `data_dir`; a new directory is set up with the membership `bootstrap`.

    The log is written through `files`, by default the operating system's.

    Raises ValueError when the directory is another member's, StartError when it is new and the state machine is not,
    and WalError.
    """
    cabinet = DiskCabinet(data_dir / "members")
    known = load_membership(cabinet, cluster_id, member_id)
    log = Wal.open(data_dir / "wal", create=known is None, files=files)
    if known is None:
        if log.last_index or machine.applied() != (0, 0):
            log.close()
            raise StartError(
                f"{data_dir} has a log or a state but no membership: part of the directory is lost. Remove this member,"
                " start it with an empty directory and add it again, or restore it from a snapshot"
            )
        store_membership(cabinet, cluster_id, member_id, 0, by_id(bootstrap))
    return log, cabinet


def create_data_dir(
    data_dir: Path, cluster_id: int, member_id: int, members: Sequence[Member], index: int, term: int
) -> None:
    """Set up `data_dir` for a state machine restored from a backup, whose `applied()` is (index, term).

    Every member of the new cluster is given the same backup, members, index and term. Raises StartError when the
    directory is in use already.
    """
    cabinet = DiskCabinet(data_dir / "members")
    log = Wal.open(data_dir / "wal", create=True)
    try:
        if log.last_index or log.hard_state.term or cabinet.load(RECORD):
            raise StartError(f"{data_dir} is in use already: choose an empty directory")
        if index:
            log.reset(index, term)
            log.save_hard_state(term, 0)
        store_membership(cabinet, cluster_id, member_id, index, by_id(members))
    finally:
        log.close()


def force_new_cluster(data_dir: Path, member: Member, applied: tuple[int, int]) -> None:
    """Make `member` the only one of its cluster, keeping everything in its log; run while it is stopped.

    For use after a majority was lost for good: entries that were not committed become so. An empty address of `member`
    stays what it was. `applied` is what its state machine has, as (index, term). Raises StartError when `data_dir` was
    never set up, or is not that member's, FormatError when a record is damaged.
    """
    cabinet = DiskCabinet(data_dir / "members")
    data = cabinet.load(RECORD)
    try:
        record = peer_pb2.StoredMembership.FromString(data) if data else None
    except DecodeError as error:
        raise FormatError(f"stored membership: {error}") from None
    if record is None or record.member_id != member.id:
        raise StartError(f"{data_dir} does not hold member {member.id:x}")
    log = Wal.open(data_dir / "wal", create=False)
    try:
        finish_install(cabinet, log, record.cluster_id, member.id, applied)
        record = load_membership(cabinet, record.cluster_id, member.id) or record
        before = _last_known(log, record).get(member.id, member)
        member = replace(
            member,
            peer_address=member.peer_address or before.peer_address,
            client_address=member.client_address or before.client_address,
        )
        term = max(log.hard_state.term, log.last_term) + 1
        log.save_hard_state(term, member.id)
        log.append(log.last_index + 1, term, membership_entry({member.id: member}))
        log.sync()
    finally:
        log.close()


def _last_known(log: Wal, record: peer_pb2.StoredMembership) -> Members:
    """Return the newest membership in a log that begins with `record`."""
    members: Members = unpack_members(record.membership)
    index = max(log.first_index, record.index + 1)
    while index <= log.last_index:
        for entry in log.entries(index, 1000):
            index = entry.index + 1
            if entry_kind(entry.data) == MEMBERSHIP:
                members = entry_members(entry.data)
    return members
