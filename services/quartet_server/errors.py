"""Everything that can go wrong in a Quartet service, as one tree; the interceptor alone turns it into a gRPC status.

QuartetError
├── InvalidArgument         FieldInvalid PageTokenInvalid PathInvalid ZoneInvalid RequestIdReused RequestTooLarge
│                           DigestMismatch SizeMismatch FileTooLarge VectorDimension
│                           FilterInvalid ColumnUnknown ColumnUnusable FilterTypeMismatch BatchTooLarge MaskInvalid
│                           ImportKeyMismatch ImportChunkInvalid FtsQueryInvalid
├── OutOfRange              RevisionCompacted RevisionFuture RangeInvalid CursorAhead
├── Unauthenticated         CertificateRequired
├── PermissionDenied        ZoneDenied SystemProtected JoinTokenInvalid NodeRequired MountRefused
├── NotFound                FileNotFound XattrNotFound SettingNotFound NodeNotFound ZoneNotFound LeaseNotFound
│                           BlobNotFound TrashNotFound QuotaNotFound SnapshotNotFound VersionNotFound
│                           WorkspaceNotFound MountNotFound RecordNotFound
│                           SessionNotFound TurnNotFound
│                           BackfillNotFound DatabaseNotFound
├── AlreadyExists           FileExists NodeExists ZoneExists WorkspaceExists MountExists RecordExists
│                           SessionExists AliasTaken
├── FailedPrecondition      NotADirectory IsADirectory DirectoryNotEmpty DirectoryCycle NotAFile ContentAbsent
│                           RootFixed ZoneNotEmpty ZoneDraining SecretsKeyMissing QuorumAtRisk LearnerNotReady TransferRefused
│                           ClusterUnsupported AuthorityMissing BlobInUse ObjectsNotShared LinkChain LockLost
│                           QuotaCrossed PrincipalRootLost MountInUse MountUnreachable SnapshotReferenced
│                           ObjectsNotOwned ReferenceMissing RecordReferenced SchemaNewer SchemaOlder MigrationFailed
│                           DatabaseUnsuitable
│                           TurnFinished TurnUnfinished AlreadySettled TurnNotOnPath SessionClosed
│                           MoveRefused LedgerAppendOnly BackupRefused
│                           NodeHoldsZones
│                           TaskCycle TransitionRefused TaskNotReady CheckpointForeign CheckpointUnusable
├── Aborted                 EtagStale Contention LockHeld SnapshotParentMoved StagingLost UploadExpired
│                           CollectionRunning PlacementStale HeadMoved
├── ResourceExhausted       StoreFull TooManyRequests LimitReached QuotaExceeded DatabaseBusy DatabaseFull
│                           QueueFull
├── Cancelled               WatchCancelled
├── Unavailable             NoLeader NodeStopping NodeNotReady OutcomeUnknown MetastoreUnreachable
│                           ObjectStoreUnreachable CopiesUnreachable BlobUnreachable VersionsBehind
│                           DatabaseUnreachable
│                           ZoneMoved ZoneMoving ZoneHomeDown
├── DeadlineExceeded        DeadlinePassed
├── Unimplemented           RpcUnimplemented
├── DataLoss                StoreCorrupt BlobCorrupt ContentLost SnapshotDamaged DatabaseDamaged
│                           RowsDamaged BackupDamaged
└── Internal                InternalFault

A branch has a status code, a leaf has a reason: the one of `quartet.errors.v1.ErrorReason` whose name it bears.
Services raise leaves; `raftmeta.errors.MetastoreError` may pass through them and becomes a leaf by `from_metastore`.
"""

from __future__ import annotations

from collections.abc import Iterator

