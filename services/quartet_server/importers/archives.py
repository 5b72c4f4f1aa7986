"""A directory, or a zip file as if it were one: nothing is unpacked to disk, and nothing grows beyond what is allowed."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

from quartet_server.importers.faults import WrongKindError

LARGEST = 256 << 20
"""Bytes of one file, unpacked."""
_ENTRIES = 500_000
_TOTAL = 1 << 40
_RATIO = 1000
"""How many times its packed size a file above a MiB may have; what zip's method does at best is 1,032."""
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError, ValueError, OverflowError)


class Archive(Protocol):
    """Files in folders, one level deep."""

    @property
    def folders(self) -> set[str]:
        """Names of the folders."""

    def folders_files(self, folder: str) -> list[str]:
        """Return the names of a folder's files, in order."""

    def has(self, name: str) -> bool:
        """Tell whether there is a file of that name."""

    def size(self, name: str) -> int:
        """Return how long a file is, as far as is known."""

    def read(self, name: str) -> bytes:
        """Return a file's bytes. Raises OSError, also when there are too many, or the archive is damaged there."""
        with self.open(name) as file:
            data = file.read(LARGEST + 1)
        if len(data) > LARGEST:
            raise OSError(f"{name} is longer than {LARGEST:,} bytes")
        return data

    @contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        """Open a file for reading. Raises OSError, also when there is too much, or the archive is damaged there."""
        raise NotImplementedError
        yield


def opened(path: Path, what: str) -> Archive:
    """Return the archive at a path. Raises WrongKindError and OSError."""
    if path.is_dir():
        return _Directory(path)
    if not path.exists():
        raise WrongKindError(f"{path} is not there", f"expected {what}")
    try:
        return _Zip(path)
    except _BROKEN as error:
        raise WrongKindError(f"{path} is no zip file that can be read: {error}", f"expected {what}") from error


class _Listing(Archive):
    """The names of an archive, those of folders as they are below its top."""

    def __init__(self, names: dict[str, int]) -> None:
        self._sizes = names
        self._below: dict[str, list[str]] = {}
        for name in sorted(names):
            folder, _, file = name.rpartition("/")
            if folder and "/" not in folder:
                self._below.setdefault(folder, []).append(file)

    @property
    def folders(self) -> set[str]:
        return set(self._below)

    def folders_files(self, folder: str) -> list[str]:
        return self._below.get(folder, [])

    def has(self, name: str) -> bool:
        return name in self._sizes

    def size(self, name: str) -> int:
        return self._sizes.get(name, 0)


class _Directory(_Listing):
    def __init__(self, path: Path) -> None:
        self._path = path
        names = {}
        for file in [*path.glob("*.json"), *path.glob("*/*.json")]:
            names[file.relative_to(path).as_posix()] = file.stat().st_size
            if len(names) > _ENTRIES:
                raise WrongKindError(f"{path} holds more than {_ENTRIES:,} files")
        super().__init__(names)

    @contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        with (self._path / name).open("rb") as file:
            yield file


class _Zip(_Listing):
    def __init__(self, path: Path) -> None:
        self._file = zipfile.ZipFile(path)
        entries = [one for one in self._file.infolist() if not one.is_dir()]
        if len(entries) > _ENTRIES or sum(one.file_size for one in entries) > _TOTAL:
            raise ValueError(f"it holds more than {_ENTRIES:,} files, or more than {_TOTAL >> 30:,} GiB")
        top = self._top([one.filename for one in entries])
        self._entries = {one.filename.removeprefix(top): one for one in entries if one.filename.startswith(top)}
        super().__init__({name: one.file_size for name, one in self._entries.items()})

    @staticmethod
    def _top(names: list[str]) -> str:
        """Return the folder in which everything is, when there is one: archives that were packed again have it."""
        if any("/" not in name for name in names):
            return ""
        tops = {name.partition("/")[0] for name in names} - {"__MACOSX"}
        return f"{tops.pop()}/" if len(tops) == 1 else ""

    @contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        entry = self._entries[name]
        if entry.file_size > LARGEST or (entry.file_size > 1 << 20 and entry.file_size > _RATIO * entry.compress_size):
            raise OSError(f"{name} says that it is {entry.file_size:,} bytes long, which is too much")
        try:
            with self._file.open(entry) as file:
                data = file.read(LARGEST + 1)
        except _BROKEN as error:
            raise OSError(f"{name} cannot be unpacked: {error}") from error
        yield io.BytesIO(data)
