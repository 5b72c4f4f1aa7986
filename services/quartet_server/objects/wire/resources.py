"""Resource names of ByteStream: which blob of which instance, packed or plain, read or written."""

from __future__ import annotations

import re
from dataclasses import dataclass

from quartet_server.errors import FieldInvalid
from quartet_server.objects.digest import Digest

LONGEST = 1024
"""Bytes of a resource name."""
ZSTD = "zstd"

_FIELD = "resource_name"
_PLAIN, _PACKED, _UPLOADS = "blobs", "compressed-blobs", "uploads"
_KEYWORDS = frozenset((_PLAIN, _PACKED, _UPLOADS, "actions", "actionResults", "operations", "capabilities"))
_FUNCTIONS = frozenset(
    ("sha256", "sha1", "md5", "vso", "sha384", "sha512", "murmur3", "sha256tree", "blake3", "gitsha1")
)
_UPLOAD = re.compile(r"[0-9A-Za-z._-]{1,64}")
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")


@dataclass(frozen=True, slots=True)
class Resource:
    """What a resource name says.

    Attributes:
        instance: The instance name; empty when there is none.
        digest: The blob, by the digest of its plain bytes.
        packed: Its bytes travel as zstd frames.
        upload: The client's name for the upload; empty in the names of reads.
    """

    instance: str
    digest: Digest
    packed: bool
    upload: str = ""


def read_resource(name: str) -> Resource:
    """Return what the name of a read says. Raises FieldInvalid."""
    instance, keyword, rest = _taken_apart(name)
    if keyword == _UPLOADS:
        raise _invalid("names an upload; a read takes [INSTANCE/]blobs/HASH/SIZE")
    packed, digest, more = _blob(keyword, rest)
    if more:
        raise _invalid("has something after the size")
    return Resource(instance, digest, packed)


def write_resource(name: str) -> Resource:
    """Return what the name of a write says; what follows the size is the client's own. Raises FieldInvalid."""
    instance, keyword, rest = _taken_apart(name)
    if keyword != _UPLOADS or len(rest) < 2:
        raise _invalid("is not [INSTANCE/]uploads/UUID/blobs/HASH/SIZE")
    upload, keyword, *rest = rest
    if not _UPLOAD.fullmatch(upload):
        raise _invalid("has an upload's name that is not 1 to 64 of letters, digits and - . _")
    packed, digest, _ = _blob(keyword, rest)
    return Resource(instance, digest, packed, upload)


def _taken_apart(name: str) -> tuple[str, str, list[str]]:
    """Return the instance, the first keyword and what follows it."""
    if len(name.encode("utf-8", "surrogatepass")) > LONGEST:
        raise _invalid(f"is longer than {LONGEST} bytes")
    segments = name.split("/")
    for at, segment in enumerate(segments):
        if segment in _KEYWORDS:
            return "/".join(segments[:at]), segment, segments[at + 1 :]
    raise _invalid("names no blob: blobs, compressed-blobs or uploads is missing")


def _blob(keyword: str, rest: list[str]) -> tuple[bool, Digest, list[str]]:
    """Return whether the blob is packed, its digest, and the segments after it."""
    packed = keyword == _PACKED
    if packed:
        if not rest or rest[0] != ZSTD:
            raise _invalid(f"names a compressor other than {ZSTD}")
        rest = rest[1:]
    elif keyword != _PLAIN:
        raise _invalid(f"has {keyword[:32]!r} where blobs or compressed-blobs belongs")
    if rest and rest[0] in _FUNCTIONS:
        raise _invalid("names a digest function; SHA-256 is the only one, and goes without saying")
    if len(rest) < 2:
        raise _invalid("ends before the hash and the size")
    if not _SIZE.fullmatch(rest[1]):
        raise _invalid("has a size that is no decimal number")
    return packed, Digest.parse(rest[0], rest[1], _FIELD), rest[2:]


def _invalid(description: str) -> FieldInvalid:
    return FieldInvalid.of(_FIELD, description)
