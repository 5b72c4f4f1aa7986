"""Foreign sessions that come in parts: staged until all are there, then unpacked within limits, and imported."""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Iterable

import sqlalchemy as sa
from google.protobuf import json_format
from quartet.agents.v1 import import_calls_pb2 as calls
from quartet.agents.v1 import imports_pb2

from quartet_server.agent_errors import ImportChunkInvalid
from quartet_server.agents import importing
from quartet_server.agents.schema import CHUNKS, IMPORT_REQUESTS
from quartet_server.errors import FieldInvalid, LimitReached
from quartet_server.records import rows
from quartet_server.records.contract import Session as Transaction

ENCODING = "gzip+base64"
MOST_PARTS, PART_CHARACTERS = 64, 1 << 20
MOST_STAGED = 512
"""The most parts that a zone has waiting."""
UNPACKED_BYTES = 32 << 20
TTL = 3600 * 1_000_000
"""Microseconds for which a part waits for the others."""
_GZIP = 16 + zlib.MAX_WBITS
_COLUMNS = CHUNKS.table.c
_SAME = (
    ("chunk_total", "chunk_total_mismatch"),
    ("mode", "chunk_mode_mismatch"),
    ("idempotency_key", "chunk_idempotency_key_mismatch"),
    ("encoding", "chunk_encoding_mismatch"),
    ("source_provider", "chunk_item_source_provider_mismatch"),
    ("source_session_id", "chunk_item_source_session_id_mismatch"),
    ("source_session_fingerprint", "chunk_item_source_session_fingerprint_mismatch"),
)
"""What is the same in all parts of an upload, and the code of the error where it is not."""
_NAMED = ("source_provider", "source_session_id", "source_session_fingerprint")


def check(request: calls.ImportSessionChunkRequest) -> None:
    """Let pass a part that can be one. Raises ImportChunkInvalid, FieldInvalid."""
    if not request.upload_id:
        raise wrong("chunk_upload_id_required", "upload_id is empty")
    for name in ("source", "idempotency_key", "upload_id", *_NAMED):
        rows.check_id(getattr(request, name), name)
    if not (1 <= request.chunk_total <= MOST_PARTS and 0 <= request.chunk_index < request.chunk_total):
        raise wrong(
            "chunk_index_out_of_range",
            f"there is no part {request.chunk_index} of {request.chunk_total}; there are 1 to {MOST_PARTS}, from 0 on",
        )
    if request.encoding != ENCODING:
        raise wrong("chunk_encoding_mismatch", f"the encoding is not {ENCODING}")
    if request.mode not in (imports_pb2.IMPORT_MODE_BACKFILL, imports_pb2.IMPORT_MODE_TAIL):
        raise FieldInvalid.of("mode", "is one of: backfill, tail")
    if not 0 < len(request.data) <= PART_CHARACTERS:
        raise FieldInvalid.of("data", f"has {len(request.data)} characters, 1 to {PART_CHARACTERS} are taken")
    for name in ("run_id", "persona_id"):
        if getattr(request, name):
            rows.check_id(getattr(request, name), name)


def stage(at: Transaction, request: calls.ImportSessionChunkRequest) -> calls.ImportSessionChunkResponse:
    """Keep a part; return how many are there now. An upload that was imported already gets its answer again.

    Raises ImportChunkInvalid where it does not fit the others, LimitReached.
    """
    total, upload = request.chunk_total, request.upload_id
    kept = rows.find(at, IMPORT_REQUESTS, request.idempotency_key)
    if kept is not None and kept.source == request.source and kept.response.fields["upload_id"].string_value == upload:
        answer = importing.kept_answer(kept)
        done = calls.CHUNK_STATUS_COMPLETED
        return calls.ImportSessionChunkResponse(
            status=done, upload_id=upload, received=total, total=total, result=answer
        )
    table = CHUNKS.table
    at.connection.execute(table.delete().where(_COLUMNS.zone == at.zone, _COLUMNS.created_at < at.now - TTL))
    known = rows.select(at, CHUNKS, *_of(request.source, upload), limit=1)
    part = imports_pb2.SessionImportChunkPart(
        source=request.source,
        upload_id=upload,
        chunk_index=request.chunk_index,
        chunk_total=total,
        mode=request.mode,
        run_id=request.run_id or at.new_id(),
        persona_id=request.persona_id or None,
        idempotency_key=request.idempotency_key,
        source_provider=request.source_provider,
        source_session_id=request.source_session_id,
        source_session_fingerprint=request.source_session_fingerprint,
        encoding=request.encoding,
        payload=request.data,
    )
    for name, code in _SAME if known else ():
        if getattr(known[0], name) != getattr(part, name):
            raise wrong(code, f"{name} is not what the other parts of the upload say")
    if rows.find(at, CHUNKS, request.source, upload, request.chunk_index) is not None:
        rows.update(at, CHUNKS, part, ("payload",))
    elif _count(at) >= MOST_STAGED:
        raise LimitReached(f"{MOST_STAGED} parts of uploads wait already", limit=MOST_STAGED, retry_after=60.0)
    else:
        rows.insert(at, CHUNKS, part)
    received = _count(at, *_of(request.source, upload))
    staged = calls.CHUNK_STATUS_STAGED
    return calls.ImportSessionChunkResponse(status=staged, upload_id=upload, received=received, total=total)


