"""The branches of the tree of errors: a status code each. `errors` draws the tree."""

# ruff: noqa: N818 - the tree's root says Error for all of them

from __future__ import annotations

import grpc

from quartet_server.failure import QuartetError

_C = grpc.StatusCode


class InvalidArgument(QuartetError, code=_C.INVALID_ARGUMENT):
    """The request is wrong whatever the state of the system."""


class OutOfRange(QuartetError, code=_C.OUT_OF_RANGE):
    """The request reaches past what is there."""


class Unauthenticated(QuartetError, code=_C.UNAUTHENTICATED):
    """Nobody knows who is calling."""


class PermissionDenied(QuartetError, code=_C.PERMISSION_DENIED):
    """The caller is known and may not."""


class NotFound(QuartetError, code=_C.NOT_FOUND):
    """The named thing is not there."""


class AlreadyExists(QuartetError, code=_C.ALREADY_EXISTS):
    """The thing to create is there."""


class FailedPrecondition(QuartetError, code=_C.FAILED_PRECONDITION):
    """The system is not in the state that the request needs; trying again changes nothing."""


class Aborted(QuartetError, code=_C.ABORTED):
    """Another call came in between; reading again and repeating can succeed."""


class ResourceExhausted(QuartetError, code=_C.RESOURCE_EXHAUSTED):
    """A limit or quota is reached."""


class Cancelled(QuartetError, code=_C.CANCELLED):
    """The operation was ended before it was done."""


class Unavailable(QuartetError, code=_C.UNAVAILABLE):
    """It may work in a moment, or on another node."""


class DeadlineExceeded(QuartetError, code=_C.DEADLINE_EXCEEDED):
    """Time ran out."""


class Unimplemented(QuartetError, code=_C.UNIMPLEMENTED):
    """The server does not do this."""


class DataLoss(QuartetError, code=_C.DATA_LOSS):
    """What was written cannot be read back."""


class Internal(QuartetError, code=_C.INTERNAL):
    """A fault of the server's own."""
