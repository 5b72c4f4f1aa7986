"""What can be done with the data of a member that does not run: restore, force a new cluster, check."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import lmdb
from google.protobuf.message import DecodeError

from raftmeta import identity, snapshot
from raftmeta.config import SPACES
from raftmeta.consensus import StartError, create_data_dir
from raftmeta.consensus import force_new_cluster as force
from raftmeta.consensus.contract import Member
from raftmeta.etcd import kv_pb2
from raftmeta.identity import Identity, IdentityError
from raftmeta.machine import Machine
from raftmeta.serve import UsageError
from raftmeta.snapshot import SnapshotError
from raftmeta.store import Store, StoreError, layout
from raftmeta.store.view import View
from raftmeta.tls import TlsError
from raftmeta.wal import WalError, WalLocked, inspect

USER_ERRORS = (UsageError, IdentityError, SnapshotError, StoreError, StartError, WalError, TlsError, OSError)


@dataclass(slots=True)
class Report:
    """What `check` saw: facts by name, and findings, which should be none."""

    facts: dict[str, object] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)


def restore(
    archive: Path, data_dir: Path, name: str, peers: Mapping[str, str], token: str, *, skip_digest: bool = False
) -> dict[str, object]:
    """Make `data_dir` out of a backup, for member `name` of a new cluster of `peers` (name to peer HOST:PORT).

    Returns member_id and cluster_id (hexadecimal), revision, index.

    Raises:
        UsageError: The directory is in use, or the name is not among the peers.
        SnapshotError: The archive is not usable.
    """
    if data_dir.exists() and any(data_dir.iterdir()):
        raise UsageError(f"{data_dir} is not empty: choose a new directory")
    founders = dict(peers) or {name: name}
    if name not in founders:
        raise UsageError(f"--initial-cluster has no member called {name!r}")
    data_dir.mkdir(parents=True, exist_ok=True)
    me = Identity(identity.cluster_id(token, founders), identity.member_id(token, founders[name]), name, token)
    scratch = Path(tempfile.mkdtemp(prefix="restore-", dir=data_dir))
    try:
        description, state = snapshot.unpack(archive, scratch, skip_digest=skip_digest)
        machine = Machine(Store(data_dir / "store"))
        try:
            machine.install(state)
            revision = machine.revisions(0)[0]
        finally:
            machine.close()
        members = [Member(identity.member_id(token, address), who, address) for who, address in founders.items()]
        create_data_dir(data_dir / "raft", me.cluster_id, me.member_id, members, description.index, description.term)
        identity.save(data_dir, me)
    finally:
        shutil.rmtree(scratch)
    return {
        "member_id": f"{me.member_id:x}",
        "cluster_id": f"{me.cluster_id:x}",
        "revision": revision,
        "index": description.index,
    }


def force_new_cluster(data_dir: Path, advertise_peer: str) -> dict[str, object]:
    """Make the member of `data_dir` the only one of its cluster. Raises UsageError, StartError, StoreError, WalError."""
    me = _identity(data_dir)
    machine = Machine(Store(data_dir / "store"))
    try:
        force(data_dir / "raft", Member(me.member_id, me.name, advertise_peer), machine.applied())
    finally:
        machine.close()
    return {"member_id": f"{me.member_id:x}", "cluster_id": f"{me.cluster_id:x}"}


def check(data_dir: Path) -> Report:
    """Read everything a stopped member keeps and say what is wrong. Raises UsageError when there is no member."""
    me = _identity(data_dir)
    report = Report()
    report.facts |= {"member_id": f"{me.member_id:x}", "cluster_id": f"{me.cluster_id:x}", "name": me.name}
    log = _check_log(data_dir / "raft" / "wal", report)
    applied = _check_store(data_dir / "store", report)
    if log is not None and applied is not None:
        first, last = log
        if applied < first - 1:
            report.findings.append(
                f"the store stops at index {applied}, the log begins at {first}: entries are missing"
            )
        if applied > last:
            report.findings.append(
                f"the store has applied index {applied}, the log ends at {last}: the log lost entries"
            )
    return report


def _identity(data_dir: Path) -> Identity:
    me = identity.load(data_dir)
    if me is None:
        raise UsageError(f"{data_dir} holds no member of raftmeta")
    return me


def _check_log(directory: Path, report: Report) -> tuple[int, int] | None:
    """Verify every checksum of the log; returns its first and last index, None when it could not be read."""
    try:
        found = inspect(directory)
    except WalLocked:
        raise UsageError(f"{directory} is in use: stop the member first") from None
    except WalError as error:
        report.findings.append(str(error))
        return None
    report.facts |= {
        "log_first_index": found.first_index,
        "log_last_index": found.last_index,
        "log_term": found.hard_state.term,
        "log_segments": found.segments,
        "log_torn_bytes": found.torn_bytes,
    }
    return found.first_index, found.last_index


def _check_store(directory: Path, report: Report) -> int | None:
    """Read every living key of every keyspace; returns the applied index, None when the store could not be opened."""
    if not directory.is_dir():
        report.findings.append(f"{directory} is missing")
        return None
    try:
        store = Store(directory)
    except StoreError as error:
        report.findings.append(str(error))
        return None
    machine = Machine(store)
    try:
        with store.read() as view:
            index, term = view.applied()
            report.facts |= {"applied_index": index, "applied_term": term}
            for space in SPACES:
                keys = _check_space(view, space, report)
                current, compacted = machine.revisions(space)
                report.facts |= {f"space{space}_keys": keys, f"space{space}_revision": current}
                report.facts[f"space{space}_hash"] = machine.hash_kv(space, 0)[0]
                if compacted > current:
                    report.findings.append(f"keyspace {space}: compacted revision {compacted} is above {current}")
        return index
    except (StoreError, KeyError, ValueError, DecodeError, lmdb.Error) as error:
        report.findings.append(f"the store is damaged: {error}")
        return None
    finally:
        machine.close()


def _check_space(view: View, space: int, report: Report) -> int:
    current = view.space(space).current
    leases = {lease for lease, _ in view.leases(space)}
    keys = 0
    for revision in view.damaged(space):
        report.findings.append(
            f"keyspace {space}: the record of revision {layout.main_of(revision)} is not what was written"
        )
    for key, revision in view.alive(space, b"", None, current):
        keys += 1
        item = kv_pb2.KeyValue.FromString(view.record(space, revision))
        if item.key != key:
            report.findings.append(f"keyspace {space}: the record of {key!r} is that of {item.key!r}")
        elif not 0 < item.create_revision <= item.mod_revision <= current:
            report.findings.append(f"keyspace {space}: {key!r} has impossible revisions")
        elif item.lease and item.lease not in leases:
            report.findings.append(f"keyspace {space}: {key!r} hangs on lease {item.lease:x}, which does not exist")
    return keys
