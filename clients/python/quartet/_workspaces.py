"""Workspaces, for synchronous callers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from quartet._files import new_request_id
from quartet._transport import Transport
from quartet.workspaces.v1 import workspaces_pb2 as pb

_LOADING = 60.0


class Workspaces:
    """Directories that have a name, a kind and labels. All methods raise `quartet.CallError`."""

    def __init__(self, transport: Transport, new_id: Callable[[], str] = new_request_id) -> None:
        """Call over `transport`."""
        self._transport = transport
        self._new_id = new_id

    def register(
        self,
        path: str,
        name: str,
        *,
        kind: pb.WorkspaceKind.ValueType = pb.WORKSPACE_KIND_WORKSPACE,
        labels: Mapping[str, str] | None = None,
        description: str = "",
        created_by: str = "",
        create: bool = False,
        if_match: str = "",
        request_id: str = "",
    ) -> pb.Workspace:
        """Give a directory a name; `create` makes it, `if_match` replaces the registration with that etag."""
        request = pb.RegisterRequest(
            path=path,
            name=name,
            kind=kind,
            labels=labels or {},
            description=description,
            created_by=created_by,
            create=create,
            if_match=if_match,
            request_id=request_id or self._new_id(),
        )
        return self._transport.call(lambda at: at.workspaces.Register, request, safe=True)

    def unregister(self, name: str, *, if_match: str = "", request_id: str = "") -> pb.UnregisterResponse:
        """Forget a registration; the directory stays."""
        request = pb.UnregisterRequest(name=name, if_match=if_match, request_id=request_id or self._new_id())
        return self._transport.call(lambda at: at.workspaces.Unregister, request, safe=True)

    def get(self, name: str = "", *, path: str = "", serializable: bool = False) -> pb.Workspace:
        """Read the registration of a name, or of the directory at a path."""
        request = pb.GetRequest(name=name, path=path, serializable=serializable)
        return self._transport.call(lambda at: at.workspaces.Get, request, safe=True)

    def list(
        self,
        *,
        kind: pb.WorkspaceKind.ValueType = pb.WORKSPACE_KIND_UNSPECIFIED,
        labels: Mapping[str, str] | None = None,
        page_size: int = 1000,
        serializable: bool = False,
    ) -> Iterator[pb.Workspace]:
        """Yield registrations by name, those of a kind and with all of the labels, fetching pages as needed."""
        request = pb.ListRequest(kind=kind, labels=labels or {}, page_size=page_size, serializable=serializable)
        while True:
            page = self._transport.call(lambda at: at.workspaces.List, request, safe=True)
            yield from page.workspaces
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def update(
        self, workspace: pb.Workspace, fields: Sequence[str], *, if_match: str = "", request_id: str = ""
    ) -> pb.Workspace:
        """Give the registration of `workspace.name` the values that `fields` of `workspace` have."""
        request = pb.UpdateRequest(workspace=workspace, if_match=if_match, request_id=request_id or self._new_id())
        request.update_mask.paths.extend(fields)
        return self._transport.call(lambda at: at.workspaces.Update, request, safe=True)

    def load_config(
        self,
        document: str,
        *,
        form: pb.ConfigFormat.ValueType = pb.CONFIG_FORMAT_TOML,
        dry_run: bool = False,
        request_id: str = "",
        timeout: float = _LOADING,
    ) -> pb.LoadConfigResponse:
        """Register what a document declares; tells what was added, changed, left or refused."""
        request = pb.LoadConfigRequest(
            document=document, format=form, dry_run=dry_run, request_id=request_id or self._new_id()
        )
        return self._transport.call(lambda at: at.workspaces.LoadConfig, request, safe=True, timeout=timeout)