import quartet_server.agent_errors
import quartet_server.event_errors
import quartet_server.placement_errors
import quartet_server.project_errors
import quartet_server.record_errors  # noqa: F401 - their leaves are in the tree
from quartet_server.branches import (
    Aborted as Aborted,
)
from quartet_server.branches import (
    AlreadyExists as AlreadyExists,
)
from quartet_server.branches import (
    Cancelled as Cancelled,
)
from quartet_server.branches import (
    DataLoss as DataLoss,
)
from quartet_server.branches import (
    DeadlineExceeded as DeadlineExceeded,
)
from quartet_server.branches import (
    FailedPrecondition as FailedPrecondition,
)
from quartet_server.branches import (
    Internal as Internal,
)
from quartet_server.branches import (
    InvalidArgument as InvalidArgument,
)
from quartet_server.branches import (
    NotFound as NotFound,
)
from quartet_server.branches import (
    OutOfRange as OutOfRange,
)
from quartet_server.branches import (
    PermissionDenied as PermissionDenied,
)
from quartet_server.branches import (
    ResourceExhausted as ResourceExhausted,
)
from quartet_server.branches import (
    Unauthenticated as Unauthenticated,
)
from quartet_server.branches import (
    Unavailable as Unavailable,
)
from quartet_server.branches import (
    Unimplemented as Unimplemented,
)
from quartet_server.failure import QuartetError as QuartetError


class FieldInvalid(InvalidArgument):
    """A field breaks its rule; `violations` names every one."""

    @classmethod
    def of(cls, field: str, description: str) -> FieldInvalid:
        """Return the error for one field; `field` is its path in the request, like `entries[3].path`."""
        return cls(f"{field}: {description}", violations={field: description})


class PageTokenInvalid(InvalidArgument, hint="ask for the first page again, without a token"):
    """A page token was not made by this method for this request."""


class PathInvalid(InvalidArgument, hint="a path is absolute, like /docs/a, with no empty, . or .. component"):
    """A path is not absolute, too long, too deep, or has a bad component."""


class ZoneInvalid(InvalidArgument, hint="quartet zone list"):
    """A zone's name is malformed."""


class RequestIdReused(InvalidArgument, hint="draw a new request id for a new request"):
    """A request id came back with another request."""


class RequestTooLarge(InvalidArgument, hint="send fewer items at once"):
    """The request is larger than the store takes in one step."""


class DigestMismatch(InvalidArgument, hint="hash the bytes again and send them whole"):
    """Bytes are not those of the digest they were sent under."""


class SizeMismatch(InvalidArgument, hint="send the bytes again, whole"):
    """More or fewer bytes came than were declared."""


class FileTooLarge(InvalidArgument):
    """A file would have more bytes than a file can have."""


class RevisionCompacted(OutOfRange, hint="list again and watch from the answer's revision"):
    """History before a revision is gone."""


class RevisionFuture(OutOfRange):
    """A revision that no write has reached."""


class RangeInvalid(OutOfRange):
    """A range begins beyond the end of the blob."""


class CertificateRequired(Unauthenticated, hint="quartet cert client --zone default"):
    """A call from another machine without a client certificate."""


class ZoneDenied(PermissionDenied, hint="quartet cert client --zone NAME"):
    """The client certificate does not name the zone."""


class SystemProtected(PermissionDenied):
    """A write to what the cluster keeps for itself."""


class JoinTokenInvalid(PermissionDenied, hint="quartet node token"):
    """A join token is unknown, used up or expired."""


class NodeRequired(PermissionDenied, hint="give the node a certificate of its own: quartet cert node NAME"):
    """A call that only nodes of the cluster make to each other."""


class MountRefused(PermissionDenied, hint="list it in objects.mounts of every node; quartet check"):
    """The node's configuration does not let the store be mounted."""


class FileNotFound(NotFound, hint="quartet ls /"):
    """Nothing is at the path."""


class XattrNotFound(NotFound):
    """The file has no such extended attribute."""


class SettingNotFound(NotFound, hint="quartet settings list"):
    """No setting has the name."""


class NodeNotFound(NotFound, hint="quartet node list"):
    """No node has the id or name."""


class ZoneNotFound(NotFound, hint="quartet zone list"):
    """The zone was never created."""


class LeaseNotFound(NotFound):
    """A lease has expired or never was."""


class BlobNotFound(NotFound, hint="upload it, then repeat the call"):
    """The zone has no blob of this digest."""


class TrashNotFound(NotFound, hint="quartet trash list"):
    """The trash has nothing under this id."""


class QuotaNotFound(NotFound, hint="quartet quota set PATH --bytes N"):
    """The directory has no quota of its own."""


