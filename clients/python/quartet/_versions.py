"""Versions of files, for synchronous callers."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Generator, Iterator

from google.protobuf.duration_pb2 import Duration

from quartet._errors import Unavailable
from quartet._retry import Backoff
from quartet._transport import Transport
from quartet.files.v1 import files_pb2
from quartet.versions.v1 import versions_pb2 as pb

RESUMPTIONS = 6
"""How often a read is resumed that brings nothing."""


def new_request_id() -> str:
    """Draw an id for one logical request."""
    return uuid.uuid4().hex


def subject(file: str | int) -> pb.Subject:
    """Return how a request names a file: by path, or by inode number."""
    return pb.Subject(ino=file) if isinstance(file, int) else pb.Subject(path=file)


def retention(max_versions: int | None, min_versions: int | None, keep_seconds: int | None) -> pb.Retention:
    """Return a retention; None leaves a field to its default."""
    return pb.Retention(
        max_versions=max_versions,
        min_versions=min_versions,
        keep=Duration(seconds=keep_seconds) if keep_seconds is not None else None,
    )


class Versions:
    """What files were before. All methods raise `quartet.CallError`.

    A file is named by its path, also one at which it was deleted or from which it went to the trash, or by its inode number.
    """

    def __init__(self, transport: Transport, new_id: Callable[[], str] = new_request_id) -> None:
        """Call over `transport`."""
        self._transport = transport
        self._new_id = new_id

    def list(self, file: str | int, *, page_size: int = 1000) -> Iterator[pb.Version]:
        """Yield the versions of a file, the newest first; the first is the present one, unless the file is gone."""
        request = pb.ListVersionsRequest(file=subject(file), page_size=page_size)
        while True:
            page = self._transport.call(lambda at: at.versions.ListVersions, request, safe=True)
            yield from page.versions
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def page(self, file: str | int, *, page_size: int = 0, page_token: str = "") -> pb.ListVersionsResponse:
        """Return one page of a file's versions, with what is lost of its history on the last."""
        request = pb.ListVersionsRequest(file=subject(file), page_size=page_size, page_token=page_token)
        return self._transport.call(lambda at: at.versions.ListVersions, request, safe=True)

    def read(self, file: str | int, generation: int, *, offset: int = 0, length: int = 0) -> bytes:
        """Return the bytes of a version from `offset`, at most `length` of them (0: all)."""
        return b"".join(self.read_stream(file, generation, offset=offset, length=length))

    def read_stream(
        self, file: str | int, generation: int, *, offset: int = 0, length: int = 0
    ) -> Generator[bytes, None, None]:
        """Yield the bytes of a version in pieces; when a node fails, another goes on where it stopped."""
        request = pb.ReadVersionRequest(file=subject(file), generation=generation, offset=offset, length=length)
        backoff, tries = Backoff(), 0
        while True:
            try:
                for answer in self._transport.stream(lambda at: at.versions.ReadVersion, request):
                    tries, backoff = 0, Backoff()
                    request.offset += len(answer.data)
                    if length:
                        request.length -= len(answer.data)
                    if answer.data:
                        yield answer.data
                    if length and not request.length:
                        return
                return
            except Unavailable as error:
                tries += 1
                if error.reason == "NO_ENDPOINT" or tries > RESUMPTIONS:
                    raise
                self._transport.rest(backoff.after(error))

    def diff(
        self, file: str | int, from_generation: int = 0, to_generation: int = 0, *, context: int = 3
    ) -> pb.DiffVersionsResponse:
        """Tell what changed from one version to another; without them, what the last write changed."""
        request = pb.DiffVersionsRequest(
            file=subject(file),
            from_generation=from_generation,
            to_generation=to_generation,
            context=context,
        )
        return self._transport.call(lambda at: at.versions.DiffVersions, request, safe=True)

    def rollback(
        self,
        path: str,
        generation: int,
        *,
        ino: int = 0,
        attributes: bool = False,
        if_match: str = "",
        if_none_match: str = "",
        fence: files_pb2.Fence | None = None,
        request_id: str = "",
    ) -> files_pb2.Entry:
        """Write the file at a path with the content of an old version, of the file `ino` if given; no byte is copied."""
        request = pb.RollbackRequest(
            path=path,
            generation=generation,
            ino=ino,
            attributes=attributes,
            if_match=if_match,
            if_none_match=if_none_match,
            fence=fence,
            request_id=request_id or self._new_id(),
        )
        return self._transport.call(lambda at: at.versions.Rollback, request, safe=True)

    def deleted(self, path: str, *, page_size: int = 1000) -> Iterator[pb.DeletedFile]:
        """Yield the files that were deleted from a directory and still have versions."""
        request = pb.ListDeletedRequest(path=path, page_size=page_size)
        while True:
            page = self._transport.call(lambda at: at.versions.ListDeleted, request, safe=True)
            yield from page.files
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def delete(self, file: str | int, before_generation: int) -> int:
        """Give up the versions before a generation; return how many."""
        request = pb.DeleteVersionsRequest(file=subject(file), before_generation=before_generation)
        return self._transport.call(lambda at: at.versions.DeleteVersions, request, safe=True).deleted

    def set_retention(
        self,
        path: str,
        *,
        max_versions: int | None = None,
        min_versions: int | None = None,
        keep_seconds: int | None = None,
    ) -> pb.RetentionSetting:
        """Say how long versions are kept of a file, or of what is below a directory; None means the default."""
        request = pb.SetRetentionRequest(path=path, retention=retention(max_versions, min_versions, keep_seconds))
        return self._transport.call(lambda at: at.versions.SetRetention, request, safe=True)

    def get_retention(self, path: str) -> pb.RetentionSetting:
        """Tell how long versions are kept of what is at a path, and where that was set."""
        return self._transport.call(lambda at: at.versions.GetRetention, pb.GetRetentionRequest(path=path), safe=True)

    def remove_retention(self, path: str) -> bool:
        """Take a path's own setting away; tell whether there was one."""
        request = pb.RemoveRetentionRequest(path=path)
        return self._transport.call(lambda at: at.versions.RemoveRetention, request, safe=True).existed

    def collect(self, *, dry_run: bool = False) -> pb.CollectVersionsResponse:
        """Give up what is past its retention in the zone, or only count it; for operators."""
        request = pb.CollectVersionsRequest(dry_run=dry_run)
        return self._transport.call(lambda at: at.versions.CollectVersions, request, safe=True)
