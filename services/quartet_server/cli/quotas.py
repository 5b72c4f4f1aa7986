"""`quartet quota set|show|rm`: how much directories may hold."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import App, Parameter
from quartet.files.v1 import files_pb2 as pb

from quartet_server.cli.connection import Endpoints, Remote, Zone, connected, remote
from quartet_server.cli.output import Output, print_json, print_table

_PATIENCE = 300.0


def register(app: App) -> None:
    """Add the commands to `app`."""
    quota = App(name="quota", help="How much directories may hold.")
    app.command(quota)

    @quota.command(name="set")
    def set_(
        path: Remote,
        /,
        *,
        bytes_: Annotated[int, Parameter(name="--bytes", help="The most bytes; 0 for no limit.")] = 0,
        inodes: Annotated[int, Parameter(help="The most files, directories and links; 0 for no limit.")] = 0,
        endpoints: Endpoints = None,
        zone: Zone = "",
        output: Output = "table",
    ) -> None:
        """Limit what is below a directory, and count what is there.

        **Example**: `quartet quota set qt:/team --bytes 1000000000 --inodes 100000`
        """
        with connected(endpoints, zone) as client:
            made = client.files.quotas.set(remote(path), limit_bytes=bytes_, limit_inodes=inodes, timeout=_PATIENCE)
        _print(made, output)

    @quota.command
    def show(path: Remote, /, *, endpoints: Endpoints = None, zone: Zone = "", output: Output = "table") -> None:
        """Show a directory's quota, and how much of it is used.

        **Example**: `quartet quota show qt:/team`
        """
        with connected(endpoints, zone) as client:
            found = client.files.quotas.get(remote(path))
        _print(found, output)

    @quota.command
    def rm(path: Remote, /, *, endpoints: Endpoints = None, zone: Zone = "", output: Output = "table") -> None:
        """Take a directory's quota away.

        **Example**: `quartet quota rm qt:/team`
        """
        with connected(endpoints, zone) as client:
            gone = client.files.quotas.remove(remote(path))
        if output == "json":
            print_json({"revision": gone.revision})


def _print(quota: pb.Quota, output: Output) -> None:
    row: dict[str, Any] = {
        "path": quota.path,
        "used_bytes": quota.used_bytes,
        "limit_bytes": quota.limit_bytes or None,
        "used_inodes": quota.used_inodes,
        "limit_inodes": quota.limit_inodes or None,
    }
    if output == "json":
        print_json(row)
    else:
        print_table([row], tuple(row))
