"""`quartet mount|unmount|mounts`: stores of blobs at directories."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import App, Parameter
from quartet.mounts.v1 import mounts_pb2 as pb

from quartet_server.cli.connection import Endpoints, Remote, Zone, connected, remote
from quartet_server.cli.output import Output, print_json, print_table

_PATIENCE = 300.0
_Name = Annotated[str, Parameter(help="Name of the mount.")]


def register(app: App) -> None:
    """Add the commands to `app`."""

    @app.command
    def mount(
        path: Remote,
        url: Annotated[
            str, Parameter(help="s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, az://CONTAINER/PREFIX, or file:///DIR.")
        ],
        name: Annotated[str, Parameter(help="Name of the mount; without it the last component of the path.")] = "",
        /,
        *,
        endpoint: Annotated[str, Parameter(help="URL of an S3 server that is not Amazon's.")] = "",
        credentials: Annotated[
            str, Parameter(help="NAME, for the nodes' variables QUARTET_MOUNT_NAME_..., which hold them.")
        ] = "",
        create: Annotated[bool, Parameter(negative="", help="Make the directory when it is not there.")] = False,
        endpoints: Endpoints = None,
        zone: Zone = "",
        output: Output = "table",
    ) -> None:
        """Keep the contents of what is written below a directory in another store, from now on.

        What may be mounted is in each node's configuration, `objects.mounts`.

        **Example**: `quartet mount qt:/archive s3://team-archive/quartet --credentials TEAM --create`
        """
        at = remote(path)
        with connected(endpoints, zone, _PATIENCE) as client:
            made = client.mounts.mount(
                at,
                name or at.rstrip("/").rpartition("/")[2],
                url,
                endpoint=endpoint,
                credentials=credentials,
                create=create,
                timeout=_PATIENCE,
            )
        if output == "json":
            print_json(_row(made))

    @app.command
    def unmount(
        name: _Name,
        /,
        *,
        drain: Annotated[
            bool, Parameter(negative="", help="Move what is in the store into the cluster's own first.")
        ] = False,
        endpoints: Endpoints = None,
        zone: Zone = "",
        output: Output = "table",
    ) -> None:
        """End a mount, if nothing is in its store any more. One that was broken off goes on when it is called again.

        **Example**: `quartet unmount archive --drain`
        """
        with connected(endpoints, zone, _PATIENCE) as client:
            done = client.mounts.unmount(name, drain=drain, timeout=_PATIENCE)
        if output == "json":
            print_json({"moved": done.moved, "moved_bytes": done.moved_bytes, "revision": done.revision})

    @app.command
    def mounts(*, endpoints: Endpoints = None, zone: Zone = "", output: Output = "table") -> int:
        """List the mounts of a zone; ends with 1 when a node does not reach a store.

        **Example**: `quartet mounts`
        """
        with connected(endpoints, zone) as client:
            found = client.mounts.list()
        rows = [_row(one) for one in found]
        if output == "json":
            print_json(rows)
        else:
            shown = [
                {**row, "nodes": ", ".join(_health(node) for node in one.nodes)}
                for row, one in zip(rows, found, strict=True)
            ]
            print_table(shown, ("name", "path", "url", "draining", "nodes"))
        return int(any(not node.reachable for one in found for node in one.nodes))


def _health(node: pb.NodeReach) -> str:
    return f"{node.node} ok" if node.reachable else f"{node.node}: {node.problem}"


def _row(one: pb.MountPoint) -> dict[str, Any]:
    return {
        "name": one.name,
        "path": one.path or None,
        "ino": one.ino,
        "url": one.url,
        "endpoint": one.endpoint,
        "credentials": one.credentials,
        "number": one.number,
        "node": one.node or None,
        "draining": one.draining,
        "created_by": one.created_by,
        "create_time": one.create_time.ToJsonString(),
        "nodes": [
            {"node": node.node, "reachable": node.reachable, "problem": node.problem or None} for node in one.nodes
        ],
    }
