"""`quartet xattr list|get|set|rm`: extended attributes by hand."""

from __future__ import annotations

import base64
from typing import Annotated

from cyclopts import App, Parameter

from quartet_server.cli.connection import Endpoints, Remote, Zone, connected, remote
from quartet_server.cli.output import Output, print_json, print_table, printable

_Name = Annotated[str, Parameter(help="Name of the attribute.")]


def register(app: App) -> None:
    """Add the commands to `app`."""
    xattr = App(name="xattr", help="Extended attributes of files and directories.")
    app.command(xattr)

    @xattr.command(name="list")
    def list_(path: Remote, /, *, endpoints: Endpoints = None, zone: Zone = "", output: Output = "table") -> None:
        """Show the extended attributes of an entry.

        **Example**: `quartet xattr list qt:/docs/a.txt`
        """
        with connected(endpoints, zone) as client:
            rows = [_row(name, value) for name, value in client.files.list_xattrs(remote(path)).items()]
        if output == "json":
            print_json(rows)
        else:
            print_table(rows, ("name", "bytes", "text"))

    @xattr.command
    def get(
        path: Remote, name: _Name, /, *, endpoints: Endpoints = None, zone: Zone = "", output: Output = "table"
    ) -> None:
        """Show the value of an extended attribute.

        **Example**: `quartet xattr get qt:/docs/a.txt user.author`
        """
        with connected(endpoints, zone) as client:
            row = _row(name, client.files.get_xattr(remote(path), name))
        if output == "json":
            print_json(row)
        else:
            print(printable(str(row["text"])))

    @xattr.command(name="set")
    def set_(
        path: Remote,
        name: _Name,
        value: Annotated[str, Parameter(help="The value, as text in UTF-8.")],
        /,
        *,
        endpoints: Endpoints = None,
        zone: Zone = "",
        output: Output = "table",
    ) -> None:
        """Write an extended attribute.

        **Example**: `quartet xattr set qt:/docs/a.txt user.author ann`
        """
        with connected(endpoints, zone) as client:
            done = client.files.set_xattr(remote(path), name, value.encode())
        if output == "json":
            print_json({"revision": done.revision})

    @xattr.command
    def rm(
        path: Remote, name: _Name, /, *, endpoints: Endpoints = None, zone: Zone = "", output: Output = "table"
    ) -> None:
        """Delete an extended attribute.

        **Example**: `quartet xattr rm qt:/docs/a.txt user.author`
        """
        with connected(endpoints, zone) as client:
            done = client.files.remove_xattr(remote(path), name)
        if output == "json":
            print_json({"revision": done.revision})


def _row(name: str, value: bytes) -> dict[str, object]:
    """Show an attribute; what is not UTF-8 has escapes as text, and is whole in base64."""
    text = value.decode(errors="backslashreplace")
    return {"name": name, "bytes": len(value), "text": text, "base64": base64.b64encode(value).decode()}
