"""Keys of versions in the Metastore: zone first, then `V`.

    zone NUL V r  ino(8) gen(8) end(4) kind(1)   -> Record           a generation that is not the present one any more
    zone NUL V n  dir(8) name NUL rev(8) ino(8)  -> Gone             a file that was deleted from a directory
    zone NUL V p  ino(8)                         -> RetentionRecord  what holds for a file, or below a directory
    zone NUL V g  rev(8)                         -> GapRecord        history that was lost up to a revision
    zone NUL V c                                 -> Cursor           how far the zone's changes are recorded

    /system/versions/began                       when versions began to be recorded: the key's own create revision
    /system/versions/cursor                      -> Cursor           how far those of all zones are
    /system/versions/observer                    the node that records, on its lease

A record's key says when it ended and how (`kind`: its resource type, and 128 for a deletion), so that what is past its
retention is found without reading a value.
"""

from __future__ import annotations

from typing import NamedTuple

from quartet_server.files import keys as files

BEGAN = b"/system/versions/began"
CURSOR = b"/system/versions/cursor"
OBSERVER = b"/system/versions/observer"
DELETED = 0x80
_ENDLESS = (1 << 32) - 1


class RecordKey(NamedTuple):
    """What a record's key says.

    Attributes:
        key: The key itself.
        ino: Inode number.
        generation: Generation.
        end: When it ended, in seconds since 1970.
        kind: Resource type.
        deleted: Whether it ended with the file's deletion.
    """

    key: bytes
    ino: int
    generation: int
    end: int
    kind: int
    deleted: bool


def record(zone: str, ino: int, generation: int, end: int, kind: int, *, deleted: bool) -> bytes:
    """Return the key of a record; `end` in seconds since 1970."""
    seconds = min(max(end, 0), _ENDLESS)
    return generations(zone, ino, generation) + seconds.to_bytes(4, "big") + bytes([kind | DELETED * deleted])


def records(zone: str) -> bytes:
    """Return the prefix of all records of a zone."""
    return zone.encode() + b"\0Vr"


def generations(zone: str, ino: int, generation: int | None = None) -> bytes:
    """Return the prefix of the records of a file, or of one generation of it."""
    prefix = records(zone) + ino.to_bytes(8, "big")
    return prefix if generation is None else prefix + generation.to_bytes(8, "big")


def parse(key: bytes) -> RecordKey:
    """Take the key of a record apart."""
    at = len(key) - 21
    return RecordKey(
        key,
        int.from_bytes(key[at : at + 8], "big"),
        int.from_bytes(key[at + 8 : at + 16], "big"),
        int.from_bytes(key[at + 16 : at + 20], "big"),
        key[-1] & ~DELETED,
        bool(key[-1] & DELETED),
    )


def gone(zone: str, parent: int, name: bytes = b"", rest: bytes = b"") -> bytes:
    """Return the key of a deleted name; without `rest` the prefix of the name's, without `name` of the directory's."""
    prefix = zone.encode() + b"\0Vn" + parent.to_bytes(8, "big")
    return prefix + name + b"\0" + rest if name else prefix


def gone_rest(revision: int, ino: int) -> bytes:
    """Return the end of a deleted name's key: the revision of the deletion, and the inode number."""
    return revision.to_bytes(8, "big") + ino.to_bytes(8, "big")


def retention(zone: str, ino: int) -> bytes:
    """Return the key of a setting."""
    return retentions(zone) + ino.to_bytes(8, "big")


def retentions(zone: str) -> bytes:
    """Return the prefix of all settings of a zone."""
    return zone.encode() + b"\0Vp"


def gap(zone: str, revision: int | None = None) -> bytes:
    """Return the key of a gap that ends at a revision; the prefix of all without one."""
    prefix = zone.encode() + b"\0Vg"
    return prefix if revision is None else prefix + revision.to_bytes(8, "big")


def cursor(zone: str) -> bytes:
    """Return the key of a zone's cursor."""
    return zone.encode() + b"\0Vc"


def inodes(zone: str) -> tuple[bytes, bytes]:
    """Return the range [start, end) that holds a zone's inodes, and nothing else."""
    return zone.encode() + b"\0i", zone.encode() + b"\0j"


def inode(zone: str, ino: int) -> tuple[bytes, bytes]:
    """Return the range that holds one inode."""
    key = files.inode(zone, ino)
    return key, key + b"\0"
