"""Leaves of the tree of errors that records bear: of the engine, of its databases, of where they are. `errors` draws the tree."""

from __future__ import annotations

from quartet_server.branches import (
    AlreadyExists,
    DataLoss,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    Unavailable,
)


class RecordNotFound(NotFound):
    """The zone has no record of this key."""


class RecordExists(AlreadyExists):
    """A record of the same key, or of the same values of a unique index, is there."""


class ReferenceMissing(FailedPrecondition):
    """A record refers to one that is not there."""


class RecordReferenced(FailedPrecondition, hint="delete what refers to it first"):
    """Others refer to the record that was to be deleted."""


class DatabaseBusy(ResourceExhausted):
    """Too many calls wait for the database."""


class DatabaseFull(ResourceExhausted, hint="make room on the disk of the data directory"):
    """The disk of a database has no room."""


class DatabaseUnreachable(Unavailable, hint="quartet db status"):
    """The database server does not answer."""


class DatabaseDamaged(DataLoss, hint="quartet restore DIR"):
    """What a database has on its disk is not what was written."""


class FilterInvalid(InvalidArgument, hint='write it like: status = open AND title = "draft*"'):
    """A filter is not written as AIP-160 says, or is larger than its limits."""


class ColumnUnknown(InvalidArgument):
    """A filter or an order names a column that the record does not have."""


class ColumnUnusable(InvalidArgument):
    """A column cannot be filtered so, or not be ordered by."""


class FilterTypeMismatch(InvalidArgument):
    """A filter compares a column with a value of another type."""


class BatchTooLarge(InvalidArgument, hint="send fewer items at once"):
    """A batch has more items, or more bytes, than it may have."""


class MaskInvalid(InvalidArgument, hint="name fields that may be updated, or leave the mask empty"):
    """An update mask names what cannot be updated."""
