"""Leaves of the tree of errors that the event ledger bears. `errors` draws the tree."""

from __future__ import annotations

from quartet_server.branches import FailedPrecondition, InvalidArgument, OutOfRange


class FtsQueryInvalid(InvalidArgument, hint='quartet events search --help; "quote" what is meant literally'):
    """A search for words cannot be read."""


class LedgerAppendOnly(FailedPrecondition, hint="append what has changed as an event of its own"):
    """The id belongs to another event, and no event is ever changed."""


class CursorAhead(OutOfRange, hint="quartet events consumers list"):
    """A position lies behind the ledger's end."""
