"""What a backup says of itself: its last file, which bears the digests of all others and of itself."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from quartet_server.placement_errors import BackupDamaged

NAME = "manifest.json"
FORMAT = 1
LARGEST = 1 << 20
FILE = re.compile(r"[a-z][a-z0-9_]{0,62}\.db")
"""Names of databases' files."""
_HEX = re.compile(r"[0-9a-f]*")


@dataclass(frozen=True, slots=True)
class Copied:
    """A database in a backup.

    Attributes:
        database: Its name.
        bytes: Length of its file.
        sha256: Of the file, hexadecimal.
        rows: Table -> rows.
    """

    database: str
    bytes: int
    sha256: str
    rows: Mapping[str, int] = field(default_factory=dict)

    @property
    def file(self) -> str:
        """Name of its file."""
        return f"{self.database}.db"


@dataclass(frozen=True, slots=True)
class Manifest:
    """A backup of one node.

    Attributes:
        node: The node's name.
        disk: Id of the disk its databases were on, hexadecimal: zones have their home there.
        version: Version of the software.
        time: Seconds since 1970 at which everything is shown.
        databases: What is in it.
    """

    node: str
    disk: str
    version: str
    time: float
    databases: tuple[Copied, ...]

    def encode(self) -> bytes:
        """Return the file."""
        told = {"format": FORMAT, **asdict(self)}
        return json.dumps({"manifest": told, "sha256": _digest(told)}, indent=1, sort_keys=True).encode()

    @classmethod
    def decode(cls, data: bytes) -> Manifest:
        """Read the file. Raises BackupDamaged."""
        try:
            outer = json.loads(data[: LARGEST + 1])
            told = outer["manifest"]
            if outer["sha256"] != _digest(told):
                raise BackupDamaged("the manifest of the backup is damaged", file=NAME)
            if told["format"] != FORMAT:
                raise BackupDamaged(f"the backup has format {told['format']}, this version reads {FORMAT}", file=NAME)
            databases = tuple(
                Copied(str(one["database"]), int(one["bytes"]), str(one["sha256"]), {**one["rows"]})
                for one in told["databases"]
            )
            made = cls(str(told["node"]), str(told["disk"]), str(told["version"]), float(told["time"]), databases)
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise BackupDamaged(f"there is no manifest of a backup: {error}", file=NAME) from error
        if not all(FILE.fullmatch(one.file) for one in made.databases) or not _HEX.fullmatch(made.disk):
            raise BackupDamaged("the manifest names what no backup has", file=NAME)
        return made


def _digest(told: Any) -> str:
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
