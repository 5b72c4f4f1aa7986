"""From this machine into the cluster."""

from __future__ import annotations

import hashlib
import io
import os
import stat
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path

from quartet import CallError, Client, CreateEntry, Entry
from quartet.files.v1 import files_pb2 as pb

from quartet_server.cli.transfer.locally import Found, same_bytes, walk
from quartet_server.cli.transfer.meter import Meter
from quartet_server.cli.transfer.tally import Tally
from quartet_server.cli.transfer.workers import Workers

SMALL = 128 << 10
"""Bytes up to which files go many in one call."""
GROUP = 2 << 20
"""Bytes of small files in one call."""
PATIENCE = 60.0
"""Seconds for a file, beside a second for each MiB."""
_BATCH = 500


class MeteredFile(io.FileIO):
    """A file whose reading moves a meter; going back moves it back."""

    def __init__(self, path: Path, meter: Meter) -> None:
        """Open the file. Raises OSError."""
        super().__init__(path)
        self._meter = meter

    def read(self, size: int | None = -1, /) -> bytes:
        """Read, and count."""
        data = super().read(-1 if size is None else size) or b""
        self._meter.advance(len(data))
        return data

    def seek(self, position: int, whence: int = os.SEEK_SET, /) -> int:
        """Go somewhere, and count back what was read."""
        before = self.tell()
        after = super().seek(position, whence)
        self._meter.advance(after - before)
        return after


