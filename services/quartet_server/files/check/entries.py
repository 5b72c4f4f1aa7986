"""Rules of entries and of parent pointers."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.message import DecodeError
from quartet.files.storage.v1 import storage_pb2
from quartet.maintenance.v1 import maintenance_pb2 as pb

from quartet_server.files import keys, paths, records
from quartet_server.files.check.finding import Finding, Mend, Rescue, decoded, unreadable
from quartet_server.files.check.view import View
from quartet_server.files.keys import TreeKey
from quartet_server.meta import ops
from quartet_server.meta.snapshot import KeyValue


async def examine(view: View, kvs: Sequence[KeyValue]) -> list[Finding]:
    """Hold entries against the directories they lie in, the inodes they lead to, and those inodes' pointers."""
    findings: list[Finding] = []
    read: list[tuple[KeyValue, TreeKey, storage_pb2.Dentry]] = []
    for kv in kvs:
        try:
            read.append((kv, keys.parse(kv.key), storage_pb2.Dentry.FromString(kv.value)))
        except DecodeError:
            findings.append(unreadable(kv, f"an entry of inode {keys.parse(kv.key).ino}"))
    zone = view.zone
    wanted: dict[bytes, None] = {}
    for _, place, dentry in read:
        wanted |= dict.fromkeys(
            [keys.inode(zone, place.ino), keys.inode(zone, dentry.ino), keys.parent(zone, dentry.ino)]
        )
        if dentry.quota:
            wanted[keys.quota(zone, dentry.quota)] = None
    known = await view.get(list(wanted))
    for kv, place, dentry in read:
        found = await _one(view, known, kv, place, dentry)
        if found is not None and not await view.is_in_the_making(place.ino):
            findings.append(found)
    return findings


async def _one(
    view: View, known: dict[bytes, KeyValue], kv: KeyValue, place: TreeKey, dentry: storage_pb2.Dentry
) -> Finding | None:
    """Return the first thing that is wrong with an entry."""
    zone, name = view.zone, dentry.spelling or place.rest.decode("utf-8", "replace")
    above, inode = known.get(keys.inode(zone, place.ino)), known.get(keys.inode(zone, dentry.ino))
    pointer = known.get(keys.parent(zone, dentry.ino))
    same = ops.unchanged(kv.key, kv.mod_revision)

    async def path() -> str:
        return f"{await view.path(place.ino)}/{name}"

    if inode is None:
        mend = Mend([same, ops.absent(keys.inode(zone, dentry.ino))], [ops.delete(kv.key)])
        problem = f"leads to inode {dentry.ino}, which does not exist"
        return Finding(pb.FINDING_KIND_ENTRY_DANGLING, kv.key, await path(), problem, "delete the entry", mend)
    directory, leads = decoded(storage_pb2.Inode, above), decoded(storage_pb2.Inode, inode)
    if leads is None or (above is not None and directory is None):
        return None  # the inode that cannot be read is told as such
    if directory is None or directory.type != records.DIRECTORY:
        mend = Mend(
            [same, ops.unchanged(inode.key, inode.mod_revision)],
            [ops.delete(kv.key)],
            Rescue(dentry.ino, dentry.type, dentry.quota),
        )
        problem = f"lies in inode {place.ino}, which is no directory"
        return Finding(pb.FINDING_KIND_ENTRY_STRANDED, kv.key, await path(), problem, "move it to /lost+found", mend)
    expected = storage_pb2.Parent(ino=place.ino, name=place.rest.decode("utf-8", "replace")).SerializeToString()
    if pointer is None or pointer.value != expected:
        return await _misplaced(view, kv, inode, pointer, expected, await path())
    if dentry.type != leads.type:
        dentry.type = leads.type
        mend = Mend([same, ops.unchanged(inode.key, inode.mod_revision)], [ops.put(kv.key, dentry.SerializeToString())])
        problem = "the entry says another type than the inode"
        return Finding(pb.FINDING_KIND_ENTRY_WRONG, kv.key, await path(), problem, "write the inode's type", mend)
    if (why := paths.name_problem(name)) or paths.normal(name) != place.rest:
        dentry.spelling = ""
        key_is_name = paths.normal(place.rest.decode("utf-8", "replace")) == place.rest
        mend_name = Mend([same], [ops.put(kv.key, dentry.SerializeToString())]) if key_is_name else None
        problem = f"its name is spelled {name!r}: {why or 'another name than its key'}"
        remedy = "spell it as its key does" if mend_name else ""
        return Finding(pb.FINDING_KIND_ENTRY_WRONG, kv.key, await path(), problem, remedy, mend_name)
    if dentry.quota:
        quota = known.get(keys.quota(zone, dentry.quota))
        record = decoded(storage_pb2.QuotaRecord, quota)
        if quota is None or (record is not None and record.ino != dentry.ino):
            problem, dentry.quota = f"names quota {dentry.quota}, which is not its own", 0
            mend = Mend([same], [ops.put(kv.key, dentry.SerializeToString())])
            return Finding(pb.FINDING_KIND_QUOTA_WRONG, kv.key, await path(), problem, "forget the quota", mend)
    return None


async def _misplaced(
    view: View, kv: KeyValue, inode: KeyValue, pointer: KeyValue | None, expected: bytes, path: str
) -> Finding:
    """Return the finding of an entry to which its inode's pointer does not lead back."""
    ino = keys.parse(inode.key).ino
    same = ops.unchanged(kv.key, kv.mod_revision)
    key = keys.parent(view.zone, ino)
    named = decoded(storage_pb2.Parent, pointer)
    if pointer is not None and named is not None:
        other = keys.dentry(view.zone, named.ino, named.name.encode())
        found = (await view.get([other])).get(other)
        dentry = decoded(storage_pb2.Dentry, found)
        if found is not None and dentry is not None and dentry.ino == ino:
            compares = [same, ops.unchanged(key, pointer.mod_revision), ops.unchanged(other, found.mod_revision)]
            problem = f"leads to inode {ino}, whose own entry is another"
            mend = Mend(compares, [ops.delete(kv.key)])
            return Finding(pb.FINDING_KIND_ENTRY_DOUBLE, kv.key, path, problem, "delete this entry", mend)
    compares = [same, ops.unchanged(key, pointer.mod_revision if pointer else 0), ops.exists(inode.key)]
    mend = Mend(compares, [ops.put(key, expected)])
    problem = "the parent pointer does not lead back" if pointer else "the parent pointer is missing"
    return Finding(pb.FINDING_KIND_POINTER_WRONG, kv.key, path, problem, "write the pointer", mend)


async def examine_pointers(view: View, kvs: Sequence[KeyValue]) -> list[Finding]:
    """Look for parent pointers without an inode; the others are held against entries where those are."""
    known = await view.get([keys.inode(view.zone, keys.parse(kv.key).ino) for kv in kvs])
    findings = []
    for kv in kvs:
        ino = keys.parse(kv.key).ino
        inode = keys.inode(view.zone, ino)
        if inode not in known:
            mend = Mend([ops.unchanged(kv.key, kv.mod_revision), ops.absent(inode)], [ops.delete(kv.key)])
            findings.append(
                Finding(
                    pb.FINDING_KIND_POINTER_DANGLING,
                    kv.key,
                    f"inode {ino}",
                    "a parent pointer without an inode",
                    "delete the pointer",
                    mend,
                )
            )
    return findings
