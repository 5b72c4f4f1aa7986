"""What is told of artifacts, and of the tool calls that made or used them."""

from __future__ import annotations

import re

from quartet.agents.v1 import artifacts_pb2 as pb
from quartet.agents.v1 import queue_calls_pb2 as calls

from quartet_server.agents.drafts import small
from quartet_server.agents.schema import ARTIFACTS, LINKS, TOOL_CALLS
from quartet_server.errors import FieldInvalid
from quartet_server.record_errors import RecordExists
from quartet_server.records import rows
from quartet_server.records.codec import stamp
from quartet_server.records.contract import Session as Transaction

USUAL_KIND = "output"
_SHA256 = re.compile(r"[0-9a-f]{64}")


def put(at: Transaction, request: calls.PutArtifactRequest) -> pb.Artifact:
    """Tell of an artifact, and of the tool call that made it.

    Raises RecordExists where another one has its id, RecordNotFound for the tool call, FieldInvalid.
    """
    artifact = pb.Artifact()
    artifact.CopyFrom(request.artifact)
    small(artifact, "artifact")
    for name in ("kind", "host_path", "agent_path"):
        if not getattr(artifact, name):
            raise FieldInvalid.of(f"artifact.{name}", "is empty")
    if artifact.bytes < 0:
        raise FieldInvalid.of("artifact.bytes", "must not be negative")
    if artifact.HasField("sha256") and not _SHA256.fullmatch(artifact.sha256):
        raise FieldInvalid.of("artifact.sha256", "is 64 hexadecimal digits, in small letters")
    known = None
    if artifact.id:
        rows.check_id(artifact.id, "artifact.id")
        known = rows.find(at, ARTIFACTS, artifact.id)
    if known is None:
        if not artifact.HasField("created_at"):
            artifact.created_at.CopyFrom(stamp(at.now))
        known = rows.insert(at, ARTIFACTS, artifact)
    elif not _same(known, artifact):
        raise RecordExists(f"artifact {artifact.id} is another one", table=ARTIFACTS.name, id=artifact.id)
    if request.tool_call_id:
        _link(at, request.tool_call_id, known.id, request.kind)
    return known


def link(at: Transaction, request: calls.LinkArtifactRequest) -> pb.ToolCallArtifact:
    """Say that a tool call made, or used, an artifact. Raises RecordNotFound, FieldInvalid."""
    rows.check_id(request.artifact_id, "artifact_id")
    rows.fetch(at, ARTIFACTS, request.artifact_id)
    return _link(at, request.tool_call_id, request.artifact_id, request.kind)


def _link(at: Transaction, tool_call_id: str, artifact_id: str, kind: str) -> pb.ToolCallArtifact:
    rows.check_id(tool_call_id, "tool_call_id")
    rows.fetch(at, TOOL_CALLS, tool_call_id)
    known = rows.find(at, LINKS, tool_call_id, artifact_id)
    if known is not None:
        return known
    made = pb.ToolCallArtifact(tool_call_id=tool_call_id, artifact_id=artifact_id, kind=kind or USUAL_KIND)
    return rows.insert(at, LINKS, made)


def _same(known: pb.Artifact, given: pb.Artifact) -> bool:
    """Tell whether `given` says nothing else than `known`; what it leaves out, it does not say."""
    return all(getattr(known, field.name) == value for field, value in given.ListFields())
