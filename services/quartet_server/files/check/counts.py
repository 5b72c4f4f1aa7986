"""Rules of quotas: each is its directory's, and its counts are what that holds."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.message import DecodeError
from quartet.files.storage.v1 import storage_pb2
from quartet.maintenance.v1 import maintenance_pb2 as pb

from quartet_server.files import keys
from quartet_server.files.check.finding import Finding, Mend, decoded, unreadable
from quartet_server.files.check.view import View
from quartet_server.meta import ops
from quartet_server.meta.snapshot import KeyValue


async def examine(view: View, kvs: Sequence[KeyValue]) -> list[Finding]:
    """Hold quotas against the entries that name them, and their counts against what is below, in the trash and on its way out.

    All of it is read at one revision, and every write that a quota counts writes the quota too: if it is still what it
    was when the counts are written, they are right.
    """
    findings = []
    for kv in kvs:
        number = int.from_bytes(kv.key[-8:], "big")
        try:
            record = storage_pb2.QuotaRecord.FromString(kv.value)
        except DecodeError:
            findings.append(unreadable(kv, f"quota {number}"))
            continue
        path = record.path or f"inode {record.ino}"
        same = ops.unchanged(kv.key, kv.mod_revision)
        if not await _is_named(view, number, record.ino):
            mend = Mend([same], [ops.delete(kv.key)])
            problem = f"quota {number} is of no directory"
            findings.append(Finding(pb.FINDING_KIND_QUOTA_WRONG, kv.key, path, problem, "delete the quota", mend))
            continue
        if record.counting:  # what was there before it is being added up, or a SetQuota of the future does so anew
            continue
        try:
            bytes_, inodes = await view.count(record.ino, itself=False)
            for ino in (await view.charged()).get(number, []):
                more = await view.count(ino, itself=True)
                bytes_, inodes = bytes_ + more[0], inodes + more[1]
        except DecodeError:
            continue  # what cannot be read is told as such, and cannot be counted
        if (bytes_, inodes) == (record.bytes, record.inodes):
            continue
        problem = f"the quota counts {record.bytes} bytes and {record.inodes} inodes, there are {bytes_} and {inodes}"
        record.bytes, record.inodes = bytes_, inodes
        mend = Mend([same], [ops.put(kv.key, record.SerializeToString())])
        findings.append(
            Finding(pb.FINDING_KIND_QUOTA_MISCOUNTED, kv.key, path, problem, "write the right counts", mend)
        )
    return findings


async def _is_named(view: View, number: int, ino: int) -> bool:
    """Tell whether the entry of a directory, or its record in the trash, names a quota."""
    zone = view.zone
    if (pointer := await view.pointer(ino)) is not None:
        key = keys.dentry(zone, pointer.ino, pointer.name.encode())
        kv = (await view.get([key])).get(key)
        dentry = decoded(storage_pb2.Dentry, kv)
        if dentry is not None and (dentry.ino, dentry.quota) == (ino, number):
            return True
    prefix = keys.trash(zone)
    async for page in view.pages(prefix, ops.prefix_end(prefix)):
        for kv in page:
            trashed = decoded(storage_pb2.Trashed, kv)
            if trashed is not None and (trashed.ino, trashed.quota) == (ino, number):
                return True
    return False
