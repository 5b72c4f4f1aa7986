"""Runs jobs over all rows of a zone, a batch at a time."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import AsyncIterator, Sequence
from functools import partial

from quartet.ops.v1 import ops_pb2 as pb

from quartet_server.errors import FieldInvalid, PageTokenInvalid
from quartet_server.placement_errors import BackfillNotFound
from quartet_server.records.contract import Databases, Session
from quartet_server.records.crossing import Backfill, Step

LARGEST = 1_000
USUAL = 500
_LONGEST_TOKEN = 4_096
_SEAL = 8  # bytes of a token that say of which job and zone it is


async def filled(
    databases: Databases, jobs: Sequence[Backfill], zone: str, request: pb.BackfillRequest
) -> AsyncIterator[pb.BackfillResponse]:
    """Run a job, and yield how far it is after each batch. Raises BackfillNotFound, FieldInvalid, PageTokenInvalid."""
    job = next((one for one in jobs if one.name == request.job), None)
    if job is None:
        known = ", ".join(sorted(one.name for one in jobs)) or "none"
        raise BackfillNotFound(f"there is no job {request.job[:100]!r}; there are: {known}", job=request.job[:100])
    if not 0 <= request.batch_size <= LARGEST:
        raise FieldInvalid.of("batch_size", f"is 1 to {LARGEST}, or 0 for {USUAL}")
    if request.batches < 0:
        raise FieldInvalid.of("batches", "is not negative")
    after = _opened(request.resume_token, job, zone)
    told, ran = pb.BackfillResponse(), 0
    size = request.batch_size or USUAL
    while not request.batches or ran < request.batches:
        step = await databases.database(job.database).write(zone, partial(_run, job=job, after=after, size=size))
        after, ran = step.after, ran + 1
        told.examined += step.examined
        told.changed += step.changed
        told.resume_token = _sealed(after, job, zone) if after else ""
        yield told
        if not after:
            return


def _run(session: Session, job: Backfill, after: str, size: int) -> Step:
    return job.step(session, after, size)


def _seal(job: Backfill, zone: str, after: str) -> bytes:
    return hashlib.sha256(f"{job.name}\0{zone}\0{after}".encode()).digest()[:_SEAL]


def _sealed(after: str, job: Backfill, zone: str) -> str:
    return base64.urlsafe_b64encode(_seal(job, zone, after) + after.encode()).decode()


def _opened(token: str, job: Backfill, zone: str) -> str:
    """Return where a token says to go on. Raises PageTokenInvalid for one that is of no such job of the zone."""
    if not token:
        return ""
    try:
        data = base64.b64decode(token.encode()[:_LONGEST_TOKEN], altchars=b"-_", validate=True)
        after = data[_SEAL:].decode()
    except (binascii.Error, UnicodeError):
        data, after = b"", ""
    if data[:_SEAL] != _seal(job, zone, after) or not after:
        raise PageTokenInvalid(f"this token is of no run of {job.name} in zone {zone}", field="resume_token")
    return after
