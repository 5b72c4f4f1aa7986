"""A backup on its way back: verified to the last page in a folder of its own before it takes the databases' place."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import pysqlite3

from quartet_server.ops.copying import rows_of
from quartet_server.ops.manifest import FILE, LARGEST, NAME, Copied, Manifest
from quartet_server.placement_errors import BackupDamaged, BackupRefused
from quartet_server.record_errors import DatabaseDamaged
from quartet_server.records.sqlite import connect

STAGED = "records.restored"
"""Folder beside the databases' with verified files; the next start puts it in their place."""
BEFORE = "records.before"
"""Folder where what was there before goes."""
_TAKING = "records.restoring"
_STORE_ID = "store-id"


class Staging:
    """Takes the files of a backup in pieces, the manifest last; to be `close`d. Its methods block."""

    def __init__(self, data_dir: Path) -> None:
        """Begin with nothing, in a folder of its own in `data_dir`. Raises OSError."""
        self._data_dir = data_dir
        self._folder = data_dir / _TAKING
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True, mode=0o700)
        self._name = ""
        self._file: BinaryIO | None = None
        self._manifest = b""

    def take(self, name: str, data: bytes) -> None:
        """Take a piece of the file `name`; pieces of one file come after each other. Raises BackupDamaged, OSError."""
        if name == NAME:
            self._manifest += data
            if len(self._manifest) > LARGEST:
                raise BackupDamaged("the manifest is too long", file=NAME)
            return
        if name != self._name or self._file is None:
            path = self._folder / name
            if FILE.fullmatch(name) is None or path.exists() or self._manifest:
                raise BackupDamaged(f"{name[:100]!r} is not a file that comes there in a backup", file=name[:100])
            self._end_file()
            self._name, self._file = name, path.open("xb")
        assert self._file is not None
        self._file.write(data)

    def finish(self, known: Iterable[str]) -> Manifest:
        """Verify all of it, and have the next `put_in_place` put it in place. Raises BackupDamaged, BackupRefused, OSError.

        `known` are the databases of this version.
        """
        self._end_file()
        manifest = Manifest.decode(self._manifest)
        verify(self._folder, manifest, known)
        with (self._folder / _STORE_ID).open("xb") as file:
            file.write(bytes.fromhex(manifest.disk))
            _flush(file)
        _sync(self._folder)
        shutil.rmtree(self._data_dir / STAGED, ignore_errors=True)
        self._folder.rename(self._data_dir / STAGED)
        _sync(self._data_dir)
        return manifest

    def close(self) -> None:
        """Delete what is not in place or to be put there."""
        if self._file is not None:
            self._file.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _end_file(self) -> None:
        if self._file is not None:
            _flush(self._file)
            self._file.close()
            self._file = None


def verify(folder: Path, manifest: Manifest, known: Iterable[str]) -> None:
    """Compare the files in `folder` with what the manifest says, and with themselves. Raises BackupDamaged, BackupRefused."""
    if unknown := {one.database for one in manifest.databases} - set(known):
        raise BackupRefused(f"this version has no database {', '.join(sorted(unknown))[:200]}")
    there = {path.name for path in folder.iterdir()} - {NAME}
    if there != {one.file for one in manifest.databases}:
        raise BackupDamaged(f"the backup has the files {', '.join(sorted(there))[:200]}, others than it should")
    for one in manifest.databases:
        _verify(folder / one.file, one)


def _verify(path: Path, told: Copied) -> None:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    if (path.stat().st_size, digest.hexdigest()) != (told.bytes, told.sha256):
        raise BackupDamaged(f"{told.file} is damaged: its bytes are not those that were written", file=told.file)
    try:
        connection = connect(path, readonly=True)
        try:
            whole = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
            broken = connection.execute("PRAGMA foreign_key_check").fetchone()
        finally:
            connection.close()
        rows = rows_of(path)
    except (pysqlite3.Error, DatabaseDamaged) as error:
        raise BackupDamaged(f"{told.file} is no whole database: {error}", file=told.file) from error
    if whole != "ok" or broken is not None or rows != dict(told.rows):
        raise BackupDamaged(f"{told.file} is not what was copied: {whole}", file=told.file)


def put_in_place(data_dir: Path, records: Path) -> bool:
    """Put verified files in the databases' place, if there are any; what was there is kept beside. Blocks. Raises OSError.

    Each step is one rename, so that a process that is killed in between finds either the old or the new databases, and the
    next call goes on.
    """
    staged, before = data_dir / STAGED, data_dir / BEFORE
    if not staged.exists():
        return False
    if records.exists():
        shutil.rmtree(before, ignore_errors=True)
        records.rename(before)
    staged.rename(records)
    _sync(data_dir)
    return True


def _flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
