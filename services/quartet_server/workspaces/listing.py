"""List: registrations by name, page by page, as far as the caller sees them."""

from __future__ import annotations

import base64
import binascii
import hashlib

from quartet.workspaces.v1 import workspaces_pb2 as pb

from quartet_server.errors import FieldInvalid, PageTokenInvalid
from quartet_server.files import places
from quartet_server.meta import ops
from quartet_server.meta.snapshot import Snapshot
from quartet_server.workspaces import keys, records
from quartet_server.workspaces.registry import Found, Registry

MOST = 1000
PAGE = 100
LOOKED = 1000
"""Registrations that one call looks at, at most: what is left goes to the next page."""
_AT_ONCE = 64  # each has up to 16 KiB
_BYTES = 2 << 20  # with the last read, below the 4 MiB of a message
_CHECKSUM = 8


async def page(registry: Registry, zone: str, snapshot: Snapshot, request: pb.ListRequest) -> pb.ListResponse:
    """Read a page. Raises FieldInvalid, PageTokenInvalid, ZoneNotFound, PrincipalRootLost."""
    if not 0 <= request.page_size <= MOST:
        raise FieldInvalid.of("page_size", f"0 to {MOST} are taken")
    if request.kind:
        records.check_kind(request.kind)
    records.check_labels(request.labels)
    size, checksum = request.page_size or PAGE, _checksum(zone, request)
    last = _after(request.page_token, checksum)
    prefix = keys.named(zone)
    answer, looked, bytes_, more = pb.ListResponse(), 0, 0, True
    while more and len(answer.workspaces) < size and looked < LOOKED and bytes_ < _BYTES:
        start = keys.named(zone, last) + b"\0" if last else prefix
        found = await snapshot.scan(start, ops.prefix_end(prefix), min(size - len(answer.workspaces), _AT_ONCE))
        for one in await registry.visible(zone, snapshot, list(found.kvs)):
            if _fits(one, request):
                answer.workspaces.append(records.told(one.name, one.record, one.path, one.kv.mod_revision))
                bytes_ += one.kv.ByteSize()
        looked += len(found.kvs)
        more = found.more
        if found.kvs:
            last = found.kvs[-1].key[len(prefix) :].decode()
    answer.next_page_token = base64.urlsafe_b64encode(checksum + last.encode()).decode() if more else ""
    answer.revision = snapshot.revision
    return answer


def _fits(found: Found, request: pb.ListRequest) -> bool:
    record = found.record
    return request.kind in (0, record.kind) and all(
        record.labels.get(key) == value for key, value in request.labels.items()
    )


def _checksum(zone: str, request: pb.ListRequest) -> bytes:
    """Return what ties a token to the request it continues, and to whose it is."""
    same = pb.ListRequest(kind=request.kind, labels=request.labels)
    said = f"{zone}\0{places.principal()}\0".encode() + same.SerializeToString(deterministic=True)
    return hashlib.sha256(said).digest()[:_CHECKSUM]


def _after(token: str, checksum: bytes) -> str:
    """Return the name after which a page begins, empty for the first. Raises PageTokenInvalid."""
    if not token:
        return ""
    try:
        raw = base64.urlsafe_b64decode(token.encode())
        last = raw[_CHECKSUM:].decode()
    except (binascii.Error, ValueError):
        raise PageTokenInvalid("the page token is not one of ours") from None
    if raw[:_CHECKSUM] != checksum:
        raise PageTokenInvalid("the page token belongs to another request")
    return last
