"""How entries of the tree are shown by commands."""

from __future__ import annotations

import re
import stat as modes
from collections.abc import Mapping
from typing import Any

from quartet import Entry
from quartet.files.v1 import files_pb2 as pb

TYPES = {pb.ENTRY_TYPE_FILE: "file", pb.ENTRY_TYPE_DIRECTORY: "directory", pb.ENTRY_TYPE_SYMLINK: "symlink"}
_MODES = {"file": modes.S_IFREG, "directory": modes.S_IFDIR, "symlink": modes.S_IFLNK}


def entry_row(entry: Entry) -> dict[str, Any]:
    """Show an entry; times as in RFC 3339, the digest in hexadecimal."""
    kind, known = TYPES[entry.type], entry.attributes
    return {
        "path": entry.path,
        "name": entry.name,
        "type": kind,
        "mode": modes.filemode(_MODES[kind] | (known.mode or (0o777 if kind == "symlink" else 0))),
        "owner": known.owner,
        "size": known.size,
        "mime": known.mime,
        "digest": known.digest.hex(),
        "symlink_target": known.symlink_target,
        "mtime": known.mtime.ToJsonString() if known.HasField("mtime") else None,
        "ino": entry.ino,
        "etag": entry.etag,
        "create_time": entry.create_time.ToJsonString(),
        "update_time": entry.update_time.ToJsonString(),
        "revision": entry.revision,
    }


def long_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return an entry's row as people read it: where a link points, a time in any case and to the second."""
    points = f" -> {row['symlink_target']}" if row["symlink_target"] else ""
    time = re.sub(r"\.\d+Z$", "Z", row["mtime"] or row["update_time"])
    return {**row, "name": (row["name"] or row["path"]) + points, "mtime": time, "owner": row["owner"] or None}
