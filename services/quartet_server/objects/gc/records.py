"""What nodes tell of their upkeep, in the Metastore: a key for each node, `/system/upkeep/NAME`."""

from __future__ import annotations

from collections.abc import Sequence

from quartet.maintenance.v1 import maintenance_pb2 as pb

from quartet_server.meta import ops, system
from quartet_server.meta.snapshot import Snapshot
from quartet_server.meta.times import timestamps
from quartet_server.objects.gc.collector import Tally
from quartet_server.objects.scrub import ScrubReport
from raftmeta.etcd import rpc_pb2
from raftmeta.metastore import Metastore

_EXAMPLES = 100
_LONGEST = 1000  # characters of a failure


def told(tally: Tally) -> pb.Collection:
    """Return a tally as the API tells it."""
    return pb.Collection(
        zone=tally.zone,
        mount=tally.mount,
        reached=tally.reached,
        examined=tally.examined,
        examined_bytes=tally.bytes,
        young=tally.young,
        condemned=tally.condemned,
        condemned_bytes=tally.condemned_bytes,
        waiting=tally.waiting,
        swept=tally.swept,
        swept_bytes=tally.swept_bytes,
        saved=tally.saved,
    )


def collection(node: str, total: Tally, now: float) -> pb.NodeUpkeep:
    """Return the report of a round that ended `now`, seconds since 1970."""
    return pb.NodeUpkeep(node=node, collection=told(total), collect_time=timestamps(lambda: now)())


def failed_collection(node: str, why: str) -> pb.NodeUpkeep:
    """Return the report of a round that was given up."""
    return pb.NodeUpkeep(node=node, collect_failure=why[:_LONGEST])


def scrub(node: str, report: ScrubReport, tidied: int, now: float) -> pb.NodeUpkeep:
    """Return the report of a scrub that ended `now`, seconds since 1970."""
    found = pb.Scrub(
        blobs=report.blobs,
        bytes=report.bytes,
        damaged=report.damaged_count,
        examples=[f"{zone}/{digest}" for zone, digest in report.damaged[:_EXAMPLES]],
    )
    return pb.NodeUpkeep(node=node, scrub=found, tidied=tidied, scrub_time=timestamps(lambda: now)())


def failed_scrub(node: str, why: str) -> pb.NodeUpkeep:
    """Return the report of a scrub that was given up."""
    return pb.NodeUpkeep(node=node, scrub_failure=why[:_LONGEST])


async def keep(store: Metastore, report: pb.NodeUpkeep) -> None:
    """Put a report in the place of the node's last one about the same. Raises MetastoreError."""
    key = system.UPKEEP + report.node.encode()
    found = (await Snapshot(store).get([key])).get(key)
    kept = pb.NodeUpkeep.FromString(found.value) if found is not None else pb.NodeUpkeep()
    if report.HasField("collection"):
        kept.ClearField("collection")
        kept.ClearField("collect_failure")
    if report.HasField("scrub"):
        for name in ("scrub", "scrub_failure", "tidied"):
            kept.ClearField(name)
    kept.MergeFrom(report)
    await store.put(rpc_pb2.PutRequest(key=key, value=kept.SerializeToString()))


async def every(store: Metastore) -> Sequence[pb.NodeUpkeep]:
    """Return all reports, by name. Raises MetastoreError."""
    found = await Snapshot(store).scan(system.UPKEEP, ops.prefix_end(system.UPKEEP))
    return [pb.NodeUpkeep.FromString(kv.value) for kv in found.kvs]


async def last(store: Metastore, what: str, node: str | None) -> float:
    """Return when `collect` or `scrub` was last done by a node (None: by any), in seconds since 1970; 0 for never.

    Raises MetastoreError.
    """
    times = [getattr(one, f"{what}_time").ToMicroseconds() for one in await every(store) if node in (None, one.node)]
    return max(times, default=0) / 1_000_000
