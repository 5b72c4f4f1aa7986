"""Roots of principals, for synchronous callers."""

from __future__ import annotations

from collections.abc import Iterator

from quartet._transport import Transport
from quartet.files.v1 import files_pb2 as pb


class Roots:
    """Which directory is the root for whom; for operators. All methods raise `quartet.CallError`."""

    def __init__(self, transport: Transport) -> None:
        """Call over `transport`."""
        self._transport = transport

    def set(self, principal: str, path: str) -> pb.PrincipalRoot:
        """Make a directory the root of all calls of a principal."""
        request = pb.SetPrincipalRootRequest(principal=principal, path=path)
        return self._transport.call(lambda at: at.files.SetPrincipalRoot, request, safe=True)

    def list(self, *, page_size: int = 1000) -> Iterator[pb.PrincipalRoot]:
        """Yield the principals with a root of their own, by name."""
        request = pb.ListPrincipalRootsRequest(page_size=page_size)
        while True:
            page = self._transport.call(lambda at: at.files.ListPrincipalRoots, request, safe=True)
            yield from page.roots
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def remove(self, principal: str) -> pb.RemovePrincipalRootResponse:
        """Let a principal see the whole zone again."""
        request = pb.RemovePrincipalRootRequest(principal=principal)
        return self._transport.call(lambda at: at.files.RemovePrincipalRoot, request, safe=True)