class SnapshotNotFound(NotFound, hint="quartet snapshot log"):
    """There is no such snapshot, or ref."""


class VersionNotFound(NotFound, hint="quartet versions list PATH"):
    """The file never had this generation, or it is not kept any more."""


class WorkspaceNotFound(NotFound, hint="quartet workspace ls"):
    """No workspace has the name, or the directory none."""


class MountNotFound(NotFound, hint="quartet mounts"):
    """No store is mounted under the name, or the number that a file's record names."""


class FileExists(AlreadyExists):
    """Something is at the path."""


class NodeExists(AlreadyExists, hint="quartet node list"):
    """A node with the name or address is a member."""


class ZoneExists(AlreadyExists):
    """The zone was created before."""


class WorkspaceExists(AlreadyExists, hint="quartet workspace show NAME"):
    """The name, or the directory, has a registration."""


class MountExists(AlreadyExists, hint="quartet mounts"):
    """The name, the directory or the store has a mount."""


class NotADirectory(FailedPrecondition):
    """A file is where a directory is needed."""


class IsADirectory(FailedPrecondition):
    """A directory is where a file is needed."""


class DirectoryNotEmpty(FailedPrecondition, hint="quartet rm -r PATH"):
    """A directory with children cannot be deleted without recursive, nor replaced."""


class DirectoryCycle(FailedPrecondition):
    """A directory cannot be moved below itself."""


class NotAFile(FailedPrecondition):
    """A symbolic link is where a file is needed."""


class ContentAbsent(FailedPrecondition, hint="quartet cp FILE qt:PATH"):
    """Only the attributes of the file were ever written."""


class RootFixed(FailedPrecondition):
    """The root of a zone cannot be created, deleted, moved or replaced."""


class LinkChain(FailedPrecondition):
    """A symbolic link leads to another one, and only one is followed."""


class LockLost(FailedPrecondition, hint="take the lock again and read again what it protects"):
    """A lock has expired or was released; nothing was changed."""


class QuotaCrossed(FailedPrecondition, hint="copy it and delete the old one"):
    """A directory cannot move from one quota to another."""


class PrincipalRootLost(FailedPrecondition, hint="quartet root set PRINCIPAL PATH"):
    """The directory that is the caller's root is gone."""


class ZoneNotEmpty(FailedPrecondition, hint="quartet ls / --zone NAME"):
    """A zone that holds something cannot be deleted."""


class ZoneDraining(FailedPrecondition):
    """The zone is being moved or deleted and takes no writes."""


class SecretsKeyMissing(FailedPrecondition, hint="set QUARTET_SECRETS_KEY_FILE, or join the node again"):
    """The node has no key for sensitive settings."""


class QuorumAtRisk(FailedPrecondition, hint="quartet cluster status"):
    """The change would leave too few started members."""


class LearnerNotReady(FailedPrecondition, hint="try again in a moment"):
    """A learner has not caught up with the leader."""


class TransferRefused(FailedPrecondition, hint="quartet cluster status"):
    """Leadership cannot go to that node."""


class ClusterUnsupported(FailedPrecondition, hint="ask the external store's own tools"):
    """The node uses an external metadata store and is no member, or opens no Raft port by which others reach it."""


class BlobInUse(FailedPrecondition, hint="leave it to collection, or end the pin first"):
    """Something holds a blob that was to be deleted, or it was asked for a short while ago."""


class MountInUse(FailedPrecondition, hint="quartet unmount NAME --drain"):
    """Something has its bytes in the mounted store, or the directory is a mount point."""


class MountUnreachable(FailedPrecondition, hint="look at the URL, the endpoint and the credentials"):
    """The store that is to be mounted does not answer, or does not let this node in."""


class SnapshotReferenced(FailedPrecondition, hint="quartet snapshot ref rm NAME"):
    """A ref names the snapshot that was to be given up."""


class EtagStale(Aborted, hint="read it again and repeat the change"):
    """The thing has changed since it was read."""


class Contention(Aborted, hint="try again"):
    """Others kept changing the same thing; nothing was changed."""


class StagingLost(Aborted, hint="call again"):
    """A tree that was being built out of sight was given up before it could be shown; nothing was changed."""


