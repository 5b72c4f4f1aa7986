"""List with `recursive`, `glob` or `type`: everything below a directory, depth first, so much work a call."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from quartet.files.storage.v1 import storage_pb2
from quartet.files.v1 import files_pb2 as pb

from quartet_server.errors import FieldInvalid
from quartet_server.files import keys, paths, records, tokens
from quartet_server.files.globs import Glob, States
from quartet_server.files.paths import Path
from quartet_server.files.steps import Step
from quartet_server.meta import ops
from quartet_server.meta.snapshot import KeyValue, Snapshot

WORK = 10_000
"""Entries looked at in one call, and directories opened: after so many a page ends, even without a single match."""
_CHUNK = 256
_NOWHERE: States = frozenset()


@dataclass(slots=True)
class _Frame:
    """A directory on the way down.

    Attributes:
        ino: Its inode number.
        path: Its path, as it was spelled; empty for the root.
        depth: Number of the path's components.
        states: Where the pattern stands here.
        last: NFC bytes of the name looked at last.
        ahead: Entries read and not looked at yet, with the images of their inodes where detail is wanted.
        more: There are entries after those.
    """

    ino: int
    path: str
    depth: int
    states: States
    last: bytes = b""
    ahead: deque[tuple[Step, States, bytes | None]] = field(default_factory=deque)
    more: bool = True


class Below:
    """One page of what is below a directory, as one snapshot shows it.

    Directories come before what they hold, entries of a directory in the order of their names' NFC bytes. Where a page
    ends is the directories on the way down, each with the name it has come to: enough to go on in the same snapshot,
    or, when that is lost, in the newest state from the first of those directories that is still where it was.
    """

    def __init__(self, zone: str, request: pb.ListRequest, snapshot: Snapshot) -> None:
        """Prepare to list for `request`. Raises FieldInvalid."""
        self._zone = zone
        self._request = request
        self._snapshot = snapshot
        self._glob = Glob(request.glob) if request.glob else None
        if request.type not in (0, records.FILE, records.DIRECTORY, records.SYMLINK):
            raise FieldInvalid.of("type", "is not a known type")
        self._frames: list[_Frame] = []
        self._work = 0

    async def page(self, path: Path, token: storage_pb2.PageToken) -> pb.ListResponse:
        """Return the page after `token`, which is brought up to date; it tells no frames when there is no more."""
        size = tokens.page_size(self._request.page_size)
        await self._open(path, token)
        answer = pb.ListResponse(snapshot_lost=token.snapshot_lost)
        room = tokens.MESSAGE
        while self._frames and len(answer.entries) < size and self._work < WORK:
            frame = self._frames[-1]
            if not frame.ahead:
                if not frame.more:
                    self._frames.pop()
                else:
                    await self._read(frame)
                continue
            step, states, image = frame.ahead[0]
            child = f"{frame.path}/{step.name}"
            if self._wanted(step, states):
                entry = self._entry(child, step, image)
                room -= entry.ByteSize() + 8
                if room < 0 and answer.entries:
                    break
                answer.entries.append(entry)
            frame.ahead.popleft()
            frame.last = keys.parse(step.key).rest
            self._work += 1
            if step.type == records.DIRECTORY and self._goes_on(states) and frame.depth + 1 < paths.DEEPEST:
                self._frames.append(_Frame(step.ino, child, frame.depth + 1, states))
        while self._frames and not self._frames[-1].ahead and not self._frames[-1].more:
            self._frames.pop()
        answer.revision = self._snapshot.revision
        del token.frames[:]
        for frame in self._frames:
            name = frame.path.rpartition("/")[2] if token.frames else ""
            token.frames.add(ino=frame.ino, last=frame.last, name=name)
        return answer

    async def _open(self, path: Path, token: storage_pb2.PageToken) -> None:
        """Go down to where the page before ended."""
        start = self._glob.start if self._glob is not None else _NOWHERE
        top = _Frame(token.ino, "" if path.is_root else str(path), len(path.names), start)
        self._frames = [top]
        if token.frames:
            top.last = token.frames[0].last
        for frame in list(token.frames)[1:]:
            above = self._frames[-1]
            if token.snapshot_lost:
                key = keys.dentry(self._zone, above.ino, above.last)
                kv = (await self._snapshot.get([key])).get(key)
                if kv is None or Step.of(kv).ino != frame.ino:
                    break
            states = (
                self._glob.advance(above.states, above.last.decode(errors="replace"))
                if self._glob is not None
                else _NOWHERE
            )
            self._frames.append(_Frame(frame.ino, f"{above.path}/{frame.name}", above.depth + 1, states, frame.last))

    async def _read(self, frame: _Frame) -> None:
        """Read on in a directory: by name where the pattern leaves no choice, else the next part of it."""
        self._work += 1
        prefix = keys.dentry(self._zone, frame.ino, b"")
        names = self._glob.names(frame.states) if self._glob is not None else None
        kvs: list[KeyValue]
        if names is not None:
            wanted = sorted(name for name in {one.encode() for one in names} if name > frame.last)
            found = await self._snapshot.get([prefix + name for name in wanted])
            kvs = [found[prefix + name] for name in wanted if prefix + name in found]
            frame.more = False
        else:
            start = prefix + frame.last + b"\0" if frame.last else prefix
            scanned = await self._snapshot.scan(start, ops.prefix_end(prefix), _CHUNK)
            kvs, frame.more = list(scanned.kvs), scanned.more
        ahead = []
        for step in map(Step.of, kvs):
            states = _NOWHERE
            if self._glob is not None:
                states = self._glob.advance(frame.states, keys.parse(step.key).rest.decode())
            ahead.append((step, states))
        images: dict[bytes, bytes] = {}
        if self._request.detail:
            shown = [keys.inode(self._zone, step.ino) for step, states in ahead if self._wanted(step, states)]
            images = await self._snapshot.decoded(shown, records.image_of)
        for step, states in ahead:
            frame.ahead.append((step, states, images.get(keys.inode(self._zone, step.ino))))

    def _wanted(self, step: Step, states: States) -> bool:
        """Tell whether an entry is part of the answer."""
        matched = self._glob is None or self._glob.matched(states)
        return matched and self._request.type in (0, step.type)

    def _goes_on(self, states: States) -> bool:
        """Tell whether to look into a directory."""
        return self._glob.goes_on(states) if self._glob is not None else self._request.recursive

    def _entry(self, path: str, step: Step, image: bytes | None) -> pb.Entry:
        if image is not None:
            return records.shown(path, step.name, image, self._snapshot.revision)
        return pb.Entry(path=path, name=step.name, ino=step.ino, type=step.type, revision=self._snapshot.revision)
