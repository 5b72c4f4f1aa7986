"""Leaves of the tree of errors that have to do with where zones live, and with copies of rows. `errors` draws the tree."""

from __future__ import annotations

from quartet_server.branches import DataLoss, FailedPrecondition, NotFound, Unavailable


class MoveRefused(FailedPrecondition, hint="quartet zone list"):
    """A zone cannot be moved, or its move cannot be stopped, as things are."""


class NodeHoldsZones(FailedPrecondition, hint="quartet zone move ZONE NODE"):
    """Records of zones live on the node that was to be removed."""


class ZoneMoved(Unavailable):
    """The zone's records live on another node than the one that was asked for them on another's behalf."""


class ZoneMoving(Unavailable, hint="quartet zone list"):
    """The zone's records are on their way to another node and take no writes until they are there."""


class ZoneHomeDown(Unavailable, hint="quartet node list"):
    """The node on which the zone's records live does not answer; a write may have happened."""


class RowsDamaged(DataLoss):
    """Rows on their way to another node, or in a backup, are not those that were written."""


class BackupDamaged(DataLoss, hint="take another backup: quartet backup DIR"):
    """A backup is not what was written, or its secret is another one; nothing was replaced by it."""


class BackupRefused(FailedPrecondition):
    """Databases cannot be copied, or replaced by a backup, as things are."""


class BackfillNotFound(NotFound, hint="quartet db backfill"):
    """There is no job of this name."""


class DatabaseNotFound(NotFound, hint="quartet db schema"):
    """The node has no database of this name."""
