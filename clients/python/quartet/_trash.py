"""The trash, for synchronous callers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from google.protobuf.timestamp_pb2 import Timestamp

from quartet._transport import Transport
from quartet.files.v1 import files_pb2 as pb


class Trash:
    """What recursive deletes have put away. All methods raise `quartet.CallError`."""

    def __init__(self, transport: Transport, new_id: Callable[[], str]) -> None:
        """Call over `transport`."""
        self._transport = transport
        self._new_id = new_id

    def list(self, path: str = "", *, page_size: int = 1000) -> Iterator[pb.TrashItem]:
        """Yield what was deleted at the path or below it, everything without one, the oldest first."""
        request = pb.ListTrashRequest(path=path, page_size=page_size)
        while True:
            page = self._transport.call(lambda at: at.files.ListTrash, request, safe=True)
            yield from page.items
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def restore(self, id: str, path: str = "", *, fence: pb.Fence | None = None, request_id: str = "") -> pb.Entry:  # noqa: A002 - the field's name
        """Put an item back where it was, or at `path`, with everything below it."""
        request = pb.RestoreFromTrashRequest(id=id, path=path, fence=fence, request_id=request_id or self._new_id())
        return self._transport.call(lambda at: at.files.RestoreFromTrash, request, safe=True)

    def empty(self, ids: Sequence[str] = (), *, before: Timestamp | None = None) -> int:
        """Give up items for good: those named, or all, in either case only what was deleted `before`; return how many."""
        emptied = 0
        for i in range(0, max(len(ids), 1), 1000):
            request = pb.EmptyTrashRequest(ids=ids[i : i + 1000], before=before)
            while True:
                answer = self._transport.call(lambda at: at.files.EmptyTrash, request, safe=True)
                emptied += answer.emptied
                if not answer.more:
                    break
        return emptied
