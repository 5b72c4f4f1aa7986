"""Check: a zone's records held against each other, stage by stage, on a live tree."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from google.protobuf.timestamp_pb2 import Timestamp
from quartet.maintenance.v1 import maintenance_pb2 as pb

from quartet_server.files import keys, paths, records
from quartet_server.files.check import counts, entries, leftovers
from quartet_server.files.check.finding import Finding, Mend
from quartet_server.files.check.inodes import Inodes
from quartet_server.files.check.mending import Mender
from quartet_server.files.check.view import View
from quartet_server.files.inos import BLOCK
from quartet_server.files.steps import Step
from quartet_server.files.tree import Tree
from quartet_server.meta import ops
from quartet_server.meta.snapshot import KeyValue, Snapshot
from quartet_server.objects.contract import BlobStore
from raftmeta.errors import Fault, MetastoreError
from raftmeta.metastore import Metastore

Rule = Callable[[View, Sequence[KeyValue]], Awaitable[list[Finding]]]
_PAGE = 256
_AGAIN = 3  # looks at one thing while it is mended: mending may show what was behind
_REFRESHED = 5  # times that one page is read anew because history was compacted


@dataclass(slots=True)
class Check:
    """One check of one zone.

    A page is held against a revision, and what looks wrong once more against a later one: what goes on meanwhile is no finding.
    When the revision has been compacted the check goes on at the newest one. Memory is bounded by pages, whatever the zone
    holds, but for 8 bytes for each thing in the trash.

    Attributes:
        store: Where the tree is.
        blobs: Where its bytes are.
        tree: Resolves paths, and creates the root of a zone.
        zone: The zone.
        now: The time, for records.
        repair: Whether to mend.
        read: Whether to read all blobs.
    """

    store: Metastore
    blobs: BlobStore
    tree: Tree
    zone: str
    now: Callable[[], Timestamp]
    repair: bool
    read: bool
    _summary: pb.CheckSummary = field(default_factory=pb.CheckSummary)
    _above: str = ""

    async def run(self, path: paths.Path) -> AsyncGenerator[pb.CheckResponse, None]:
        """Check what is at a path and below; the whole zone for its root. Raises FileNotFound, MetastoreError.

        Paths begin at the caller's root, and a caller with a root of its own sees nothing beyond it.
        """
        view = View(self.zone, Snapshot(self.store))
        walk = (await (await self.tree.resolver(self.zone, view.snapshot)).walk(path)).demand()
        self._above = walk.base.path
        inodes = Inodes(self.blobs, self.read)
        try:
            if walk.ino == keys.ROOT:
                async for told in self._everything(view, inodes):
                    yield told
            else:
                async for told in self._below(view, inodes, walk.ino):
                    yield told
        finally:
            inodes.close()
        self._summary.blobs = inodes.count
        self._summary.revision = max(self._summary.revision, view.snapshot.revision)
        yield pb.CheckResponse(summary=self._summary)

    async def _everything(self, view: View, inodes: Inodes) -> AsyncGenerator[pb.CheckResponse, None]:
        highest = 0

        async def of_inodes(view: View, kvs: Sequence[KeyValue]) -> list[Finding]:
            nonlocal highest
            highest = max(highest, *(keys.parse(kv.key).ino for kv in kvs))
            return await inodes.examine(view, kvs)

        async def of_numbers(view: View, kvs: Sequence[KeyValue]) -> list[Finding]:
            return await _numbers(view, kvs, highest)

        stages: list[tuple[str, bytes, Rule, bool]] = [
            ("entries", b"d", entries.examine, False),
            ("inodes", b"i", of_inodes, False),
            ("parent pointers", b"p", entries.examine_pointers, True),
            ("extended attributes", b"x", leftovers.examine_xattrs, True),
            ("guards of attributes", b"N", leftovers.examine_guards, True),
            ("trash", b"T", leftovers.examine_trash, False),
            ("what waits to be deleted", b"", leftovers.examine_reclaim, False),
            ("quotas", b"Q", counts.examine, False),
            ("locks", b"L", leftovers.examine_leases, True),
            ("request ids", b"K", leftovers.examine_leases, True),
            ("principals' roots", b"R", leftovers.examine_roots, False),
            ("inode numbers", b"A", of_numbers, False),
        ]
        for stage, kind, rule, keys_only in stages:
            prefix = self.zone.encode() + b"\0" + kind if kind else keys.reclaim(self.zone, 0)[:-8]
            start, end = prefix, ops.prefix_end(prefix)
            if self.repair and stage == "quotas":  # counts are right or wrong at the revision after what was mended
                view = View(self.zone, Snapshot(self.store))
            more = True
            while more:
                for attempt in range(_REFRESHED):
                    try:
                        page = await view.snapshot.scan(start, end, _PAGE, keys_only=keys_only)
                        findings = await rule(view, page.kvs) if page.kvs else []
                        break
                    except MetastoreError as error:
                        if error.fault is not Fault.COMPACTED or attempt == _REFRESHED - 1:
                            raise
                        view = View(self.zone, Snapshot(self.store))
                async for told in self._told(stage, len(page.kvs), findings, rule):
                    yield told
                more = page.more
                start = page.kvs[-1].key + b"\0" if page.kvs else end
        self._summary.revision = view.snapshot.revision

    async def _below(self, view: View, inodes: Inodes, top: int) -> AsyncGenerator[pb.CheckResponse, None]:
        """Go down from an inode; only where pointers lead back, so that no circle is walked for ever."""
        key = keys.inode(self.zone, top)
        found = list((await view.get([key])).values())
        async for told in self._told("inodes", 1, await inodes.examine(view, found), inodes.examine):
            yield told
        pending = [top]
        while pending:
            above = pending.pop()
            prefix = keys.dentry(self.zone, above, b"")
            async for page in view.pages(prefix, ops.prefix_end(prefix)):
                async for told in self._told("entries", len(page), await entries.examine(view, page), entries.examine):
                    yield told
                steps = [Step.of(kv) for kv in page]
                found = list((await view.get([keys.inode(self.zone, step.ino) for step in steps])).values())
                async for told in self._told("inodes", len(found), await inodes.examine(view, found), inodes.examine):
                    yield told
                pending += await view.below(above, [s for s in steps if s.type == records.DIRECTORY], top)

    async def _told(
        self, stage: str, examined: int, findings: Sequence[Finding], rule: Rule
    ) -> AsyncGenerator[pb.CheckResponse, None]:
        """Look again at what looks wrong, mend it if that is wanted, and tell it."""
        self._summary.examined += examined
        yield pb.CheckResponse(progress=pb.CheckProgress(stage=stage, examined=self._summary.examined))
        suspects = {finding.key: None for finding in findings}
        seen = {(finding.kind, finding.key) for finding in findings}
        for attempt in range(_AGAIN if self.repair else 1):
            if not suspects:
                return
            view = View(self.zone, Snapshot(self.store))
            kvs = [kv for _, kv in sorted((await view.get(list(suspects))).items())]
            confirmed = await rule(view, kvs) if kvs else []
            suspects = {}
            for finding in confirmed:
                if not attempt and (finding.kind, finding.key) not in seen:
                    continue  # it has only now come to look so: it would have to be looked at again
                repaired = self.repair and finding.mend is not None and await self._mend(finding.mend)
                if repaired:
                    suspects[finding.key] = None
                elif attempt:
                    continue  # it was told before
                self._summary.findings += 1
                self._summary.repaired += repaired
                yield pb.CheckResponse(finding=finding.told(self._above, repaired=repaired))

    async def _mend(self, mend: Mend) -> bool:
        return await Mender(self.store, self.zone, self.tree.inos, self.now).mend(mend)


async def _numbers(view: View, kvs: Sequence[KeyValue], highest: int) -> list[Finding]:
    """Hold the next number that no node has leased against the highest in use, which came to be before."""
    findings = []
    for kv in kvs:
        following = int.from_bytes(kv.value, "big")
        if following > highest:
            continue
        value = (highest + BLOCK).to_bytes(8, "big")
        mend = Mend([ops.unchanged(kv.key, kv.mod_revision)], [ops.put(kv.key, value)])
        problem = f"the next inode number is {following}, and {highest} is in use"
        findings.append(Finding(pb.FINDING_KIND_ALLOCATOR_BEHIND, kv.key, "inode numbers", problem, "raise it", mend))
    return findings
