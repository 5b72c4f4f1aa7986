"""`quartet root set|list|rm`: which directory is the root for whom."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter

from quartet_server.cli.connection import Endpoints, Remote, Zone, connected, remote
from quartet_server.cli.output import Output, print_json, print_table

_Principal = Annotated[str, Parameter(help="Common name of the principal's client certificate.")]


def register(app: App) -> None:
    """Add the commands to `app`."""
    root = App(name="root", help="Directories that principals take for the root.")
    app.command(root)

    @root.command(name="set")
    def set_(
        principal: _Principal,
        path: Remote,
        /,
        *,
        endpoints: Endpoints = None,
        zone: Zone = "",
        output: Output = "table",
    ) -> None:
        """Make a directory the root of all that a principal does.

        **Example**: `quartet root set agent-7 qt:/agents/7`
        """
        with connected(endpoints, zone) as client:
            made = client.files.roots.set(principal, remote(path))
        if output == "json":
            print_json({"principal": made.principal, "path": made.path, "ino": made.ino})

    @root.command(name="list")
    def list_(*, endpoints: Endpoints = None, zone: Zone = "", output: Output = "table") -> None:
        """Show the principals with a root of their own.

        **Example**: `quartet root list`
        """
        with connected(endpoints, zone) as client:
            rows = [
                {"principal": one.principal, "path": one.path or None, "ino": one.ino}
                for one in client.files.roots.list()
            ]
        if output == "json":
            print_json(rows)
        else:
            print_table(rows, ("principal", "path", "ino"))

    @root.command
    def rm(principal: _Principal, /, *, endpoints: Endpoints = None, zone: Zone = "", output: Output = "table") -> None:
        """Let a principal see the whole zone again.

        **Example**: `quartet root rm agent-7`
        """
        with connected(endpoints, zone) as client:
            gone = client.files.roots.remove(principal)
        if output == "json":
            print_json({"revision": gone.revision})
