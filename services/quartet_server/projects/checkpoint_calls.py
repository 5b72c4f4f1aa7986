"""Calls about checkpoints: reading them without their states, and going back to one."""

from __future__ import annotations

from quartet.projects.v1 import history_calls_pb2 as pb
from quartet.projects.v1 import history_pb2

from quartet_server.errors import LimitReached
from quartet_server.projects import fields, restoring, schema
from quartet_server.projects.calls import SERVICE, Calls, Context
from quartet_server.records import paging, rows
from quartet_server.records.contract import Session

LISTED = fields.without(schema.CHECKPOINTS, "state")
"""Checkpoints as lists have them."""


class CheckpointCalls(Calls):
    """Calls about checkpoints."""

    async def GetCheckpoint(self, request: pb.GetCheckpointRequest, context: Context) -> history_pb2.Checkpoint:
        """Read a checkpoint."""

        def work(session: Session) -> history_pb2.Checkpoint:
            found = rows.fetch(session, LISTED if request.without_state else schema.CHECKPOINTS, request.id)
            if found.ByteSize() > paging.MAX_BYTES:
                raise LimitReached(
                    f"the state of checkpoint {request.id} has more than {paging.MAX_BYTES} bytes",
                    hint="it can be restored, and read without_state",
                )
            return found

        return await self.read(work)

    async def ListCheckpoints(self, request: pb.ListCheckpointsRequest, context: Context) -> pb.ListCheckpointsResponse:
        """Read a page of checkpoints, without their states."""
        equal = fields.equal(schema.CHECKPOINTS, request, ("project_id",))

        def work(session: Session) -> pb.ListCheckpointsResponse:
            found, token = fields.page(session, LISTED, request, equal, SERVICE + "ListCheckpoints")
            return pb.ListCheckpointsResponse(checkpoints=found, next_page_token=token)

        return await self.read(work)

    async def RestoreCheckpoint(
        self, request: pb.RestoreCheckpointRequest, context: Context
    ) -> pb.RestoreCheckpointResponse:
        """Make a project what it was."""
        return await self.write(
            "RestoreCheckpoint",
            request,
            pb.RestoreCheckpointResponse,
            lambda unit: restoring.restore(unit, request),
        )
