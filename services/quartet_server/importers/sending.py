"""Stores a batch: its events, what hangs on them, its sessions, and at last how far that has come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from quartet import CallError, FailedPrecondition, InvalidArgument
from quartet.agents.v1 import import_calls_pb2
from quartet.events.v1 import appending_pb2, event_pb2

from quartet_server.importers.items import Event
from quartet_server.importers.ledger import Ledger
from quartet_server.importers.tally import Tally

_NAMES = 100
_SESSION_BYTES = 3 << 20
_SESSIONS = 256


@dataclass(slots=True)
class Batch:
    """What is stored together.

    Attributes:
        size: Bytes of it.
        hung: Tags and states of the events, by their places.
        sessions: Sessions and parts of them, each with whether it is the last part.
        marks: How far readers are when it is stored, by the names of their watermarks.
    """

    events: list[event_pb2.Event] = field(default_factory=list)
    size: int = 0
    hung: dict[int, Event] = field(default_factory=dict)
    sessions: list[tuple[import_calls_pb2.ImportItem, bool]] = field(default_factory=list)
    marks: dict[str, tuple[int, str]] = field(default_factory=dict)

    def add(self, event: event_pb2.Event, item: Event) -> None:
        """Add an event."""
        if item.tags or any(item.state.values()):
            self.hung[len(self.events)] = item
        self.events.append(event)
        self.size += event.ByteSize()

    def add_session(self, item: import_calls_pb2.ImportItem, *, final: bool) -> None:
        """Add a session, or a part of one."""
        self.sessions.append((item, final))
        self.size += item.ByteSize()


class Sender:
    """Stores batches, and counts."""

    def __init__(self, ledger: Ledger, tally: Tally) -> None:
        """Store in `ledger`."""
        self._ledger, self._tally = ledger, tally

    def send(self, batch: Batch) -> None:
        """Store a batch. Raises CallError."""
        stored = self._append(batch.events)
        for result in stored:
            self._tally.created += result.outcome == appending_pb2.OUTCOME_CREATED
            self._tally.duplicates += result.outcome == appending_pb2.OUTCOME_DUPLICATE
        self._hang(stored, batch.hung)
        self._sessions(batch.sessions)
        for name, (latest, mark) in batch.marks.items():
            self._ledger.set_watermark(name, latest, mark)

    def _append(self, events: Sequence[event_pb2.Event]) -> list[appending_pb2.AppendResult]:
        """Append events; of those that are refused find out which it is, by halves, and leave it out."""
        if not events:
            return []
        try:
            return list(self._ledger.append(events))
        except (InvalidArgument, FailedPrecondition) as error:
            if len(events) == 1:
                self._tally.faults.add(f"{events[0].source}:{events[0].source_id}", _told(error))
                return [appending_pb2.AppendResult()]
        half = len(events) // 2
        return self._append(events[:half]) + self._append(events[half:])

    def _hang(self, stored: Sequence[appending_pb2.AppendResult], hung: dict[int, Event]) -> None:
        """Hang tags on events, for those that their source had hung there before; set their states."""
        tags: dict[str, dict[str, list[str]]] = {}
        for place, item in hung.items():
            id_ = stored[place].id
            if not id_:
                continue
            for tag in dict.fromkeys(item.tags):
                tags.setdefault(item.source, {}).setdefault(tag, []).append(id_)
            for key, value in item.state.items():
                if value:
                    self._ledger.set_state(item.source, id_, key)
                    self._tally.states += 1
        for source, names in tags.items():
            ids = list(dict.fromkeys(id_ for of in names.values() for id_ in of))
            self._ledger.untag(source, ids)
            for alike, of in _alike(names):
                for begin in range(0, len(alike), _NAMES):
                    self._ledger.tag(source, of, alike[begin : begin + _NAMES])
            self._tally.tags += sum(map(len, names.values()))

    def _sessions(self, sessions: Sequence[tuple[import_calls_pb2.ImportItem, bool]]) -> None:
        """Import sessions, several in one call as far as they fit."""
        group: list[tuple[import_calls_pb2.ImportItem, bool]] = []
        size = 0
        for one in sessions:
            length = one[0].ByteSize()
            if group and (size + length > _SESSION_BYTES or len(group) == _SESSIONS):
                self._import(group)
                group, size = [], 0
            group.append(one)
            size += length
        if group:
            self._import(group)

    def _import(self, group: Sequence[tuple[import_calls_pb2.ImportItem, bool]]) -> None:
        for (item, final), result in zip(group, self._ledger.import_sessions([item for item, _ in group]), strict=True):
            tally = self._tally
            if result.status == import_calls_pb2.IMPORT_STATUS_FAILED:
                tally.faults.add(item.session.label, f"{result.message} [{result.reason}]")
            elif final:
                known = result.status == import_calls_pb2.IMPORT_STATUS_SKIPPED
                tally.unchanged += known
                tally.sessions += not known
            tally.turns += result.turns
            tally.messages += result.messages
            tally.tool_calls += result.tool_calls


def _alike(names: dict[str, list[str]]) -> list[tuple[list[str], list[str]]]:
    """Return groups of tags that hang on the same events."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for tag, ids in names.items():
        groups.setdefault(tuple(ids), []).append(tag)
    return [(tags, list(ids)) for ids, tags in groups.items()]


def _told(error: CallError) -> str:
    return f"{error.message} [{error.reason or error.code.name}]"
