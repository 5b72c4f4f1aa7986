"""From one remote path to another: the server copies, no bytes move."""

from __future__ import annotations

from functools import partial
from itertools import islice

from quartet import CallError, Client, CreateEntry, Entry
from quartet.files.v1 import files_pb2 as pb

from quartet_server.cli.transfer.tally import Tally
from quartet_server.cli.transfer.workers import Workers

_BATCH = 500


class Between:
    """Copies remote trees to other remote paths."""

    def __init__(self, client: Client, workers: Workers, tally: Tally) -> None:
        """Ask over `client`, with the threads of `workers`."""
        self._client = client
        self._workers = workers
        self._tally = tally

    def run(self, source: Entry, target: str) -> None:
        """Copy an entry, with everything below a directory. Raises CallError when the cluster cannot be reached."""
        if source.type != pb.ENTRY_TYPE_DIRECTORY:
            self._copy(source, target, None)
            return
        self._directories([CreateEntry(path=target or "/", type=source.type, attributes=source.attributes)])
        cut = len(source.path.rstrip("/"))
        walked = self._client.files.walk(source.path, detail=True)
        while some := list(islice(walked, _BATCH)):
            placed = [(entry, target + entry.path[cut:]) for entry in some]
            self._directories(
                [
                    CreateEntry(path=there, type=entry.type, attributes=entry.attributes)
                    for entry, there in placed
                    if entry.type == pb.ENTRY_TYPE_DIRECTORY
                ]
            )
            others = [(entry, there) for entry, there in placed if entry.type != pb.ENTRY_TYPE_DIRECTORY]
            results = self._client.files.stat_many([there for _, there in others])
            for (entry, there), result in zip(others, results, strict=True):
                self._workers.run(partial(self._copy, entry, there, result.entry if result.HasField("entry") else None))

    def _directories(self, wanted: list[CreateEntry]) -> None:
        for item, result in zip(wanted, self._client.files.create_many(wanted), strict=True):
            if not result.HasField("failure"):
                self._tally.made(directories=1)
            elif result.failure.reason != "FILE_EXISTS":
                self._tally.fail(item.path, f"{result.failure.message} [{result.failure.reason}]")

    def _copy(self, entry: Entry, there: str, found: Entry | None) -> None:
        same = found is not None and entry.type == found.type and entry.stored == found.stored
        known = entry.attributes
        if (
            same
            and found is not None
            and (known.size, known.digest, known.symlink_target)
            == (
                found.attributes.size,
                found.attributes.digest,
                found.attributes.symlink_target,
            )
        ):
            self._tally.there()
            return
        try:
            self._client.files.copy(entry.path, there)
            self._tally.copied(known.size, moved=0)
        except CallError as error:
            self._tally.refused(entry.path, error)
