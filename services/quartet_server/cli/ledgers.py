"""The ledgers of a cluster, as an import sees them."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator, Sequence

from quartet import Client, NotFound
from quartet._ledgers import Import
from quartet.agents.v1 import import_calls_pb2
from quartet.events.v1 import appending_pb2, documents_pb2, event_pb2, progress_pb2, state_pb2

from quartet_server.importers.items import Json
from quartet_server.importers.wire import SOURCE, stamp

_STATES = {
    "viewed": state_pb2.STATE_KEY_VIEWED,
    "archived": state_pb2.STATE_KEY_ARCHIVED,
    "pinned": state_pb2.STATE_KEY_PINNED,
    "flagged": state_pb2.STATE_KEY_FLAGGED,
}
_ALONE = 3 << 20
"""Bytes of a session above which it goes in parts: a message of gRPC has 4 MiB."""


class Remote:
    """A `Ledger` over the client. Safe for one thread at a time."""

    def __init__(self, client: Client, run_id: str = "") -> None:
        """Call over `client`; the run is drawn when it is left empty."""
        self._client = client
        self._run = Import(SOURCE, run_id=run_id or uuid.uuid4().hex)

    def append(self, events: Sequence[event_pb2.Event]) -> Sequence[appending_pb2.AppendResult]:
        """See Ledger."""
        return self._client.events.append_batch(events).results

    def events(self, ids: Sequence[str]) -> Sequence[event_pb2.Event]:
        """See Ledger. The call fails when one of them is missing: then by halves."""
        if not ids:
            return []
        try:
            return self._client.events.batch_get(ids)
        except NotFound:
            if len(ids) == 1:
                return []
        half = len(ids) // 2
        return [*self.events(ids[:half]), *self.events(ids[half:])]

    def tag(self, source: str, ids: Sequence[str], names: Sequence[str]) -> None:
        """See Ledger."""
        self._client.events.tag(ids, names, tagged_by=SOURCE, source=source)

    def untag(self, source: str, ids: Sequence[str]) -> None:
        """See Ledger."""
        self._client.events.untag(ids, source=source)

    def set_state(self, source: str, id_: str, key: str) -> None:
        """See Ledger. The same again within a day is no other change."""
        request_id = hashlib.sha256(f"{source}\n{id_}\n{key}".encode()).hexdigest()
        self._client.events.set_state(id_, _STATES[key], changed_by=SOURCE, source=source, request_id=request_id)

    def import_sessions(self, items: Sequence[import_calls_pb2.ImportItem]) -> Sequence[import_calls_pb2.ImportResult]:
        """See Ledger."""
        key = self._key(items)
        if len(items) == 1 and items[0].ByteSize() > _ALONE:
            return self._client.agents.import_session(items[0], self._run, key).results
        return self._client.agents.import_sessions(items, self._run, key).results

    def watermarks(self, prefix: str) -> Iterator[progress_pb2.SyncWatermark]:
        """See Ledger."""
        return (one for one in self._client.events.watermarks() if one.adapter.startswith(prefix))

    def set_watermark(self, adapter: str, latest: int, mark: str) -> None:
        """See Ledger."""
        watermark = progress_pb2.SyncWatermark(adapter=adapter, last_sync_at=stamp(latest))
        if mark:
            watermark.last_event_id = mark
        self._client.events.set_watermark(watermark)

    def document(self, doc_key: str) -> documents_pb2.DocumentHead | None:
        """See Ledger."""
        try:
            return self._client.events.document(doc_key)
        except NotFound:
            return None

    def put_document(self, head: documents_pb2.DocumentHead) -> None:
        """See Ledger."""
        self._client.events.upsert_document(head)

    def retrievals(self, doc_key: str, event_id: str) -> Iterator[documents_pb2.RetrievalLog]:
        """See Ledger."""
        return self._client.events.retrievals(doc_key=doc_key, event_id=event_id)

    def log_retrieval(self, log: documents_pb2.RetrievalLog) -> None:
        """See Ledger."""
        self._client.events.log_retrieval(
            doc_key=log.doc_key,
            event_id=log.event_id,
            query_text=log.query_text,
            score=log.score if log.HasField("score") else None,
            retrieved_at=log.retrieved_at,
        )

    def report(self, adapter: str, *, incremental: bool, progress: dict[str, Json]) -> None:
        """See Ledger."""
        phase = progress_pb2.SYNC_PHASE_INCREMENTAL if incremental else progress_pb2.SYNC_PHASE_SYNC
        job = progress_pb2.SyncJob(adapter=adapter, status=progress_pb2.SYNC_STATE_SUCCEEDED, phase=phase)
        job.progress.update(progress)
        self._client.events.report_sync(job)

    def _key(self, items: Sequence[import_calls_pb2.ImportItem]) -> str:
        """Return a key under which importing these, as they are, may be repeated within the run."""
        made = hashlib.sha256(self._run.run_id.encode())
        for item in items:
            made.update(item.SerializeToString(deterministic=True))
        return made.hexdigest()
