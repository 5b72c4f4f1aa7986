"""Everything that a call of this client can raise.

QuartetError
├── ConfigurationError       the client was told something it cannot work with
└── CallError                a call failed: code, reason, metadata, hint
    ├── InvalidArgument      the request is wrong whatever the state of the system
    ├── OutOfRange           a revision that is forgotten, or not yet there
    ├── Unauthenticated      nobody knows who is calling
    ├── PermissionDenied     the caller is known and may not
    ├── NotFound             the named thing is not there
    ├── AlreadyExists        the thing to create is there
    ├── FailedPrecondition   the system is not in the state that the request needs
    ├── Conflict             another call came in between: read again and repeat
    ├── ResourceExhausted    a limit or quota is reached
    ├── Unavailable          no endpoint could answer; a write may have happened (reason OUTCOME_UNKNOWN)
    ├── DeadlineExceeded     time ran out; a write may have happened
    ├── Cancelled            the call was ended before it was done
    ├── Unimplemented        the server does not do this
    ├── DataLoss             what was written cannot be read back
    └── ServerFault          a fault of the server's own
"""

# ruff: noqa: N818 - the tree's root says Error for all of them

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import cast

import grpc
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

_DETAILS = "grpc-status-details-bin"


class QuartetError(Exception):
    """The root of all errors of this package."""


class ConfigurationError(QuartetError):
    """The client was told something it cannot work with: no endpoint, a missing file."""


class CallError(QuartetError):
    """A call failed.

    Attributes:
        code: gRPC status code.
        message: What happened, for people.
        reason: Name in `quartet.errors.v1.ErrorReason` without its prefix; empty when the server gave none.
        metadata: Facts of the case, such as `path` or `oldest`.
        hint: What to do next; may be empty.
        retry_after: Seconds after which trying again makes sense, or None.
    """

    def __init__(
        self,
        code: grpc.StatusCode,
        message: str,
        *,
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
        retry_after: float | None = None,
    ) -> None:
        """Say what happened."""
        self.code = code
        self.message = message
        self.reason = reason
        self.metadata = dict(metadata or {})
        self.hint = self.metadata.pop("hint", "")
        self.retry_after = retry_after
        super().__init__(message)

    def __str__(self) -> str:
        reason = f" [{self.reason}]" if self.reason else ""
        hint = f" ({self.hint})" if self.hint else ""
        return f"{self.message}{reason}{hint}"


class InvalidArgument(CallError):
    """The request is wrong whatever the state of the system."""


class OutOfRange(CallError):
    """A revision that is forgotten (`metadata["oldest"]` is the first that is left), or not yet there."""


class Unauthenticated(CallError):
    """Nobody knows who is calling."""


class PermissionDenied(CallError):
    """The caller is known and may not."""


class NotFound(CallError):
    """The named thing is not there."""


class AlreadyExists(CallError):
    """The thing to create is there."""


class FailedPrecondition(CallError):
    """The system is not in the state that the request needs."""


class Conflict(CallError):
    """Another call came in between: read again and repeat."""


class ResourceExhausted(CallError):
    """A limit or quota is reached."""


class Unavailable(CallError):
    """No endpoint could answer; a write may have happened when the reason is OUTCOME_UNKNOWN or empty."""


class DeadlineExceeded(CallError):
    """Time ran out; a write may have happened."""


class Cancelled(CallError):
    """The call was ended before it was done."""


class Unimplemented(CallError):
    """The server does not do this."""


class DataLoss(CallError):
    """What was written cannot be read back."""


class ServerFault(CallError):
    """A fault of the server's own."""


_BY_CODE: dict[grpc.StatusCode, type[CallError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidArgument,
    grpc.StatusCode.OUT_OF_RANGE: OutOfRange,
    grpc.StatusCode.UNAUTHENTICATED: Unauthenticated,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDenied,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.ALREADY_EXISTS: AlreadyExists,
    grpc.StatusCode.FAILED_PRECONDITION: FailedPrecondition,
    grpc.StatusCode.ABORTED: Conflict,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ResourceExhausted,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.CANCELLED: Cancelled,
    grpc.StatusCode.UNIMPLEMENTED: Unimplemented,
    grpc.StatusCode.DATA_LOSS: DataLoss,
}


def from_status(code: grpc.StatusCode, message: str, trailers: Mapping[str, str | bytes]) -> CallError:
    """Return the error that a status and its trailing metadata tell."""
    info, retry = ErrorInfo(), RetryInfo()
    after = None
    try:
        details = Status.FromString(bytes(trailers.get(_DETAILS, b""))).details  # type: ignore[arg-type]
    except DecodeError:
        details = Status().details
    for detail in details:
        detail.Unpack(info)
        if detail.Unpack(retry):
            after = retry.retry_delay.ToTimedelta().total_seconds()
    kind = _BY_CODE.get(code, ServerFault)
    return kind(code, message, reason=info.reason, metadata=dict(info.metadata), retry_after=after)


def from_rpc(error: grpc.RpcError) -> CallError:
    """Return the error that a failed gRPC call tells, of the synchronous or the asyncio stack."""
    trailers = dict(cast("Iterable[tuple[str, str | bytes]]", error.trailing_metadata() or ()))
    return from_status(error.code(), error.details() or error.code().name, trailers)
