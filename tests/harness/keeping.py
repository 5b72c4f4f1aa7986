"""A ledger in memory that can be told to refuse: what a loader does then is not to be had from a real one on demand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import grpc
from quartet import InvalidArgument, Unavailable
from quartet.agents.v1 import import_calls_pb2
from quartet.events.v1 import appending_pb2, documents_pb2, event_pb2, progress_pb2
from quartet_server.importers.items import Json
from quartet_server.importers.wire import stamp


@dataclass
class Keeping:
    """A `Ledger` in memory.

    Attributes:
        refused: Source ids that it refuses.
        calls: Calls of `append` after which it is not there any more; None for never.
        batches: How many events each `append` had.
    """

    refused: set[str] = field(default_factory=set)
    calls: int | None = None
    kept: dict[str, event_pb2.Event] = field(default_factory=dict)
    sessions: dict[str, list[import_calls_pb2.ImportItem]] = field(default_factory=dict)
    marks: dict[str, progress_pb2.SyncWatermark] = field(default_factory=dict)
    documents: dict[str, documents_pb2.DocumentHead] = field(default_factory=dict)
    logs: list[documents_pb2.RetrievalLog] = field(default_factory=list)
    tags: dict[str, set[str]] = field(default_factory=dict)
    states: dict[str, set[str]] = field(default_factory=dict)
    reports: list[dict[str, Json]] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)

    def append(self, events: Sequence[event_pb2.Event]) -> Sequence[appending_pb2.AppendResult]:
        if self.calls is not None and len(self.batches) >= self.calls:
            raise Unavailable(grpc.StatusCode.UNAVAILABLE, "gone")
        if any(event.source_id in self.refused for event in events):
            raise InvalidArgument(grpc.StatusCode.INVALID_ARGUMENT, "no", reason="FIELD_INVALID")
        self.batches.append(len(events))
        results = []
        for event in events:
            id_ = event.id or f"{event.source}:{event.source_id}"
            there = id_ in self.kept
            outcome = appending_pb2.OUTCOME_DUPLICATE if there else appending_pb2.OUTCOME_CREATED
            results.append(appending_pb2.AppendResult(id=id_, outcome=outcome))
            if not there:
                event.id = id_
                self.kept[id_] = event
        return results

    def events(self, ids: Sequence[str]) -> Sequence[event_pb2.Event]:
        return [self.kept[id_] for id_ in ids if id_ in self.kept]

    def tag(self, source: str, ids: Sequence[str], names: Sequence[str]) -> None:
        for id_ in ids:
            self.tags.setdefault(id_, set()).update(names)

    def untag(self, source: str, ids: Sequence[str]) -> None:
        for id_ in ids:
            self.tags.pop(id_, None)

    def set_state(self, source: str, id_: str, key: str) -> None:
        self.states.setdefault(id_, set()).add(key)

    def import_sessions(self, items: Sequence[import_calls_pb2.ImportItem]) -> Sequence[import_calls_pb2.ImportResult]:
        results = []
        for item in items:
            parts = self.sessions.setdefault(item.session.label, [])
            same = bool(parts) and parts[-1].source_session_fingerprint == item.source_session_fingerprint
            status = import_calls_pb2.IMPORT_STATUS_SKIPPED if same else import_calls_pb2.IMPORT_STATUS_UPSERTED
            if not same:
                parts.append(item)
            results.append(import_calls_pb2.ImportResult(status=status, turns=0 if same else len(item.turns)))
        return results

    def watermarks(self, prefix: str) -> Iterator[progress_pb2.SyncWatermark]:
        return (one for name, one in self.marks.items() if name.startswith(prefix))

    def set_watermark(self, adapter: str, latest: int, mark: str) -> None:
        self.marks[adapter] = progress_pb2.SyncWatermark(
            adapter=adapter, last_sync_at=stamp(latest), last_event_id=mark
        )

    def document(self, doc_key: str) -> documents_pb2.DocumentHead | None:
        return self.documents.get(doc_key)

    def put_document(self, head: documents_pb2.DocumentHead) -> None:
        self.documents[head.doc_key] = head

    def retrievals(self, doc_key: str, event_id: str) -> Iterator[documents_pb2.RetrievalLog]:
        return (log for log in self.logs if doc_key in ("", log.doc_key) and event_id in ("", log.event_id))

    def log_retrieval(self, log: documents_pb2.RetrievalLog) -> None:
        self.logs.append(log)

    def report(self, adapter: str, *, incremental: bool, progress: dict[str, Json]) -> None:
        self.reports.append(progress)
