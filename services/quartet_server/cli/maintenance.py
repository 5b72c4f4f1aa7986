"""`quartet gc|fsck|du`: collecting what nothing leads to, checking the tree, and what takes how much room."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any

from cyclopts import App, Parameter
from quartet import CallError, Client
from quartet.maintenance.v1 import maintenance_pb2 as pb
from rich.console import Console
from rich.status import Status

from quartet_server.cli.connection import Endpoints, Zone, connected, remote
from quartet_server.cli.output import CommandError, Output, print_json, print_table, say

_KIND = "FINDING_KIND_"
_Path = Annotated[str, Parameter(help="Remote path: qt:/path, or just /path; without one the whole zone.")]


def register(app: App) -> None:
    """Add the commands to `app`."""

    @app.command
    def gc(
        *,
        run: Annotated[bool, Parameter(negative="", help="Condemn and delete; without it nothing is changed.")] = False,
        report: Annotated[bool, Parameter(negative="", help="Only show what nodes did of late by themselves.")] = False,
        adopt: Annotated[
            bool, Parameter(negative="", help="Make the stores of all nodes this cluster's alone.")
        ] = False,
        endpoints: Endpoints = None,
        zone: Annotated[str, Parameter(help="Only this zone; empty for all.")] = "",
        output: Output = "table",
    ) -> None:
        """Collect blobs that nothing leads to, on every node; without --run say what that would do.

        What nothing leads to is condemned, and deleted by a later round, when a grace is over and still nothing leads to it.

        A store of blobs that another cluster has marked, or that has blobs from before stores were marked, is not collected
        (OBJECTS_NOT_OWNED) until --adopt makes it this cluster's. From then on what nothing in this cluster leads to is deleted, whoever put it
        there: be sure that no other cluster uses the store, and that this one has its own Metastore and not an empty or
        older one. `quartet gc` shows what would go. All of this goes for mounted stores too, which follow those of the nodes.

        **Example**: `quartet gc --run --zone team-a`
        """
        if adopt and (run or report):
            raise CommandError("--adopt goes with neither --run nor --report")
        with connected(endpoints) as client:
            if adopt:
                _print_adopted(list(_adopted(client)), output)
                return
            if report:
                _print_upkeep(client.maintenance.upkeep(), output)
                return
            rows = _collect(client, endpoints, zone, run=run)
        if output == "json":
            print_json(rows)
            return
        columns = ("node", "zone", "mount", "examined", "reached", "young", "condemned", "waiting", "swept", "saved")
        print_table(rows, columns)
        for row in rows:
            if row["skipped"]:
                say(f"mount {row['mount']} of zone {row['zone']} was not collected: {row['skipped']}")
        freed = sum(row["swept_bytes"] for row in rows)
        soon = sum(row["condemned_bytes"] for row in rows)
        if run:
            say(f"{freed} bytes deleted, {soon} bytes condemned")
        else:
            say(f"a round would delete {freed} bytes and condemn {soon}: quartet gc --run")

    @app.command
    def fsck(
        path: _Path = "",
        /,
        *,
        repair: Annotated[bool, Parameter(negative="", help="Mend what can be mended without losing a byte.")] = False,
        read: Annotated[bool, Parameter(name="--bytes", negative="", help="Read every blob.")] = False,
        endpoints: Endpoints = None,
        zone: Zone = "",
        output: Output = "table",
    ) -> int:
        """Check the tree against itself and its blobs; ends with 1 when something is wrong and was not mended.

        What no entry leads to is moved to /lost+found; a file whose bytes are lost is named and stays.

        **Example**: `quartet fsck --repair`
        """
        findings: list[pb.Finding] = []
        summary = pb.CheckSummary()
        with connected(endpoints, zone) as client, _status("checking") as status:
            for told in client.maintenance.check(remote(path) if path else "", repair=repair, read=read):
                match told.WhichOneof("told"):
                    case "progress":
                        status.update(f"{told.progress.stage}, {told.progress.examined} records")
                    case "finding":
                        findings.append(told.finding)
                    case _:
                        summary = told.summary
        rows = [_finding(one) for one in findings]
        if output == "json":
            print_json({"findings": rows, **_summary(summary)})
        elif rows:
            print_table(rows, ("kind", "path", "problem", "remedy", "repaired"))
        left = summary.findings - summary.repaired
        if output != "json":
            state = "clean" if not summary.findings else f"{summary.findings} findings, {summary.repaired} mended"
            say(f"{summary.examined} records and {summary.blobs} blobs at revision {summary.revision}: {state}")
            if left and not repair and any(one.remedy for one in findings):
                say("hint: quartet fsck --repair")
        return int(left > 0)

    @app.command
    def du(
        path: _Path = "",
        /,
        *,
        depth: Annotated[int, Parameter(help="Levels below that get rows of their own.")] = 0,
        endpoints: Endpoints = None,
        zone: Zone = "",
        output: Output = "table",
    ) -> None:
        """Show what a path holds and what that takes.

        LOGICAL is the sum of the sizes of files; UNIQUE counts each different chunk once; PHYSICAL is what those take where they are
        kept, compressed and in one copy. A chunk that several rows share counts in each of them and once in the last row, which is
        the path itself: rows may add up to more than it. RATIO is LOGICAL over PHYSICAL.

        **Example**: `quartet du qt:/docs --depth 1`
        """
        with connected(endpoints, zone) as client, _status("measuring"):
            rows = [_usage(row) for row in client.maintenance.usage(remote(path) if path else "", depth=depth)]
        if output == "json":
            print_json(rows)
        else:
            columns = ("logical", "unique", "physical", "ratio", "files", "directories", "path")
            print_table(rows, columns)
            if lost := rows[-1]["lost_chunks"]:
                say(f"{lost} chunks are not there: quartet fsck")


def _collect(client: Client, endpoints: str | None, zone: str, *, run: bool) -> list[dict[str, Any]]:
    """Do a round on every node, or on one where all share a store."""
    rows: list[dict[str, Any]] = []
    zones = [zone] if zone else []
    with _status("collecting") as status:
        first = _round(client, zones, status, run=run)
        rows += first.rows
        for address in [] if first.shared else _others(client, first.node):
            with connected(address) as other:
                rows += _round(other, zones, status, run=run, own_only=True).rows
    return rows


def _adopted(client: Client) -> Iterator[pb.AdoptResponse]:
    """Adopt the store of every node, or the one that all share."""
    yield (first := client.maintenance.adopt())
    for address in [] if first.shared else _others(client, first.node):
        with connected(address) as other:
            yield other.maintenance.adopt()


def _print_adopted(stores: Sequence[pb.AdoptResponse], output: str) -> None:
    if output == "json":
        print_json([_adopted_row(one) for one in stores])
        return
    rows = [{**_adopted_row(one), "owners": ", ".join(one.owners)} for one in stores]
    print_table(rows, ("node", "shared", "owners"))
    for mount in {(mount.zone, mount.name): mount for one in stores for mount in one.mounts}.values():
        say(f"mount {mount.name} of zone {mount.zone}, which was marked: {', '.join(mount.owners) or 'new'}")
    say("these stores are this cluster's alone now; what nothing in it leads to goes in later rounds: quartet gc")


def _adopted_row(one: pb.AdoptResponse) -> dict[str, Any]:
    mounts = [{"zone": mount.zone, "name": mount.name, "owners": list(mount.owners)} for mount in one.mounts]
    return {"node": one.node, "shared": one.shared, "owners": list(one.owners), "mounts": mounts}


class _Round:
    """A round on one node, as it was told."""

    def __init__(self) -> None:
        """Nothing was told yet."""
        self.node = ""
        self.shared = False
        self.rows: list[dict[str, Any]] = []


def _round(client: Client, zones: Sequence[str], status: Status, *, run: bool, own_only: bool = False) -> _Round:
    done = _Round()
    for told in client.maintenance.collect(run=run, zones=zones, own_only=own_only):
        done.node, done.shared = told.node, told.shared
        found = told.collection
        if not told.HasField("collection"):
            continue
        status.update(f"{told.node}, zone {found.zone}: {found.examined} blobs")
        if told.done:
            done.rows.append({"node": told.node, **_collection(found), "skipped": told.skipped})
    return done


def _others(client: Client, node: str) -> Iterator[str]:
    """Yield where the other nodes are that can be reached."""
    try:
        topology = client.cluster.topology()
    except CallError:  # one with an external Metastore knows of no others
        return
    for one in topology.nodes:
        if one.name != node and one.client_address:
            yield one.client_address


def _status(what: str) -> Status:
    """Return a line on stderr that says what goes on; without a terminal it shows nothing."""
    console = Console(stderr=True)
    return Status(what, console=console if console.is_terminal else Console(stderr=True, quiet=True))


def _print_upkeep(upkeep: pb.Upkeep, output: str) -> None:
    rows = [_upkeep(node) for node in upkeep.nodes]
    if output == "json":
        print_json(rows)
        return
    columns = ("node", "collect_time", "condemned", "swept", "collect_failure", "scrub_time", "scrubbed", "damaged")
    print_table(rows, columns)
    for row in rows:
        for example in row["examples"]:
            say(f"damaged on {row['node']}: {example}")


def _upkeep(node: pb.NodeUpkeep) -> dict[str, Any]:
    return {
        "node": node.node,
        "collect_time": node.collect_time.ToJsonString() if node.HasField("collect_time") else None,
        "condemned": node.collection.condemned,
        "swept": node.collection.swept,
        "collect_failure": node.collect_failure or None,
        "scrub_time": node.scrub_time.ToJsonString() if node.HasField("scrub_time") else None,
        "scrubbed": node.scrub.blobs,
        "damaged": node.scrub.damaged,
        "examples": list(node.scrub.examples),
        "tidied": node.tidied,
        "scrub_failure": node.scrub_failure or None,
    }


def _collection(found: pb.Collection) -> dict[str, Any]:
    return {field.name: getattr(found, field.name) for field in found.DESCRIPTOR.fields}


def _finding(found: pb.Finding) -> dict[str, Any]:
    return {
        "kind": pb.FindingKind.Name(found.kind).removeprefix(_KIND).lower(),
        "path": found.path,
        "problem": found.problem,
        "remedy": found.remedy,
        "repaired": found.repaired,
    }


def _summary(summary: pb.CheckSummary) -> dict[str, Any]:
    return {
        "examined": summary.examined,
        "blobs": summary.blobs,
        "found": summary.findings,
        "repaired": summary.repaired,
        "revision": summary.revision,
    }


def _usage(row: pb.GetUsageResponse) -> dict[str, Any]:
    ratio = row.logical_bytes / row.physical_bytes if row.physical_bytes else None
    return {
        "path": row.path,
        "files": row.files,
        "directories": row.directories,
        "links": row.links,
        "logical": row.logical_bytes,
        "unique": row.unique_bytes,
        "physical": row.physical_bytes,
        "ratio": None if ratio is None else round(ratio, 2),
        "absent": row.absent_bytes,
        "lost_chunks": row.lost_chunks,
    }
