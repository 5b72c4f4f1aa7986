"""What can be done with the data of a member that does not run: restore, force a new cluster, check."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from raftmeta import identity, snapshot
from raftmeta.consensus import DiskCabinet, FormatError, StartError, create_data_dir
from raftmeta.consensus import force_new_cluster as force
from raftmeta.consensus.contract import Member
from raftmeta.identity import Identity, IdentityError
from raftmeta.inspecting import Report, open_machine
from raftmeta.removal import forget_removal
from raftmeta.serve import UsageError
from raftmeta.snapshot import SnapshotError
from raftmeta.store import StoreError
from raftmeta.tls import TlsError
from raftmeta.wal import WalError, WalLocked, inspect

USER_ERRORS = (
    UsageError,
    IdentityError,
    SnapshotError,
    StoreError,
    StartError,
    FormatError,
    WalError,
    TlsError,
    OSError,
)


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
        machine = open_machine(data_dir / "store")
        try:
            machine.install(state)
            if machine.applied() != (description.index, description.term):
                raise SnapshotError(f"{archive} says that it is of index {description.index}, its state is not")
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
    """Make the member of `data_dir` the only one of its cluster. Raises UsageError, StartError, StoreError, FormatError, WalError."""
    me = _identity(data_dir)
    machine = open_machine(data_dir / "store")
    try:
        force(data_dir / "raft", Member(me.member_id, me.name, advertise_peer), machine.applied())
        forget_removal(data_dir)
    finally:
        machine.close()
    return {"member_id": f"{me.member_id:x}", "cluster_id": f"{me.cluster_id:x}"}


def check(data_dir: Path) -> Report:
    """Read everything a stopped member keeps and say what is wrong. Raises UsageError when there is no member."""
    me = _identity(data_dir)
    report = Report()
    report.facts |= {"member_id": f"{me.member_id:x}", "cluster_id": f"{me.cluster_id:x}", "name": me.name}
    _check_records(data_dir / "raft" / "members", report)
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


def _check_records(directory: Path, report: Report) -> None:
    """Verify the checksums of the small records beside the log, of which that of the membership must be there."""
    if not (directory / "membership.rec").exists():
        report.findings.append(f"{directory / 'membership.rec'} is missing")
        return
    cabinet = DiskCabinet(directory)
    for path in sorted(directory.glob("*.rec")):
        try:
            cabinet.load(path.stem)
        except FormatError as error:
            report.findings.append(str(error))


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
    """Have the store read in a process of its own, which may end over it; returns the applied index if it could be read."""
    if not directory.is_dir():
        report.findings.append(f"{directory} is missing")
        return None
    command = [sys.executable, "-m", "raftmeta.inspecting", str(directory)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        said = done.stderr.strip().splitlines()[-1:] or [f"status {done.returncode}"]
        report.findings.append(f"the store in {directory} cannot be read through: {said[0]}")
        return None
    seen = json.loads(done.stdout)
    report.facts |= seen["facts"]
    report.findings += seen["findings"]
    return cast("int | None", seen["applied"])
