"""The check of the tree, run to its end."""

from __future__ import annotations

import time

from quartet.maintenance.v1 import maintenance_pb2 as pb
from quartet_server.files import paths
from quartet_server.files.check.check import Check
from quartet_server.files.inos import Inos
from quartet_server.files.tree import Tree
from quartet_server.meta.ledger import LedgerLease
from quartet_server.meta.mutation import Mutator
from quartet_server.meta.times import timestamps
from quartet_server.objects.contract import BlobStore

from raftmeta.metastore import Metastore


def tree_of(store: Metastore) -> Tree:
    """The tools with which a service works on the tree in `store`."""
    lease = LedgerLease(store)
    return Tree(store, Mutator(store, lease), lease, Inos(store), timestamps(time.time))


async def check(
    store: Metastore,
    blobs: BlobStore,
    path: str = "/",
    *,
    zone: str = "default",
    repair: bool = False,
    read: bool = False,
) -> tuple[list[pb.Finding], pb.CheckSummary]:
    """Check a zone, or what is below a path of it."""
    tree = tree_of(store)
    findings, summary = [], pb.CheckSummary()
    async for told in Check(store, blobs, tree, zone, tree.now, repair=repair, read=read).run(paths.parse(path)):
        if told.WhichOneof("told") == "finding":
            findings.append(told.finding)
        elif told.WhichOneof("told") == "summary":
            summary = told.summary
    assert summary.findings == len(findings)
    assert summary.repaired == sum(finding.repaired for finding in findings)
    return findings, summary
