"""Leaves of the tree of errors that the agents ledger bears. `errors` draws the tree."""

from __future__ import annotations

from quartet_server.branches import (
    Aborted,
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
)


class SessionNotFound(NotFound, hint="quartet agents sessions list"):
    """No session has the label, nor the alias."""


class SessionExists(AlreadyExists, hint="quartet agents sessions show LABEL"):
    """The label is a session's, or an alias of one."""


class TurnNotFound(NotFound):
    """The zone has no such turn, or the session has none yet."""


class HeadMoved(Aborted, hint="read the session again, and go on from where it is"):
    """The session is at another turn than the one that was expected."""


class TurnFinished(FailedPrecondition):
    """The turn is finished: nothing of it changes any more."""


class TurnUnfinished(FailedPrecondition, hint="complete the turn, or fail it"):
    """The turn is not finished, or a tool call of it has not ended."""


class AliasTaken(AlreadyExists, hint="quartet agents aliases list"):
    """The name is an alias already, or a session's label."""


class ImportKeyMismatch(InvalidArgument, hint="draw a new idempotency key for another import"):
    """An idempotency key came back with another import; `code` in the metadata says what is different."""


class ImportChunkInvalid(InvalidArgument, hint="send the upload again under a new upload id"):
    """A part of an upload is wrong, or does not fit the others; `code` in the metadata says how."""


class QueueFull(ResourceExhausted, hint="quartet agents queue list LABEL"):
    """The queue of a session is full, and its policy is to refuse what is new."""


class AlreadySettled(FailedPrecondition):
    """A tool call, or a queue's item, has ended, or is not where it has to be for this."""


class TurnNotOnPath(FailedPrecondition, hint="quartet agents sessions show LABEL"):
    """A turn is not on the way from the root to the session's head."""


class SessionClosed(FailedPrecondition, hint="quartet agents sessions update LABEL --status active"):
    """The session is archived or deleted: it takes no turns."""