class Upload:
    """Copies local trees to remote paths."""

    def __init__(self, client: Client, workers: Workers, tally: Tally) -> None:
        """Send over `client`, with the threads of `workers`."""
        self._client = client
        self._workers = workers
        self._tally = tally
        self._blocked: list[str] = []

    def run(self, source: Path, target: str) -> None:
        """Copy a file, or a directory with everything below it. Raises CallError when the cluster cannot be reached."""
        group: list[tuple[Found, str, Entry | None]] = []
        size = 0
        for found, there, entry in self._compared(source, target):
            length = found.status.st_size
            if length > SMALL:
                self._workers.run(partial(self._large, found, there, entry))
                continue
            group.append((found, there, entry))
            size += length
            if size > GROUP or len(group) == _BATCH:
                self._workers.run(partial(self._small, group))
                group, size = [], 0
        if group:
            self._workers.run(partial(self._small, group))

    def _compared(self, source: Path, target: str) -> Iterator[tuple[Found, str, Entry | None]]:
        """Yield the files with their remote paths and what is there; make directories and links on the way."""
        walked = walk(source)
        while some := list(islice(walked, _BATCH)):
            placed: list[tuple[Found, str]] = []
            for one in some:
                if isinstance(one, OSError):
                    self._tally.refused(str(one.filename), one)
                elif self._fits(one):
                    placed.append((one, f"{target}/{one.below}" if one.below else target or "/"))
            results = self._client.files.stat_many([there for _, there in placed])
            entries = [result.entry if result.HasField("entry") else None for result in results]
            self._shape([(found, there, entry) for (found, there), entry in zip(placed, entries, strict=True)])
            for (found, there), entry in zip(placed, entries, strict=True):
                if stat.S_ISREG(found.status.st_mode) and not self._behind(there):
                    self._tally.meter.expect(found.status.st_size)
                    yield found, there, entry

    def _fits(self, found: Found) -> bool:
        try:
            str(found.path).encode()
        except UnicodeEncodeError:
            self._tally.fail(os.fsencode(found.path).decode(errors="backslashreplace"), "its name is not UTF-8")
            return False
        if stat.S_IFMT(found.status.st_mode) in (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK):
            return True
        self._tally.fail(str(found.path), "is neither file, directory nor symbolic link")
        return False

    def _behind(self, there: str) -> bool:
        """Tell whether a remote path lies below one that could not be made a directory."""
        return any(there.startswith(f"{blocked}/") for blocked in self._blocked)

    def _shape(self, placed: list[tuple[Found, str, Entry | None]]) -> None:
        """Make the directories and symbolic links that are not there, in order, in one call."""
        wanted: list[tuple[Found, CreateEntry]] = []
        for found, there, entry in placed:
            kind = stat.S_IFMT(found.status.st_mode)
            if self._behind(there) or kind == stat.S_IFREG:
                continue
            if kind == stat.S_IFDIR:
                self._directory(found, there, entry, wanted)
            else:
                self._link(found, there, entry, wanted)
        results = self._client.files.create_many([item for _, item in wanted])
        for (found, item), result in zip(wanted, results, strict=True):
            directory = item.type == pb.ENTRY_TYPE_DIRECTORY
            if not result.HasField("failure"):
                self._tally.made(directories=directory, symlinks=not directory)
            elif not (directory and result.failure.reason == "FILE_EXISTS" and self._is_directory(item.path)):
                self._tally.fail(str(found.path), f"{result.failure.message} [{result.failure.reason}]")
                self._blocked.append(item.path)

    def _directory(
        self, found: Found, there: str, entry: Entry | None, wanted: list[tuple[Found, CreateEntry]]
    ) -> None:
        if entry is None:
            attributes = found.attributes
            wanted.append((found, CreateEntry(path=there, type=pb.ENTRY_TYPE_DIRECTORY, attributes=attributes)))
        elif entry.type != pb.ENTRY_TYPE_DIRECTORY:
            self._tally.fail(str(found.path), f"{there} exists and is no directory")
            self._blocked.append(there)

    def _link(self, found: Found, there: str, entry: Entry | None, wanted: list[tuple[Found, CreateEntry]]) -> None:
        try:
            points = os.readlink(found.path)
            points.encode()
        except (OSError, UnicodeEncodeError) as error:
            self._tally.fail(str(found.path), str(error))
            return
        attributes = found.attributes
        attributes.symlink_target = points
        if entry is None:
            wanted.append((found, CreateEntry(path=there, type=pb.ENTRY_TYPE_SYMLINK, attributes=attributes)))
        elif entry.type != pb.ENTRY_TYPE_SYMLINK or entry.attributes.symlink_target != points:
            self._tally.fail(str(found.path), f"{there} exists and is something else")
        else:
            self._tally.there()

    def _is_directory(self, path: str) -> bool:
        """Tell whether somebody else made the directory in the meantime."""
        return self._client.files.stat(path).type == pb.ENTRY_TYPE_DIRECTORY

    def _large(self, found: Found, there: str, entry: Entry | None) -> None:
        try:
            if _is_file(entry) and entry is not None and same_bytes(found.path, found.status, entry):
                self._tally.there(found.status.st_size)
                return
            attributes = None if _is_file(entry) else found.attributes
            timeout = PATIENCE + found.status.st_size / (1 << 20)
            with MeteredFile(found.path, self._tally.meter) as file:
                wrote = self._client.files.write_stream(there, file, attributes=attributes, timeout=timeout)
            self._tally.copied(wrote.attributes.size)
        except (CallError, OSError) as error:
            self._tally.refused(str(found.path), error)

    def _small(self, group: Iterable[tuple[Found, str, Entry | None]]) -> None:
        items: list[tuple[Found, pb.WriteItem]] = []
        for found, there, entry in group:
            try:
                data = found.path.read_bytes()
            except OSError as error:
                self._tally.refused(str(found.path), error)
                continue
            if _is_file(entry) and entry is not None and _same(data, entry):
                self._tally.there(len(data))
            else:
                attributes = None if _is_file(entry) else found.attributes
                items.append((found, pb.WriteItem(path=there, data=data, attributes=attributes)))
        for (found, item), result in zip(items, self._client.files.write_many([i for _, i in items]), strict=True):
            self._tally.meter.advance(len(item.data))
            if result.HasField("failure"):
                self._tally.fail(str(found.path), f"{result.failure.message} [{result.failure.reason}]")
            else:
                self._tally.copied(len(item.data))


def _is_file(entry: Entry | None) -> bool:
    return entry is not None and entry.type == pb.ENTRY_TYPE_FILE


def _same(data: bytes, entry: Entry) -> bool:
    known = entry.attributes
    return entry.stored and len(data) == known.size and (not data or hashlib.sha256(data).digest() == known.digest)
