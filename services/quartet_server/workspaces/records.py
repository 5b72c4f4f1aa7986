"""Registrations: their limits, and between records and messages."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from google.protobuf.timestamp_pb2 import Timestamp
from quartet.workspaces.storage.v1 import storage_pb2
from quartet.workspaces.v1 import workspaces_pb2 as pb

from quartet_server.errors import FieldInvalid
from quartet_server.meta.snapshot import KeyValue
from quartet_server.workspaces import keys

MOST_LABELS = 64
LABEL_BYTES = 8192
LONGEST_DESCRIPTION = 1024
LONGEST_CREATOR = 255
WORKSPACE, MEMORY = pb.WORKSPACE_KIND_WORKSPACE, pb.WORKSPACE_KIND_MEMORY
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,62}")


@dataclass(frozen=True, slots=True)
class Declaration:
    """What a registration is to say.

    Attributes:
        name: Its name.
        path: Path of the directory, as the caller sees it.
        kind: WORKSPACE or MEMORY.
        labels: Key -> value.
        description: For people.
        created_by: Who registers it.
        create: Make the directory when it does not exist.
    """

    name: str
    path: str
    kind: pb.WorkspaceKind.ValueType
    labels: Mapping[str, str] = field(default_factory=dict)
    description: str = ""
    created_by: str = ""
    create: bool = False

    def check(self, prefix: str = "") -> None:
        """Hold everything but the path against its limits. Raises FieldInvalid; fields are below `prefix`."""
        check_name(self.name, f"{prefix}name")
        check_kind(self.kind, f"{prefix}kind")
        check_labels(self.labels, f"{prefix}labels")
        check_text(self.description, f"{prefix}description", LONGEST_DESCRIPTION)
        check_text(self.created_by, f"{prefix}created_by", LONGEST_CREATOR)

    def record(self, ino: int, root: int, now: Timestamp) -> storage_pb2.WorkspaceRecord:
        """Return the record of a new registration of the directory `ino`, told by somebody whose root is `root`."""
        return storage_pb2.WorkspaceRecord(
            ino=ino,
            kind=self.kind,
            labels=self.labels,
            description=self.description,
            created_by=self.created_by,
            create_time=now,
            update_time=now,
            root=root,
        )


def check_name(name: str, at: str = "name") -> str:
    """Return a valid name. Raises FieldInvalid."""
    if _NAME.fullmatch(name) is None:
        raise FieldInvalid.of(at, "is 1 to 128 of A-Z, a-z, 0-9, . _ -, beginning with a letter or a digit")
    return name


def check_kind(kind: pb.WorkspaceKind.ValueType, at: str = "kind") -> None:
    """Hold a kind that is to be stored. Raises FieldInvalid."""
    if kind not in (WORKSPACE, MEMORY):
        raise FieldInvalid.of(at, "is not a known kind")


def check_labels(labels: Mapping[str, str], at: str = "labels") -> None:
    """Hold labels against their limits. Raises FieldInvalid."""
    if len(labels) > MOST_LABELS:
        raise FieldInvalid.of(at, f"{len(labels)} labels, at most {MOST_LABELS} are taken")
    for key, value in labels.items():
        if _LABEL.fullmatch(key) is None:
            raise FieldInvalid.of(
                at, f"{key[:64]!r} is not 1 to 63 of A-Z, a-z, 0-9, . _ / -, beginning with a letter or a digit"
            )
        if "\0" in value:
            raise FieldInvalid.of(at, f"the value of {key} holds a NUL")
    if (size := sum(len(key) + len(value.encode()) for key, value in labels.items())) > LABEL_BYTES:
        raise FieldInvalid.of(at, f"{size} bytes, at most {LABEL_BYTES} are taken")


def check_text(text: str, at: str, limit: int) -> None:
    """Hold a text against its limit in bytes. Raises FieldInvalid."""
    if (size := len(text.encode())) > limit:
        raise FieldInvalid.of(at, f"{size} bytes, at most {limit} are taken")


def told(name: str, record: storage_pb2.WorkspaceRecord, path: str | None, written: int = 0) -> pb.Workspace:
    """Tell a registration that was last written at the revision `written`; its directory is at `path`, None if gone."""
    return pb.Workspace(
        name=name,
        path=path or "",
        ino=record.ino,
        kind=record.kind,
        labels=record.labels,
        description=record.description,
        created_by=record.created_by,
        create_time=record.create_time,
        update_time=record.update_time,
        etag=str(written) if written else "",
        gone=path is None,
    )


def decoded(zone: str, kv: KeyValue) -> tuple[str, storage_pb2.WorkspaceRecord]:
    """Return the name and the record that a key of the Metastore holds."""
    return kv.key[len(keys.named(zone)) :].decode(), storage_pb2.WorkspaceRecord.FromString(kv.value)
