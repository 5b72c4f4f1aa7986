"""Reads a stopped member's store through, for `offline.check`; LMDB ends the process over a page it cannot make sense of."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path

import lmdb
from google.protobuf.message import DecodeError

from raftmeta.config import SPACES
from raftmeta.errors import MetastoreError
from raftmeta.etcd import kv_pb2
from raftmeta.machine import Machine
from raftmeta.store import Store, StoreError, layout
from raftmeta.store.view import View

_DAMAGE = (StoreError, MetastoreError, LookupError, ValueError, OverflowError, DecodeError, lmdb.Error)


@dataclass(slots=True)
class Report:
    """What a check saw: facts by name, and findings, which should be none."""

    facts: dict[str, object] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)


def open_machine(directory: Path) -> Machine:
    """Open the machine on a store whose bytes nobody vouches for. Raises StoreError."""
    store = Store(directory)
    try:
        return Machine(store)
    except _DAMAGE as error:
        store.close()
        raise StoreError(f"the state in {directory} is damaged: {error}") from error


def check_store(directory: Path, report: Report) -> int | None:
    """Read every living key of every keyspace; returns the applied index, None when the store could not be read."""
    try:
        store = Store(directory)
    except StoreError as error:
        report.findings.append(str(error))
        return None
    try:
        machine = Machine(store)
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
    except _DAMAGE as error:
        report.findings.append(f"the store is damaged: {error}")
        return None
    finally:
        store.close()


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


def main() -> None:
    """Write the report on the store in argv[1] to stdout, as JSON."""
    report = Report()
    applied = check_store(Path(sys.argv[1]), report)
    print(json.dumps({"applied": applied, "facts": report.facts, "findings": report.findings}))


if __name__ == "__main__":
    main()
