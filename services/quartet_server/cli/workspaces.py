"""`quartet workspace register|ls|show|rm|load`: directories that have a name."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter
from quartet.workspaces.v1 import workspaces_pb2 as pb

from quartet_server.cli.connection import Endpoints, Remote, Zone, connected, remote
from quartet_server.cli.output import CommandError, Output, print_json, print_table

_LOADING = 300.0
_KINDS = {"workspace": pb.WORKSPACE_KIND_WORKSPACE, "memory": pb.WORKSPACE_KIND_MEMORY}
_KIND_NAMES = {value: name for name, value in _KINDS.items()}
_OUTCOMES = {
    pb.CONFIG_OUTCOME_ADDED: "added",
    pb.CONFIG_OUTCOME_CHANGED: "changed",
    pb.CONFIG_OUTCOME_UNCHANGED: "unchanged",
    pb.CONFIG_OUTCOME_FAILED: "failed",
}
_Name = Annotated[str, Parameter(help="Name of the workspace.")]
_Labels = Annotated[list[str] | None, Parameter(name="--label", negative="", help="KEY=VALUE; may be repeated.")]


def register(app: App) -> None:
    """Add the commands to `app`."""
    workspace = App(name="workspace", help="Directories that have a name, a kind and labels.")
    app.command(workspace)

    @workspace.command(name="register")
    def register_(
        path: Remote,
        name: Annotated[str, Parameter(help="Its name; without it the last component of the path.")] = "",
        /,
        *,
        kind: Annotated[Literal["workspace", "memory"], Parameter(help="What it is for.")] = "workspace",
        label: _Labels = None,
        description: Annotated[str, Parameter(help="What people should know.")] = "",
        created_by: Annotated[str, Parameter(help="Who registers it; default: whom the certificate names.")] = "",
        create: Annotated[bool, Parameter(negative="", help="Make the directory when it is not there.")] = False,
        replace: Annotated[bool, Parameter(negative="", help="Replace what is registered under the name.")] = False,
        endpoints: Endpoints = None,
        zone: Zone = "",
        output: Output = "table",
    ) -> None:
        """Give a directory a name, by which it is found wherever it is moved.

        **Example**: `quartet workspace register qt:/team/reports --label team=red --create`
        """
        at = remote(path)
        with connected(endpoints, zone) as client:
            made = client.workspaces.register(
                at,
                name or at.rstrip("/").rpartition("/")[2],
                kind=_KINDS[kind],
                labels=_labels(label),
                description=description,
                created_by=created_by,
                create=create,
                if_match="*" if replace else "",
            )
        if output == "json":
            print_json(_row(made))

    @workspace.command
    def ls(
        *,
        kind: Annotated[Literal["workspace", "memory", ""], Parameter(help="Only those of a kind.")] = "",
        label: _Labels = None,
        endpoints: Endpoints = None,
        zone: Zone = "",
        output: Output = "table",
    ) -> None:
        """List workspaces by name, and where they are now.

        **Example**: `quartet workspace ls --kind memory --label team=red`
        """
        wanted = _KINDS[kind] if kind else pb.WORKSPACE_KIND_UNSPECIFIED
        with connected(endpoints, zone) as client:
            rows = [_row(one) for one in client.workspaces.list(kind=wanted, labels=_labels(label))]
        if output == "json":
            print_json(rows)
        else:
            shown = [{**row, "labels": ",".join(f"{k}={v}" for k, v in row["labels"].items())} for row in rows]
            print_table(shown, ("name", "kind", "path", "labels", "description"))

    @workspace.command
    def show(name: _Name, /, *, endpoints: Endpoints = None, zone: Zone = "", output: Output = "table") -> None:
        """Show a workspace by its name, or the one of a directory by `qt:/path`.

        **Example**: `quartet workspace show reports`
        """
        with connected(endpoints, zone) as client:
            if name.startswith(("qt:", "/")):
                found = client.workspaces.get(path=remote(name))
            else:
                found = client.workspaces.get(name)
        row = _row(found)
        if output == "json":
            print_json(row)
        else:
            print_table([{"field": key, "value": value} for key, value in row.items()], ("field", "value"))

    @workspace.command
    def rm(name: _Name, /, *, endpoints: Endpoints = None, zone: Zone = "", output: Output = "table") -> None:
        """Forget a workspace; its directory stays.

        **Example**: `quartet workspace rm reports`
        """
        with connected(endpoints, zone) as client:
            gone = client.workspaces.unregister(name)
        if output == "json":
            print_json({"revision": gone.revision})

    @workspace.command
    def load(
        path: Annotated[str, Parameter(help="File of the declarations, TOML or .json; - for TOML on standard input.")],
        /,
        *,
        dry_run: Annotated[bool, Parameter(negative="", help="Tell what would be done, and do nothing.")] = False,
        endpoints: Endpoints = None,
        zone: Zone = "",
        output: Output = "table",
    ) -> int:
        """Register what a document declares, in its lists `workspaces` and `memories`; ends with 1 when one is refused.

        **Example**: `quartet workspace load workspaces.toml --dry-run`
        """
        form = pb.CONFIG_FORMAT_JSON if path.endswith(".json") else pb.CONFIG_FORMAT_TOML
        with connected(endpoints, zone) as client:
            answer = client.workspaces.load_config(_read(path), form=form, dry_run=dry_run, timeout=_LOADING)
        rows = [
            {"name": one.name, "outcome": _OUTCOMES[one.outcome], "reason": one.reason or None, "message": one.message}
            for one in answer.results
        ]
        if output == "json":
            counts = {name: getattr(answer, name) for name in _OUTCOMES.values()}
            print_json({**counts, "dry_run": dry_run, "results": rows})
        else:
            print_table(rows, ("name", "outcome", "message"))
        return int(bool(answer.failed))


def _read(path: str) -> str:
    """Return the text of a document. Raises CommandError."""
    try:
        return sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise CommandError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise CommandError(f"{path} is not UTF-8") from error


def _labels(given: list[str] | None) -> dict[str, str]:
    """Return what KEY=VALUE texts say. Raises CommandError."""
    if wrong := [one for one in given or () if "=" not in one]:
        raise CommandError(f"{wrong[0]} is not a label", "write it like --label team=red", exit_code=2)
    return dict(one.split("=", 1) for one in given or ())


def _row(one: pb.Workspace) -> dict[str, Any]:
    return {
        "name": one.name,
        "kind": _KIND_NAMES.get(one.kind, str(one.kind)),
        "path": one.path or None,
        "gone": one.gone,
        "ino": one.ino,
        "labels": dict(sorted(one.labels.items())),
        "description": one.description,
        "created_by": one.created_by,
        "create_time": one.create_time.ToJsonString(),
        "update_time": one.update_time.ToJsonString(),
        "etag": one.etag,
    }
