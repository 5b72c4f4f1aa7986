"""The tree, for synchronous callers."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp

from quartet._contents import Contents
from quartet._errors import NotFound, Unavailable
from quartet._locks import Locks
from quartet._quotas import Quotas
from quartet._retry import Backoff
from quartet._roots import Roots
from quartet._transport import Transport
from quartet._trash import Trash
from quartet.files.v1 import files_pb2 as pb

BATCH = 1000
"""The most entries or paths in one call."""
MODES = {
    "replace": pb.RENAME_MODE_REPLACE,
    "no_replace": pb.RENAME_MODE_NO_REPLACE,
    "exchange": pb.RENAME_MODE_EXCHANGE,
}


def new_request_id() -> str:
    """Draw an id for one logical request."""
    return uuid.uuid4().hex


class Files(Contents):
    """Directories, files, symbolic links, their extended attributes, and the bytes of files.

    Every write carries a request id (a drawn one, unless given), so that a repetition after a lost answer changes
    nothing. All methods raise `quartet.CallError`.

    Attributes:
        locks: Locks of entries; a write with the `fence` of one is done only while it is held.
        quotas: How much directories may hold.
        roots: Which directory is the root for whom.
        trash: What recursive deletes have put away.
    """

    def __init__(self, transport: Transport, new_id: Callable[[], str] = new_request_id) -> None:
        """Call over `transport`."""
        super().__init__(transport, new_id)
        self.locks = Locks(transport, new_id)
        self.quotas = Quotas(transport)
        self.roots = Roots(transport)
        self.trash = Trash(transport, new_id)

    def mkdir(
        self,
        path: str,
        *,
        parents: bool = False,
        attributes: pb.Attributes | None = None,
        if_none_match: str = "",
        fence: pb.Fence | None = None,
        request_id: str = "",
    ) -> pb.Entry:
        """Create a directory; with `parents` the missing ones above it too, and an existing one is fine."""
        request = pb.MkdirRequest(
            path=path,
            parents=parents,
            attributes=attributes,
            if_none_match=if_none_match,
            fence=fence,
            request_id=request_id or self._new_id(),
        )
        return self._transport.call(lambda at: at.files.Mkdir, request, safe=True)

    def create(
        self,
        path: str,
        attributes: pb.Attributes | None = None,
        *,
        overwrite: bool = False,
        if_match: str = "",
        if_none_match: str = "",
        fence: pb.Fence | None = None,
        request_id: str = "",
    ) -> pb.Entry:
        """Create a file; with `overwrite` an existing one gets the attributes."""
        request = pb.CreateFileRequest(
            path=path,
            attributes=attributes,
            overwrite=overwrite,
            if_match=if_match,
            if_none_match=if_none_match,
            fence=fence,
            request_id=request_id or self._new_id(),
        )
        return self._transport.call(lambda at: at.files.CreateFile, request, safe=True)

    def symlink(self, path: str, target: str, *, fence: pb.Fence | None = None, request_id: str = "") -> pb.Entry:
        """Create a symbolic link."""
        request = pb.CreateFileRequest(
            path=path,
            type=pb.ENTRY_TYPE_SYMLINK,
            attributes=pb.Attributes(symlink_target=target),
            fence=fence,
            request_id=request_id or self._new_id(),
        )
        return self._transport.call(lambda at: at.files.CreateFile, request, safe=True)

    def create_many(
        self,
        entries: Sequence[pb.CreateEntry],
        *,
        fence: pb.Fence | None = None,
        request_id: str = "",
        timeout: float | None = None,
    ) -> list[pb.CreateResult]:
        """Create any number of entries, in order, 1,000 per call; each has its own result."""
        base = request_id or self._new_id()
        results: list[pb.CreateResult] = []
        for i in range(0, len(entries), BATCH):
            request = pb.BatchCreateRequest(
                entries=entries[i : i + BATCH], fence=fence, request_id=f"{base}.{i // BATCH}"
            )
            answer = self._transport.call(lambda at: at.files.BatchCreate, request, safe=True, timeout=timeout)
            results.extend(answer.results)
        return results

    def stat(self, path: str, *, follow: bool = False, serializable: bool = False, revision: int = 0) -> pb.Entry:
        """Read one entry, at a past revision if given; with `follow` what a symbolic link leads to."""
        request = pb.StatRequest(path=path, follow=follow, serializable=serializable, revision=revision)
        return self._transport.call(lambda at: at.files.Stat, request, safe=True)

    def exists(self, path: str, *, serializable: bool = False) -> bool:
        """Tell whether something is at the path."""
        try:
            self.stat(path, serializable=serializable)
        except NotFound as error:
            if error.reason != "FILE_NOT_FOUND":
                raise
            return False
        return True

    def stat_many(
        self, paths: Sequence[str], *, follow: bool = False, serializable: bool = False
    ) -> list[pb.StatResult]:
        """Read any number of entries, 1,000 per call, those of one call at one revision."""
        results: list[pb.StatResult] = []
        for i in range(0, len(paths), BATCH):
            request = pb.BatchStatRequest(paths=paths[i : i + BATCH], follow=follow, serializable=serializable)
            results.extend(self._transport.call(lambda at: at.files.BatchStat, request, safe=True).results)
        return results

    def list(
        self,
        path: str,
        *,
        detail: bool = False,
        recursive: bool = False,
        follow: bool = False,
        glob: str = "",
        type: pb.EntryType.ValueType = pb.ENTRY_TYPE_UNSPECIFIED,  # noqa: A002 - the field's name
        serializable: bool = False,
        page_size: int = BATCH,
    ) -> Iterator[pb.Entry]:
        """Yield the entries of a directory by name, fetching pages as needed; all pages show one revision.

        With `recursive` everything below, each directory before what it holds; with `glob`, such as `src/**/*.py`, what
        matches it below `path`; with `type` only entries of that type. With `follow` the path may be a link to a directory.
        """
        request = pb.ListRequest(
            path=path,
            detail=detail,
            recursive=recursive,
            follow=follow,
            glob=glob,
            type=type,
            serializable=serializable,
            page_size=page_size,
        )
        while True:
            page = self._transport.call(lambda at: at.files.List, request, safe=True)
            yield from page.entries
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def walk(self, path: str, *, detail: bool = False, serializable: bool = False) -> Iterator[pb.Entry]:
        """Yield everything below a directory as one revision shows it, each directory before what it holds."""
        return self.list(path, detail=detail, serializable=serializable, recursive=True)

    def touch(
        self,
        path: str,
        mtime: Timestamp | None = None,
        *,
        no_create: bool = False,
        if_match: str = "",
        if_none_match: str = "",
        fence: pb.Fence | None = None,
        request_id: str = "",
    ) -> pb.Entry:
        """Give an entry a new mtime, now without one; where there is nothing, create an empty file."""
        request = pb.TouchRequest(
            path=path,
            mtime=mtime,
            no_create=no_create,
            if_match=if_match,
            if_none_match=if_none_match,
            fence=fence,
            request_id=request_id or self._new_id(),
        )
        return self._transport.call(lambda at: at.files.Touch, request, safe=True)

    def set_attributes(
        self,
        path: str,
        attributes: pb.Attributes,
        *,
        mask: Sequence[str] = (),
        if_match: str = "",
        if_none_match: str = "",
        fence: pb.Fence | None = None,
        request_id: str = "",
    ) -> pb.Entry:
        """Change the attributes that `mask` names, or all."""
        request = pb.SetAttributesRequest(
            path=path,
            attributes=attributes,
            update_mask=FieldMask(paths=mask),
            if_match=if_match,
            if_none_match=if_none_match,
            fence=fence,
            request_id=request_id or self._new_id(),
        )
        return self._transport.call(lambda at: at.files.SetAttributes, request, safe=True)

    def rename(
        self,
        source: str,
        destination: str,
        *,
        mode: str = "replace",
        if_match: str = "",
        if_none_match: str = "",
        destination_if_match: str = "",
        fence: pb.Fence | None = None,
        request_id: str = "",
    ) -> pb.RenameResponse:
        """Move an entry; `mode` is replace, no_replace or exchange."""
        request = pb.RenameRequest(
            source=source,
            destination=destination,
            mode=MODES[mode],
            if_match=if_match,
            if_none_match=if_none_match,
            destination_if_match=destination_if_match,
            fence=fence,
            request_id=request_id or self._new_id(),
        )
        return self._transport.call(lambda at: at.files.Rename, request, safe=True)

    def delete(
        self,
        path: str,
        *,
        recursive: bool = False,
        permanent: bool = False,
        if_match: str = "",
        if_none_match: str = "",
        fence: pb.Fence | None = None,
        request_id: str = "",
    ) -> pb.DeleteResponse:
        """Delete an entry for good; with `recursive` put it into the trash with all below it, unless `permanent`."""
        request = pb.DeleteRequest(
            path=path,
            recursive=recursive,
            permanent=permanent,
            if_match=if_match,
            if_none_match=if_none_match,
            fence=fence,
            request_id=request_id or self._new_id(),
        )
        return self._transport.call(lambda at: at.files.Delete, request, safe=True)

    def set_xattr(
        self,
        path: str,
        name: str,
        value: bytes,
        *,
        if_match: str = "",
        if_none_match: str = "",
        fence: pb.Fence | None = None,
        request_id: str = "",
    ) -> pb.SetXattrResponse:
        """Write an extended attribute."""
        request = pb.SetXattrRequest(
            path=path,
            xattr=pb.Xattr(name=name, value=value),
            if_match=if_match,
            if_none_match=if_none_match,
            fence=fence,
            request_id=request_id or self._new_id(),
        )
        return self._transport.call(lambda at: at.files.SetXattr, request, safe=True)

    def get_xattr(self, path: str, name: str, *, serializable: bool = False) -> bytes:
        """Read an extended attribute's value."""
        request = pb.GetXattrRequest(path=path, name=name, serializable=serializable)
        return self._transport.call(lambda at: at.files.GetXattr, request, safe=True).value

    def list_xattrs(self, path: str, *, serializable: bool = False) -> Mapping[str, bytes]:
        """Read all extended attributes of an entry."""
        request = pb.ListXattrsRequest(path=path, serializable=serializable)
        answer = self._transport.call(lambda at: at.files.ListXattrs, request, safe=True)
        return {xattr.name: xattr.value for xattr in answer.xattrs}

    def remove_xattr(
        self,
        path: str,
        name: str,
        *,
        if_match: str = "",
        if_none_match: str = "",
        fence: pb.Fence | None = None,
        request_id: str = "",
    ) -> pb.RemoveXattrResponse:
        """Delete an extended attribute."""
        request = pb.RemoveXattrRequest(
            path=path,
            name=name,
            if_match=if_match,
            if_none_match=if_none_match,
            fence=fence,
            request_id=request_id or self._new_id(),
        )
        return self._transport.call(lambda at: at.files.RemoveXattr, request, safe=True)

    def get_xattrs(
        self, paths: Sequence[str], names: Sequence[str] = (), *, serializable: bool = False
    ) -> pb.BatchGetXattrsResponse:
        """Read extended attributes of up to 1,000 entries at one revision; no names means all."""
        request = pb.BatchGetXattrsRequest(paths=paths, names=names, serializable=serializable)
        return self._transport.call(lambda at: at.files.BatchGetXattrs, request, safe=True)

    def watch(
        self, path: str, *, recursive: bool = False, start_revision: int = 0
    ) -> Generator[pb.WatchResponse, None, None]:
        """Yield changes, revision by revision, none missing and none twice: a lost node is replaced by another.

        Raises OutOfRange when the start is forgotten, or was while no node could be reached.
        """
        request = pb.WatchRequest(path=path, recursive=recursive, start_revision=start_revision)
        backoff = Backoff()
        while True:
            try:
                for response in self._transport.stream(lambda at: at.files.Watch, request):
                    yield response
                    backoff = Backoff()
                    request.start_revision = response.revision + 1
                return
            except Unavailable as error:
                if error.reason == "NO_ENDPOINT" or not request.start_revision:
                    raise
                self._transport.rest(backoff.after(error))
