"""From the cluster onto this machine."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from quartet import CallError, Client, Entry
from quartet.files.v1 import files_pb2 as pb

from quartet_server.cli.transfer.beside import clear, forget
from quartet_server.cli.transfer.locally import replace, same_bytes
from quartet_server.cli.transfer.tally import Tally
from quartet_server.cli.transfer.workers import Workers

SMALL = 128 << 10
"""Bytes up to which files come many in one call."""
GROUP = 2 << 20
"""Bytes of small files in one call."""
_BATCH = 500


class Download:
    """Copies remote trees to local paths.

    What is remote is not trusted: names that would leave the target are refused, and nothing is written through a local
    symbolic link that stands where the tree has a directory.
    """

    def __init__(self, client: Client, workers: Workers, tally: Tally) -> None:
        """Fetch over `client`, with the threads of `workers`."""
        self._client = client
        self._workers = workers
        self._tally = tally

    def run(self, source: Entry, target: Path) -> None:
        """Copy a file, or a directory with everything below it. Raises CallError when the cluster cannot be reached."""
        group: list[tuple[Entry, Path]] = []
        size = 0
        for entry, path in self._wanted(source, target):
            self._tally.meter.expect(entry.attributes.size)
            if entry.attributes.size > SMALL:
                self._workers.run(partial(self._large, entry, path))
                continue
            group.append((entry, path))
            size += entry.attributes.size
            if size > GROUP or len(group) == _BATCH:
                self._workers.run(partial(self._small, group))
                group, size = [], 0
        if group:
            self._workers.run(partial(self._small, group))

    def _wanted(self, source: Entry, target: Path) -> Iterator[tuple[Entry, Path]]:
        """Yield the files with their local paths; make directories and links on the way."""
        if source.type != pb.ENTRY_TYPE_DIRECTORY:
            yield from self._one(source, target)
            return
        waiting = [(source.path, target, True)]
        while waiting:
            remote, local, top = waiting.pop()
            if not self._directory(remote, local, top=top):
                continue
            names = []
            for entry in self._client.files.list(remote, detail=True):
                names.append(entry.name)
                below = local / entry.name
                if entry.name in ("", ".", "..") or "/" in entry.name or "\0" in entry.name:
                    self._tally.fail(entry.path, "its name cannot be written here")
                elif entry.type == pb.ENTRY_TYPE_DIRECTORY:
                    waiting.append((entry.path, below, False))
                else:
                    yield from self._one(entry, below)
            clear(local, names)

    def _directory(self, remote: str, local: Path, *, top: bool) -> bool:
        """Make a directory if it is not there; tell whether it can be filled."""
        try:
            try:
                status = local.stat() if top else local.lstat()
            except FileNotFoundError:
                local.mkdir()
                self._tally.made(directories=1)
                return True
            if stat.S_ISDIR(status.st_mode):
                return True
            self._tally.fail(remote, f"{local} exists and is no directory")
        except OSError as error:
            self._tally.refused(remote, error)
        return False

    def _one(self, entry: Entry, path: Path) -> Iterator[tuple[Entry, Path]]:
        """Make a link; yield a file that may be wanted."""
        if entry.type == pb.ENTRY_TYPE_FILE:
            yield entry, path
            return
        try:
            points = entry.attributes.symlink_target
            with contextlib.suppress(FileNotFoundError):
                if not stat.S_ISLNK(path.lstat().st_mode):
                    self._tally.fail(entry.path, f"{path} exists and is no symbolic link")
                    return
                if os.readlink(path) == points:
                    self._tally.there()
                    return
                path.unlink()
            path.symlink_to(points)
            self._tally.made(symlinks=1)
        except OSError as error:
            self._tally.refused(entry.path, error)

    def _needed(self, entry: Entry, path: Path) -> bool:
        """Tell whether a file has to come. Raises OSError."""
        try:
            status = path.lstat()
        except FileNotFoundError:
            return True
        if stat.S_ISDIR(status.st_mode):
            self._tally.fail(entry.path, f"{path} is a directory")
            return False
        if stat.S_ISREG(status.st_mode) and same_bytes(path, status, entry):
            forget(path)
            self._tally.there(entry.attributes.size)
            return False
        return True

    def _large(self, entry: Entry, path: Path) -> None:
        try:
            if self._needed(entry, path):
                moved = replace(path, entry, partial(self._from, entry))
                self._tally.copied(entry.attributes.size, moved)
        except (CallError, OSError) as error:
            self._tally.refused(entry.path, error)
        except ValueError as error:
            self._tally.fail(entry.path, str(error))

    def _from(self, entry: Entry, offset: int) -> Iterator[bytes]:
        """Yield the bytes of a file from `offset` on, and count them; those before are counted as done."""
        self._tally.meter.advance(offset)
        if offset == entry.attributes.size > 0:
            return
        for piece in self._client.files.read_stream(entry.path, offset=offset, if_match=entry.etag):
            self._tally.meter.advance(len(piece))
            yield piece

    def _small(self, group: list[tuple[Entry, Path]]) -> None:
        needed = []
        for entry, path in group:
            try:
                if self._needed(entry, path):
                    needed.append((entry, path))
            except OSError as error:
                self._tally.refused(entry.path, error)
        results = self._client.files.read_many([entry.path for entry, _ in needed])
        for (entry, path), result in zip(needed, results, strict=True):
            self._tally.meter.advance(entry.attributes.size)
            if result.HasField("failure"):
                self._tally.fail(entry.path, f"{result.failure.message} [{result.failure.reason}]")
                continue
            try:
                self._tally.copied(replace(path, result.entry, partial(_rest, result.data)))
            except OSError as error:
                self._tally.refused(entry.path, error)
            except ValueError as error:
                self._tally.fail(entry.path, str(error))


def _rest(data: bytes, offset: int) -> list[bytes]:
    return [data[offset:]]