class LockHeld(Aborted, hint="try again when it is released or has expired"):
    """Somebody else holds the lock."""


class SnapshotParentMoved(Aborted, hint="quartet snapshot log PATH"):
    """Another snapshot is the newest than the one that was expected."""


class PlacementStale(Aborted):
    """A node goes by another placement of blobs than the one it calls."""


class UploadExpired(Aborted, hint="send the bytes again"):
    """Bytes of a write were collected before it referred to them; nothing was changed."""


class CollectionRunning(Aborted, hint="try again when it has ended; quartet gc --report"):
    """Somebody is collecting the same store already."""


class StoreFull(ResourceExhausted, hint="quartet check"):
    """The store has reached its quota, or the disk is full."""


class TooManyRequests(ResourceExhausted):
    """More requests are waiting than the node takes; nothing was changed."""


class LimitReached(ResourceExhausted):
    """A stated limit is reached."""


class QuotaExceeded(ResourceExhausted, hint="quartet quota show PATH"):
    """A directory would hold more than its quota allows; nothing was changed."""


class WatchCancelled(Cancelled, hint="watch again from the last revision seen"):
    """The store ended a watch."""


class NoLeader(Unavailable, hint="quartet cluster status"):
    """The cluster has no leader at the moment; nothing was changed."""


class NodeStopping(Unavailable, hint="call another node"):
    """The node is shutting down."""


class NodeNotReady(Unavailable, hint="quartet cluster status"):
    """The node has started but has not caught up."""


class OutcomeUnknown(Unavailable, hint="repeat the call with the same request id"):
    """A write was sent and no answer came: it may have happened."""


class MetastoreUnreachable(Unavailable, hint="quartet check"):
    """The external metadata store does not answer, or does not let this node in."""


class ObjectStoreUnreachable(Unavailable, hint="quartet check"):
    """The store of blobs does not answer, or does not let this node in."""


class CopiesUnreachable(Unavailable, hint="quartet objects status"):
    """Too few nodes could take the copies of a blob."""


class BlobUnreachable(Unavailable, hint="quartet objects status"):
    """No node that answers has the blob, and one that does not answer may have it."""


class VersionsBehind(Unavailable):
    """More changes of files wait to be recorded than one call looks at."""


class DeadlinePassed(DeadlineExceeded):
    """The call did not finish within its deadline, or within the server's own."""


class RpcUnimplemented(Unimplemented):
    """The method is declared but this version does not do it."""


class StoreCorrupt(DataLoss, hint="python -m raftmeta check --data-dir DIR"):
    """What is on the disk is not what was written."""


class BlobCorrupt(DataLoss, hint="upload it again: that replaces the damaged copy"):
    """The bytes that are stored under a digest are not those of the digest."""


class ContentLost(DataLoss, hint="write the file again"):
    """A file refers to bytes that the store of blobs does not have."""


class SnapshotDamaged(DataLoss):
    """A part of a snapshot is gone, or is not what it should be."""


class InternalFault(Internal):
    """Something unforeseen; the log has it under the request id."""


class AuthorityMissing(
    FailedPrecondition,
    hint="where ca.key is: quartet cert node NAME --dir DIR; then, beside --join: --raft-ca DIR/ca.crt"
    " --raft-cert DIR/NAME.crt --raft-key DIR/NAME.key",
):
    """The node cannot sign certificates: it does not hold the key of the cluster's authority."""


class ObjectsNotShared(
    FailedPrecondition, hint="name a store that all nodes share in objects.url, as s3://BUCKET; quartet check"
):
    """A node with an external Metastore was to keep bytes on a disk that no other node sees."""


class ObjectsNotOwned(
    FailedPrecondition, hint="give each cluster a store of its own; quartet gc shows what would go, quartet gc --adopt"
):
    """Another cluster, or nobody knows which, has put blobs into the store that was to be collected."""


def leaves(branch: type[QuartetError] = QuartetError) -> Iterator[type[QuartetError]]:
    """Yield the classes that bear a reason, in the tree's order."""
    if branch.reason:
        yield branch
    for child in branch.__subclasses__():
        yield from leaves(child)
