"""What both clients of the agents ledger share: where a watch resumes, and how a large session is cut into parts."""

from __future__ import annotations

import base64
import gzip
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from google.protobuf import json_format

from quartet.agents.v1 import import_calls_pb2, imports_pb2, session_calls_pb2

RESUMPTIONS = 6
"""How often a watch is resumed that brings nothing."""
PART = 1 << 20
"""Characters of a part of a session."""


class WatchPlace:
    """Where a watch of a session is."""

    def __init__(self, label: str, after_history_id: int | None, after_sequence: int) -> None:
        """Begin behind a place; with None, from now on."""
        self._label = label
        self._history_id = after_history_id
        self._sequence = after_sequence

    def request(self) -> session_calls_pb2.WatchSessionRequest:
        """Return what asks for all behind the place."""
        return session_calls_pb2.WatchSessionRequest(
            session_label=self._label, after_history_id=self._history_id, after_sequence=self._sequence
        )

    def told(self, event: session_calls_pb2.WatchSessionResponse) -> None:
        """Go behind an event."""
        self._history_id, self._sequence = event.history_id, event.sequence


@dataclass(frozen=True)
class Import:
    """What the imports of one run have in common.

    Attributes:
        source: Who imports.
        mode: Why.
        run_id: Name of the run; drawn by the server when it is empty.
        persona_id: Persona of sessions that name none.
    """

    source: str
    mode: imports_pb2.ImportMode.ValueType = imports_pb2.IMPORT_MODE_BACKFILL
    run_id: str = ""
    persona_id: str = ""

    def request(self, items: Sequence[import_calls_pb2.ImportItem], key: str) -> import_calls_pb2.ImportSessionsRequest:
        """Return the request that imports `items` under the idempotency key `key`."""
        return import_calls_pb2.ImportSessionsRequest(
            source=self.source,
            mode=self.mode,
            run_id=self.run_id,
            persona_id=self.persona_id,
            idempotency_key=key,
            items=items,
        )


def parts(
    item: import_calls_pb2.ImportItem, run: Import, key: str
) -> Iterator[import_calls_pb2.ImportSessionChunkRequest]:
    """Yield the parts in which a session is imported under the idempotency key `key`."""
    text = json_format.MessageToJson(item, indent=None).encode()
    packed = base64.b64encode(gzip.compress(text, mtime=0)).decode()
    total = -(-len(packed) // PART)
    for place in range(total):
        yield import_calls_pb2.ImportSessionChunkRequest(
            source=run.source,
            mode=run.mode,
            run_id=run.run_id,
            persona_id=run.persona_id,
            idempotency_key=key,
            upload_id=hashlib.sha256(key.encode()).hexdigest(),
            chunk_index=place,
            chunk_total=total,
            encoding="gzip+base64",
            data=packed[place * PART : (place + 1) * PART],
            source_provider=item.source_provider,
            source_session_id=item.source_session_id,
            source_session_fingerprint=item.source_session_fingerprint,
        )
