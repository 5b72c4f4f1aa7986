"""GetTree: a directory and all directories below it, each once, parents first, their bytes as they are kept."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import AsyncIterator, Iterable, Sequence

from google.protobuf.message import DecodeError
from quartet.wire.reapi import cas_pb2, tree_pb2

from quartet_server.errors import BlobNotFound, FieldInvalid, LimitReached, PageTokenInvalid, QuartetError
from quartet_server.objects.contract import BlobStore
from quartet_server.objects.digest import Digest
from quartet_server.objects.wire.batches import BATCH_BYTES, digest_of

PAGE = 1_000
"""Most directories in one response."""
MOST = 1_000_000
"""Most directories of a tree."""

_FIELD = "root_digest"
_AT_ONCE = 256  # directories read together
_TAG = b"\x0a"  # field 1, length-delimited: `directories`
_TOKEN = re.compile(r"([1-9][0-9]{0,6})-([0-9a-f]{16})")


def check_canonical(directory: tree_pb2.Directory) -> None:
    """Raise FieldInvalid unless names are single components, sorted, and each there once."""
    names: set[str] = set()
    nodes: tuple[Sequence[tree_pb2.FileNode | tree_pb2.DirectoryNode | tree_pb2.SymlinkNode], ...]
    nodes = (directory.files, directory.directories, directory.symlinks)
    for kind in nodes:
        last = b""
        for node in kind:
            name = node.name.encode()
            if name in (b"", b".", b"..") or b"/" in name or b"\0" in name:
                raise FieldInvalid.of(_FIELD, f"a directory of the tree has an entry {node.name[:64]!r}")
            if name <= last or node.name in names:
                raise FieldInvalid.of(_FIELD, f"a directory of the tree is not sorted, or has {node.name[:64]!r} twice")
            names.add(node.name)
            last = name


async def pages(store: BlobStore, zone: str, root: Digest, page_size: int, token: str) -> AsyncIterator[bytes]:
    """Yield serialized GetTreeResponses.

    Raises:
        FieldInvalid: The page size is negative, or something in the tree is no canonical Directory.
        PageTokenInvalid: The token is none of this tree.
        BlobNotFound: The root is missing.
        LimitReached: A directory does not fit into a message, or there are more than MOST.
    """
    if page_size < 0:
        raise FieldInvalid.of("page_size", "must not be negative")
    most = min(page_size or PAGE, PAGE)
    skip = _position(root, token)
    page: list[bytes] = []
    size = 0
    position = 0
    async for position, data in _directories(store, zone, root):
        if position <= skip:
            continue
        if page and (len(page) == most or size + len(data) > BATCH_BYTES):
            yield _response(page, f"{position - 1}-{root.hex[:16]}")
            page, size = [], 0
        page.append(data)
        size += len(data)
    if position < skip:
        raise PageTokenInvalid("the tree has fewer directories than the token says")
    yield _response(page, "")


async def _directories(store: BlobStore, zone: str, root: Digest) -> AsyncIterator[tuple[int, bytes]]:
    """Yield (position from 1, bytes) of each directory that is there, those of one level after the other."""
    waiting, seen, position = deque([root]), {root}, 0
    while waiting:
        digests: list[Digest] = []
        size = 0
        while waiting and len(digests) < _AT_ONCE and (size + waiting[0].size <= BATCH_BYTES or not digests):
            digests.append(waiting.popleft())
            size += digests[-1].size
        if size > BATCH_BYTES:
            raise LimitReached(f"directory {digests[0]} does not fit into one message", limit=BATCH_BYTES)
        found = await store.get_many(zone, digests, BATCH_BYTES)
        for digest in digests:
            data = found[digest]
            if isinstance(data, QuartetError):
                if digest == root or not isinstance(data, BlobNotFound):
                    raise data
                continue
            for child in _children(data):
                if child not in seen:
                    seen.add(child)
                    waiting.append(child)
            if len(seen) > MOST:
                raise LimitReached(f"the tree has more than {MOST} directories", limit=MOST)
            position += 1
            yield position, data


def _children(data: bytes) -> Iterable[Digest]:
    try:
        directory = tree_pb2.Directory.FromString(data)
    except DecodeError:
        raise FieldInvalid.of(_FIELD, "something in the tree is no Directory") from None
    check_canonical(directory)
    return [digest_of(node.digest, _FIELD) for node in directory.directories]


def _response(page: Sequence[bytes], token: str) -> bytes:
    """Return a serialized GetTreeResponse: the bytes of directories are not made anew, as their digests are of these."""
    parts: list[bytes] = []
    for data in page:
        parts += (_TAG, _varint(len(data)), data)
    return b"".join(parts) + cas_pb2.GetTreeResponse(next_page_token=token).SerializeToString()


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _position(root: Digest, token: str) -> int:
    if not token:
        return 0
    found = _TOKEN.fullmatch(token)
    if found is None or found[2] != root.hex[:16]:
        raise PageTokenInvalid("the page token is none of this tree")
    return int(found[1])
