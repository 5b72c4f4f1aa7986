"""Rules of what hangs on inodes without being in the tree: extended attributes, trash, what waits to be deleted, locks, request ids."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from google.protobuf.message import DecodeError
from quartet.files.storage.v1 import storage_pb2
from quartet.maintenance.v1 import maintenance_pb2 as pb

from quartet_server.files import keys, principals, xattrs
from quartet_server.files.check.finding import Finding, Mend, decoded, unreadable
from quartet_server.files.check.view import View
from quartet_server.meta import ops
from quartet_server.meta.snapshot import KeyValue


async def examine_xattrs(view: View, kvs: Sequence[KeyValue]) -> list[Finding]:
    """Hold extended attributes against their inodes and guards; the number of them where a page has them all."""
    zone = view.zone
    by_ino = {ino: list(some) for ino, some in groupby(kvs, key=lambda kv: keys.parse(kv.key).ino)}
    known = await view.get([key for ino in by_ino for key in (keys.inode(zone, ino), keys.xattr_guard(zone, ino))])
    findings = []
    for ino, some in by_ino.items():
        inode, guard, first = keys.inode(zone, ino), keys.xattr_guard(zone, ino), some[0]
        if inode not in known:
            mend = Mend([ops.absent(inode)], [ops.delete_prefix(keys.xattr(zone, ino))])
            problem, remedy = "extended attributes of an inode that does not exist", "delete them"
        elif guard not in known:
            mend = Mend([ops.absent(guard), ops.exists(inode)], [ops.put(guard, b"")])
            problem, remedy = "extended attributes without the guard of their number", "write the guard"
        elif (len(some) > xattrs.MOST or len(kvs) == 1) and (count := await _count(view, ino)) > xattrs.MOST:
            problem = f"{count} extended attributes, at most {xattrs.MOST} are allowed"
            mend, remedy = None, ""
        else:
            continue
        findings.append(Finding(pb.FINDING_KIND_XATTR_WRONG, first.key, f"inode {ino}", problem, remedy, mend))
    return findings


async def _count(view: View, ino: int) -> int:
    prefix = keys.xattr(view.zone, ino)
    return (await view.snapshot.scan(prefix, ops.prefix_end(prefix), count_only=True)).count


async def examine_guards(view: View, kvs: Sequence[KeyValue]) -> list[Finding]:
    """Look for guards of attributes without an inode."""
    known = await view.get([keys.inode(view.zone, keys.parse(kv.key).ino) for kv in kvs])
    findings = []
    for kv in kvs:
        ino = keys.parse(kv.key).ino
        inode = keys.inode(view.zone, ino)
        if inode not in known:
            mend = Mend([ops.absent(inode)], [ops.delete(kv.key)])
            problem, remedy = "a guard of extended attributes without an inode", "delete it"
            findings.append(Finding(pb.FINDING_KIND_XATTR_WRONG, kv.key, f"inode {ino}", problem, remedy, mend))
    return findings


async def examine_trash(view: View, kvs: Sequence[KeyValue]) -> list[Finding]:
    """Hold what is in the trash against its inodes, which no entry leads to."""
    findings = []
    known = await view.get([keys.inode(view.zone, _ino(kv)) for kv in kvs])
    for kv in kvs:
        try:
            trashed = storage_pb2.Trashed.FromString(kv.value)
        except DecodeError:
            findings.append(unreadable(kv, f"inode {_ino(kv)} in the trash"))
            continue
        inode = keys.inode(view.zone, _ino(kv))
        compares = [ops.unchanged(kv.key, kv.mod_revision)]
        if trashed.ino != _ino(kv):
            findings.append(unreadable(kv, trashed.path))
            continue
        if inode not in known:
            compares.append(ops.absent(inode))
            problem = f"inode {trashed.ino} in the trash does not exist"
        elif await view.attached(trashed.ino):
            pointer = keys.parent(view.zone, trashed.ino)
            compares.append(ops.unchanged(pointer, (await view.get([pointer]))[pointer].mod_revision))
            problem = f"inode {trashed.ino} is in the trash and in the tree, as {await view.path(trashed.ino)}"
        else:
            continue
        mend = Mend(compares, [ops.delete(kv.key)])
        findings.append(
            Finding(pb.FINDING_KIND_TRASH_WRONG, kv.key, trashed.path, problem, "forget it in the trash", mend)
        )
    return findings


async def examine_reclaim(view: View, kvs: Sequence[KeyValue]) -> list[Finding]:
    """Hold what waits to be deleted against the tree and the trash: neither may have it."""
    findings = []
    known = await view.get([keys.inode(view.zone, _ino(kv)) for kv in kvs])
    for kv in kvs:
        ino = _ino(kv)
        inode = keys.inode(view.zone, ino)
        compares = [ops.unchanged(kv.key, kv.mod_revision)]
        if inode not in known:
            compares.append(ops.absent(inode))
            problem = "waits to be deleted and does not exist"
        elif await view.attached(ino):
            pointer = keys.parent(view.zone, ino)
            compares.append(ops.unchanged(pointer, (await view.get([pointer]))[pointer].mod_revision))
            problem = f"waits to be deleted and is in the tree, as {await view.path(ino)}"
        else:
            continue
        mend = Mend(compares, [ops.delete(kv.key)])
        findings.append(Finding(pb.FINDING_KIND_RECLAIM_WRONG, kv.key, f"inode {ino}", problem, "let it live", mend))
    return findings


async def examine_leases(view: View, kvs: Sequence[KeyValue]) -> list[Finding]:
    """Look for locks, and records of request ids, that no lease will ever end."""
    findings = []
    for kv in kvs:
        if kv.lease:
            continue
        is_lock = keys.parse(kv.key).kind == "L"
        about = f"a lock of inode {keys.parse(kv.key).ino}" if is_lock else "the record of a request id"
        mend = Mend([ops.unchanged(kv.key, kv.mod_revision)], [ops.delete(kv.key)])
        problem = f"{about} hangs on no lease and would never end"
        findings.append(Finding(pb.FINDING_KIND_LEASE_MISSING, kv.key, about, problem, "delete it", mend))
    return findings


async def examine_roots(view: View, kvs: Sequence[KeyValue]) -> list[Finding]:
    """Look for principals whose root is not in the tree."""
    findings = []
    for kv in kvs:
        if (record := decoded(storage_pb2.RootRecord, kv)) is None:
            findings.append(unreadable(kv, "the root of a principal"))
            continue
        ino = record.ino
        if ino == keys.ROOT or await principals.chain(view.zone, view.snapshot, ino) is not None:
            continue
        name = kv.key.partition(b"\0R")[2].decode("utf-8", "replace")
        problem = f"the root of {name}, inode {ino}, is not in the tree: quartet root set {name} PATH"
        findings.append(Finding(pb.FINDING_KIND_PRINCIPAL_ROOT_LOST, kv.key, f"principal {name}", problem))
    return findings


def _ino(kv: KeyValue) -> int:
    """Return the inode number at the end of a trash or reclaim key."""
    return int.from_bytes(kv.key[-8:], "big")
