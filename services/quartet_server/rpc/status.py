"""The wire form of an error: google.rpc.Status with ErrorInfo, BadRequest and RetryInfo."""

from __future__ import annotations

from itertools import islice

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from quartet_server import errors
from quartet_server.errors import QuartetError
from raftmeta.errors import Fault, MetastoreError

DOMAIN = "quartet.dev"
DETAILS_KEY = "grpc-status-details-bin"

_RETRY_SOON = 0.5  # seconds; about one election of the default timers
_MAX_VIOLATIONS = 4  # trailing metadata is limited to 8 KiB by every peer
_MAX_TEXT = 256  # bytes of UTF-8, of which the message's may be sent as three times as many

_FAULTS: dict[Fault, type[QuartetError]] = {
    Fault.REQUEST_TOO_LARGE: errors.RequestTooLarge,
    Fault.TOO_MANY_OPS: errors.RequestTooLarge,
    Fault.COMPACTED: errors.RevisionCompacted,
    Fault.FUTURE_REVISION: errors.RevisionFuture,
    Fault.LEASE_NOT_FOUND: errors.LeaseNotFound,
    Fault.MEMBER_NOT_FOUND: errors.NodeNotFound,
    Fault.MEMBER_EXISTS: errors.NodeExists,
    Fault.PEER_URL_EXISTS: errors.NodeExists,
    Fault.BAD_MEMBER_URLS: errors.FieldInvalid,
    Fault.NOT_ENOUGH_STARTED: errors.QuorumAtRisk,
    Fault.NOT_LEARNER: errors.TransferRefused,
    Fault.LEARNER_NOT_READY: errors.LearnerNotReady,
    Fault.TOO_MANY_LEARNERS: errors.LimitReached,
    Fault.NOT_LEADER: errors.NoLeader,
    Fault.BAD_LEADER_TRANSFEREE: errors.TransferRefused,
    Fault.NOT_SUPPORTED_FOR_LEARNER: errors.NodeNotReady,
    Fault.NO_SPACE: errors.StoreFull,
    Fault.TOO_MANY_REQUESTS: errors.TooManyRequests,
    Fault.NO_LEADER: errors.NoLeader,
    Fault.LEADER_CHANGED: errors.OutcomeUnknown,
    Fault.STOPPED: errors.OutcomeUnknown,
    Fault.TIMEOUT: errors.OutcomeUnknown,
    Fault.TIMEOUT_LEADER_FAIL: errors.OutcomeUnknown,
    Fault.TIMEOUT_CONNECTION_LOST: errors.OutcomeUnknown,
    Fault.TIMEOUT_WAIT_APPLIED: errors.NodeNotReady,
    Fault.UNHEALTHY: errors.NoLeader,
    Fault.CORRUPT: errors.StoreCorrupt,
    Fault.WATCH_CANCELED: errors.WatchCancelled,
}
"""What a service's caller is told for a fault of the store. A fault that is not here means that the service asked the
store for something impossible: a fault of our own."""

_CODES: dict[grpc.StatusCode, type[QuartetError]] = {
    grpc.StatusCode.UNAVAILABLE: errors.OutcomeUnknown,
    grpc.StatusCode.DEADLINE_EXCEEDED: errors.OutcomeUnknown,
    grpc.StatusCode.CANCELLED: errors.OutcomeUnknown,
    grpc.StatusCode.UNAUTHENTICATED: errors.MetastoreUnreachable,
    grpc.StatusCode.PERMISSION_DENIED: errors.MetastoreUnreachable,
    grpc.StatusCode.UNIMPLEMENTED: errors.MetastoreUnreachable,
    grpc.StatusCode.RESOURCE_EXHAUSTED: errors.TooManyRequests,
    grpc.StatusCode.DATA_LOSS: errors.StoreCorrupt,
}
"""The same for what an external store says in words of its own, by status code."""


def from_metastore(error: MetastoreError) -> QuartetError:
    """Return the leaf of the tree that a fault of the store is to a service's caller; INTERNAL_FAULT when it is ours."""
    if error.fault is not None:
        kind = _FAULTS.get(error.fault, errors.InternalFault)
    else:
        kind = _CODES.get(error.code, errors.InternalFault)
    if kind is errors.InternalFault:
        return kind(f"the metadata store refused what this node asked of it: {error.text}")
    again = _RETRY_SOON if kind in (errors.NoLeader, errors.TooManyRequests, errors.NodeNotReady) else None
    message = error.text.removeprefix("etcdserver: ").removeprefix("mvcc: ")
    return kind(message, retry_after=again)


def to_status(error: QuartetError, **metadata: str) -> Status:
    """Return the status with its details packed; `metadata` is added to the ErrorInfo's."""
    status = Status(code=error.code.value[0], message=clipped(error.message))
    facts = {key: clipped(value) for key, value in (error.metadata | metadata).items()}
    if len(error.violations) > _MAX_VIOLATIONS:
        facts["violations"] = str(len(error.violations))
    if error.hint:
        facts["hint"] = clipped(error.hint)
    status.details.add().Pack(ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=facts))
    if error.violations:
        violations = [
            BadRequest.FieldViolation(field=clipped(field), description=clipped(text))
            for field, text in islice(error.violations.items(), _MAX_VIOLATIONS)
        ]
        status.details.add().Pack(BadRequest(field_violations=violations))
    if error.retry_after is not None:
        delay = Duration()
        delay.FromMilliseconds(round(error.retry_after * 1000))
        status.details.add().Pack(RetryInfo(retry_delay=delay))
    return status


def clipped(text: str) -> str:
    """Return the beginning of a text, short enough for a place among the trailing metadata."""
    encoded = text.encode("utf-8", "replace")
    return text if len(encoded) <= _MAX_TEXT else encoded[: _MAX_TEXT - 3].decode("utf-8", "ignore") + "…"
