"""The ledgers into which data is imported, as a loader sees them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from quartet.agents.v1 import import_calls_pb2
from quartet.events.v1 import appending_pb2, documents_pb2, event_pb2, progress_pb2

from quartet_server.importers.items import Json


class Ledger(Protocol):
    """The ledgers of events and of agents. All methods raise `quartet.CallError`, and may be repeated."""

    def append(self, events: Sequence[event_pb2.Event]) -> Sequence[appending_pb2.AppendResult]:
        """Append at most 1,000 events, all or none; return what became of each."""

    def tag(self, source: str, ids: Sequence[str], names: Sequence[str]) -> None:
        """Hang tags on events."""

    def untag(self, source: str, ids: Sequence[str]) -> None:
        """Take from events what `source` hung there."""

    def set_state(self, source: str, id_: str, key: str) -> None:
        """Say that an event was viewed, archived, pinned or flagged."""

    def import_sessions(self, items: Sequence[import_calls_pb2.ImportItem]) -> Sequence[import_calls_pb2.ImportResult]:
        """Import sessions, or parts of them; return what became of each."""

    def watermarks(self, prefix: str) -> Iterator[progress_pb2.SyncWatermark]:
        """Yield the watermarks of the adapters whose names begin so."""

    def set_watermark(self, adapter: str, latest: int, mark: str) -> None:
        """Say up to where an adapter has come: the time of its newest event in microseconds, and its own mark."""

    def events(self, ids: Sequence[str]) -> Sequence[event_pb2.Event]:
        """Return those of at most 1,000 events that are there, in any order."""

    def document(self, doc_key: str) -> documents_pb2.DocumentHead | None:
        """Return a document's head; None where there is none."""

    def put_document(self, head: documents_pb2.DocumentHead) -> None:
        """Set a document's head."""

    def retrievals(self, doc_key: str, event_id: str) -> Iterator[documents_pb2.RetrievalLog]:
        """Yield what is noted of a document, or without one of an event, having been found."""

    def log_retrieval(self, log: documents_pb2.RetrievalLog) -> None:
        """Note that a document or an event was found."""

    def report(self, adapter: str, *, incremental: bool, progress: dict[str, Json]) -> None:
        """Say what a run did."""
