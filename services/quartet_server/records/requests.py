"""Requests that carry an id are done once: their answers are kept for a day, in the transaction that made them true."""

from __future__ import annotations

import hashlib
from typing import TypeVar

import sqlalchemy as sa
from google.protobuf.message import Message

from quartet_server.errors import FieldInvalid, RequestIdReused
from quartet_server.records.contract import Database, Dialect, Session, Work

A = TypeVar("A", bound=Message)

KEEP = 24 * 3600 * 1_000_000
"""Microseconds for which an answer is kept at least."""
MAX_ID = 128
"""Longest request id, in bytes of UTF-8."""
TABLE = "requests"

_PRUNED = 8  # answers that are too old, deleted with each that is kept: more than come, so that they do not pile up


def add_table(metadata: sa.MetaData) -> sa.Table:
    """Add the table of answers to those of a database, and return it."""
    return sa.Table(
        TABLE,
        metadata,
        sa.Column("zone", sa.Text, nullable=False),
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("method", sa.Text, nullable=False),
        sa.Column("fingerprint", sa.LargeBinary, nullable=False),
        sa.Column("answer", sa.LargeBinary, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("zone", "request_id"),
        sa.Index("requests_created_at_idx", "zone", "created_at"),
    )


async def once(
    database: Database, zone: str, *, method: str, request_id: str, request: Message, answer: type[A], work: Work[A]
) -> A:
    """Run `work` in a transaction and return its answer; for a request that was answered before, return that answer.

    Args:
        database: Where it writes.
        zone: Whose rows.
        method: Full name of the method, `/package.Service/Method`.
        request_id: What the caller gave; empty: nothing is remembered.
        request: All of the request.
        answer: Type of what `work` returns.
        work: What is to be done once. What it raises is not remembered: the same request may be sent again.

    Raises:
        FieldInvalid: The id is longer than `MAX_ID` bytes, or has control characters.
        RequestIdReused: The zone used the id for another request, or another method, less than `KEEP` ago.
    """
    if not request_id:
        return await database.write(zone, work)
    check_id(request_id)
    fingerprint = _fingerprint(method, request)

    def claim(session: Session) -> A:
        cursor = session.cursor()
        select, insert, prune = _STATEMENTS[session.dialect]
        cursor.execute(select, (session.zone, request_id))
        row = cursor.fetchone()
        if row is not None:
            if bytes(row[0]) != fingerprint:
                raise RequestIdReused("the request id was used for another request", request_id=request_id)
            return answer.FromString(bytes(row[1]))
        made = work(session)
        kept = made.SerializeToString()
        cursor.execute(insert, (session.zone, request_id, method, fingerprint, kept, session.now))
        cursor.execute(prune, (session.zone, session.zone, session.now - KEEP))
        return made

    return await database.write(zone, claim)


def check_id(request_id: str) -> None:
    """Let pass what can be a request id. Raises FieldInvalid."""
    if len(request_id) > MAX_ID or len(request_id.encode()) > MAX_ID:
        raise FieldInvalid.of("request_id", f"has more than {MAX_ID} bytes")
    if any(ord(one) < 32 or ord(one) == 127 for one in request_id):
        raise FieldInvalid.of("request_id", "has a control character")


def _fingerprint(method: str, request: Message) -> bytes:
    return hashlib.sha256(method.encode() + b"\0" + request.SerializeToString(deterministic=True)).digest()


def _statements(mark: str) -> tuple[str, str, str]:
    return (
        f"SELECT fingerprint, answer FROM requests WHERE zone = {mark} AND request_id = {mark}",  # noqa: S608
        "INSERT INTO requests (zone, request_id, method, fingerprint, answer, created_at)"  # noqa: S608
        f" VALUES ({', '.join([mark] * 6)})",
        f"DELETE FROM requests WHERE zone = {mark} AND request_id IN (SELECT request_id FROM requests"  # noqa: S608
        f" WHERE zone = {mark} AND created_at < {mark} ORDER BY created_at LIMIT {_PRUNED})",
    )


_STATEMENTS = {Dialect.SQLITE: _statements("?"), Dialect.POSTGRESQL: _statements("%s")}