def parts(at: Transaction, source: str, upload_id: str) -> list[str]:
    """Return the parts of an upload, in order."""
    chosen = sa.select(_COLUMNS.payload).where(_COLUMNS.zone == at.zone, *_of(source, upload_id))
    return list(at.connection.execute(chosen.order_by(_COLUMNS.chunk_index)).scalars())


def unpack(request: calls.ImportSessionChunkRequest, payloads: Iterable[str]) -> calls.ImportItem:
    """Return the session that the parts of an upload are. Raises ImportChunkInvalid."""
    try:
        packed = base64.b64decode("".join(payloads), validate=True)
        unpacking = zlib.decompressobj(_GZIP)
        text = unpacking.decompress(packed, UNPACKED_BYTES)
    except (ValueError, binascii.Error, zlib.error) as error:
        raise wrong("chunk_payload_decode_failed", f"the parts are no {ENCODING}: {error}") from None
    if unpacking.unconsumed_tail:
        raise wrong("chunk_payload_decode_failed", f"the session has more than {UNPACKED_BYTES} bytes")
    if not unpacking.eof or unpacking.unused_data:
        raise wrong("chunk_payload_decode_failed", "the parts are no whole gzip file")
    item = calls.ImportItem()
    try:
        json_format.ParseDict(dict(json.loads(text).items()), item)  # what is no object has no items
    except (ValueError, RecursionError, TypeError, AttributeError, json_format.Error) as error:
        raise wrong("chunk_payload_json_invalid", f"the parts are no session as JSON: {str(error)[:160]}") from None
    for name in _NAMED:
        if getattr(item, name) != getattr(request, name):
            raise wrong(f"chunk_item_{name}_mismatch", f"{name} is not what the session says of itself")
    return item


def finish(
    at: Transaction, request: calls.ImportSessionChunkRequest, item: calls.ImportItem
) -> calls.ImportSessionChunkResponse:
    """Import the session of an upload, whose parts are not needed any more. Raises ImportKeyMismatch."""
    whole = calls.ImportSessionsRequest(
        source=request.source,
        mode=request.mode,
        run_id=request.run_id,
        persona_id=request.persona_id,
        idempotency_key=request.idempotency_key,
        items=[item],
    )
    answer = importing.import_sessions(at, whole, {importing.UPLOAD: request.upload_id})
    at.connection.execute(
        CHUNKS.table.delete().where(_COLUMNS.zone == at.zone, *_of(request.source, request.upload_id))
    )
    return calls.ImportSessionChunkResponse(
        status=calls.CHUNK_STATUS_COMPLETED,
        upload_id=request.upload_id,
        received=request.chunk_total,
        total=request.chunk_total,
        result=answer,
    )


def wrong(code: str, message: str) -> ImportChunkInvalid:
    """Return the error for a part that is wrong."""
    return ImportChunkInvalid(message, code=code)


def _of(source: str, upload_id: str) -> tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]]:
    return _COLUMNS.source == source, _COLUMNS.upload_id == upload_id


def _count(at: Transaction, *where: sa.ColumnElement[bool]) -> int:
    chosen = sa.select(sa.func.count()).select_from(CHUNKS.table).where(_COLUMNS.zone == at.zone, *where)
    return int(at.connection.execute(chosen).scalar_one())
