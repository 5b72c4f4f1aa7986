"""Artifacts: what is told of them, and which tool calls made them."""

from __future__ import annotations

import pytest
from grpc import aio
from harness.conversations import Ledger
from harness.failures import reason_of
from quartet.agents.v1 import artifacts_pb2 as pb
from quartet.agents.v1 import contents_pb2, messages_pb2
from quartet.agents.v1 import queue_calls_pb2 as calls

pytestmark = pytest.mark.asyncio(loop_scope="session")


def artifact(**fields: object) -> pb.Artifact:
    """Return what is told of an artifact."""
    usual = {"id": "a", "kind": "log", "bytes": 3, "host_path": "/h/a", "agent_path": "/a"}
    return pb.Artifact(**{**usual, **fields})  # type: ignore[arg-type]


async def made(ledger: Ledger) -> None:
    """Make a tool call `c`."""
    await ledger.session()
    call = messages_pb2.ToolCall(id="c", tool_name="make")
    await ledger.append(contents=contents_pb2.TurnContents(tool_calls=[call]))


async def test_an_artifact_is_told_with_the_tool_call_that_made_it(ledger: Ledger) -> None:
    await made(ledger)
    told = await ledger.calls.PutArtifact(calls.PutArtifactRequest(artifact=artifact(), tool_call_id="c"))
    assert (told.storage, told.HasField("created_at")) == ("fs", True)
    assert await ledger.calls.GetArtifact(calls.GetArtifactRequest(id="a")) == told
    links = await ledger.calls.ListToolCallArtifacts(calls.ListToolCallArtifactsRequest(tool_call_id="c"))
    assert [(one.artifact_id, one.kind) for one in links.tool_call_artifacts] == [("a", "output")]
    again = await ledger.calls.LinkArtifact(calls.LinkArtifactRequest(tool_call_id="c", artifact_id="a", kind="input"))
    assert again == links.tool_call_artifacts[0]
    listed = await ledger.calls.ListArtifacts(calls.ListArtifactsRequest(kind="log"))
    assert list(listed.artifacts) == [told]


async def test_telling_the_same_of_an_artifact_again_changes_nothing(ledger: Ledger) -> None:
    told = await ledger.calls.PutArtifact(calls.PutArtifactRequest(artifact=artifact()))
    assert await ledger.calls.PutArtifact(calls.PutArtifactRequest(artifact=artifact())) == told
    with pytest.raises(aio.AioRpcError) as error:
        await ledger.calls.PutArtifact(calls.PutArtifactRequest(artifact=artifact(bytes=4)))
    assert reason_of(error.value) == "RECORD_EXISTS"


@pytest.mark.parametrize(
    ("method", "request_", "reason"),
    [
        ("PutArtifact", calls.PutArtifactRequest(), "FIELD_INVALID"),
        ("PutArtifact", calls.PutArtifactRequest(artifact=artifact(bytes=-1)), "FIELD_INVALID"),
        ("PutArtifact", calls.PutArtifactRequest(artifact=artifact(sha256="x")), "FIELD_INVALID"),
        ("PutArtifact", calls.PutArtifactRequest(artifact=artifact(), tool_call_id="gone"), "RECORD_NOT_FOUND"),
        ("LinkArtifact", calls.LinkArtifactRequest(tool_call_id="c", artifact_id="gone"), "RECORD_NOT_FOUND"),
        ("LinkArtifact", calls.LinkArtifactRequest(tool_call_id="c"), "FIELD_INVALID"),
        ("GetArtifact", calls.GetArtifactRequest(id="gone"), "RECORD_NOT_FOUND"),
    ],
)
async def test_what_cannot_be_told_of_an_artifact_has_its_reason(
    ledger: Ledger, method: str, request_: object, reason: str
) -> None:
    with pytest.raises(aio.AioRpcError) as error:
        await getattr(ledger.calls, method)(request_)
    assert reason_of(error.value) == reason
